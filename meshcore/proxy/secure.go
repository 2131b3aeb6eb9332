package proxy

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// HandshakeSink is a Sink that wants to hear of downstream TLS handshakes that failed, and why, in
// Envoy's words; an empty reason: the client closed, or was too slow.
type HandshakeSink interface {
	HandshakeFailed(c *engine.Chain, reason string)
}

// secure does the TLS handshake, if the filter chain wants one: what has been read of the
// connection is its beginning.
func (d *downstream) secure() bool {
	t := d.chain.TLS
	if t == nil {
		return true
	}
	if limit := d.chain.HandshakeTimeout; limit > 0 {
		d.conn.SetDeadline(time.Now().Add(limit))
	}
	conn, err := t.Handshake(d.conn, slices.Clone(d.srv.Preread()), d.p.wallNow)
	d.srv.Release()
	if err != nil {
		d.insecure(err)
		return false
	}
	d.conn.SetDeadline(time.Time{})
	d.info.TLS, d.info.Secured = conn.State, d.p.opt.Clock.Now()
	d.stream = conn
	d.srv = h1.NewServer(conn, h1.RequestLimits)
	d.srv.Partial = d.partial
	return true
}

// insecure ends a connection whose handshake failed. Envoy has no record of it where there would be
// HTTP requests; a TCP connection has one.
func (d *downstream) insecure(err error) {
	var f *transport.Failure
	if !errors.As(err, &f) {
		f = &transport.Failure{}
	}
	if s, ok := d.p.opt.Sink.(HandshakeSink); ok {
		s.HandshakeFailed(d.chain, f.Reason)
	}
	if d.chain.HTTP == nil {
		w := works.Get().(*work)
		now := d.p.opt.Clock.Now()
		w.x.Record.BytesReceived, w.x.Record.BytesSent = 0, 0
		d.p.opt.Engine.HandshakeFailed(&w.x, d.chain, &d.info, f, now)
		if w.x.Logged() {
			w.x.Log(d.p.opt.AccessLog, now)
		}
		d.p.record(d.chain, &w.x.Record)
		works.Put(w)
	}
	if f.Reason == transport.NotReady {
		d.leaveUnread()
		return
	}
	// The alert is to arrive: a socket that is closed with unread bytes would take it back.
	if c, ok := d.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		d.linger()
	}
}

// wallNow is the wall clock of handshakes.
func (p *Proxy) wallNow() time.Time { return p.opt.Engine.Wall(p.opt.Clock.Now()) }

// secureUpstream does the TLS handshake with an upstream, within what is left of its
// connect_timeout. conn is closed when it fails.
func (p *Proxy) secureUpstream(conn net.Conn, c *transport.Client, o transport.Options,
	until time.Time) (net.Conn, engine.Event) {
	if !p.track(conn) { // for Close to end it
		return nil, engine.Event{Kind: engine.ConnectFail, Local: true}
	}
	conn.SetDeadline(until)
	secure, err := c.Handshake(conn, o, p.wallNow)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		p.untrack(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, engine.Event{Kind: engine.ConnectTimeout}
		}
		var f *transport.Failure
		if !errors.As(err, &f) {
			f = &transport.Failure{}
		}
		return nil, engine.Event{Kind: engine.ConnectFail, Reason: f.Reason}
	}
	p.mu.Lock()
	delete(p.open, conn)
	p.mu.Unlock()
	return secure, engine.Event{}
}
