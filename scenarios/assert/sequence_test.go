package assert

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

var seed = flag.Uint64("seed", 1, "seed of the simulations")

func TestSequenceIntervalIsTheMixturesLevelSet(t *testing.T) {
	for _, c := range []struct {
		hits, draws int64
		alpha       float64
	}{
		{0, 1, 0.05}, {1, 1, 0.05}, {0, 300, 1e-6}, {300, 300, 1e-6}, {3, 10, 0.01},
		{100, 1000, 1e-7}, {999, 1000, 1e-7}, {500_000, 1_000_000, 1e-6},
	} {
		s := Sequence{Draws: c.draws, Hits: c.hits}
		lo, hi := s.Interval(c.alpha)
		limit := -math.Log(c.alpha)
		if lo > s.Share() || hi < s.Share() {
			t.Errorf("%d of %d: %g..%g lacks the observed share", c.hits, c.draws, lo, hi)
		}
		for _, end := range []float64{lo, hi} {
			if end > 0 && end < 1 && math.Abs(s.logM(end)-limit) > 1e-2 {
				t.Errorf("%d of %d: log M(%g) = %g, want %g", c.hits, c.draws, end, s.logM(end), limit)
			}
		}
		if (c.hits == 0) != (lo == 0) || (c.hits == c.draws) != (hi == 1) {
			t.Errorf("%d of %d: %g..%g is not exact at its ends", c.hits, c.draws, lo, hi)
		}
	}
}

// With no hits the open end has a closed form: (n+1) (1-p)^n = α.
func TestSequenceAtNoAndAllHits(t *testing.T) {
	for _, n := range []int64{1, 10, 440, 100_000} {
		none := Sequence{Draws: n}
		_, hi := none.Interval(1e-6)
		want := min(1, -math.Expm1((math.Log(1e-6)-math.Log(float64(n)+1))/float64(n)))
		if math.Abs(hi-want) > 1e-9 {
			t.Errorf("0 of %d: %g, want %g", n, hi, want)
		}
		all := Sequence{Draws: n, Hits: n}
		if lo, _ := all.Interval(1e-6); math.Abs(lo-(1-want)) > 1e-9 {
			t.Errorf("%d of %d: %g, want %g", n, n, lo, 1-want)
		}
	}
}

// The mixture is a martingale: its mean over the next draw is its value now.
func TestSequenceIsAMartingale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 2000).Draw(t, "n")
		x := rapid.Int64Range(0, n).Draw(t, "x")
		p := rapid.Float64Range(0.001, 0.999).Draw(t, "p")
		now := Sequence{Draws: n, Hits: x}
		hit, miss := now, now
		hit.Add(true)
		miss.Add(false)
		mean := p*math.Exp(hit.logM(p)-now.logM(p)) + (1-p)*math.Exp(miss.logM(p)-now.logM(p))
		if math.Abs(mean-1) > 1e-6 {
			t.Fatalf("E[M]/M = %g", mean)
		}
	})
}

func TestSequenceBelowAndAboveAreTheIntervalsEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 5000).Draw(t, "n")
		s := Sequence{Draws: n, Hits: rapid.Int64Range(0, n).Draw(t, "x")}
		p := rapid.Float64Range(0, 1).Draw(t, "p")
		lo, hi := s.Interval(1e-6)
		if math.Abs(p-lo) < 1e-9 || math.Abs(p-hi) < 1e-9 {
			return
		}
		if s.Below(p, 1e-6) != (p < lo) || s.Above(p, 1e-6) != (p > hi) {
			t.Fatalf("%v at %g: below %v above %v, interval %g..%g", s, p,
				s.Below(p, 1e-6), s.Above(p, 1e-6), lo, hi)
		}
	})
}

