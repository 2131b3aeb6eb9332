package proxy

import (
	"errors"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// golden is splitmix64's increment: request n of a proxy has the n-th value of its generator.
const golden = 0x9e3779b97f4a7c15

// random returns the random value of the next request.
func (p *Proxy) random() uint64 { return clock.Mix(p.opt.Seed + p.seq.Add(1)*golden) }

// exchange serves one request and says whether the connection can serve another one.
func (d *downstream) exchange() (again bool) {
	w := works.Get().(*work)
	w.wait.wake = d.nudge
	d.w = w
	again = d.request(w)
	if w.ending {
		d.p.settle.ended(w.epoch)
	}
	d.w = nil
	d.limit.Store(0)
	d.stalled.Store(false)
	w.reset()
	works.Put(w)
	return again
}

// request reads the request and carries out directives until it is done.
func (d *downstream) request(w *work) (again bool) {
	err := d.srv.ReadHead(&w.req)
	d.p.hold()
	now := d.p.opt.Clock.Now()
	if !d.state.CompareAndSwap(stateHead, stateBusy) && d.state.Load() != stateBusy {
		return d.slow(w, now)
	}
	d.since.Store(int64(now))
	d.served++
	if err != nil {
		return d.malformed(w, err, now)
	}
	if w.req.Minor == 0 && !d.chain.HTTP.AcceptHTTP10 {
		return d.refuse(w, engine.Malformed{Status: 426, Details: "low_version", Head: &w.req,
			Body: h1.Reason(426), Flag: "DPE"}, now)
	}
	if w.req.Expect100 && !d.chain.HTTP.Proxy100Continue {
		w.req.Del("expect")
		if d.srv.WriteContinue() != nil {
			return false
		}
	}
	bad := d.preread(w)
	dir := d.p.opt.Engine.Start(&w.x, d.chain, &d.info, &w.req, now, d.p.random())
	d.limit.Store(int64(w.x.StreamIdleTimeout()))
	if dir.Kind == engine.Reply {
		w.received = 0 // Envoy answers before it looks at the body (measured with 1.40)
	}
	if bad != nil && (dir.Kind == engine.Attempt || dir.Kind == engine.Wait ||
		dir.Kind == engine.Collect || dir.Kind == engine.Ask) {
		dir = d.badBody(bad)
	}
	if w.complete && !w.req.NoBody {
		dir = w.x.Handle(engine.Event{Kind: engine.RequestComplete}, now)
	}
	return d.carryOut(dir)
}

// carryOut does what the engine says until the exchange is done, and says whether the connection
// can be used again.
func (d *downstream) carryOut(dir engine.Directive) (again bool) {
	w := d.w
	intact := true
	for dir.Kind != engine.Done {
		d.p.hold()
		switch dir.Kind {
		case engine.Attempt:
			dir = d.attempt(dir)
		case engine.Collect:
			dir = d.collect(dir)
		case engine.Ask:
			dir = d.ask(dir)
		case engine.Wait:
			dir = d.pause(dir)
		case engine.Reply:
			dir = d.reply()
		case engine.Forward:
			dir, intact = d.forward(dir)
		case engine.Abort:
			intact = false
			d.dropUpstream()
			d.ending()
			dir = d.end(engine.Sent)
		default:
			panic("proxy: unknown directive")
		}
		if d.gone.Load() {
			intact = false
		}
	}
	d.dropUpstream()
	whole := w.complete
	if w.upload != nil {
		whole = w.upload.stop()
		w.received = w.upload.bytes.Load()
	}
	again = intact && whole && !w.last && !d.draining.Load() && !d.gone.Load()
	d.endMirrors()
	w.x.Record.BytesReceived = w.received
	d.log(d.srv.Traffic(), w.upstream)
	d.p.record(d.chain, &w.x.Record)
	w.held.Free()
	w.held = h1.Held{}
	if w.ending {
		w.ending = false
		d.p.settle.ended(w.epoch)
	}
	if !again && (!whole || !intact || w.last) && !d.gone.Load() {
		if intact {
			d.srv.Abort(wire.AbortLinger)
		}
		d.linger()
	}
	return again
}

// preread takes what came of the body together with the head; a body that is complete needs no
// second goroutine and can be sent again at no cost.
func (d *downstream) preread(w *work) error {
	if w.req.NoBody {
		w.complete = true
		return nil
	}
	if w.req.Upgrade != nil || string(w.req.Method) == "CONNECT" || !d.srv.Buffered() {
		return nil
	}
	b, fin, err := d.srv.ReadBody()
	w.body, w.complete = b, fin
	w.received = int64(len(b))
	return err
}

// ending tells Settle that the client can see the end of the exchange before it is recorded.
func (d *downstream) ending() {
	if !d.w.ending {
		d.w.ending = true
		d.w.epoch = d.p.settle.ending()
	}
}

// end reports how the response ended.
func (d *downstream) end(kind engine.EventKind) engine.Directive {
	d.w.x.Record.BytesSent = d.w.sent
	d.w.x.Record.BytesReceived = d.w.received
	return d.w.x.Handle(engine.Event{Kind: kind}, d.p.opt.Clock.Now())
}

// slow answers a request head that did not come in time (conn_manager_impl.cc
// onRequestHeaderTimeout, onIdleTimeout).
func (d *downstream) slow(w *work, now clock.Instant) (again bool) {
	m := engine.Malformed{Status: 408, Details: "request_header_timeout", Head: &w.req,
		Body: "request header timeout"}
	if d.chain.HTTP.RequestHeadersTimeout == 0 {
		m.Details, m.Body, m.Flag = "stream_idle_timeout", "stream timeout", "SI"
	}
	return d.refuse(w, m, now)
}

// malformed answers a request that could not be read, if there is anybody to answer.
func (d *downstream) malformed(w *work, err error, now clock.Instant) (again bool) {
	var bad *h1.Error
	if !errors.As(err, &bad) {
		return false // closed, cut, or too slow
	}
	return d.refuse(w, engine.Malformed{Status: bad.Status, Details: bad.Details, Head: &w.req,
		Body: h1.Reason(bad.Status), Flag: "DPE"}, now)
}

// badBody answers a request whose head is good and whose body, as far as it came with the head, is
// not: the request has been routed, and is given up.
func (d *downstream) badBody(err error) engine.Directive {
	w := d.w
	w.last = true
	now := d.p.opt.Clock.Now()
	for _, m := range w.x.Mirrors() {
		m.Done(engine.Event{Kind: engine.Reset, Local: true}, now)
	}
	var bad *h1.Error
	if !errors.As(err, &bad) {
		return d.report(engine.Event{Kind: engine.ClientGone})
	}
	return d.report(engine.Event{Kind: engine.BadRequest, Reason: bad.Details})
}

// refuse answers a request that the engine does not judge, and gives the connection up.
func (d *downstream) refuse(w *work, m engine.Malformed, now clock.Instant) (again bool) {
	w.complete, w.last = true, true
	d.carryOut(d.p.opt.Engine.StartMalformed(&w.x, d.chain, &d.info, m, now))
	d.linger()
	return false
}

// reply sends a local reply.
func (d *downstream) reply() engine.Directive {
	w := d.w
	d.dropUpstream()
	h, body := w.x.Reply()
	w.last = w.last || h.Close
	h.Close = d.closing()
	head := string(w.req.Method) == "HEAD"
	d.ending()
	err := d.srv.WriteHead(h, len(body) == 0)
	if err == nil && len(body) > 0 && !head {
		w.sent = int64(len(body))
		err = d.srv.WriteBody(body, true)
	}
	if err == nil {
		err = d.srv.Flush()
	}
	if err != nil {
		d.gone.Store(true)
		return d.end(engine.ClientGone)
	}
	return d.end(engine.Sent)
}

// closing says whether this is the connection's last response, of which the client is told. It is
// if the request has not ended yet: Envoy does not wait for the rest.
func (d *downstream) closing() bool {
	w := d.w
	w.last = w.last || d.draining.Load() || d.retired.Load() != 0 || d.p.draining.Load() ||
		w.req.Close || d.served == d.chain.HTTP.MaxRequests ||
		!w.complete && (w.upload == nil || !w.upload.last.Load())
	return w.last
}
