package lb

import (
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// merge is where one priority stands in its update_merge_window.
type merge struct {
	last clock.Instant // of the latest change that took effect; never before the first
	due  clock.Instant // when what was put off takes effect; clock.Never when there is nothing
}

func newMerges(n int) []merge {
	return slices.Repeat([]merge{{last: clock.Never, due: clock.Never}}, n)
}

// Update replaces the hosts. A priority that gains or loses hosts changes at once; one where only
// health or weights changed is merged, as Refresh says. Rotation goes on where it was. The
// balancer keeps a's slices: the caller does not change them afterwards. Refresh is due at due.
func (b *Balancer) Update(a Assignment, now clock.Instant) (due clock.Instant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	factor := a.OverprovisioningFactor
	if factor == 0 {
		factor = 140
	}
	same := factor == b.factor && a.WeightedPriorityHealth == b.weightedHealth
	b.factor, b.weightedHealth = factor, a.WeightedPriorityHealth
	// Like Envoy's, the priorities only grow in number; those without hosts get no load.
	before := b.localities
	for _, l := range a.Localities {
		for len(before) <= int(l.Priority) {
			before = append(before, nil)
			b.merges = append(b.merges, newMerges(1)...)
		}
	}
	b.localities = make([][]LocalityEndpoints, len(before))
	for _, l := range a.Localities {
		b.localities[l.Priority] = append(b.localities[l.Priority], l)
	}
	fresh := make([]bool, len(before))
	for p := range before {
		switch {
		case p >= len(b.current.Load().levels) || !sameHosts(before[p], b.localities[p]):
			b.merges[p] = merge{last: now, due: clock.Never}
			if !b.began { // Envoy begins to count when the cluster has its first hosts
				b.merges[p].last = clock.Never
			}
			fresh[p] = true
		case !same || !equal(before[p], b.localities[p]):
			fresh[p] = b.merges[p].change(now, b.window)
		}
	}
	b.began = b.began || len(a.Localities) > 0
	return b.apply(fresh, now)
}

// Refresh makes hosts' Ejected flags take effect. The first change of a priority does so at once;
// others within update_merge_window of it wait, and until then ejected hosts are still chosen
// (cluster_manager_impl.cc scheduleUpdate). Refresh is due again at due, which is clock.Never when
// nothing waits.
func (b *Balancer) Refresh(now clock.Instant) (due clock.Instant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := make([]bool, len(b.localities))
	for p := range fresh {
		if slices.ContainsFunc(b.localities[p], flagsChanged) {
			fresh[p] = b.merges[p].change(now, b.window)
		}
	}
	return b.apply(fresh, now)
}

// apply rebuilds the fresh priorities and those whose time has come. Caller must hold b.mu.
func (b *Balancer) apply(fresh []bool, now clock.Instant) (due clock.Instant) {
	due = clock.Never
	for p := range b.merges {
		if m := &b.merges[p]; m.due <= now {
			*m = merge{last: now, due: clock.Never}
			fresh[p] = true
		}
		due = min(due, b.merges[p].due)
	}
	if slices.Contains(fresh, true) {
		b.build(fresh)
	}
	return due
}

// change says whether a change of health or weights takes effect now. If not, it does so one window
// later: counted from the change, not from the one before it.
func (m *merge) change(now clock.Instant, window time.Duration) bool {
	if m.last == clock.Never || window == 0 || now.Sub(m.last).Truncate(time.Millisecond) > window {
		*m = merge{last: now, due: clock.Never}
		return true
	}
	if m.due == clock.Never {
		m.due = now.Add(window)
	}
	return false
}

func flagsChanged(l LocalityEndpoints) bool {
	return slices.ContainsFunc(l.Endpoints, func(e Endpoint) bool {
		return e.Host.out != e.Host.Ejected.Load()
	})
}

// equal says whether two assignments of a priority are the same.
func equal(x, y []LocalityEndpoints) bool {
	return slices.EqualFunc(x, y, func(x, y LocalityEndpoints) bool {
		return x.Locality == y.Locality && x.Weight == y.Weight &&
			slices.Equal(x.Endpoints, y.Endpoints)
	})
}

// sameHosts says whether a priority neither gained nor lost hosts.
func sameHosts(x, y []LocalityEndpoints) bool {
	count := map[*Host]int{}
	n := 0
	for _, l := range x {
		for _, e := range l.Endpoints {
			count[e.Host]++
			n++
		}
	}
	for _, l := range y {
		for _, e := range l.Endpoints {
			if count[e.Host] == 0 {
				return false
			}
			count[e.Host]--
			n--
		}
	}
	return n == 0
}