// atMost fails the test when k of n would be a surprise (less than 1e-6, by the exact binomial
// tail) for a probability of at most p.
func atMost(t *testing.T, what string, k, n int, p float64) {
	t.Helper()
	if tail := binomialTail(k, n, p); tail < 1e-6 {
		t.Errorf("%s: %d of %d, which has probability %.1g if the rate were %g", what, k, n, tail, p)
	}
	t.Logf("%s: %d of %d (%.2g), stated %g", what, k, n, float64(k)/float64(n), p)
}

// binomialTail returns P(X >= k) for X ~ Binomial(n, p), exactly.
func binomialTail(k, n int, p float64) float64 {
	sum := 0.0
	for i := k; i <= n; i++ {
		a, _ := math.Lgamma(float64(n) + 1)
		b, _ := math.Lgamma(float64(i) + 1)
		c, _ := math.Lgamma(float64(n-i) + 1)
		sum += math.Exp(a - b - c + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return min(1, sum)
}

// mesh draws destinations with given true shares, one a request.
type mesh struct {
	rng    *rand.Rand
	shares []float64
}

var versions = []string{"v1", "v2", "v3", "v4"}

// answered is a request that a version answered.
func answered(version string, n int) observe.Request {
	return observe.Request{
		ID: "r" + strconv.Itoa(n), Start: clock.Instant(n), Reporter: observe.Source, Status: 200,
		Upstream: "10.244.0.2:8080", Cluster: "outbound|8080||shop.default.svc.cluster.local",
		Dest: observe.Workload{Service: "shop", Version: version, Pod: "shop-" + version},
	}
}

// draw returns the version of the next request.
func (m *mesh) draw() int {
	u, i := m.rng.Float64(), 0
	for ; i < len(m.shares)-1 && u >= m.shares[i]; i++ {
		u -= m.shares[i]
	}
	return i
}

func (m *mesh) request(n int) observe.Request { return answered(versions[m.draw()], n) }

// run feeds a mesh's requests to a monitor until it is decided, or up to n.
func run(m *mesh, e Expectation, terms Terms, n int) (Outcome, int) {
	var rs [4]observe.Request
	for i, v := range versions {
		rs[i] = answered(v, 0)
	}
	j := e.Monitor(terms)
	for i := range n {
		if j.Request(&rs[m.draw()]); j.State() != Inconclusive {
			return j.Verdict().Outcome, i + 1
		}
	}
	return j.Verdict().Outcome, n
}

func terms(alpha float64) Terms {
	return Terms{From: 0, Until: clock.Never, Alpha: alpha, Tolerance: DefaultTolerance}
}

func split(t testing.TB, shares ...float64) *Split {
	t.Helper()
	s := &Split{Service: "shop"}
	for i, p := range shares {
		s.Shares = append(s.Shares, NamedShare{versions[i], Exactly(p)})
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Over many simulated meshes: a right one fails with probability at most α, one that is off by
// more than the tolerance passes with probability at most α, although every request is looked at.
func TestStatedErrorRatesHold(t *testing.T) {
	t.Logf("-seed %d", *seed)
	const meshes, most = 800, 500
	for _, c := range []struct {
		name           string
		wanted, actual []float64
		right          bool
	}{
		{"right 90/10", []float64{.9, .1}, []float64{.9, .1}, true},
		{"right 50/50", []float64{.5, .5}, []float64{.5, .5}, true},
		{"right 99/1", []float64{.99, .01}, []float64{.99, .01}, true},
		{"right of three", []float64{.6, .3, .1}, []float64{.6, .3, .1}, true},
		{"right of four", []float64{.25, .25, .25, .25}, []float64{.25, .25, .25, .25}, true},
		{"a little off", []float64{.9, .1}, []float64{.849, .151}, false},
		{"a little off, below", []float64{.9, .1}, []float64{.951, .049}, false},
		{"off at one half", []float64{.5, .5}, []float64{.449, .551}, false},
		{"swapped", []float64{.9, .1}, []float64{.1, .9}, false},
		{"one of three off", []float64{.6, .3, .1}, []float64{.6, .245, .155}, false},
		{"nothing for one", []float64{.8, .1, .1}, []float64{.9, .1, 0}, false},
	} {
		for _, alpha := range []float64{0.05, 0.01} {
			t.Run(fmt.Sprintf("%s, α %g", c.name, alpha), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(*seed, 7))
				outcomes := map[Outcome]int{}
				for range meshes {
					o, _ := run(&mesh{rng, c.actual}, split(t, c.wanted...), terms(alpha), most)
					outcomes[o]++
				}
				if c.right {
					atMost(t, "false alarms", outcomes[Fail], meshes, alpha)
				} else {
					atMost(t, "missed faults", outcomes[Pass], meshes, alpha)
				}
			})
		}
	}
}

// The rates above would also hold for a judge that never decides: these are the costs that it has.
func TestCostOfADecision(t *testing.T) {
	for _, c := range []struct {
		p, tolerance float64
		about        int
	}{
		{.10, .05, 1500}, {.30, .05, 3700}, {.50, .05, 4500}, {.10, .02, 11000}, {.01, .01, 7000},
	} {
		rng := rand.New(rand.NewPCG(*seed, 3))
		total, meshes := 0, 10
		for range meshes {
			s := split(t, 1-c.p, c.p)
			s.Tolerance = Points(c.tolerance)
			o, n := run(&mesh{rng, []float64{1 - c.p, c.p}}, s, terms(1e-7), 100_000)
			if o != Pass {
				t.Fatalf("%g ± %g: %v after %d", c.p, c.tolerance, o, n)
			}
			total += n
		}
		mean := total / meshes
		t.Logf("%g ± %g: %d requests", c.p, c.tolerance, mean)
		if mean > c.about*4/3 || mean < c.about/2 {
			t.Errorf("%g ± %g takes %d requests, not about %d", c.p, c.tolerance, mean, c.about)
		}
	}
}

func TestWrongMeshesFailSoon(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seed, 4))
	for _, actual := range [][]float64{{.8, .2}, {.5, .5}, {1, 0}, {0, 1}} {
		for range 50 {
			o, n := run(&mesh{rng, actual}, split(t, .9, .1), terms(1e-7), 20_000)
			if o != Fail || n > 3000 {
				t.Errorf("%v for 90/10: %v after %d requests", actual, o, n)
			}
		}
	}
}

