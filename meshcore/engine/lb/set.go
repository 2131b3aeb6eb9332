package lb

import (
	"math"
	"slices"
	"sync/atomic"
)

// set is what Pick chooses from: immutable but for rotations and schedules.
type set struct {
	levels []level
	loads  []uint32 // percent for each priority; they add up to 100
}

// pool is a list of hosts that are chosen from evenly or by weight (Envoy's HostsSource).
type pool struct {
	hosts   []*Host
	weights []uint32
	index   *atomic.Uint64 // of ROUND_ROBIN; lives on from set to set
	edf     *schedule      // nil while the weights are equal
}

// source names a pool, so that its rotation finds its index again.
type source struct {
	priority int
	kind     sourceKind
	locality int
}

type sourceKind uint8

const (
	allHosts sourceKind = iota
	healthyHosts
	localityHealthyHosts
)

// group is one locality's endpoints at one priority.
type group struct {
	locality  Locality
	weight    uint32
	endpoints []Endpoint
}

// build swaps in a set in which the priorities that fresh names are as the assignment and the
// hosts' flags now say, and the others are as they were. Caller must hold b.mu.
func (b *Balancer) build(fresh []bool) {
	b.generation++
	old := b.current.Load()
	s := &set{levels: make([]level, len(fresh))}
	for priority := range s.levels {
		if fresh[priority] {
			s.levels[priority] = b.level(priority)
		} else {
			s.levels[priority] = old.levels[priority]
		}
	}
	s.loads = setPanic(s.levels, b.cfg.HealthyPanicThreshold)
	for priority := range s.levels {
		changed := fresh[priority] || s.levels[priority].panics != old.levels[priority].panics
		if changed && b.cfg.Policy.hashes() {
			s.levels[priority].ring = b.table(&s.levels[priority])
		}
	}
	b.current.Store(s)
}

// level builds one priority.
func (b *Balancer) level(priority int) level {
	var all []Endpoint
	for _, l := range b.localities[priority] {
		all = append(all, l.Endpoints...)
	}
	for _, e := range all {
		e.Host.priority.Store(uint32(priority))
		e.Host.out = e.Host.Ejected.Load()
	}
	lv := level{
		count:   len(all),
		groups:  b.groups(b.localities[priority]),
		all:     b.pool(source{priority, allHosts, 0}, all),
		healthy: b.pool(source{priority, healthyHosts, 0}, healthy(all)),
	}
	lv.health = availability(uint64(len(lv.healthy.hosts)), uint64(len(all)), b.factor)
	if b.weightedHealth {
		lv.health = availability(sumOf(lv.healthy.weights), sumOf(lv.all.weights), b.factor)
	}
	if !b.cfg.LocalityWeighted {
		return lv
	}
	var weights []float64
	for i, g := range lv.groups {
		up := healthy(g.endpoints)
		if w := effectiveWeight(g.weight, len(up), len(g.endpoints), b.factor); w > 0 {
			weights = append(weights, w)
			lv.names = append(lv.names, g.locality)
			lv.byLocality = append(lv.byLocality,
				b.pool(source{priority, localityHealthyHosts, i}, up))
		}
	}
	// Without any weight the choice falls back to all healthy hosts.
	if len(weights) > 0 {
		lv.localities = newSchedule(len(weights), func(i int) float64 { return weights[i] },
			uint32(b.start()))
	}
	return lv
}

// effectiveWeight is a locality's weight times its availability (locality_wrr.cc
// effectiveLocalityWeight).
func effectiveWeight(weight uint32, up, all int, factor uint32) float64 {
	if all == 0 {
		return 0
	}
	ratio := 1.0 * float64(up) / float64(all)
	return float64(weight) * min(1, float64(factor)/100*ratio)
}

