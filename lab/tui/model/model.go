// Package model makes of what a lab tells its watcher what the screens show, at any moment that is
// still remembered. It is pure: the time is the lab's, as batches bring it.
//
//	feed.Batch ─▶ Model.Take ─▶ slots of half a second for each caller, service and version
//	                             └─▶ Model.At(t) ─▶ View ─▶ lab/tui/screen
package model

import (
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

const (
	// Slot is how finely time is kept.
	Slot = 500 * time.Millisecond
	// Memory is how far back one may step.
	Memory = 5 * time.Minute

	slots    = int64(Memory / Slot)
	tapped   = 10_000 // records of requests that are kept
	kept     = 500    // of what is rare
	rateOver = 8      // slots that a rate is taken over
)

// Model is what is known of a lab. It is not safe for concurrent use.
type Model struct {
	Lab feed.Lab

	now, began clock.Instant // began: the first batch
	every      int

	edges   []*edge
	byKey   map[edgeKey]*edge
	apps    map[string]string // pod ID → canonical service
	splits  []*split
	tap     tap
	changes []observe.Change
	faults  []observe.Fault
	out     []ejection
	pods    map[string]string // IP → pod ID
	proxies stamps[[]feed.Proxy]
	configs stamps[*feed.Config]
	stories stamps[*feed.Story]
	samples stamps[int]
	nacks   []observe.Push
}

// New returns a model that knows nothing yet.
func New() *Model {
	return &Model{byKey: map[edgeKey]*edge{}, apps: map[string]string{}, every: 1,
		tap: tap{every: 1}, pods: map[string]string{}}
}

// Now is the moment of the last batch.
func (m *Model) Now() clock.Instant { return m.now }

// Oldest is the earliest moment that is remembered.
func (m *Model) Oldest() clock.Instant { return max(m.began, m.now-clock.Instant(Memory-Slot)) }

// Take learns from a batch. It may keep what is in it.
func (m *Model) Take(b *feed.Batch) {
	if m.now == 0 {
		m.began = b.At
		if len(b.Requests) > 0 {
			m.began = min(b.At, b.Requests[0].Start)
		}
	}
	m.now = max(m.now, b.At)
	if b.Lab != nil {
		m.Lab = *b.Lab
	}
	if every := max(b.Every, 1); every != m.every || len(m.samples.all) == 0 {
		m.every = every
		m.samples.put(b.At, every)
	}
	if b.Config != nil {
		m.configure(b.At, b.Config)
	}
	if len(b.Proxies) > 0 {
		m.proxies.put(b.At, b.Proxies)
	}
	if b.Story != nil {
		m.stories.put(b.At, b.Story)
	}
	for i := range b.Requests {
		m.request(&b.Requests[i])
	}
	for i := range b.Changes {
		m.change(&b.Changes[i])
	}
	for i := range b.Faults {
		m.fault(&b.Faults[i])
	}
	for _, p := range b.Pushes {
		if p.Nack != "" {
			m.nacks = latest(append(m.nacks, p))
		}
	}
}

func (m *Model) configure(at clock.Instant, c *feed.Config) {
	m.configs.put(at, c)
	for _, p := range c.Pods {
		m.apps[p.ID], m.pods[p.IP] = p.App, p.ID
	}
	for _, s := range m.splits {
		still := slices.ContainsFunc(c.Splits, func(x feed.Split) bool { return s.same(&x) })
		if s.until == clock.Never && !still {
			s.until = at
		}
	}
	for _, x := range c.Splits {
		known := slices.ContainsFunc(m.splits, func(s *split) bool {
			return s.until == clock.Never && s.same(&x)
		})
		if !known {
			m.splits = latest(append(m.splits, newSplit(at, x)))
		}
	}
}

// change remembers a change, and what it means for who takes part.
func (m *Model) change(c *observe.Change) {
	m.changes = latest(append(m.changes, *c))
	switch c.Kind {
	case "eject":
		m.ejected(c)
	case "uneject":
		for i := range m.out {
			if e := &m.out[i]; e.what == c.What && e.by == c.By && e.until == clock.Never {
				e.until = c.At
			}
		}
	}
}

func (m *Model) fault(f *observe.Fault) {
	for i := range m.faults {
		if f.ID != 0 && m.faults[i].ID == f.ID {
			m.faults[i] = *f
			return
		}
	}
	m.faults = latest(append(m.faults, *f))
}

// latest drops the older half of too much.
func latest[T any](all []T) []T {
	if len(all) <= 2*kept {
		return all
	}
	return slices.Clone(all[len(all)-kept:])
}

// stamps are values that held from a moment on.
type stamps[T any] struct {
	all []stamp[T]
}

type stamp[T any] struct {
	at    clock.Instant
	value T
}

func (s *stamps[T]) put(at clock.Instant, v T) { s.all = latest(append(s.all, stamp[T]{at, v})) }

// at returns what held at a moment; the first before that.
func (s *stamps[T]) at(t clock.Instant) (v T) {
	for i := len(s.all) - 1; i >= 0; i-- {
		if v = s.all[i].value; s.all[i].at <= t {
			break
		}
	}
	return v
}
