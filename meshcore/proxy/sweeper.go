package proxy

import (
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// sweepEvery is how exact idle and header time-outs are.
const sweepEvery = time.Second

// sweeper closes what has been idle for too long.
func (p *Proxy) sweeper() {
	due := make(chan struct{}, 1)
	tell := func() { due <- struct{}{} }
	for {
		stop := p.opt.Clock.AfterFunc(sweepEvery, tell)
		select {
		case <-p.ctx.Done():
			stop()
			return
		case <-due:
		}
		p.hold()
		p.sweep(p.opt.Clock.Now())
	}
}

// sweep looks at every connection once.
func (p *Proxy) sweep(now clock.Instant) {
	for _, d := range p.connections() {
		d.sweep(now)
	}
	p.mu.Lock()
	pools := append([]*pool(nil), p.pools...)
	p.mu.Unlock()
	for _, q := range pools {
		q.sweep(now)
	}
}

// drainTime is how long a connection may go on whose filter chain has been replaced, as Istio
// starts Envoy (--drain-time-s 45, --drain-strategy immediate).
const drainTime = 45 * time.Second

// sweep closes a downstream connection that waits for too long, between requests or within a head.
func (d *downstream) sweep(now clock.Instant) {
	chain := d.shown.Load()
	if chain == nil {
		return
	}
	if at := d.retired.Load(); at != 0 && now.Sub(clock.Instant(at)) >= drainTime {
		d.drain()
	}
	if chain.HTTP == nil {
		d.expireTCP(now)
		return
	}
	o := chain.HTTP
	if o.MaxConnectionDuration > 0 && now.Sub(d.born) >= o.MaxConnectionDuration {
		d.drain()
	}
	waited := now.Sub(clock.Instant(d.since.Load()))
	if o.IdleTimeout > 0 && waited >= o.IdleTimeout {
		d.expire(stateIdle)
	}
	head := o.RequestHeadersTimeout
	if head == 0 {
		head = o.StreamIdleTimeout // Envoy's stream, and its timer, begins with the first byte
	}
	if head > 0 && waited >= head {
		d.expire(stateHead)
	}
	limit := time.Duration(d.limit.Load())
	if limit > 0 && waited >= limit && d.state.Load() == stateBusy {
		d.stalled.Store(true)
		d.kick((*upstream).wakeAll)
		if d.writing.Load() {
			d.conn.SetWriteDeadline(past) // a client that does not read
		}
	}
}