func TestOneStrayRequestFailsWhatIsExact(t *testing.T) {
	m := split(t, 1).Monitor(terms(1e-6))
	for i := range 999 {
		m.Request(ptr((&mesh{rand.New(rand.NewPCG(1, 1)), []float64{1}}).request(i)))
	}
	if v := m.Verdict(); v.Outcome != Pass || v.FalseAlarm != 0 || v.SmallestDrift > 0.03 {
		t.Fatalf("999 of 999: %+v", v)
	}
	stray := (&mesh{rand.New(rand.NewPCG(1, 1)), []float64{0, 1}}).request(999)
	m.Request(&stray)
	v := m.Verdict()
	if v.Outcome != Fail || m.State() != Fail || len(v.Evidence) != 1 || v.Evidence[0] != "r999" ||
		v.Since == nil || *v.Since != 999 {
		t.Fatalf("999 of 1000: %+v", v)
	}
}

// Whatever was judged while the load ran is what the recorded file says later.
func TestMonitorAndCheckAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		actual := rapid.Float64Range(0, 1).Draw(t, "actual")
		wanted := rapid.SampledFrom([]float64{0, .1, .5, 1}).Draw(t, "wanted")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m := &mesh{rng, []float64{1 - actual, actual}}
		e := &Split{Service: "shop", Shares: Shares{
			{"v1", Exactly(1 - wanted)}, {"v2", Exactly(wanted)}}}
		live := NewJudge(terms(1e-3), e)
		var h observe.History
		for i := range rapid.IntRange(0, 1000).Draw(t, "n") {
			r := m.request(i)
			h.Requests = append(h.Requests, r)
			live.Request(&r)
			_ = live.Decided()
		}
		a, b := fmt.Sprintf("%+v", live.Verdicts()[0]), fmt.Sprintf("%+v", Check(e, &h, terms(1e-3)))
		if stripPointers(a) != stripPointers(b) {
			t.Fatalf("live %s\nfile %s", a, b)
		}
	})
}

