package proxy

import (
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// mirrorLimit is how much of a body waits for a copy's upstream; beyond it the copy is dropped. The
// request itself is never held up.
const mirrorLimit = 64 << 10

// mirror sends one copy of a request and throws the answer away.
type mirror struct {
	side
	m *engine.Mirror

	// Guarded by mu.
	cond sync.Cond
	buf  []byte
	fin  bool
}

// startMirrors begins the copies, once.
func (d *downstream) startMirrors() {
	w := d.w
	for _, em := range w.x.Mirrors() {
		if em.Endpoint.Cluster.HTTP2 { // as in attempt
			em.Done(engine.Event{Kind: engine.ConnectFail, Local: true}, d.p.opt.Clock.Now())
			continue
		}
		m := &mirror{side: newSide(d.p, em.Endpoint, em.Deadline), m: em, fin: w.complete}
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
	m.buf = nil
	m.giveUp()
	m.cond.Broadcast()
}

// run is the copy's goroutine.
func (m *mirror) run() {
	ev, free := m.use(m.m.TLS, m.exchange)
	m.done(ev)
	free()
}

func (m *mirror) done(ev engine.Event) { m.m.Done(ev, m.p.opt.Clock.Now()) }

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
