package lb

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// group of test hosts: PREFIX0, PREFIX1, ...
func endpoints(prefix string, n int) []Endpoint {
	var out []Endpoint
	for i := range n {
		out = append(out, Endpoint{Host: &Host{Address: fmt.Sprint(prefix, i)}})
	}
	return out
}

func oneLocality(e []Endpoint) Assignment {
	return Assignment{Localities: []LocalityEndpoints{{Endpoints: e}}}
}

func newBalancer(t testing.TB, cfg Config, a Assignment) *Balancer {
	t.Helper()
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Update(a, 0)
	return b
}

// shares counts n picks by the hosts' first letter and number.
func picks(b *Balancer, n int) map[string]int {
	got := map[string]int{}
	for i := range n {
		name := "none"
		if h := b.Pick(&Context{Rnd: clock.Mix(uint64(i))}); h != nil {
			name = h.Address
		}
		got[name]++
	}
	return got
}

// within fails unless x of n is a likely outcome for the probability p (4 standard deviations).
func within(t *testing.T, what string, x, n int, p float64) {
	t.Helper()
	if d := math.Abs(float64(x) - float64(n)*p); d > 4*math.Sqrt(float64(n)*p*(1-p)) {
		t.Errorf("%s: %d of %d, want a share of %v", what, x, n, p)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{ChoiceCount: 1}, "choice_count: 1"},
		{Config{MinRingSize: 9, MaxRingSize: 8}, "minimum_ring_size (9) > maximum_ring_size (8)"},
		{Config{MaxRingSize: 9 << 20}, "maximum_ring_size"},
		{Config{TableSize: 1000}, "must be prime"},
		{Config{TableSize: 5000077}, "at most 5000011"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%+v): %v, want %q", c.cfg, err, c.want)
		}
	}
}

func TestNobody(t *testing.T) {
	for p := RoundRobin; p <= Maglev; p++ {
		b := newBalancer(t, Config{Policy: p}, Assignment{})
		if h := b.Pick(&Context{}); h != nil {
			t.Errorf("%v: %v without hosts", p, h.Address)
		}
		e := endpoints("a", 3)
		for i := range e {
			e[i].Unhealthy = true
		}
		b.Update(oneLocality(e), 1)
		if h := b.Pick(&Context{}); h != nil {
			t.Errorf("%v: %v without healthy hosts", p, h.Address)
		}
		b = newBalancer(t, Config{Policy: p, HealthyPanicThreshold: 50}, oneLocality(e))
		if h := b.Pick(&Context{}); h == nil {
			t.Errorf("%v: nobody in spite of panic", p)
		}
	}
}

func TestRotationGoesOn(t *testing.T) {
	e := endpoints("a", 3)
	b := newBalancer(t, Config{Seed: 7}, oneLocality(e))
	want := func(addresses ...string) {
		t.Helper()
		for _, a := range addresses {
			if got := b.Pick(&Context{}).Address; got != a {
				t.Errorf("picked %s, want %s", got, a)
			}
		}
	}
	want("a1", "a2", "a0", "a1") // index 7 of 3 hosts; then 8, 9, 10
	b.Update(oneLocality(append(e, endpoints("b", 1)...)), 1)
	want("b0", "a0", "a1") // index 11 of 4
	e[0].Host.Ejected.Store(true)
	b.Refresh(clock.Instant(2 * time.Second))
	want("b0", "a1", "a2") // index 14 of 3: b0; the list is a1, a2, b0
}

