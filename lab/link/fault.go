package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// ErrLoss is why loss can not be done here.
var ErrLoss = errors.New("loss: connections on loopback are streams, not packets; " +
	"--topology docker has packets")

// Able says why links can not suffer a fault; nil: they can.
func Able(f topology.Fault) error {
	k := f.Link
	switch {
	case f.Kind != topology.FaultPartition && f.Kind != topology.FaultLink:
		return fmt.Errorf("%s: not a fault of links", f.Kind)
	case f.Kind == topology.FaultPartition:
		return nil
	case k.Loss != 0:
		return ErrLoss
	case k.Delay < 0 || k.Jitter < 0:
		return fmt.Errorf("link: delay %s, jitter %s: must not be negative", k.Delay, k.Jitter)
	case k.Jitter > k.Delay:
		return fmt.Errorf("link: jitter %s: must not be more than the delay, %s", k.Jitter, k.Delay)
	case k.Bandwidth < 0:
		return fmt.Errorf("link: bandwidth %d: must not be negative", k.Bandwidth)
	case k.ResetAfter != nil && *k.ResetAfter < 0:
		return fmt.Errorf("link: reset after %d bytes: must not be negative", *k.ResetAfter)
	case ToxicOf(f).none():
		return errors.New("link: says nothing that a link could suffer: want a delay, a " +
			"bandwidth, a reset or halfOpen")
	}
	return nil
}

// ToxicOf is what a fault has one direction suffer.
func ToxicOf(f topology.Fault) Toxic {
	if f.Kind == topology.FaultPartition {
		return Toxic{Silent: true, Lost: true}
	}
	t := Toxic{
		Delay: f.Link.Delay, Jitter: f.Link.Jitter, Bandwidth: f.Link.Bandwidth,
		Silent: f.Link.HalfOpen, Seed: f.Seed,
	}
	if f.Link.ResetAfter != nil {
		t.Reset, t.After = true, *f.Link.ResetAfter
	}
	return t
}

// matcher says which directions of connections a fault is about.
func matcher(f topology.Fault) func(Way) (forth, back bool) {
	from, to := f.From, f.To
	port := func(p uint16) bool { return len(f.Ports) == 0 || slices.Contains(f.Ports, int(p)) }
	one := func(list []string, name string) bool {
		return len(list) == 0 || slices.Contains(list, name)
	}
	both := f.Both || f.Link.HalfOpen
	return func(w Way) (forth, back bool) {
		if one(from, w.From) && one(to, w.To) && port(w.Port) {
			forth, back = true, both
		}
		// What is dropped between two is also the half of a connection that the other opened; its
		// port at the one who opened is any.
		if f.Kind == topology.FaultPartition && len(f.Ports) == 0 &&
			one(from, w.To) && one(to, w.From) {
			forth, back = forth || both, true
		}
		return forth, back
	}
}

// Fault is one that links suffer: a topology.Broken.
type Fault struct {
	links *Links
	id    uint64
	name  string
	kind  topology.FaultKind

	// links.mu guards the rest.
	toxic  Toxic
	match  func(Way) (forth, back bool)
	lost   int64 // attempts to connect
	healed bool

	tally tally
}

// tally counts effects.
type tally struct {
	mu          sync.Mutex
	fired       int64
	bytes       int64
	first, last clock.Instant
}

func (t *tally) note(now clock.Instant, fired, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fired == 0 && t.bytes == 0 {
		t.first = now
	}
	t.fired += fired
	t.bytes += bytes
	t.last = now
}

// hit notes that a fault has had an effect on a connection, for the first time or again. It is
// called with the locks of relays held, and takes none of the links.
func (l *Links) hit(id uint64, first bool, bytes int64) {
	t, ok := l.tallies.Load(id)
	if !ok {
		return
	}
	fired := int64(0)
	if first {
		fired = 1
	}
	t.(*tally).note(l.clock.Now(), fired, bytes)
}

// Break has a fault begin: open connections suffer it when it returns.
func (l *Links) Break(f topology.Fault) (*Fault, error) {
	if err := Able(f); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, errClosed
	}
	l.last++
	b := &Fault{links: l, id: l.last, name: f.Name, kind: f.Kind, toxic: ToxicOf(f),
		match: matcher(f)}
	if b.name == "" {
		b.name = string(f.Kind)
	}
	l.faults = append(l.faults, b)
	l.tallies.Store(b.id, &b.tally)
	divert := l.apply()
	l.mu.Unlock()
	return b, l.divertAll(divert, b)
}

// divertAll diverts connections; when one can not be, the fault is taken back.
func (l *Links) divertAll(all []*Conn, b *Fault) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { errs[i] = l.divert(c) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err != nil {
		b.end()
	}
	return err
}

// Change gives the fault another strength: its Link.
func (b *Fault) Change(_ context.Context, f topology.Fault) error {
	f.Kind = b.kind
	if err := Able(f); err != nil {
		return err
	}
	b.links.mu.Lock()
	if b.healed {
		b.links.mu.Unlock()
		return fmt.Errorf("%s is healed: nothing is left to change", b.name)
	}
	b.toxic, b.match = ToxicOf(f), matcher(f)
	divert := b.links.apply()
	b.links.mu.Unlock()
	return b.links.divertAll(divert, b)
}

// Heal ends the fault: what was held leaves.
func (b *Fault) Heal(context.Context) error {
	b.end()
	return nil
}

func (b *Fault) end() {
	l := b.links
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.healed {
		return
	}
	b.healed = true
	l.faults = slices.DeleteFunc(l.faults, func(f *Fault) bool { return f == b })
	l.apply()
}

// Receipt says how many connections the fault has had an effect on.
func (b *Fault) Receipt(context.Context) (topology.Receipt, error) {
	b.links.mu.Lock()
	defer b.links.mu.Unlock()
	b.tally.mu.Lock()
	defer b.tally.mu.Unlock()
	r := topology.Receipt{
		Fired: b.tally.fired, Unit: b.toxic.Unit(), Bytes: b.tally.bytes,
		First: b.tally.first, Last: b.tally.last,
	}
	if b.lost > 0 {
		r.Evidence = append(r.Evidence, fmt.Sprintf("%d attempts to connect found nobody", b.lost))
	}
	return r, nil
}

// Unit is what a receipt counts.
func (t Toxic) Unit() string {
	switch {
	case t.Lost:
		return "connections silenced or not made"
	case t.Reset:
		return "connections reset"
	case t.Silent:
		return "connections silenced"
	}
	return "connections slowed"
}
