package proxy

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// downstream is one accepted connection; serve is its goroutine.
type downstream struct {
	p      *Proxy
	bind   engine.Address
	proxy  bool    // a PROXY header is to come, whatever the listener says
	origin *Origin // in its place, for sockets given to Serve
	conn   net.Conn
	stream net.Conn // what is read and written: conn, or the TLS connection on it
	srv    *h1.Server
	ended  chan struct{} // closed at the end

	info     engine.ConnInfo
	listener *engine.Listener
	chain    *engine.Chain
	shown    atomic.Pointer[engine.Chain] // chain, for other goroutines
	served   int                          // requests
	born     clock.Instant

	state    atomic.Int32 // stateX
	since    atomic.Int64 // when the state began (clock.Instant)
	spliced  atomic.Int64 // when a TCP exchange began (clock.Instant)
	draining atomic.Bool
	retired  atomic.Int64 // when its filter chain was replaced; 0: it is in use

	// What interrupts the goroutine, see kick.
	gone    atomic.Bool // the client hung up
	wake    chan struct{}
	nudge   func()                   // wakes sleep, and nothing else
	waiting atomic.Pointer[upstream] // that it reads from
	stalled atomic.Bool              // the stream idle time-out has passed
	limit   atomic.Int64             // that time-out (time.Duration)
	writing atomic.Bool              // to the client, and may be held up
	watched watched

	w *work // while an exchange is under way
}

// States of a downstream connection.
const (
	stateBusy   int32 = iota
	stateIdle         // between requests: the sweeper may close it
	stateHead         // a request head has begun
	stateTCP          // bytes both ways
	stateClosed       // by the sweeper
)

// work is what an exchange needs; a connection holds it only while one is under way.
type work struct {
	x         engine.Exchange
	req, resp wire.Head
	wait      waiter
	up        *upstream
	held      h1.Held // where the response head is
	upClose   bool    // the upstream will close after this response
	body      []byte  // what was received of the request body with its head
	complete  bool    // that is all of it
	last      bool    // the connection ends with this exchange
	epoch     uint32  // in the settler
	ending    bool    // counted there
	upload    *upload
	mirrors   []*mirror
	received  int64
	sent      int64
	upstream  wire.Traffic // of all attempts
	headSent  bool         // of the response
}

var works = sync.Pool{New: func() any { return new(work) }}

// reset prepares for the next exchange, keeping what has capacity.
func (w *work) reset() {
	w.req.Reset()
	w.resp.Reset()
	w.up, w.body, w.upload, w.mirrors = nil, nil, nil, nil
	w.complete, w.ending, w.headSent, w.last = false, false, false, false
	w.received, w.sent, w.upstream = 0, 0, wire.Traffic{}
	w.wait.wake, w.wait.breaker, w.wait.up = nil, nil, nil
}

