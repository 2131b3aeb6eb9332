package proxy

import (
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// forward sends the response downstream. intact says that it ended as it should, so that the
// connection can be used again.
func (d *downstream) forward(dir engine.Directive) (next engine.Directive, intact bool) {
	w := d.w
	if w.resp.Status == 101 && w.resp.Upgrade != nil {
		w.resp.Close = false
		return d.tunnel(dir), false
	}
	// HTTP/1.0 knows no chunks.
	w.last = w.last || w.req.Minor == 0 && w.resp.ContentLength < 0 && !w.resp.NoBody
	w.resp.Close = d.closing()
	w.headSent = true
	if w.resp.NoBody {
		d.ending()
		d.finishUpstream()
		return d.sentAll(d.srv.WriteHead(&w.resp, true))
	}
	if d.srv.WriteHead(&w.resp, false) != nil || !w.up.Buffered() && d.srv.Flush() != nil {
		return d.clientGone()
	}
	d.watchBegin()
	defer d.watchEnd()
	for {
		ev := d.arm(&dir)
		// What has come in time is passed on: Envoy's parser takes it in the read that brings it.
		late := ev.Kind == engine.Timeout && w.up.Buffered()
		if ev.Kind != 0 && !late {
			return d.cut(ev)
		}
		if late {
			w.up.setDeadline(d.p, dir.Deadline) //nolint:errcheck // the read will say so
		}
		b, fin, err := w.up.ReadBody()
		d.disarm()
		d.p.hold()
		if err != nil {
			if isTimeout(err) {
				w.up.deadline = true
				if late {
					return d.cut(ev)
				}
				continue
			}
			return d.cut(resetBy(err))
		}
		w.sent += int64(len(b))
		if fin {
			return d.lastPiece(b)
		}
		if d.writePiece(b, !w.up.Buffered()) != nil {
			return d.clientGone()
		}
	}
}

// writePiece sends a piece of the response, however slowly the client reads within the stream idle
// time-out.
func (d *downstream) writePiece(b []byte, flush bool) error {
	d.since.Store(int64(d.p.opt.Clock.Now()))
	d.writing.Store(true)
	defer d.writing.Store(false)
	if err := d.srv.WriteBody(b, false); err != nil || !flush {
		return err
	}
	return d.srv.Flush()
}

// lastPiece sends the end of the response. The upstream connection is free before the client can
// see the end, as in Envoy: its next request finds it in the pool.
func (d *downstream) lastPiece(b []byte) (next engine.Directive, intact bool) {
	d.ending()
	d.finishUpstream()
	return d.sentAll(d.srv.WriteBody(b, true))
}

// sentAll flushes and reports the end.
func (d *downstream) sentAll(err error) (next engine.Directive, intact bool) {
	if err == nil {
		err = d.srv.Flush()
	}
	if err != nil {
		return d.clientGone()
	}
	return d.end(engine.Sent), true
}

// finishUpstream returns the connection to its pool after a complete response. What was read from
// it is held until the exchange is recorded.
func (d *downstream) finishUpstream() {
	w := d.w
	whole := w.complete || w.upload != nil && w.upload.finish()
	if !whole {
		w.up.conn.Close() // the request is cut, never ended
		if w.upload != nil {
			w.upload.detach()
		}
	}
	usable := w.hold()
	d.releaseUpstream(usable && whole && !w.upClose, w.up.Traffic())
}

// cut ends a response that can not be completed. What the client has got is flushed; the end is
// not.
func (d *downstream) cut(ev engine.Event) (next engine.Directive, intact bool) {
	d.dropUpstream()
	if ev.Kind != engine.ClientGone {
		if d.srv.Flush() != nil {
			return d.clientGone()
		}
		d.ending()
	}
	d.w.x.Record.BytesSent = d.w.sent
	d.w.x.Record.BytesReceived = d.w.received
	return d.report(ev), false
}

// clientGone ends an exchange whose client can not be written to.
func (d *downstream) clientGone() (next engine.Directive, intact bool) {
	d.gone.Store(true)
	d.dropUpstream()
	return d.end(engine.ClientGone), false
}
