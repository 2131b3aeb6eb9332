package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// pool keeps the connections to one endpoint, and the streams that wait for one. Envoy:
// source/common/conn_pool/conn_pool_base.cc; what is refused, the breaker says.
type pool struct {
	p  *Proxy
	ep *engine.Endpoint

	mu         sync.Mutex
	idle       []*upstream // last in, first out
	waiters    []*waiter   // first in, first out
	connecting int
	conns      int
	removed    bool

	options transport.Options
	others  map[transport.Options]*pool // of the pool without options: those with
	calls   *http2Client                // nil until there was one
}

// waiter is a stream that waits for a connection. It is reused by the exchange that owns it.
type waiter struct {
	breaker *breaker.Breaker
	wake    func() // tells that done has been set
	done    atomic.Bool
	up      *upstream    // when a connection was assigned
	failed  engine.Event // when not
}

// poolOf returns the pool of an endpoint for what a request wants of its connections, making it at
// the first use.
func (p *Proxy) poolOf(ep *engine.Endpoint, o transport.Options) *pool {
	v := ep.Pool.Load()
	if v == nil {
		n := &pool{p: p, ep: ep}
		if ep.Pool.CompareAndSwap(nil, n) {
			p.know(n)
		}
		v = ep.Pool.Load()
	}
	first := v.(*pool)
	if o == (transport.Options{}) {
		return first
	}
	return first.other(o)
}

// know has a pool swept.
func (p *Proxy) know(q *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pools = append(p.pools, q)
}

// other is the pool of the same endpoint for other options.
func (q *pool) other(o transport.Options) *pool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.others[o]
	if n == nil {
		o = transport.Options{ALPN: strings.Clone(o.ALPN), Fallback: o.Fallback,
			SNI: strings.Clone(o.SNI), SAN: strings.Clone(o.SAN), Host: o.Host}
		n = &pool{p: q.p, ep: q.ep, options: o, removed: q.removed}
		if q.others == nil {
			q.others = map[transport.Options]*pool{}
		}
		q.others[o] = n
		q.p.know(n)
	}
	return n
}

// take assigns an idle connection, lets w wait (both nil), or refuses it, with
// w.failed.
func (q *pool) take(w *waiter) (up *upstream, refused bool) {
	q.mu.Lock()
	for n := len(q.idle); n > 0; n = len(q.idle) {
		up = q.idle[n-1]
		q.idle = q.idle[:n-1]
		q.mu.Unlock()
		stale := up.Stale()
		q.mu.Lock()
		if stale {
			q.drop(up)
			continue
		}
		if w.breaker.Admit(breaker.Pool{Ready: true}).Overflow {
			q.idle = append(q.idle, up)
			q.mu.Unlock()
			w.failed = engine.Event{Kind: engine.Overflow}
			return nil, true
		}
		q.mu.Unlock()
		return up, false
	}
	defer q.mu.Unlock()
	a := w.breaker.Admit(q.view())
	if a.Overflow {
		w.failed = engine.Event{Kind: engine.Overflow, Pending: true}
		return nil, true
	}
	w.done.Store(false)
	w.up = nil
	q.waiters = append(q.waiters, w)
	if a.Connect {
		q.connect(w.breaker)
	}
	return nil, false
}

// view is the pool as the breaker sees it. Caller must hold mu.
func (q *pool) view() breaker.Pool {
	return breaker.Pool{
		Pending: len(q.waiters), Connecting: q.connecting, Connections: q.conns,
	}
}

// connect begins a connection that b has counted. Caller must hold mu.
func (q *pool) connect(b *breaker.Breaker) {
	q.connecting++
	q.conns++
	if !q.p.spawn(func() { q.dial(b) }) {
		q.connecting--
		q.conns--
		b.Closed()
		q.fail(engine.Event{Kind: engine.ConnectFail, Local: true})
	}
}

// dial makes a connection and gives it to the longest-waiting stream. Its failure takes all waiting
// streams along (purgePendingStreams).
func (q *pool) dial(b *breaker.Breaker) {
	began := q.p.opt.Clock.Now()
	conn, ev := q.p.dial(q.ep, q.options)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.connecting--
	if conn == nil {
		q.conns--
		b.Closed()
		q.fail(ev)
		return
	}
	up := &upstream{Client: h1.NewClient(conn), conn: conn, pool: q, breaker: b}
	up.born = q.p.opt.Clock.Now()
	up.seen = q.p.seen(conn, q.ep, began)
	if q.removed && len(q.waiters) == 0 || !q.p.track(conn) {
		q.drop(up)
		return
	}
	q.give(up)
}

// end ends a wait. The stream may be gone as soon as done says so, and its waiter used again.
func (w *waiter) end() {
	wake := w.wake
	w.done.Store(true)
	wake()
}

