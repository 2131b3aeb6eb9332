package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Trouble is how a server does badly, on purpose.
type Trouble struct {
	Slow     time.Duration // each response leaves so much later
	Withhold []string      // these nodes get no response
	All      bool          // no node gets one
}

func (t Trouble) withholds(key string) bool { return t.All || slices.Contains(t.Withhold, key) }

// Count is what a trouble has done.
type Count struct {
	Delayed  int64 // responses that left later
	Withheld int64 // changes of a kind that a node was not told of
	Cut      int64 // streams that ended with the server; Troubled.Cut is told of them
	First    clock.Instant
	Last     clock.Instant
}

// add counts n more of what.
func (c *Count) add(what *int64, n int64, now clock.Instant) {
	if n == 0 {
		return
	}
	if c.Delayed+c.Withheld+c.Cut == 0 {
		c.First = now
	}
	*what += n
	c.Last = now
}

// Troubled is a trouble that lasts.
type Troubled struct {
	s     *Server
	t     Trouble // Server.mu guards the rest
	count Count
	told  map[*node]sets // what was counted as withheld
	over  bool
}

// Trouble has the server do badly until End. Several troubles add up. A Set that waits for nodes
// that get nothing now waits for them no longer.
func (s *Server) Trouble(t Trouble) *Troubled {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &Troubled{s: s, t: t, told: map[*node]sets{}}
	s.troubles = append(s.troubles, b)
	s.spare()
	return b
}

// spare takes nodes that get nothing out of the running wait. Caller must hold mu.
func (s *Server) spare() {
	if s.waiting == nil {
		return
	}
	for n := range s.waiting.pending {
		if s.withheld(n.key) {
			delete(s.waiting.pending, n)
		}
	}
	s.waiting.finishIfDone()
}

// withheld says whether a node gets nothing. Caller must hold mu.
func (s *Server) withheld(key string) bool {
	return slices.ContainsFunc(s.troubles, func(b *Troubled) bool { return b.t.withholds(key) })
}

// Change gives the trouble another strength.
func (b *Troubled) Change(t Trouble) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.t = t
	b.s.spare()
	b.s.wake()
}

// End ends the trouble: what is late leaves. What has been withheld, Resume gives.
func (b *Troubled) End() {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.over = true
	b.s.troubles = slices.DeleteFunc(b.s.troubles, func(o *Troubled) bool { return o == b })
	b.s.wake()
}

// wake has every stream look again. Caller must hold mu.
func (s *Server) wake() {
	for _, n := range s.nodes {
		if n.stream != nil {
			n.stream.leave = [kinds]clock.Instant{}
			n.stream.signal()
		}
	}
}

// Troubles returns how many troubles last.
func (s *Server) Troubles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.troubles)
}

// Count returns what the trouble has done so far.
func (b *Troubled) Count() Count {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return b.count
}

// Cut notes streams that have ended with the server.
func (b *Troubled) Cut(streams int) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.count.add(&b.count.Cut, int64(streams), b.s.options.Clock.Now())
}

// holds says whether a response that is due has to wait, and counts it. Caller must hold mu.
func (s *Server) holds(st *stream, k kind, now clock.Instant) bool {
	slow, held := time.Duration(0), false
	for _, b := range s.troubles {
		slow += b.t.Slow
		if b.t.withholds(st.node.key) {
			held = true
			b.withhold(st.node, k, st.node.served[k], now)
		}
	}
	switch {
	case held:
		return true
	case slow == 0:
		return false
	case st.leave[k] == 0:
		st.leave[k] = now.Add(slow)
		for _, b := range s.troubles {
			if b.t.Slow > 0 {
				b.count.add(&b.count.Delayed, 1, now)
			}
		}
		s.options.Clock.AfterFunc(slow, st.signal)
		return true
	}
	return st.leave[k] > now
}

// withhold counts a change of a kind that a node is not told of, once. Caller must hold mu.
func (b *Troubled) withhold(n *node, k kind, of *set, now clock.Instant) {
	told := b.told[n]
	if sameSet(told[k], of) {
		return
	}
	told[k] = of
	b.told[n] = told
	b.count.add(&b.count.Withheld, 1, now)
}

// leaveOut takes the nodes out of a plan that get nothing.
func (s *Server) leaveOut(p *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.troubles) == 0 {
		return
	}
	now := s.options.Clock.Now()
	for key, target := range p.targets {
		if !s.withheld(key) {
			continue
		}
		delete(p.targets, key)
		p.withheld[key] = true
		n := s.node(key)
		for _, b := range s.troubles {
			for k := range kinds {
				if b.t.withholds(key) && !sameSet(n.served[k], target[k]) {
					b.withhold(n, k, target[k], now)
				}
			}
		}
	}
}

// Resume gives every node what the last Set was to give it, with the stages of a Set: after the end
// of a trouble that has withheld it.
func (s *Server) Resume(ctx context.Context) (Result, error) {
	select {
	case s.setting <- struct{}{}:
		defer func() { <-s.setting }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("resume: wait for the set before: %w", ctx.Err())
	}
	p, _ := s.plan(nil, nil) // nothing to marshal: no error
	s.mu.Lock()
	for key, n := range s.nodes {
		if n.present {
			p.targets[key], p.bases[key], p.named[key] = n.target, n.base(), true
		}
	}
	s.mu.Unlock()
	return s.carryOut(ctx, p, s.options.Clock.Now())
}

// Forget empties the server's memory, as a restart does: it has nothing to give until the next Set.
// What a running Set waits for is given still.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		if s.waiting != nil {
			if _, waited := s.waiting.pending[n]; waited {
				continue
			}
		}
		s.forget(n)
	}
}
