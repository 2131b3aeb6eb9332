package als

import (
	"context"
	"sync"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// node joins what one proxy reports.
type node struct {
	opt *Options

	mu       sync.Mutex
	proxy    Proxy
	received uint64
	dropped  uint64
	changed  chan struct{} // closed and replaced when something came, if somebody waits
	tries    map[string][]try
	waiting  []*exchange
}

// try is an attempt or a copy that has been reported.
type try struct {
	observe.Attempt
}

// exchange is a request that has been reported.
type exchange struct {
	record observe.Request
}

func newNode(opt *Options) *node { return &node{opt: opt, tries: map[string][]try{}} }

func (n *node) introduce(p Proxy) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proxy = p
}

func (n *node) take(m *alsv3.StreamAccessLogsMessage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		n.received++
		n.http(e)
	}
	for range m.GetTcpLogs().GetLogEntry() {
		n.received++
	}
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// http takes the entry of a request or of an attempt. Caller must hold mu.
func (n *node) http(e *datav3.HTTPAccessLogEntry) {
	var x exchange
	x.record.Path = e.GetRequest().GetPath()
	n.opt.Sink.Record(&x.record)
}

func (n *node) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.received
}

func (n *node) lost() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dropped
}

func (n *node) await(ctx context.Context, want uint64) error {
	for {
		n.mu.Lock()
		if n.received >= want && len(n.waiting) == 0 {
			n.mu.Unlock()
			return nil
		}
		if n.changed == nil {
			n.changed = make(chan struct{})
		}
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush records what waits.
func (n *node) flush() {}
