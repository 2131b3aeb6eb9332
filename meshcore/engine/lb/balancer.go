package lb

import (
	"fmt"
	"math"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Balancer chooses hosts for one cluster at one proxy. It is safe for concurrent use.
type Balancer struct {
	cfg     Config // with defaults filled in
	bias    float64
	window  time.Duration
	current atomic.Pointer[set]

	mu             sync.Mutex            // guards what follows, which only rebuilding uses
	localities     [][]LocalityEndpoints // of the latest assignment, by priority
	factor         uint32
	weightedHealth bool
	merges         []merge // by priority
	indexes        map[source]*atomic.Uint64
	generation     uint64
	began          bool // it has had hosts
}

// New returns a balancer without hosts, or an error that names the field which Envoy would refuse.
func New(cfg Config) (*Balancer, error) {
	if cfg.ChoiceCount == 0 {
		cfg.ChoiceCount = 2
	}
	if cfg.ChoiceCount < 2 {
		return nil, fmt.Errorf("least_request_lb_config.choice_count: %d; must be at least 2",
			cfg.ChoiceCount)
	}
	if cfg.MinRingSize == 0 {
		cfg.MinRingSize = 1024
	}
	if cfg.MaxRingSize == 0 {
		cfg.MaxRingSize = 8 << 20
	}
	if cfg.MinRingSize > cfg.MaxRingSize {
		return nil, fmt.Errorf("ring hash: minimum_ring_size (%d) > maximum_ring_size (%d)",
			cfg.MinRingSize, cfg.MaxRingSize)
	}
	if cfg.MaxRingSize > 8<<20 {
		return nil, fmt.Errorf("ring_hash_lb_config.maximum_ring_size: %d; must be at most 8388608",
			cfg.MaxRingSize)
	}
	if cfg.TableSize == 0 {
		cfg.TableSize = 65537
	}
	if cfg.TableSize > 5000011 {
		return nil, fmt.Errorf("maglev_lb_config.table_size: %d; must be at most 5000011",
			cfg.TableSize)
	}
	if !new(big.Int).SetUint64(cfg.TableSize).ProbablyPrime(0) {
		return nil, fmt.Errorf("maglev_lb_config.table_size: %d; must be prime", cfg.TableSize)
	}
	b := &Balancer{cfg: cfg, bias: 1, window: time.Second, indexes: map[source]*atomic.Uint64{}}
	// Envoy warns about a bias that it cannot use and takes 1.0 (least_request_lb.h refresh).
	if p := cfg.ActiveRequestBias; p != nil && *p >= 0 && !math.IsNaN(*p) {
		b.bias = *p
	}
	if w := cfg.UpdateMergeWindow; w != nil {
		b.window = *w
	}
	b.current.Store(&set{levels: make([]level, 1)})
	b.localities, b.merges, b.factor = make([][]LocalityEndpoints, 1), newMerges(1), 140
	b.build([]bool{true})
	return b, nil
}

// start is a new random start for schedules over localities, which Envoy draws at every update of
// the hosts (the seed of HostSet::updateHosts).
func (b *Balancer) start() uint64 { return clock.Mix(b.cfg.Seed + b.generation) }

// draws hands out the draws of one choice.
type draws struct {
	rnd uint64
	k   uint8
}

func (d *draws) next() uint64 {
	v := clock.Draw(d.rnd, d.k)
	if d.k++; d.k == 0 {
		d.rnd = clock.Mix(d.rnd)
	}
	return v
}

// Pick chooses a host, or returns nil when there is none (Envoy's no healthy upstream). When a
// retry host predicate refuses every choice, the last one stands.
func (b *Balancer) Pick(c *Context) *Host {
	s, d := b.current.Load(), draws{rnd: c.Rnd}
	if c.Told != nil {
		*c.Told = Choice{Policy: b.cfg.Policy}
	}
	if b.cfg.Policy.hashes() {
		return s.pickHashed(c, d)
	}
	for try := uint32(0); ; try++ {
		h := b.once(s, c, &d)
		if h == nil || try == c.MaxTries || c.Skip == nil || !c.Skip(h) {
			return h
		}
		if c.Told != nil {
			c.Told.Refused++
		}
	}
}

// pickHashed chooses by the hash, or by a draw when the request has none. The same value chooses
// the priority, so a key stays at its priority too.
func (s *set) pickHashed(c *Context, d draws) *Host {
	hash := c.Hash
	if !c.HasHash {
		hash = d.next()
	}
	priority := choosePriority(hash, s.loads)
	if c.Told != nil {
		c.Told.table(s, priority, hash, !c.HasHash)
	}
	table := s.levels[priority].ring
	for try := uint32(0); ; try++ {
		h := table.choose(hash, try)
		if h == nil || try == c.MaxTries || c.Skip == nil || !c.Skip(h) {
			return h
		}
		if c.Told != nil {
			c.Told.Refused++
		}
	}
}

// once makes one choice: priority, locality, host (chooseHostOnce).
func (b *Balancer) once(s *set, c *Context, d *draws) *Host {
	loads, first := s.loads, d.next()
	if c.Retry != nil {
		loads = c.Retry.determine(s)
	}
	priority := choosePriority(first, loads)
	lv := &s.levels[priority]
	from, locality := lv.healthy, -1
	switch {
	case lv.panics:
		from = lv.all
	case lv.localities != nil:
		locality = lv.localities.next()
		from = lv.byLocality[locality]
	}
	if c.Told != nil {
		c.Told.level(lv, priority, loads, from, lv.named(locality))
	}
	if len(from.hosts) == 0 {
		return nil
	}
	return b.among(from, c.Told, first, d)
}

// among chooses one of a pool's hosts; told is Context.Told.
func (b *Balancer) among(from *pool, told *Choice, first uint64, d *draws) *Host {
	n := uint64(len(from.hosts))
	switch {
	case from.edf != nil:
		if told != nil {
			told.Drawn = "rotation by weight"
		}
		return from.hosts[from.edf.next()]
	case b.cfg.Policy == Random:
		if told != nil {
			told.Drawn = fmt.Sprintf("draw %d of %d", first%n, n)
		}
		// The draw that chose the priority chooses the host too (random_lb.cc peekOrChoose).
		return from.hosts[first%n]
	case b.cfg.Policy == LeastRequest:
		return from.leastRequest(b.cfg.ChoiceCount, d, told)
	default:
		at := (from.index.Add(1) - 1) % n
		if told != nil {
			told.Drawn = fmt.Sprintf("rotation, turn %d of %d", at+1, n)
		}
		return from.hosts[at]
	}
}

// leastRequest draws count hosts, possibly the same one twice, and takes the first of those with
// the fewest requests in flight (least_request_lb.cc unweightedHostPickNChoices).
func (p *pool) leastRequest(count uint32, d *draws, told *Choice) *Host {
	n := uint64(len(p.hosts))
	best := p.hosts[d.next()%n]
	least := best.Active.Load()
	var drawn []*Host // for told
	var active []int64
	if told != nil {
		drawn, active = append(drawn, best), append(active, least)
	}
	for range count - 1 {
		h := p.hosts[d.next()%n]
		flying := h.Active.Load()
		if told != nil {
			drawn, active = append(drawn, h), append(active, flying)
		}
		if flying < least {
			best, least = h, flying
		}
	}
	if told != nil {
		told.compared(drawn, active)
	}
	return best
}
