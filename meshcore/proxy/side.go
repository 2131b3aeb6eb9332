package proxy

import (
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// side is a request beside an exchange, over HTTP/1.1 and in a goroutine of its own: a copy, or a
// call of the proxy's own.
type side struct {
	p        *Proxy
	endpoint *engine.Endpoint
	deadline clock.Instant
	wake     chan struct{} // the wait for a connection goes on

	mu      sync.Mutex
	up      *upstream
	dropped bool
}

func newSide(p *Proxy, ep *engine.Endpoint, deadline clock.Instant) side {
	return side{p: p, endpoint: ep, deadline: deadline, wake: make(chan struct{}, 1)}
}

// giveUp drops the request. Caller must hold mu.
func (s *side) giveUp() {
	s.dropped = true
	if s.up != nil {
		s.up.conn.Close()
	}
	s.nudge()
}

func (s *side) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *side) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// use takes a connection of the endpoint's pool and lets exchange use it. ev is how that went; free
// lets others have the connection.
func (s *side) use(
	tls transport.Options, exchange func(*upstream) (ev engine.Event, usable bool),
) (ev engine.Event, free func()) {
	q := s.p.poolOf(s.endpoint, tls)
	w := &waiter{breaker: breakerOf(s.endpoint), wake: s.nudge}
	up, refused := q.take(w)
	if refused {
		return w.failed, func() {}
	}
	if up == nil {
		if ev = s.await(q, w); ev.Kind != 0 {
			return ev, func() {}
		}
		up = w.up
	}
	s.mu.Lock()
	s.up = up
	if s.dropped {
		up.conn.Close()
	}
	s.mu.Unlock()
	ev, usable := exchange(up)
	s.mu.Lock()
	s.up = nil
	usable = usable && !s.dropped
	s.mu.Unlock()
	if usable && up.deadline {
		usable = up.setDeadline(s.p, clock.Never) == nil
	}
	w.breaker.Finish()
	return ev, func() { q.release(up, usable) }
}

// await waits for a connection.
func (s *side) await(q *pool, w *waiter) engine.Event {
	if t := s.deadline; t != clock.Never {
		stop := s.p.opt.Clock.AfterFunc(max(0, t.Sub(s.p.opt.Clock.Now())), s.nudge)
		defer stop()
	}
	for {
		switch dropped := s.gone(); {
		case w.done.Load() && !dropped:
			return w.failed
		case dropped, s.p.ctx.Err() != nil:
			q.cancel(w)
			return engine.Event{Kind: engine.Reset, Local: true}
		case s.p.opt.Clock.Now() >= s.deadline:
			q.cancel(w)
			return engine.Event{Kind: engine.Timeout}
		}
		select {
		case <-s.wake:
		case <-s.p.ctx.Done():
		}
	}
}