// groups returns a priority's localities: the proxy's own first, then in lexicographic order
// (PriorityStateManager::updateClusterPrioritySet).
func (b *Balancer) groups(localities []LocalityEndpoints) []group {
	var out []group
	for _, l := range localities {
		i := slices.IndexFunc(out, func(g group) bool { return g.locality == l.Locality })
		if i < 0 {
			i = len(out)
			out = append(out, group{locality: l.Locality})
		}
		out[i].weight = l.Weight
		out[i].endpoints = append(out[i].endpoints, l.Endpoints...)
	}
	slices.SortStableFunc(out, func(x, y group) int {
		if own := x.locality == b.cfg.Local; own != (y.locality == b.cfg.Local) {
			if own {
				return -1
			}
			return 1
		}
		return x.locality.compare(y.locality)
	})
	return slices.DeleteFunc(out, func(g group) bool { return len(g.endpoints) == 0 })
}

// pool builds the pool of a source; rotations go on where they were (round_robin_lb.h
// refreshHostSource).
func (b *Balancer) pool(from source, endpoints []Endpoint) *pool {
	p := &pool{index: b.indexes[from]}
	if p.index == nil {
		p.index = new(atomic.Uint64)
		p.index.Store(b.cfg.Seed)
		b.indexes[from] = p.index
	}
	p.hosts, p.weights = members(endpoints)
	if slices.ContainsFunc(p.weights, func(w uint32) bool { return w != p.weights[0] }) {
		switch b.cfg.Policy {
		case RoundRobin:
			p.edf = newSchedule(len(p.hosts), p.weight, uint32(b.cfg.Seed))
		case LeastRequest:
			p.edf = newSchedule(len(p.hosts), p.loadedWeight(b.bias), uint32(b.cfg.Seed))
		}
	}
	return p
}

func (p *pool) weight(i int) float64 { return float64(p.weights[i]) }

// loadedWeight is a host's weight divided by (requests in flight + 1)^bias (least_request_lb.cc
// hostWeight).
func (p *pool) loadedWeight(bias float64) func(i int) float64 {
	return func(i int) float64 {
		w, active := float64(p.weights[i]), float64(p.hosts[i].Active.Load()+1)
		switch bias {
		case 0:
			return w
		case 1:
			return w / active
		}
		return w / math.Pow(active, bias)
	}
}

// table builds a priority's ring or Maglev table over its healthy hosts, or over all of them while
// it panics. Localities count by their weight alone, without regard to how many of their hosts are
// healthy (thread_aware_lb_impl.cc normalizeLocalityWeights).
func (b *Balancer) table(lv *level) hashTable {
	var s []share
	if !b.cfg.LocalityWeighted {
		p := lv.healthy
		if lv.panics {
			p = lv.all
		}
		s = shares(s, p.hosts, p.weights, 1)
	} else {
		sum := uint64(0)
		for _, g := range lv.groups {
			sum += uint64(g.weight)
		}
		for _, g := range lv.groups {
			if g.weight == 0 {
				continue
			}
			used := g.endpoints
			if !lv.panics {
				used = healthy(used)
			}
			hosts, weights := members(used)
			s = shares(s, hosts, weights, float64(g.weight)/float64(sum))
		}
	}
	if b.cfg.Policy == Maglev {
		return newMaglev(s, b.cfg.TableSize)
	}
	return newRing(s, b.cfg.MinRingSize, b.cfg.MaxRingSize)
}

// members lists the hosts and weights of endpoints.
func members(endpoints []Endpoint) (hosts []*Host, weights []uint32) {
	for _, e := range endpoints {
		hosts = append(hosts, e.Host)
		weights = append(weights, max(1, e.Weight))
	}
	return hosts, weights
}

func healthy(endpoints []Endpoint) []Endpoint {
	return slices.DeleteFunc(slices.Clone(endpoints), func(e Endpoint) bool {
		return e.Unhealthy || e.Host.out
	})
}

func sumOf(weights []uint32) uint64 {
	sum := uint64(0)
	for _, w := range weights {
		sum += uint64(w)
	}
	return sum
}