// fail ends the wait of all. Caller must hold mu.
func (q *pool) fail(ev engine.Event) {
	for _, w := range q.waiters {
		w.breaker.Abandon()
		w.failed = ev
		w.end()
	}
	q.waiters = q.waiters[:0]
}

// give hands a usable connection to the next waiting stream, or keeps it idle. Caller must hold mu.
func (q *pool) give(up *upstream) {
	for len(q.waiters) > 0 {
		w := q.waiters[0]
		q.waiters = slices.Delete(q.waiters, 0, 1)
		attached := w.breaker.Dequeue()
		if attached {
			w.up = up
		} else {
			w.failed = engine.Event{Kind: engine.Overflow}
		}
		w.end()
		if attached {
			return
		}
	}
	if q.removed {
		q.drop(up)
		return
	}
	up.since = q.p.opt.Clock.Now()
	q.idle = append(q.idle, up)
}

// release takes a connection back; usable says that its last exchange ended well.
func (q *pool) release(up *upstream, usable bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	up.requests++
	if !usable || up.spent(q.p.opt.Clock.Now()) {
		q.drop(up)
		return
	}
	q.give(up)
}

// drop closes a connection; streams that wait may need another one instead. Caller must hold mu.
func (q *pool) drop(up *upstream) {
	up.Release()
	q.p.untrack(up.conn)
	q.conns--
	up.breaker.Closed()
	if len(q.waiters) == 0 {
		return
	}
	b := q.waiters[0].breaker
	if ok, _ := b.Reconnect(q.view()); ok {
		q.connect(b)
	}
}

// cancel takes a stream out of the queue, or gives back what it was assigned.
func (q *pool) cancel(w *waiter) {
	q.mu.Lock()
	if i := slices.Index(q.waiters, w); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
		w.breaker.Abandon()
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	if w.done.Load() && w.up != nil {
		w.breaker.Finish()
		q.release(w.up, true)
	}
}

// sweep closes what has been idle for too long, or was closed by the upstream.
func (q *pool) sweep(now clock.Instant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	limit := q.ep.Cluster.IdleTimeout
	kept := q.idle[:0]
	for _, up := range q.idle {
		if q.removed || up.spent(now) || limit > 0 && now.Sub(up.since) >= limit || up.Stale() {
			q.drop(up)
			continue
		}
		kept = append(kept, up)
	}
	clear(q.idle[len(kept):])
	q.idle = kept
}

// Removed closes what is pooled for an endpoint that left the configuration; connections in use are
// closed after their exchange. It is made for engine.Options.
func Removed(ep *engine.Endpoint) {
	v := ep.Pool.Load()
	if v == nil {
		return
	}
	q := v.(*pool)
	q.mu.Lock()
	q.removed = true
	calls := q.calls
	q.mu.Unlock()
	if calls != nil {
		calls.t.CloseIdleConnections()
	}
	q.sweep(0)
	q.p.forget(q)
}

// dial connects to an endpoint, and secures the connection, within its cluster's connect_timeout.
func (p *Proxy) dial(ep *engine.Endpoint, o transport.Options) (net.Conn, engine.Event) {
	ctx := p.ctx
	if t := ep.Cluster.ConnectTimeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	var ev engine.Event
	conn, err := p.opt.Network.Dial(ctx, ep.Source, ep.Addr)
	switch {
	case err == nil && ep.TLS() != nil:
		until, _ := ctx.Deadline()
		conn, ev = p.secureUpstream(conn, ep.TLS(), o, until)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		ev = engine.Event{Kind: engine.ConnectTimeout}
	case err != nil:
		ev = engine.Event{Kind: engine.ConnectFail, Reason: connectReason(err)}
	}
	if s, ok := p.opt.Sink.(DialSink); ok {
		s.Dialed(ep, ev.Kind == 0)
	}
	if ev.Kind != 0 {
		return nil, ev
	}
	return conn, ev
}

// seen notes what access logs tell of a new connection.
func (p *Proxy) seen(c net.Conn, ep *engine.Endpoint, began clock.Instant) engine.UpstreamConn {
	out := engine.UpstreamConn{ID: p.conns.Add(1), Local: addrPort(c.LocalAddr()), Began: began,
		Connected: p.opt.Clock.Now()}
	if t, ok := c.(*transport.Conn); ok {
		out.TLS, out.Secured = t.State, out.Connected
		c = t.Under()
	}
	if l, ok := p.opt.Network.(Locator); ok {
		out.Local = l.LocalAddr(c, ep.Source, ep.Addr.AddrPort)
	}
	return out
}

// connectReason words a failed connection as Envoy's transport_failure_reason does.
func connectReason(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return "delayed connect error: " + err.Error()
	}
	text := no.Error()
	return "delayed connect error: " + string(text[0]-'a'+'A') + text[1:]
}
