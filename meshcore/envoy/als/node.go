package als

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// node joins what one proxy reports. Entries come in the order in which streams end, which is not
// that of a request: its attempts come before it, or right behind it when the client went away,
// its copies whenever they end.
type node struct {
	opt *Options

	mu       sync.Mutex
	proxy    Proxy
	names    map[string]string // strings that come again and again
	received Entries           // of each kind
	tcp      uint64            // entries of connections, those without a filter chain included
	gone     bool              // nobody waits for it any more
	dropped  uint64
	changed  chan struct{} // closed when something came, if somebody waits for it

	tries   map[uint64][]try // not yet claimed attempts, by downstream connection
	copies  map[string][]try // and copies, by request ID
	held    int              // how many there are of both
	free    [][]try          // for reuse
	waiting []*exchange      // requests that lack some, who waits no longer first
	stop    func() bool      // ends the timer that waiting has
	scratch exchange
}

// mostHeld bounds the attempts and copies that wait for their request.
const mostHeld = 1 << 16

// slowCopies is how many times longer a request waits for copies that must come: a copy ends when
// its destination has answered, which may take longer than the request.
const slowCopies = 5

// slowAttempts is the same for attempts. Envoy writes the entry of each (measured), so that only a
// machine that is short of time, or the end of the proxy, lets one wait; but the record without it
// would be wrong.
const slowAttempts = 30

// try is an attempt or a copy that has been reported.
type try struct {
	observe.Attempt
	id, path string
	head     clock.Instant
}

// exchange is a request that has been reported.
type exchange struct {
	record     observe.Request
	connection uint64
	id, path   string // as they went upstream
	attempts   int    // there must be so many
	mirrors    int
	sure       bool          // there must be so many copies, too
	head       clock.Instant // when the last attempt's response head came
	until      clock.Instant // it waits
	late       bool          // it has waited enough: whatever copy is left will do
}

func newNode(opt *Options) *node {
	return &node{opt: opt, names: map[string]string{}, tries: map[uint64][]try{},
		copies: map[string][]try{}}
}

func (n *node) introduce(p Proxy) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proxy = p
}

// take takes a message of Envoy's.
func (n *node) take(m *alsv3.StreamAccessLogsMessage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		n.received.Requests++
		if e.GetCommonProperties().GetAccessLogType() == datav3.AccessLogType_UpstreamEnd {
			n.attempt(e)
		} else {
			n.request(e)
		}
	}
	for _, e := range m.GetTcpLogs().GetLogEntry() {
		n.tcp++
		if c := e.GetCommonProperties(); c.GetResponseFlags().GetNoRouteFound() &&
			c.GetUpstreamCluster() == "" {
			n.received.Unmatched++
		}
		n.connection(e)
	}
	n.tell()
}

// tell wakes who waits for changes. Caller must hold mu.
func (n *node) tell() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// attempt takes the entry of an attempt or of a copy. Caller must hold mu.
func (n *node) attempt(e *datav3.HTTPAccessLogEntry) {
	t, connection, ok := n.try(e)
	if !ok {
		n.dropped++
		return
	}
	if i := n.owner(&t, connection); i >= 0 {
		x := n.waiting[i]
		x.take(&t, connection)
		if x.complete() {
			n.waiting = slices.Delete(n.waiting, i, i+1)
			n.give(x)
		}
		return
	}
	if n.held++; n.held > mostHeld {
		n.dropped += uint64(n.held - 1)
		n.held = 1
		clear(n.tries)
		clear(n.copies)
	}
	if connection == 0 {
		n.copies[t.id] = n.hold(n.copies[t.id], t)
	} else {
		n.tries[connection] = n.hold(n.tries[connection], t)
	}
}