// TestLeastRequest: among n hosts of which one is idle, two draws find it with 1-((n-1)/n)^2.
func TestLeastRequest(t *testing.T) {
	for _, choices := range []uint32{2, 3} {
		e := endpoints("a", 4)
		for _, x := range e[1:] {
			x.Host.Active.Store(2)
		}
		b := newBalancer(t, Config{Policy: LeastRequest, ChoiceCount: choices}, oneLocality(e))
		got := picks(b, 20000)
		within(t, fmt.Sprint(choices, " choices"), got["a0"], 20000, 1-math.Pow(0.75, float64(choices)))
	}
	b := newBalancer(t, Config{Policy: LeastRequest}, oneLocality(endpoints("a", 3)))
	for name, x := range picks(b, 9000) {
		within(t, "idle "+name, x, 9000, 1.0/3)
	}
}

// TestLeastRequestWeighted: 4:1 becomes 1:1 when the heavy host has three requests in flight.
func TestLeastRequestWeighted(t *testing.T) {
	zero := 0.0
	for _, c := range []struct {
		name string
		bias *float64
		want int
	}{{"default bias", nil, 50}, {"no bias", &zero, 80}} {
		e := endpoints("a", 2)
		e[0].Weight, e[1].Weight = 4, 1
		e[0].Host.Active.Store(3)
		b := newBalancer(t, Config{Policy: LeastRequest, ActiveRequestBias: c.bias}, oneLocality(e))
		if got := picks(b, 100)["a0"]; got < c.want-1 || got > c.want+1 {
			t.Errorf("%s: heavy host got %d of 100, want %d", c.name, got, c.want)
		}
	}
}

func TestRandom(t *testing.T) {
	b := newBalancer(t, Config{Policy: Random}, oneLocality(endpoints("a", 3)))
	for name, x := range picks(b, 9000) {
		within(t, name, x, 9000, 1.0/3)
	}
}

// TestDistribute: locality weights are exact turns; a locality that loses hosts loses weight only
// below 1/1.4 of them.
func TestDistribute(t *testing.T) {
	a := Assignment{Localities: []LocalityEndpoints{
		{Locality: Locality{Region: "near"}, Weight: 60, Endpoints: endpoints("n", 4)},
		{Locality: Locality{Region: "mid"}, Weight: 30, Endpoints: endpoints("m", 2)},
		{Locality: Locality{Region: "far"}, Weight: 10, Endpoints: endpoints("f", 1)},
		{Locality: Locality{Region: "none"}, Endpoints: endpoints("x", 1)},
	}}
	b := newBalancer(t, Config{LocalityWeighted: true}, a)
	region := func(n int) map[string]int {
		got := map[string]int{}
		for name, x := range picks(b, n) {
			got[name[:1]] += x
		}
		return got
	}
	if got := fmt.Sprint(region(1000)); got != "map[f:100 m:300 n:600]" {
		t.Error("all well:", got)
	}
	a.Localities[0].Endpoints[0].Host.Ejected.Store(true) // 3 of 4 still count in full
	b.Refresh(0)
	if got := fmt.Sprint(region(1000)); got != "map[f:100 m:300 n:600]" {
		t.Error("one of four is out:", got)
	}
	a.Localities[0].Endpoints[1].Host.Ejected.Store(true) // 2 of 4: 70 % of 60
	b.Refresh(clock.Instant(2 * time.Second))
	if got := fmt.Sprint(region(8200)); got != "map[f:1000 m:3000 n:4200]" &&
		got != "map[f:999 m:3001 n:4200]" { // a pick may fall over the edge of the count
		t.Error("two of four are out:", got)
	}
	a.Localities[2].Endpoints[0].Unhealthy = true
	b = newBalancer(t, Config{LocalityWeighted: true}, a)
	if got := fmt.Sprint(region(720)); got != "map[m:300 n:420]" {
		t.Error("far is out:", got)
	}
}

