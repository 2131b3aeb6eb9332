package proxy

import (
	"sync/atomic"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// tunnel carries an upgraded connection (101): bytes both ways until either side closes, which
// closes the other, too, since Envoy has no half-closed HTTP connections.
func (d *downstream) tunnel(dir engine.Directive) engine.Directive {
	w := d.w
	w.headSent = true
	if d.srv.WriteHead(&w.resp, false) != nil || d.srv.Flush() != nil {
		next, _ := d.clientGone()
		return next
	}
	d.srv.Tunnel()
	w.up.Tunnel()
	d.p.watch.remove(d) // the pump sees the client's end after what came before it
	var received atomic.Int64
	ended := make(chan struct{})
	pump := func() {
		defer close(ended)
		for {
			b, fin, err := d.srv.ReadBody()
			d.p.hold()
			received.Add(int64(len(b)))
			if err != nil || fin || w.up.WriteBody(b, false) != nil || w.up.Flush() != nil {
				d.hangup()
				return
			}
		}
	}
	if !d.p.spawn(pump) {
		close(ended)
	}
	ev := d.tunnelDown(&dir)
	d.ending()
	w.up.conn.Close() // ends the pump's write, as the deadline ends its read
	d.conn.SetReadDeadline(past)
	<-ended
	d.dropUpstream() // gives buffers back that the pump wrote from
	d.stream.Close()
	d.gone.Store(true)
	w.received = received.Load()
	w.x.Record.BytesReceived, w.x.Record.BytesSent = w.received, w.sent
	return d.report(ev)
}

// tunnelDown copies from the upstream to the client.
func (d *downstream) tunnelDown(dir *engine.Directive) engine.Event {
	w := d.w
	for {
		if ev := d.arm(dir); ev.Kind != 0 {
			return ev
		}
		b, fin, err := w.up.ReadBody()
		d.disarm()
		d.p.hold()
		switch {
		case err != nil && isTimeout(err):
			w.up.deadline = true
			continue
		case err != nil:
			return resetBy(err)
		case fin: // to Envoy any end of the upstream's is a reset
			return engine.Event{Kind: engine.Reset}
		}
		w.sent += int64(len(b))
		if d.srv.WriteBody(b, false) != nil || d.srv.Flush() != nil {
			return engine.Event{Kind: engine.ClientGone}
		}
	}
}