func stripPointers(s string) string {
	out := []byte{}
	for i := 0; i < len(s); i++ {
		if s[i] == '0' && i+1 < len(s) && s[i+1] == 'x' {
			for i < len(s) && s[i] != ' ' {
				i++
			}
		}
		if i < len(s) {
			out = append(out, s[i])
		}
	}
	return string(out)
}

func ptr[T any](v T) *T { return &v }

func TestQuantileErrorRates(t *testing.T) {
	const meshes, alpha = 500, 0.05
	q := &Quantile{Q: 0.9, Bound: Span{High: 100, set: true}}
	for _, c := range []struct {
		slow  float64
		right bool
	}{{0.1, true}, {0.05, true}, {0.101, false}, {0.2, false}} {
		rng := rand.New(rand.NewPCG(*seed, 9))
		outcomes := map[Outcome]int{}
		for range meshes {
			m := q.Monitor(terms(alpha))
			for i := 0; i < 1000 && m.State() == Inconclusive; i++ {
				r := observe.Request{Duration: 50, Start: clock.Instant(i)}
				if rng.Float64() < c.slow {
					r.Duration = 100
				}
				m.Request(&r)
			}
			outcomes[m.State()]++
		}
		if c.right {
			atMost(t, fmt.Sprintf("false alarms at %g slow", c.slow), outcomes[Fail], meshes, alpha)
		} else {
			atMost(t, fmt.Sprintf("missed at %g slow", c.slow), outcomes[Pass], meshes, alpha)
		}
	}
}

func BenchmarkMonitor(b *testing.B) {
	m := split(b, .9, .1).Monitor(terms(1e-7))
	rs := [2]observe.Request{}
	for i := range rs {
		rs[i] = (&mesh{rand.New(rand.NewPCG(1, uint64(i))), []float64{float64(1 - i), float64(i)}}).request(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := 0
		if i%10 == 0 {
			k = 1
		}
		m.Request(&rs[k])
	}
}

// A load of 32 connections of which a tenth of the requests is delayed: records come in the order
// of completion, so the first ones lack the delayed. It must neither stop nor fail for that, and
// when the load stops as decided, the verdict on all records must not be undecided.
func TestSlowRequestsComeLate(t *testing.T) {
	t.Logf("-seed %d", *seed)
	const connections, fast, slow = 32, 5, 150
	e := &Slower{Than: slow, Share: Exactly(0.1)}
	for i := range 60 {
		rng := rand.New(rand.NewPCG(*seed, uint64(i)))
		terms := terms(1e-6)
		terms.InFlight = connections
		live := NewJudge(terms, e)
		var h observe.History
		var ends [connections]clock.Instant // of what each connection has under way
		var under [connections]observe.Client
		send := func(c int, now clock.Instant) {
			took := clock.Instant(fast + rng.IntN(3))
			if rng.Float64() < 0.1 {
				took = slow
			}
			under[c], ends[c] = observe.Client{Start: now, Duration: time.Duration(took)}, now+took
		}
		for c := range connections {
			send(c, clock.Instant(c))
		}
		done := func(c int) {
			h.Clients = append(h.Clients, under[c])
			live.Client(&under[c])
		}
		for !live.Decided() && len(h.Clients) < 20_000 {
			first := 0
			for c := range connections {
				if ends[c] < ends[first] {
					first = c
				}
			}
			done(first)
			send(first, ends[first])
		}
		stopped := live.Verdicts()[0]
		for c := range connections {
			done(c)
		}
		if v := Check(e, &h, terms); v.Outcome != Pass {
			t.Errorf("mesh %d: stopped after %d (%s), then %v: %s", i, stopped.Samples,
				stopped.Observed, v.Outcome, v.Reason)
		}
	}
}