// TestFailover: priority 1 takes what priority 0 is too sick for.
func TestFailover(t *testing.T) {
	for _, c := range []struct {
		down int
		near float64
	}{{0, 1}, {1, 1}, {2, 0.70}, {3, 0.35}, {4, 0}} {
		near := endpoints("n", 4)
		for i := range c.down {
			near[i].Unhealthy = true
		}
		b := newBalancer(t, Config{}, Assignment{Localities: []LocalityEndpoints{
			{Locality: Locality{Zone: "a"}, Endpoints: near},
			{Locality: Locality{Zone: "b"}, Priority: 1, Endpoints: endpoints("f", 2)},
		}})
		got := picks(b, 10000)
		within(t, fmt.Sprint(c.down, " down"), 10000-got["f0"]-got["f1"], 10000, c.near)
		if d := got["f0"] - got["f1"]; d < -1 || d > 1 {
			t.Errorf("%d down: f0 and f1 differ by %d", c.down, d)
		}
	}
}

// TestMergeWindow plays what a real Envoy did with three of four hosts failing in turn: the first
// ejection acts at once, the others one window after the second.
func TestMergeWindow(t *testing.T) {
	ms := func(n int) clock.Instant { return clock.Instant(time.Duration(n) * time.Millisecond) }
	e := endpoints("a", 4)
	b := newBalancer(t, Config{}, Assignment{})
	b.Update(oneLocality(e), ms(10))
	alive := func(want int) {
		t.Helper()
		if got := len(picks(b, 40)); got != want {
			t.Errorf("%d hosts are chosen, want %d", got, want)
		}
	}
	eject := func(i, at int, due clock.Instant) {
		t.Helper()
		e[i].Host.Ejected.Store(true)
		if got := b.Refresh(ms(at)); got != due {
			t.Errorf("ejection at %d ms: due %d, want %d", at, got, due)
		}
	}
	eject(0, 20, clock.Never) // the first hosts of a cluster do not count
	alive(3)
	eject(1, 420, ms(1420))
	eject(2, 620, ms(1420))
	alive(3)
	if due := b.Refresh(ms(1420)); due != clock.Never {
		t.Error("still due:", due)
	}
	alive(1)
	e[0].Host.Ejected.Store(false)
	if due := b.Refresh(ms(1520)); due != ms(2520) {
		t.Error("un-ejection is merged too, due at", due)
	}
	b.Update(oneLocality(append(e, endpoints("b", 1)...)), ms(3600)) // takes all along
	alive(3)
	if due := b.Refresh(ms(3700)); due != clock.Never {
		t.Error("still due:", due)
	}
	e[3].Unhealthy = true // an EDS update of health alone
	if due := b.Update(oneLocality(append(endpoints("c", 0), e...)), ms(3800)); due != clock.Never {
		t.Error("a lost host is no health change; due at", due)
	}

	none := time.Duration(0)
	b = newBalancer(t, Config{UpdateMergeWindow: &none}, oneLocality(endpoints("a", 2)))
	for _, h := range b.current.Load().levels[0].all.hosts {
		h.Ejected.Store(true)
		if due := b.Refresh(0); due != clock.Never {
			t.Error("merged without a window")
		}
	}
	alive(1) // "none"
}

// TestSkip: a retry host predicate asks again up to MaxTries times; then the last choice stands.
func TestSkip(t *testing.T) {
	for p := RoundRobin; p <= Maglev; p++ {
		b := newBalancer(t, Config{Policy: p}, oneLocality(endpoints("a", 4)))
		asked := 0
		h := b.Pick(&Context{MaxTries: 5, Skip: func(*Host) bool { asked++; return true }})
		if h == nil || asked != 5 {
			t.Errorf("%v: host %v, asked %d times, want 5 and a host", p, h, asked)
		}
		h = b.Pick(&Context{MaxTries: 300, Skip: func(h *Host) bool { return h.Address != "a2" }})
		if h == nil || h.Address != "a2" {
			t.Errorf("%v: picked %v, want a2", p, h)
		}
	}
}

