package proxy

import (
	"errors"
	"io"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// unlimited stands for a cluster without circuit breaker.
var unlimited = breaker.New(breaker.Thresholds{
	MaxConnections: 1<<32 - 1, MaxPendingRequests: 1<<32 - 1, MaxRequests: 1<<32 - 1,
	MaxRetries: 1<<32 - 1,
})

// breakerOf returns the circuit breaker of an endpoint's cluster.
func breakerOf(ep *engine.Endpoint) *breaker.Breaker {
	if b := ep.Cluster.Breaker; b != nil {
		return b
	}
	return unlimited
}

// attempt sends the request to an endpoint and waits for the response head.
func (d *downstream) attempt(dir engine.Directive) engine.Directive {
	w := d.w
	d.dropUpstream()
	d.startMirrors()
	if dir.Endpoint.Cluster.HTTP2 { // only calls of the proxy's own speak it, see ask
		return d.report(engine.Event{Kind: engine.ConnectFail, Local: true,
			Reason: "HTTP/2 is not carried out yet"})
	}
	w.wait.breaker = breakerOf(dir.Endpoint)
	if !w.complete && w.upload == nil && w.req.Upgrade == nil && !d.isConnect() {
		d.startUpload(dir.Retryable, 0)
	}
	q := d.p.poolOf(dir.Endpoint, w.x.TLSOptions())
	up, refused := q.take(&w.wait)
	if refused {
		return d.report(w.wait.failed)
	}
	if up == nil {
		var ev engine.Event
		if up, ev = d.await(q, &dir); up == nil {
			return d.report(ev)
		}
	}
	w.up = up
	reused := up.requests > 0
	now := d.report(engine.Event{Kind: engine.Connected, Reused: reused, Conn: &up.seen})
	if now.Kind != engine.Attempt {
		return now
	}
	dir.Deadline = now.Deadline
	if w.upload != nil && w.upload.lost.Load() {
		return d.decide(engine.Event{Kind: engine.Reset, Local: true})
	}
	sent := d.send(up)
	ev := d.response(&dir)
	if ev.Kind == engine.Reset {
		ev.Reused, ev.HeadSent = reused, sent
	}
	return d.decide(ev)
}

// decide reports how an attempt went. The upload is held meanwhile, so that what the engine knows
// of the body stays true.
func (d *downstream) decide(ev engine.Event) engine.Directive {
	d.p.hold()
	if ev.Kind != engine.ResponseHead {
		d.dropUpstream()
	}
	u := d.w.upload
	if u == nil {
		return d.report(ev)
	}
	if u.freeze() {
		d.bodyLost()
	}
	next := d.report(ev)
	u.thaw()
	return next
}

func (d *downstream) isConnect() bool { return string(d.w.req.Method) == "CONNECT" }

// report hands an event to the engine.
func (d *downstream) report(ev engine.Event) engine.Directive {
	if ev.Kind == streamIdle {
		d.stalled.Store(false)
		return d.w.x.IdleTimedOut(d.p.opt.Clock.Now())
	}
	return d.w.x.Handle(ev, d.p.opt.Clock.Now())
}

// streamIdle is an event of the driver's own: the stream idle time-out has passed.
const streamIdle engine.EventKind = 255

// news looks at what happened beside the upstream. A complete request may arm a deadline.
func (d *downstream) news(dir *engine.Directive) engine.Event {
	if d.gone.Load() {
		return engine.Event{Kind: engine.ClientGone}
	}
	if d.stalled.Load() {
		return engine.Event{Kind: streamIdle}
	}
	if d.w.upload != nil {
		if ev := d.uploadNews(dir); ev.Kind != 0 {
			return ev
		}
	}
	if dir.Deadline != clock.Never && d.p.opt.Clock.Now() >= dir.Deadline {
		return engine.Event{Kind: engine.Timeout}
	}
	return engine.Event{}
}

// await waits in the queue of a pool.
func (d *downstream) await(q *pool, dir *engine.Directive) (*upstream, engine.Event) {
	w := &d.w.wait
	d.watchBegin()
	defer d.watchEnd()
	for {
		ev := d.news(dir)
		if w.done.Load() && ev.Kind == 0 {
			if w.up == nil {
				return nil, w.failed
			}
			return w.up, ev
		}
		if ev.Kind != 0 {
			q.cancel(w)
			return nil, ev
		}
		d.sleep(dir.Deadline)
	}
}

// sleep returns at an instant or when the connection is kicked.
func (d *downstream) sleep(until clock.Instant) {
	if until == clock.Never {
		<-d.wake
		return
	}
	stop := d.p.opt.Clock.AfterFunc(max(0, until.Sub(d.p.opt.Clock.Now())), d.nudge)
	<-d.wake
	stop()
}

// pause carries out Wait.
func (d *downstream) pause(dir engine.Directive) engine.Directive {
	d.dropUpstream()
	d.watchBegin()
	defer d.watchEnd()
	for {
		if ev := d.news(&dir); ev.Kind != 0 {
			return d.report(ev)
		}
		if d.p.opt.Clock.Now() >= dir.Until {
			return d.report(engine.Event{Kind: engine.Timer})
		}
		d.sleep(min(dir.Until, dir.Deadline))
	}
}

// send writes the request, as far as it has been received, in one write. An error is seen by
// whoever reads the response, which the upstream may have sent nevertheless.
func (d *downstream) send(up *upstream) (sent bool) {
	w := d.w
	d.waiting.Store(up)
	defer d.disarm()
	if w.upload != nil {
		return w.upload.attach(up, &w.req)
	}
	up.WriteHead(&w.req, w.req.NoBody)
	if !w.req.NoBody && (len(w.body) > 0 || w.complete) {
		if up.WriteBody(w.body, w.complete) != nil {
			return false
		}
	}
	return up.Flush() == nil
}

// arm prepares a read from the upstream: its deadline is set, and a kick reaches it. ev says that
// something else came first.
func (d *downstream) arm(dir *engine.Directive) (ev engine.Event) {
	up := d.w.up
	for {
		if ev := d.news(dir); ev.Kind != 0 {
			return ev
		}
		up.setDeadline(d.p, dir.Deadline) //nolint:errcheck // the read will say so
		d.waiting.Store(up)
		if !d.gone.Load() && !d.stalled.Load() && (d.w.upload == nil || !d.w.upload.hasNews()) {
			return engine.Event{}
		}
		d.disarm()
	}
}

// disarm ends what arm began. If a kick was faster, a deadline in the past is to be expected.
func (d *downstream) disarm() {
	if d.waiting.Swap(nil) == nil {
		d.w.up.deadline = true
	}
}

// response waits for the final response head.
func (d *downstream) response(dir *engine.Directive) engine.Event {
	w := d.w
	d.watchBegin()
	defer d.watchEnd()
	for {
		if ev := d.arm(dir); ev.Kind != 0 {
			return ev
		}
		err := w.up.ReadHead(&w.resp)
		d.disarm()
		switch {
		case err != nil && isTimeout(err):
			w.up.deadline = true
		case err != nil:
			ev := resetBy(err)
			// Envoy's parser takes the end of the connection within a head for a broken one.
			ev.Protocol = ev.Protocol || errors.Is(err, io.ErrUnexpectedEOF)
			return ev
		case w.resp.Status >= 200 || w.resp.Status == 101:
			w.upClose = w.resp.Close
			d.completed()
			return engine.Event{Kind: engine.ResponseHead, Head: &w.resp, Fin: w.resp.NoBody}
		case d.chain.HTTP.Proxy100Continue && w.req.Minor > 0: // any, asked for or not
			d.srv.WriteInformational(&w.resp) //nolint:errcheck // the final response will tell
		}
	}
}

// resetBy makes the event of a read that failed.
func resetBy(err error) engine.Event {
	var bad *h1.Error
	return engine.Event{Kind: engine.Reset, Protocol: errors.As(err, &bad)}
}

// dropUpstream gives the upstream stream up. HTTP/1.1 can do that only by closing the connection.
func (d *downstream) dropUpstream() {
	if d.w.up == nil {
		return
	}
	d.w.up.conn.Close()
	if d.w.upload != nil {
		d.w.upload.detach()
	}
	cost := d.w.up.Traffic()
	d.w.hold()
	d.releaseUpstream(false, cost)
}

// hold ends the exchange with the upstream, and says whether the connection is fit for another.
// The response head lies in buffers that logs read when all is over: they are kept until then,
// those of the attempt before are not.
func (w *work) hold() (usable bool) {
	w.held.Free()
	usable, w.held = w.up.Finish()
	return usable
}

// releaseUpstream ends the upstream stream, which has cost so much.
func (d *downstream) releaseUpstream(usable bool, cost wire.Traffic) {
	up := d.w.up
	if d.w.upload != nil {
		d.w.upload.detach()
	}
	if d.gone.Load() {
		usable = false // a hang-up may be about to set a deadline
	}
	if usable && up.deadline {
		usable = up.setDeadline(d.p, clock.Never) == nil
	}
	d.w.up = nil
	d.w.upstream.Add(cost)
	d.w.wait.breaker.Finish()
	up.pool.release(up, usable)
}
