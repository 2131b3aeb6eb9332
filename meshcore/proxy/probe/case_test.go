package probe

import (
	"strings"
	"sync"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// patience bounds what never happens; nothing is timed by it.
const patience = 20 * time.Second

// probe is one case.
type probe struct {
	name string
	// req is what the client sends at once before it reads one response and tries another request. A
	// client script says it in full.
	req    string
	client []step
	// resp is what the upstream answers each request with; a server script says it for the n-th.
	resp   string
	server [][]step
	// refuse: nobody listens at the upstream's address.
	refuse bool
	// tune changes the connection manager.
	tune func(*hcmv3.HttpConnectionManager)
}

// step is something that a client or an upstream does.
type step struct {
	op   op
	text string // bytes, or the name of a mark
	n    int
}

type op int

// What clients and upstreams do.
const (
	opSend  op = iota // send bytes
	opRecv            // client: read a response
	opHead            // client: read a response that has no body (to HEAD); upstream: nothing but the head
	opPeek            // client: wait until a response begins
	opNext            // client: is the connection good for another request?
	opBytes           // read n bytes and note them
	opBody            // upstream: read until n bytes of the body are there
	opWhole           // upstream: read the request to its end
	opClose           // close (FIN; RST if something is unread)
	opReset           // close with RST
	opHalf            // close the sending side
	opGone            // wait until the other side closes
	opMark            // say that this point is reached
	opAwait           // wait for the other script to reach a point
	opOther           // client: another connection sends a request and waits for the whole response
)

func send(s string) step     { return step{op: opSend, text: s} }
func mark(name string) step  { return step{op: opMark, text: name} }
func await(name string) step { return step{op: opAwait, text: name} }
func bytes(n int) step       { return step{op: opBytes, n: n} }
func body(n int) step        { return step{op: opBody, n: n} }
func other(s string) step    { return step{op: opOther, text: s} }

var (
	recv     = step{op: opRecv}
	recvHead = step{op: opHead}
	peek     = step{op: opPeek}
	next     = step{op: opNext}
	whole    = step{op: opWhole}
	closing  = step{op: opClose}
	reset    = step{op: opReset}
	half     = step{op: opHalf}
	gone     = step{op: opGone}
)

// ok is the upstream's answer when a case gives none.
const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

// nextRequest asks whether a connection is still good. It is not noted among the attempts.
const nextRequest = "GET /next HTTP/1.1\r\nHost: svc3\r\n\r\n"

func (p *probe) clientScript() []step {
	if p.client != nil {
		return p.client
	}
	if strings.HasPrefix(p.req, "HEAD ") {
		return []step{send(p.req), recvHead, next}
	}
	return []step{send(p.req), recv, next}
}

// serverScript is the script of the n-th request.
func (p *probe) serverScript(n int) []step {
	if n < len(p.server) {
		return p.server[n]
	}
	if p.resp != "" {
		return []step{whole, send(p.resp)}
	}
	return []step{whole, send(ok)}
}

// marks are the points that both scripts know.
type marks struct {
	mu sync.Mutex
	m  map[string]chan struct{}
}

func (m *marks) get(name string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[string]chan struct{}{}
	}
	if m.m[name] == nil {
		m.m[name] = make(chan struct{})
	}
	return m.m[name]
}

func (m *marks) reached(name string) { close(m.get(name)) }

// wait says whether the point was reached.
func (m *marks) wait(name string) bool {
	select {
	case <-m.get(name):
		return true
	case <-time.After(patience):
		return false
	}
}