// owner finds the request that waits for an attempt or a copy; -1: none. A copy begins right behind
// the first attempt, so that it belongs to the request that began last. Caller must hold mu.
func (n *node) owner(t *try, connection uint64) int {
	for _, slack := range slacks {
		best := -1
		for i, x := range n.waiting {
			if x.owns(t, connection, slack) &&
				(best < 0 || x.began() > n.waiting[best].began()) {
				best = i
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// hold keeps one in the order of starts. Caller must hold mu.
func (n *node) hold(list []try, t try) []try {
	if last := len(n.free) - 1; list == nil && last >= 0 {
		list, n.free = n.free[last], n.free[:last]
	}
	i := len(list)
	for i > 0 && list[i-1].Start > t.Start {
		i--
	}
	return slices.Insert(list, i, t)
}

// request takes the entry of a request. Caller must hold mu.
func (n *node) request(e *datav3.HTTPAccessLogEntry) {
	x := &n.scratch
	if !n.exchange(x, e) {
		n.dropped++
		return
	}
	n.collect(x)
	if x.complete() {
		n.give(x)
		return
	}
	w := &exchange{}
	*w, *x = *x, exchange{}
	patience := n.opt.Patience
	switch {
	case len(w.record.Attempts) < w.attempts:
		patience *= slowAttempts
	case w.sure && len(w.record.Mirrors) < w.mirrors:
		patience *= slowCopies
	}
	w.until = n.opt.Clock.Now().Add(patience)
	i := len(n.waiting)
	for i > 0 && n.waiting[i-1].until > w.until {
		i--
	}
	n.waiting = slices.Insert(n.waiting, i, w)
	if i == 0 && n.stop != nil {
		n.stop()
		n.stop = nil
	}
	n.arm()
}

// collect gives x what has come for it. Caller must hold mu.
func (n *node) collect(x *exchange) {
	if x.attempts > 0 {
		list, found := n.tries[x.connection]
		if left := n.claim(x, list, x.connection); len(left) > 0 {
			n.tries[x.connection] = left
		} else if found {
			delete(n.tries, x.connection)
		}
	}
	if x.mirrors > 0 {
		list, found := n.copies[x.id]
		if left := n.claim(x, list, 0); len(left) > 0 {
			n.copies[x.id] = left
		} else if found {
			delete(n.copies, x.id)
		}
	}
}

// claim gives x what belongs to it and returns what is left. Caller must hold mu.
func (n *node) claim(x *exchange, list []try, connection uint64) []try {
	kept := list
	for _, slack := range slacks {
		left := kept[:0]
		for i := range kept {
			if x.owns(&kept[i], connection, slack) {
				x.take(&kept[i], connection)
				n.held--
			} else {
				left = append(left, kept[i])
			}
		}
		kept = left
	}
	clear(list[len(kept):])
	if len(kept) == 0 && list != nil && len(n.free) < 64 {
		n.free = append(n.free, kept)
	}
	return kept
}

// owns says whether an attempt or a copy belongs to the request. The ID alone does not tell: a
// client may use one again and again. But a connection of HTTP/1 has one request at a time.
func (x *exchange) owns(t *try, connection uint64, slack time.Duration) bool {
	r := &x.record
	if t.id != x.id || t.path != x.path {
		return false
	}
	if connection == 0 {
		return len(r.Mirrors) < x.mirrors && (x.late || x.spans(t.Start, x.began(), 0))
	}
	return connection == x.connection && len(r.Attempts) < x.attempts &&
		x.spans(t.Start, r.Start, slack)
}

// slacks are how far outside of its request an attempt may have begun: not at all, or, if there is
// no request that it fits, any time. Envoy takes starts from the system clock and durations from a
// steady one (stream_info_impl.h): a thread that loses its processor between the two readings, or
// a clock that is set, moves one against the other. Entries of one connection come in order.
var slacks = [...]time.Duration{0, time.Hour}

// spans says whether an instant lies between another one and the request's end, give or take slack.
func (x *exchange) spans(at, from clock.Instant, slack time.Duration) bool {
	return at >= from.Add(-slack) && at <= x.record.Start.Add(x.record.Duration+slack)
}

// began is when copies can have begun at the earliest: behind the first attempt.
func (x *exchange) began() clock.Instant {
	if len(x.record.Attempts) > 0 {
		return x.record.Attempts[0].Start
	}
	return x.record.Start
}

// take adds what the request owns.
func (x *exchange) take(t *try, connection uint64) {
	r := &x.record
	if connection == 0 {
		// Nobody waits for a copy's answer: our own data plane does not record it.
		r.Mirrors = insert(r.Mirrors, observe.Attempt{Cluster: t.Cluster, Upstream: t.Upstream,
			Pod: t.Pod, Version: t.Version, Start: t.Start})
		return
	}
	r.Attempts = insert(r.Attempts, t.Attempt)
	if last := len(r.Attempts) - 1; r.Attempts[last] == t.Attempt {
		x.head = t.head
	}
}

// insert keeps the attempts in the order of their starts.
func insert(list []observe.Attempt, a observe.Attempt) []observe.Attempt {
	i := len(list)
	for i > 0 && list[i-1].Start > a.Start {
		i--
	}
	return slices.Insert(list, i, a)
}

func (x *exchange) complete() bool {
	return len(x.record.Attempts) >= x.attempts && len(x.record.Mirrors) >= x.mirrors
}

// give hands a record on. Caller must hold mu.
func (n *node) give(x *exchange) {
	x.finish()
	n.opt.Sink.Record(&x.record)
}

// arm sets the timer for the request that waits longest. Caller must hold mu.
func (n *node) arm() {
	if n.stop == nil && len(n.waiting) > 0 {
		c := n.opt.Clock
		n.stop = c.AfterFunc(max(0, n.waiting[0].until.Sub(c.Now())), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.stop = nil
			n.release(c.Now())
			n.arm()
		})
	}
}

// release gives the records that have waited until now for what did not come. Caller must hold mu.
func (n *node) release(now clock.Instant) {
	for len(n.waiting) > 0 && n.waiting[0].until <= now {
		x := n.waiting[0]
		x.late = true // of several requests with one ID, another one may have got its copy
		n.collect(x)
		n.give(x)
		n.waiting = slices.Delete(n.waiting, 0, 1)
	}
	n.tell()
}

// flush gives every record that waits.
func (n *node) flush() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
	n.gone = true
	n.release(clock.Never)
}

func (n *node) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.received.Requests + n.tcp
}

func (n *node) lost() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dropped
}

func (n *node) await(ctx context.Context, want Entries) error {
	for {
		n.mu.Lock()
		if n.gone || n.received.cover(want) && len(n.waiting) == 0 {
			n.mu.Unlock()
			return nil
		}
		if n.changed == nil {
			n.changed = make(chan struct{})
		}
		changed, received, waiting := n.changed, n.received, len(n.waiting)
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d log entries of requests have come, %d of %d of "+
				"connections without a filter chain, %d records are not whole yet: %w",
				received.Requests, want.Requests, received.Unmatched, want.Unmatched, waiting,
				ctx.Err())
		}
	}
}
