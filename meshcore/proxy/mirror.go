package proxy

import (
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// mirrorLimit is how much of a body waits for a copy's upstream; beyond it the copy is dropped. The
// request itself is never held up.
const mirrorLimit = 64 << 10

// mirror sends one copy of a request and throws the answer away.
type mirror struct {
	p *Proxy
	m *engine.Mirror

	mu      sync.Mutex
	cond    sync.Cond
	buf     []byte
	fin     bool
	dropped bool
	up      *upstream
	wake    chan struct{}
	pool    *pool
}

// startMirrors begins the copies, once.
func (d *downstream) startMirrors() {
	w := d.w
	for _, em := range w.x.Mirrors() {
		if em.Endpoint.Cluster.HTTP2 { // as in attempt
			em.Done(engine.Event{Kind: engine.ConnectFail, Local: true}, d.p.opt.Clock.Now())
			continue
		}
		m := &mirror{p: d.p, m: em, fin: w.complete, wake: make(chan struct{}, 1)}
		m.cond.L = &m.mu
		m.buf = slices.Clone(w.body)
		w.mirrors = append(w.mirrors, m)
		if !d.p.spawn(m.run) {
			em.Done(engine.Event{Kind: engine.Reset, Local: true}, d.p.opt.Clock.Now())
		}
	}
}

// endMirrors gives up the copies of a request whose body never came to its end.
func (d *downstream) endMirrors() {
	for _, m := range d.w.mirrors {
		m.mu.Lock()
		if !m.fin {
			m.drop()
		}
		m.mu.Unlock()
	}
}

// feed copies a piece of the body.
func (m *mirror) feed(b []byte, fin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.dropped:
	case len(m.buf)+len(b) > mirrorLimit:
		m.drop()
	default:
		m.buf = append(m.buf, b...)
		m.fin = fin
	}
	m.cond.Broadcast()
}

// drop gives the copy up. Caller must hold mu.
func (m *mirror) drop() {
	m.dropped = true
	m.buf = nil
	if m.up != nil {
		m.up.conn.Close()
	}
	m.nudge()
	m.cond.Broadcast()
}

func (m *mirror) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// run is the copy's goroutine.
func (m *mirror) run() {
	m.pool = m.p.poolOf(m.m.Endpoint, m.m.TLS)
	w := &waiter{breaker: breakerOf(m.m.Endpoint), wake: m.nudge}
	up, refused := m.pool.take(w)
	if refused {
		m.done(w.failed)
		return
	}
	if up == nil {
		ev := m.await(w)
		if up = w.up; ev.Kind != 0 {
			m.done(ev)
			return
		}
	}
	m.mu.Lock()
	m.up = up
	if m.dropped {
		up.conn.Close()
	}
	m.mu.Unlock()
	ev, usable := m.exchange(up)
	m.mu.Lock()
	m.up = nil
	usable = usable && !m.dropped
	m.mu.Unlock()
	if usable && up.deadline {
		usable = up.setDeadline(m.p, clock.Never) == nil
	}
	w.breaker.Finish()
	m.done(ev)
	m.pool.release(up, usable)
}

func (m *mirror) done(ev engine.Event) { m.m.Done(ev, m.p.opt.Clock.Now()) }

// await waits for a connection.
func (m *mirror) await(w *waiter) engine.Event {
	if t := m.m.Deadline; t != clock.Never {
		stop := m.p.opt.Clock.AfterFunc(max(0, t.Sub(m.p.opt.Clock.Now())), m.nudge)
		defer stop()
	}
	for {
		m.mu.Lock()
		dropped := m.dropped
		m.mu.Unlock()
		switch {
		case w.done.Load() && !dropped:
			return w.failed
		case dropped, m.p.ctx.Err() != nil:
			m.pool.cancel(w)
			return engine.Event{Kind: engine.Reset, Local: true}
		case m.p.opt.Clock.Now() >= m.m.Deadline:
			m.pool.cancel(w)
			return engine.Event{Kind: engine.Timeout}
		}
		select {
		case <-m.wake:
		case <-m.p.ctx.Done():
		}
	}
}

// exchange sends the copy and reads the answer to its end.
func (m *mirror) exchange(up *upstream) (ev engine.Event, usable bool) {
	if up.setDeadline(m.p, m.m.Deadline) != nil || !m.send(up) {
		return engine.Event{Kind: engine.Reset, HeadSent: true}, false
	}
	head := new(wire.Head)
	for head.Status < 200 {
		if err := up.ReadHead(head); err != nil {
			if isTimeout(err) {
				return engine.Event{Kind: engine.Timeout}, false
			}
			ev := resetBy(err)
			ev.HeadSent = true
			return ev, false
		}
		if head.Status == 101 {
			break
		}
	}
	ev = engine.Event{Kind: engine.ResponseHead, Head: head, Fin: head.NoBody}
	closes := head.Close || head.Status == 101
	for fin := false; !fin && !closes; {
		var err error
		if _, fin, err = up.ReadBody(); err != nil {
			return ev, false
		}
	}
	ok, held := up.Finish()
	held.Free()
	return ev, ok && !closes
}

// send writes the head and the body as it comes.
func (m *mirror) send(up *upstream) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	head := true
	for {
		for !head && len(m.buf) == 0 && !m.fin && !m.dropped {
			m.cond.Wait()
		}
		if m.dropped {
			return false
		}
		b, fin := m.buf, m.fin
		m.buf = nil
		m.mu.Unlock()
		var err error
		if head {
			err = up.WriteHead(m.m.Head, fin && len(b) == 0)
			head = false
		}
		if err == nil && (len(b) > 0 || fin) {
			err = up.WriteBody(b, fin)
		}
		if err == nil {
			err = up.Flush()
		}
		m.mu.Lock()
		if err != nil {
			return false
		}
		if fin {
			return true
		}
	}
}