func TestHashKey(t *testing.T) {
	e := endpoints("a", 5)
	f := endpoints("b", 5)
	for i := range f {
		f[i].Host.HashKey = e[i].Host.Address
	}
	for _, p := range []Policy{RingHash, Maglev} {
		x := newBalancer(t, Config{Policy: p}, oneLocality(e))
		y := newBalancer(t, Config{Policy: p}, oneLocality(f))
		for i := range uint64(200) {
			c := Context{Hash: clock.Mix(i), HasHash: true}
			if g, h := x.Pick(&c), y.Pick(&c); g.Address != h.HashKey {
				t.Fatalf("%v: %s and %s", p, g.Address, h.HashKey)
			}
		}
	}
}

// TestLostHost: when one of ten hosts goes, its keys move and few others. Also on the ring, where
// the others keep their points but get new ones: each has ceil(1024/10) of them before,
// ceil(1024/9) after.
func TestLostHost(t *testing.T) {
	for p, most := range map[Policy]int{RingHash: 150, Maglev: 60} {
		e := endpoints("a", 10)
		b := newBalancer(t, Config{Policy: p}, oneLocality(e))
		var before []*Host
		for i := range uint64(2000) {
			before = append(before, b.Pick(&Context{Hash: clock.Mix(i), HasHash: true}))
		}
		e[3].Host.Ejected.Store(true)
		b.Refresh(clock.Instant(time.Minute))
		moved := 0
		for i, h := range before {
			now := b.Pick(&Context{Hash: clock.Mix(uint64(i)), HasHash: true})
			if now == e[3].Host {
				t.Fatal("an ejected host is chosen")
			}
			if h != e[3].Host && h != now {
				moved++
			}
		}
		if moved > most {
			t.Errorf("%v: %d keys of other hosts moved, want at most %d", p, moved, most)
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	e := endpoints("a", 5)
	e[0].Weight = 3
	for p := RoundRobin; p <= Maglev; p++ {
		for _, weighted := range []bool{false, true} {
			a := oneLocality(endpoints("a", 5))
			if weighted {
				a = oneLocality(e)
			}
			a.Localities[0].Weight = 1
			b := newBalancer(t, Config{Policy: p, LocalityWeighted: weighted}, a)
			last := e[2].Host
			skip := func(h *Host) bool { return h == last }
			n := testing.AllocsPerRun(100, func() {
				c := Context{Rnd: 4, MaxTries: 5, Skip: skip}
				last = b.Pick(&c)
			})
			if n != 0 {
				t.Errorf("%v, weighted %v: %v allocations", p, weighted, n)
			}
		}
	}
}

// TestConcurrentUse is for the race detector, and counts: turns stay exact under concurrency.
func TestConcurrentUse(t *testing.T) {
	e := endpoints("a", 4)
	b := newBalancer(t, Config{}, oneLocality(e))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				h := b.Pick(&Context{})
				h.Active.Add(1)
			}
		})
	}
	wg.Wait()
	for _, x := range e {
		if n := x.Host.Active.Load(); n != 1000 {
			t.Errorf("%s: %d of 4000", x.Host.Address, n)
		}
	}
	e[0].Weight = 5
	for p := RoundRobin; p <= Maglev; p++ {
		b := newBalancer(t, Config{Policy: p}, oneLocality(e))
		for range 3 {
			wg.Go(func() {
				for i := range uint64(300) {
					b.Pick(&Context{Rnd: i}).Active.Add(1)
				}
			})
		}
		wg.Go(func() {
			for i := range 20 {
				e[1].Host.Ejected.Store(i%2 == 0)
				b.Refresh(clock.Instant(i) * clock.Instant(time.Minute))
			}
		})
		wg.Wait()
	}
}

func BenchmarkPick(b *testing.B) {
	for p := RoundRobin; p <= Maglev; p++ {
		b.Run(p.String(), func(b *testing.B) {
			lb := newBalancer(b, Config{Policy: p}, oneLocality(endpoints("a", 10)))
			for i := range b.N {
				lb.Pick(&Context{Rnd: uint64(i)})
			}
		})
	}
}
