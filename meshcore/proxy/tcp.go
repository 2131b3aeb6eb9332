package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// serveTCP carries a connection of a TCP chain: one upstream connection, bytes both ways.
func (d *downstream) serveTCP() {
	w := works.Get().(*work)
	d.w = w
	w.x.Record.BytesReceived, w.x.Record.BytesSent = 0, 0
	x := &w.x
	began := d.p.opt.Clock.Now()
	d.spliced.Store(int64(began))
	dir := d.p.opt.Engine.StartTCP(x, d.chain, &d.info, began, d.p.random())
	for dir.Kind != engine.Done {
		now := d.p.opt.Clock.Now
		switch dir.Kind {
		case engine.Attempt:
			dir = d.connectTCP(dir)
		case engine.Abort:
			d.ending()
			d.stream.Close()
			dir = x.HandleTCP(engine.Event{Kind: engine.Sent}, now())
		case engine.Wait:
			d.sleep(dir.Until)
			dir = x.HandleTCP(engine.Event{Kind: engine.Timer}, now())
		default:
			panic("proxy: unexpected TCP directive")
		}
	}
	r := &x.Record
	d.log(wire.Traffic{Received: r.BytesReceived, Sent: r.BytesSent},
		wire.Traffic{Received: r.BytesSent, Sent: r.BytesReceived})
	d.p.record(d.chain, r)
	if w.ending {
		d.p.settle.ended(w.epoch)
	}
	d.w = nil
	w.reset()
	works.Put(w)
}

// connectTCP makes the upstream connection under the breaker and, when it stands, carries the
// bytes.
func (d *downstream) connectTCP(dir engine.Directive) engine.Directive {
	x := &d.w.x
	b := breakerOf(dir.Endpoint)
	now := d.p.opt.Clock.Now
	// Each stream is a pool of its own here; the engine has refused what would wait for others.
	if a := b.Admit(breaker.Pool{}); a.Overflow {
		return x.HandleTCP(engine.Event{Kind: engine.Overflow}, now())
	}
	began := now()
	conn, ev := d.p.dial(dir.Endpoint, x.TLSOptions())
	if conn == nil {
		b.Abandon()
		b.Closed()
		return x.HandleTCP(ev, now())
	}
	defer b.Closed()
	if !b.Dequeue() {
		conn.Close()
		return x.HandleTCP(engine.Event{Kind: engine.Overflow}, now())
	}
	defer b.Finish()
	if !d.p.track(conn) {
		return x.HandleTCP(engine.Event{Kind: engine.Reset, Local: true}, now())
	}
	defer d.p.untrack(conn)
	seen := d.p.seen(conn, dir.Endpoint, began)
	next := x.HandleTCP(engine.Event{Kind: engine.Connected, Conn: &seen}, now())
	if next.Kind != engine.Forward {
		return next
	}
	ev = d.splice(conn)
	d.ending()
	conn.Close()
	d.stream.Close()
	return x.HandleTCP(ev, now())
}

// meter tells the time of the last byte, for idle_timeout.
type meter struct {
	io.Reader
	d *downstream
}

// Read reads and notes the time.
func (m meter) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	m.d.p.hold()
	m.d.since.Store(int64(m.d.p.opt.Clock.Now()))
	return n, err
}

var tcpBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// splice copies both ways; each side's end is passed on as a half-close, a broken side breaks the
// other.
func (d *downstream) splice(up net.Conn) engine.Event {
	rec := &d.w.x.Record
	d.setState(stateTCP)
	var sentErr error
	back := make(chan error, 1)
	if !d.p.spawn(func() {
		n, err := d.copy(d.stream, up)
		rec.BytesSent = n
		back <- err
	}) {
		back <- net.ErrClosed
	}
	var err error
	denied := d.chain.Guarded() && d.denied(d.w.x.Admit, d.w.x.Admitted)
	if denied {
		rec.BytesReceived = int64(len(d.srv.Preread()))
	} else {
		var n int
		n, err = up.Write(d.srv.Preread())
		rec.BytesReceived = int64(n)
	}
	d.srv.Release()
	if err == nil && !denied {
		var more int64
		more, err = d.copy(up, d.stream)
		rec.BytesReceived += more
	} else {
		up.Close()
		d.stream.Close()
	}
	sentErr = <-back
	switch {
	case denied || err == nil && sentErr == nil:
		return engine.Event{Kind: engine.Sent}
	case d.stalled.Load():
		return engine.Event{Kind: engine.Timeout}
	case wasReset(err, "write") || wasReset(sentErr, "read"):
		return engine.Event{Kind: engine.Reset}
	}
	return engine.Event{Kind: engine.ClientGone}
}

// denied waits for the first byte of a connection, or its end, and asks whether the connection is
// to be closed; it then has waited for that.
func (d *downstream) denied(admit func(clock.Instant) engine.Admission,
	admitted func(engine.Event, clock.Instant) engine.Admission) bool {
	if len(d.srv.Preread()) == 0 {
		if err := d.srv.More(); err != nil && !errors.Is(err, io.EOF) {
			return false // who reads on will see
		}
	}
	a := admit(d.p.opt.Clock.Now())
	for a.Ask {
		ev := d.call(d.w.x.Call(), a.Deadline)
		a = admitted(ev, d.p.opt.Clock.Now())
	}
	if a.Denied && a.After > 0 {
		d.sleep(d.p.opt.Clock.Now().Add(a.After))
	}
	return a.Denied
}

// wasReset says that an operation found its connection reset by the peer.
func wasReset(err error, op string) bool {
	var o *net.OpError
	return errors.As(err, &o) && o.Op == op && errors.Is(o, syscall.ECONNRESET)
}

// copy carries one direction.
func (d *downstream) copy(to, from net.Conn) (int64, error) {
	buf := tcpBuffers.Get().(*[64 << 10]byte)
	defer tcpBuffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, meter{from, d}, buf[:])
	if err == nil {
		if w, ok := to.(interface{ CloseWrite() error }); ok {
			err = w.CloseWrite()
		}
	}
	if err != nil {
		to.Close()
		from.Close()
	}
	return n, err
}

// expireTCP closes a tunnel that is idle, or has lasted as long as it may.
func (d *downstream) expireTCP(now clock.Instant) {
	if d.state.Load() != stateTCP {
		return
	}
	idle, lasts := d.shown.Load().TCPIdle, d.shown.Load().TCPDuration
	if idle > 0 && now.Sub(clock.Instant(d.since.Load())) >= idle ||
		lasts > 0 && now.Sub(clock.Instant(d.spliced.Load())) >= lasts {
		d.stalled.Store(true)
		d.conn.SetDeadline(past)
	}
}