func newDownstream(p *Proxy, l *listener, conn net.Conn) *downstream {
	d := &downstream{
		p: p, bind: l.bind, proxy: l.proxied, origin: l.origin, conn: conn, stream: conn,
		ended: make(chan struct{}),
		wake:  make(chan struct{}, 1), born: p.opt.Clock.Now(),
	}
	d.info.ID, d.info.Born = p.conns.Add(1), d.born
	d.srv = h1.NewServer(conn, h1.RequestLimits)
	d.srv.Partial = d.partial
	d.nudge = func() {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return d
}

// hangup is called when the client has closed its side, from any goroutine.
func (d *downstream) hangup() {
	d.gone.Store(true)
	d.kick((*upstream).wakeAll)
}

// kick wakes the connection's goroutine from whatever it waits for, to look at its flags. Whoever
// takes the upstream out of waiting owns the right to set its deadline; the goroutine sees that
// it is gone.
func (d *downstream) kick(wake func(*upstream)) {
	d.nudge()
	if up := d.waiting.Swap(nil); up != nil {
		wake(up)
	}
}

// partial is called when a request head does not come in one piece.
func (d *downstream) partial() { d.setState(stateHead) }

func (d *downstream) setState(s int32) {
	d.since.Store(int64(d.p.opt.Clock.Now()))
	d.state.Store(s)
}

// drain asks the connection to end: at once when it is idle, else with its response.
func (d *downstream) drain() {
	d.draining.Store(true)
	d.expire(stateIdle)
}

// retire asks the client to close with the next response. A connection that is idle stays open for
// that long: whoever uses it now must not find it closed (Envoy's HCM asks its drain decision with
// each response; source/common/http/conn_manager_impl.cc encodeHeaders).
func (d *downstream) retire(now clock.Instant) {
	d.retired.CompareAndSwap(0, max(1, int64(now)))
}

// expire closes the connection if it is in a state.
func (d *downstream) expire(state int32) {
	if d.state.CompareAndSwap(state, stateClosed) {
		d.conn.SetReadDeadline(past)
	}
}

// serve runs the connection from accept to close.
func (d *downstream) serve() {
	defer d.close()
	d.p.hold()
	if !d.begin() {
		return
	}
	if d.chain.HTTP == nil {
		d.serveTCP()
		return
	}
	if d.info.HTTP2 || d.chain.HTTP.HTTP2 {
		d.p.log.Warn("HTTP/2 is not carried out yet", "at", d.bind)
		return
	}
	d.srv.HTTP10 = d.chain.HTTP.AcceptHTTP10
	d.srv.SetLimits(h1.Limits{HeadBytes: d.chain.HTTP.MaxHeadersKB << 10,
		Fields: d.chain.HTTP.MaxHeaders})
	d.setState(stateIdle)
	if d.chain.Guarded() && d.denied(func(now clock.Instant) engine.Admission {
		return d.p.opt.Engine.AdmitHTTP(d.chain, &d.info, now)
	}, nil) {
		return
	}
	for {
		d.setState(stateIdle)
		if d.draining.Load() {
			return
		}
		if d.srv.Wait() != nil || !d.state.CompareAndSwap(stateIdle, stateBusy) {
			return
		}
		if !d.exchange() {
			return
		}
	}
}

func (d *downstream) close() {
	d.p.watch.remove(d)
	d.srv.Release()
	d.stream.Close()
	d.p.mu.Lock()
	delete(d.p.downs, d)
	d.p.mu.Unlock()
	if d.chain != nil {
		d.p.counts.closed(d.chain)
	}
	close(d.ended)
}

// unmatched records a connection that no filter chain takes.
func (d *downstream) unmatched() {
	w := works.Get().(*work)
	now := d.p.opt.Clock.Now()
	w.x.Record.BytesReceived, w.x.Record.BytesSent = 0, 0
	d.p.opt.Engine.NoChain(&w.x, d.listener, &d.info, now, now)
	if w.x.Logged() {
		w.x.Log(d.p.opt.AccessLog, now)
	}
	d.p.opt.Sink.Record(&w.x.Record)
	works.Put(w)
}

// begin finds out what the connection is and which filter chain serves it.
func (d *downstream) begin() bool {
	d.info.Direct = addrPort(d.conn.RemoteAddr())
	d.info.Local, d.info.Remote = d.bind.AddrPort, d.info.Direct
	d.info.Transport = "raw_buffer"
	if !d.restore() {
		return false
	}
	l := d.p.opt.Engine.Listener(d.bind, d.info.Local)
	if l == nil {
		return false
	}
	d.listener = l
	if !d.inspect(l.Inspect(&d.info)) {
		return false
	}
	d.chain = l.Chain(&d.info)
	if d.chain == nil {
		if len(d.srv.Preread()) > 0 {
			d.leaveUnread()
		}
		d.unmatched()
		return false
	}
	d.shown.Store(d.chain)
	d.p.counts.open(d.chain)
	return d.secure() && d.p.watch.add(d) == nil
}

// restore finds out where the connection comes from and was going.
func (d *downstream) restore() bool {
	own := d.p.opt.Engine.Bound(d.bind)
	if own == nil {
		return false
	}
	kernel, _ := d.p.opt.Network.(Kernel)
	switch {
	case d.origin != nil:
		d.origin.addresses(d)
		return true
	case kernel != nil:
		d.info.Local = kernel.Local(d.conn)
	}
	if (d.proxy || own.Proxy) && !d.readProxyHeader() {
		return false
	}
	if d.proxy { // it stands for the network: nobody but the peer could have sent from there
		d.info.Direct = d.info.Remote
	}
	// A header says more than the kernel where that has redirected nothing.
	if own.OriginalDst && kernel != nil {
		if to, ok := kernel.OriginalDst(d.conn); ok {
			d.info.Local = to
		}
	}
	return true
}

// log writes the access logs of an exchange that has ended.
func (d *downstream) log(downstream, upstream wire.Traffic) {
	x := &d.w.x
	if x.Logged() {
		x.Downstream, x.Upstream = downstream, upstream
		x.Log(d.p.opt.AccessLog, d.p.opt.Clock.Now())
	}
}

// addrPort returns a socket address; sockets without one (unix, pipes) have the zero address.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// linger reads what the client still sends, until it closes or the delayed close time is over: a
// socket that is closed with unread bytes would take back what was written (Envoy's
// delayed_close_timeout).
func (d *downstream) linger() {
	limit := time.Second
	if d.chain != nil && d.chain.HTTP != nil {
		limit = d.chain.HTTP.DelayedCloseTimeout
	}
	if limit <= 0 || d.gone.Load() {
		return
	}
	d.conn.SetReadDeadline(time.Now().Add(limit))
	if d.p.ctx.Err() == nil {
		d.srv.Drain()
	}
}
