package proxy

import (
	"errors"
	"io"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// answerLimit is how large the body of an answer to a call of the proxy's own may be.
const answerLimit = 1 << 20

// collect carries out Collect: the request's body is received and kept, for the engine and for the
// upstream.
func (d *downstream) collect(dir engine.Directive) engine.Directive {
	w := d.w
	if w.complete || len(w.body) >= dir.Limit {
		return d.report(engine.Event{Kind: engine.Collected, Body: w.body})
	}
	if w.upload == nil {
		d.startUpload(true, dir.Limit)
	}
	d.watchBegin()
	defer d.watchEnd()
	for {
		b, enough := w.upload.collected(dir.Limit)
		ev := d.news(&dir)
		switch {
		case ev.Kind != 0:
			return d.report(ev)
		case enough:
			return d.report(engine.Event{Kind: engine.Collected, Body: b})
		}
		d.sleep(dir.Deadline)
	}
}

// call is a request of the proxy's own that an exchange waits for.
type call struct {
	side
	c    *engine.Call
	tell func() // wakes the exchange

	// Guarded by mu.
	ended  bool
	answer engine.Event
	stop   func() // gives an HTTP/2 call up
}

// ask carries out Ask.
func (d *downstream) ask(dir engine.Directive) engine.Directive {
	c := d.startCall(d.w.x.Call())
	d.watchBegin()
	defer d.watchEnd()
	for {
		if ev, ended := c.result(); ended {
			return d.report(ev)
		}
		if ev := d.news(&dir); ev.Kind != 0 {
			c.drop()
			return d.report(ev)
		}
		d.sleep(dir.Deadline)
	}
}

// startCall begins a call.
func (d *downstream) startCall(ec *engine.Call) *call {
	c := &call{side: newSide(d.p, ec.Endpoint, clock.Never), c: ec, tell: d.nudge}
	run := c.run
	if ec.Endpoint.Cluster.HTTP2 {
		run = c.runHTTP2()
	}
	if !d.p.spawn(run) {
		c.end(engine.Event{Kind: engine.Reset, Local: true})
	}
	return c
}

// call makes a call while nothing else can happen, and waits for its answer.
func (d *downstream) call(ec *engine.Call, deadline clock.Instant) engine.Event {
	c := d.startCall(ec)
	for {
		if ev, ended := c.result(); ended {
			return ev
		}
		if d.p.opt.Clock.Now() >= deadline {
			c.drop()
			return engine.Event{Kind: engine.Timeout}
		}
		d.sleep(deadline)
	}
}

// result is the answer, once there is one.
func (c *call) result() (engine.Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answer, c.ended
}

// end says how the call ended.
func (c *call) end(ev engine.Event) {
	c.mu.Lock()
	c.answer, c.ended = ev, true
	c.mu.Unlock()
	c.tell()
}

// drop gives the call up: nobody waits for it any more.
func (c *call) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveUp()
	if c.stop != nil {
		c.stop()
	}
}

// run is the goroutine of a call over HTTP/1.1.
func (c *call) run() {
	ev, free := c.use(c.endpoint.TLSOptions("", c.c.Head.Authority), c.exchange)
	free()
	c.end(ev)
}

// exchange sends the request and reads the answer to its end.
func (c *call) exchange(up *upstream) (ev engine.Event, usable bool) {
	broken := func(err error) (engine.Event, bool) {
		ev := resetBy(err)
		ev.HeadSent, ev.Protocol = true, ev.Protocol || errors.Is(err, io.ErrUnexpectedEOF)
		return ev, false
	}
	if up.setDeadline(c.p, clock.Never) != nil {
		return engine.Event{Kind: engine.Reset}, false
	}
	err := up.WriteHead(c.c.Head, len(c.c.Body) == 0)
	if err == nil && len(c.c.Body) > 0 {
		err = up.WriteBody(c.c.Body, true)
	}
	if err == nil {
		err = up.Flush()
	}
	if err != nil {
		return broken(err)
	}
	head := new(wire.Head)
	for head.Status < 200 && head.Status != 101 {
		if err := up.ReadHead(head); err != nil {
			return broken(err)
		}
	}
	if head.Status == 101 {
		return engine.Event{Kind: engine.Reset, Protocol: true}, false
	}
	closes := head.Close
	ev = engine.Event{Kind: engine.Answered, Head: head.Clone()}
	for fin := head.NoBody; !fin; {
		var b []byte
		if b, fin, err = up.ReadBody(); err != nil {
			return broken(err)
		}
		if ev.Body = append(ev.Body, b...); len(ev.Body) > answerLimit {
			return engine.Event{Kind: engine.Reset, Local: true}, false
		}
	}
	if t := up.Trailers(); t != nil {
		ev.Trailers = t.Clone()
	}
	ok, held := up.Finish()
	held.Free()
	return ev, ok && !closes
}
