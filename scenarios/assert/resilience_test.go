package assert

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// story builds a History of calls that front's sidecar makes, each of several tries.
type story struct {
	h  observe.History
	n  int
	at time.Duration // when the next call is made
}

// try is one try at a pod: status 0 is no answer.
type try struct {
	pod    string // shop-v1-0, shop-v2-0, cart-v1-0
	status int
	flags  string
	took   time.Duration
	pause  time.Duration // since the try before
	unseen bool          // the destination has no record of it
}

// hop is one call.
type hop struct {
	id     string // its own unless said
	status int    // the last try's unless said
	flags  string
	took   time.Duration // of all tries unless said
	tries  []try
	silent bool // the client gets no answer
}

func ok(pod string) hop { return hop{tries: []try{{pod: pod, status: 200, took: time.Millisecond}}} }
func bad(pod string) hop {
	return hop{tries: []try{{pod: pod, status: 503, took: time.Millisecond}}}
}

var pods = map[string]string{
	"shop-v1-0": "10.244.0.4:80", "shop-v2-0": "10.244.0.6:80", "cart-v1-0": "10.244.0.8:80",
}

// calls makes so many calls, a millisecond apart.
func (s *story) calls(n int, c hop) *story {
	for range n {
		s.call(c)
	}
	return s
}

func (s *story) call(c hop) {
	id := c.id
	if id == "" {
		id = fmt.Sprint("q", s.n)
	}
	s.n++
	s.at += time.Millisecond
	r := observe.Request{ID: id, Start: clock.Instant(s.at), Reporter: observe.Source,
		Proxy: "front-0.default", Workload: "front", Namespace: "default", Status: c.status,
		Flags: c.flags, Cluster: "outbound|80||shop.default.svc.cluster.local"}
	at := s.at
	for _, t := range c.tries {
		at += t.pause
		app, version, _ := strings.Cut(strings.TrimSuffix(t.pod, "-0"), "-")
		r.Cluster = "outbound|80||" + app + ".default.svc.cluster.local"
		r.Upstream = pods[t.pod]
		r.Dest = observe.Workload{Pod: app + "-" + version, Workload: app + "-" + version,
			Service: app, Version: version, Namespace: "default"}
		r.Attempts = append(r.Attempts, observe.Attempt{Upstream: pods[t.pod],
			Pod: app + "-" + version, Status: t.status, Flags: t.flags, Start: clock.Instant(at),
			Duration: t.took})
		if !t.unseen {
			s.h.Requests = append(s.h.Requests, observe.Request{ID: id, Start: clock.Instant(at),
				Duration: t.took, Reporter: observe.Destination, Proxy: t.pod + ".default",
				Local: pods[t.pod], Workload: app + "-" + version, Version: version,
				Namespace: "default", Status: t.status})
		}
		if at += t.took; c.status == 0 {
			r.Status = t.status
		}
	}
	if r.Duration = at - s.at; c.took > 0 {
		r.Duration = c.took
	}
	s.h.Requests = append(s.h.Requests, r)
	client := observe.Client{From: "front-0.default", Start: r.Start, Duration: r.Duration,
		Status: r.Status}
	if c.silent {
		client.Status, client.Error = 0, "reset"
	}
	s.h.Clients = append(s.h.Clients, client)
}

// wait lets time pass.
func (s *story) wait(d time.Duration) *story { s.at += d; return s }

// ejects has front's sidecar take a pod out, and back after a time (0: not at all).
func (s *story) ejects(pod string, lasting time.Duration) *story {
	c := observe.Change{At: clock.Instant(s.at), Kind: "eject", By: "front-0.default",
		What: "outbound|80||shop.default.svc.cluster.local " + pods[pod]}
	s.h.Changes = append(s.h.Changes, c)
	if lasting > 0 {
		c.At, c.Kind = c.At.Add(lasting), "uneject"
		s.h.Changes = append(s.h.Changes, c)
	}
	return s
}

// breaks adds a fault from now on, for a time (0: it is not healed).
func (s *story) breaks(kind string, lasting time.Duration, fired int64) *story {
	f := observe.Fault{Kind: kind, Name: kind, From: clock.Instant(s.at), Fired: fired}
	if lasting > 0 {
		f.Until = f.From.Add(lasting)
	}
	s.h.Faults = append(s.h.Faults, f)
	return s
}

func (s *story) step(name string) *story {
	s.h.Changes = append(s.h.Changes,
		observe.Change{At: clock.Instant(s.at) + 1, Kind: "step", What: name})
	return s
}

const tick = time.Millisecond

var (
	retried = hop{tries: []try{{pod: "shop-v2-0", flags: "UF", took: tick, unseen: true},
		{pod: "shop-v1-0", status: 200, took: tick, pause: 25 * tick}}}
	cut = hop{status: 504, flags: "UT", tries: []try{{pod: "shop-v2-0", flags: "UT",
		took: 200 * tick}}}
	refused = hop{status: 503, flags: "UO"}
	cart    = ok("cart-v1-0")
)

type resilient struct {
	name string
	e    Expectation
	s    *story
	want Outcome
	says string
}

func new2() *story { return &story{} }

func retryCases() []resilient {
	three := hop{tries: []try{{pod: "shop-v2-0", took: tick}, {pod: "shop-v2-0", took: tick},
		{pod: "shop-v2-0", took: tick}}, status: 503}
	e := &BoundedRetries{From: "front", To: "shop", Tries: num("2..3")}
	paused := &BoundedRetries{From: "front", To: "shop", Tries: num("<= 3"), Pause: spn(">= 20ms")}
	same := retried
	same.id = "one"
	return []resilient{
		{"retries", e, new2().calls(9, ok("shop-v1-0")).calls(3, retried).calls(1, three), Pass, ""},
		{"no failure", e, new2().calls(9, ok("shop-v1-0")), Inconclusive, "no try failed"},
		{"no retry", e, new2().calls(9, retried).calls(1, bad("shop-v2-0")), Fail, "another number"},
		{"elsewhere", e, new2().calls(9, bad("cart-v1-0")), Inconclusive, "no try failed"},
		{"too many", &BoundedRetries{From: "front", To: "shop", Tries: num("<= 2")},
			new2().calls(9, retried).calls(1, three), Fail, "another number"},
		{"the app asks again", e, new2().calls(2, same), Fail, "another number"},
		{"pause", paused, new2().calls(9, retried), Pass, ""},
		{"no pause", paused, new2().calls(1, three), Fail, "followed each other"},
		{"nothing to pause between", paused, new2().calls(1, bad("shop-v2-0")), Inconclusive,
			"there was no pause"},
		{"nothing", e, new2(), Inconclusive, "no try failed"},
	}
}

func timeoutCases() []resilient {
	e := &Timeouts{From: "front", To: "shop", Within: dur("300ms")}
	long := ok("shop-v2-0")
	long.took = 400 * tick
	return []resilient{
		{"time-outs", e, new2().calls(9, ok("shop-v1-0")).calls(2, cut), Pass, ""},
		{"never slow", e, new2().calls(9, ok("shop-v1-0")), Inconclusive, "never too slow"},
		{"late", e, new2().calls(9, cut).calls(1, long), Fail, "1 calls took longer"},
		{"slow elsewhere", &Timeouts{From: "front", To: "cart", Within: dur("300ms")},
			new2().calls(9, cut), Inconclusive, "no request"},
		{"no answer", e, new2().calls(1, retried), Pass, ""},
	}
}

func bulkheadCases() []resilient {
	beside := func(slow, healthy hop) *story {
		s := new2()
		for range 20 {
			at := s.at
			s.call(slow)
			s.at = at + 50*tick
			s.call(healthy)
		}
		return s
	}
	e := &Bulkhead{Slow: Where{From: "front", To: "shop"}, Healthy: Where{From: "front", To: "cart"},
		Within: dur("100ms")}
	drawn := *e
	drawn.Share = shr(">= 50%")
	many := *e
	many.Calls = num(">= 30")
	late := cart
	late.took = 150 * tick
	return []resilient{
		{"bulkhead", e, beside(cut, cart), Pass, ""},
		{"by a share", &drawn, beside(cut, cart), Inconclusive, "too few"},
		{"enough calls", &many, beside(cut, cart), Fail, "20 healthy calls while"},
		{"late neighbour", e, beside(cut, late), Fail, "are stray"},
		{"failing neighbour", e, beside(cut, bad("cart-v1-0")), Fail, "are stray"},
		{"never slow", e, beside(ok("shop-v1-0"), late), Inconclusive, "nothing to be shielded"},
		{"apart", e, new2().calls(3, cut).wait(time.Second).calls(9, late), Inconclusive,
			"no healthy call"},
	}
}

func circuitCases() []resilient {
	e := &CircuitBreaker{From: "front", To: "shop-v2", Opens: dur("100ms"), Closes: dur("400ms")}
	unhealed := *e
	unhealed.Closes = 0
	v1, v2 := ok("shop-v1-0"), ok("shop-v2-0")
	broken := func() *story {
		return new2().calls(5, v2).breaks("pause", 300*tick, 9).calls(5, bad("shop-v2-0"))
	}
	pool := &CircuitBreaker{From: "front", To: "shop", Opens: dur("100ms"), Closes: dur("50ms")}
	return []resilient{
		{"circuit", e, broken().ejects("shop-v2-0", 500*tick).calls(505, v1).calls(9, v2), Pass, ""},
		{"never opens", e, broken().calls(300, v1), Fail, "it never opened"},
		{"opens late", e, broken().calls(200, v1).ejects("shop-v2-0", 0).calls(9, v1), Fail,
			"it opened late"},
		{"one leaks", &unhealed, broken().ejects("shop-v2-0", 0).calls(1, v2).calls(9, v1), Pass, ""},
		{"two leak", &unhealed, broken().ejects("shop-v2-0", 0).calls(2, v2).calls(9, v1), Fail,
			"2 tries at 10.244.0.6:80 while it was open"},
		{"stays open", e, broken().ejects("shop-v2-0", 0).calls(900, v1), Fail, "did not close"},
		{"ends too early", e, broken().ejects("shop-v2-0", 0).calls(90, v1), Inconclusive,
			"no call came so late"},
		{"back and not asked", e, broken().ejects("shop-v2-0", 500*tick).calls(900, v1), Fail,
			"did not close"},
		{"not healed", e, new2().calls(5, bad("shop-v2-0")).ejects("shop-v2-0", tick).calls(9, v2),
			Inconclusive, "nothing was healed"},
		{"nothing fails", e, new2().calls(50, v2), Inconclusive, "nothing failed"},
		{"another's failure", e, new2().calls(50, bad("shop-v1-0")).calls(1, v2), Inconclusive,
			"nothing failed"},
		{"a full pool", pool, new2().breaks("link", 200*tick, 9).calls(50, refused).calls(300, v1),
			Pass, ""},
		{"full for ever", pool, new2().calls(1, v1).breaks("link", 200*tick, 9).calls(300, refused),
			Fail, "did not close"},
	}
}

func lostCases() []resilient {
	lost := &NoneLost{From: "front", At: "shop"}
	once := &AnsweredOnce{At: "shop", From: "front"}
	unseen := hop{tries: []try{{pod: "shop-v1-0", status: 200, unseen: true}}}
	silent := ok("shop-v1-0")
	silent.silent = true
	twice := hop{tries: []try{{pod: "shop-v2-0", status: 200, flags: "UT", took: tick},
		{pod: "shop-v1-0", status: 200, took: tick}}}
	return []resilient{
		{"none lost", lost, new2().calls(9, ok("shop-v1-0")).calls(9, retried).calls(9, cut), Pass, ""},
		{"nothing", lost, new2().calls(9, cart), Inconclusive, "no request"},
		{"no answer", lost, new2().calls(9, ok("shop-v1-0")).calls(1, silent), Fail,
			"1 requests got no answer"},
		{"never arrived", lost, new2().calls(9, ok("shop-v1-0")).calls(1, unseen), Fail,
			"1 were answered with success"},
		{"answered once", once, new2().calls(9, retried), Pass, ""},
		{"answered twice", once, new2().calls(9, retried).calls(1, twice), Fail, "more than once"},
		{"tried once", once, new2().calls(9, ok("shop-v1-0")), Inconclusive, "nothing was tried"},
	}
}

func recoveryCases() []resilient {
	e := &Recovers{Within: dur("100ms")}
	good, fails := ok("shop-v1-0"), bad("shop-v1-0")
	broken := func() *story { return new2().calls(9, good).breaks("kill", 50*tick, 1) }
	return []resilient{
		{"recovers", e, broken().calls(70, fails).calls(200, good), Pass, ""},
		{"too late", e, broken().calls(200, fails).calls(200, good), Fail, "it still failed"},
		{"relapses", e, broken().calls(70, fails).calls(200, good).calls(1, fails).calls(50, good),
			Fail, "it still failed"},
		{"too few", e, broken().calls(70, fails).calls(9, good), Inconclusive, "9 successes in a row"},
		{"ends early", e, broken().calls(70, fails), Inconclusive, "so late"},
		{"nothing failed", e, broken().calls(300, good), Inconclusive, "nothing failed while"},
		{"failed before", e, new2().calls(3, fails).wait(tick).breaks("kill", 50*tick, 1).calls(300, good),
			Inconclusive, "nothing failed while"},
		{"not healed", e, new2().breaks("kill", 0, 1).calls(70, fails).calls(200, good), Inconclusive,
			"nothing was healed"},
		{"another fault", &Recovers{Within: dur("100ms"), Fault: "slow"},
			broken().calls(70, fails).calls(200, good), Inconclusive, "nothing was healed"},
	}
}

// The step that is judged begins a second after the run.
func sameCases() []resilient {
	e := &Unchanged{Against: "before", Where: Where{From: "front", To: "shop"}, Tolerance: 0.1}
	v1, v2 := ok("shop-v1-0"), ok("shop-v2-0")
	now := func(n int, before hop) *story {
		s := new2().step("first").calls(9, v2).step("before").calls(n, before)
		s.at = time.Second - 1
		return s.step("away")
	}
	first := *e
	first.Against = "first"
	clients := &Unchanged{Against: "before", Tolerance: 0.1}
	none := &Unchanged{Against: "none"}
	away := func(n int, before hop) *story { return now(n, before).breaks("control plane", 0, 3) }
	return []resilient{
		{"unchanged", e, away(500, v1).calls(500, v1), Pass, ""},
		{"changed", e, away(500, v1).calls(500, v2), Fail, "200 v2: 100 %, and 0 % before"},
		{"fails now", e, away(500, v1).calls(400, v1).calls(100, refused), Fail, "before"},
		{"too few", e, away(500, v1).calls(20, v1), Inconclusive, "too few"},
		{"no fault", e, now(500, v1).calls(500, v1), Inconclusive, "no fault took effect"},
		{"a fault that did nothing", e, now(500, v1).breaks("control plane", 0, 0).calls(500, v1),
			Inconclusive, "no fault took effect"},
		{"as clients see it", clients, away(500, v1).calls(500, v2), Pass, ""},
		{"clients see failures", clients, away(500, v1).calls(500, bad("shop-v2-0")), Fail, "before"},
		{"another step", &first, away(500, v1).calls(500, v1), Fail, "0 % before"},
		{"no such step", none, away(500, v1).calls(500, v1), Inconclusive, "no such step"},
	}
}

func TestResilience(t *testing.T) {
	for group, cases := range map[string][]resilient{
		"bounded retries": retryCases(), "time-outs": timeoutCases(), "bulkhead": bulkheadCases(),
		"circuit": circuitCases(), "lost": lostCases(), "recovery": recoveryCases(),
		"unchanged": sameCases(),
	} {
		for _, c := range cases {
			t.Run(group+"/"+c.name, func(t *testing.T) { c.check(t, group) })
		}
	}
}

func (c *resilient) check(t *testing.T, group string) {
	if v, ok := c.e.(interface{ Validate() error }); !ok || v.Validate() != nil {
		t.Errorf("not valid: %v", v.Validate())
	}
	terms := Terms{Step: "s", Until: clock.Instant(time.Hour), Alpha: 1e-6, Tolerance: 0.05}
	if group == "unchanged" {
		terms.From = clock.Instant(time.Second)
	}
	v := Check(c.e, &c.s.h, terms)
	if v.Outcome != c.want || !strings.Contains(v.Reason, c.says) {
		t.Errorf("%v %q, want %v %q: %+v", v.Outcome, v.Reason, c.want, c.says, v)
	}
	if v.Name == "" || v.Wanted == "" || v.Outcome != Inconclusive && v.Observed == "" ||
		(v.Outcome == Pass) != (v.Reason == "") {
		t.Errorf("not explained: %+v", v)
	}
	if v.Outcome == Fail && v.Since == nil && !strings.Contains(v.Reason, "while the other") {
		t.Errorf("a failure without a moment: %+v", v)
	}
	if !c.e.Statistical() && v.FalseAlarm != 0 {
		t.Errorf("exact, but false alarm %g", v.FalseAlarm)
	}
}

// everyKind has one expectation of each kind, about the same calls.
func everyKind() []Expectation {
	return []Expectation{
		&BoundedRetries{From: "front", To: "shop", Tries: num("1..3")},
		&CircuitBreaker{From: "front", To: "shop-v2", Opens: dur("100ms"), Closes: dur("400ms")},
		&Timeouts{From: "front", To: "shop", Within: dur("150ms")},
		&Bulkhead{Slow: Where{From: "front", To: "shop"}, Healthy: Where{From: "front", To: "cart"},
			Within: dur("100ms")},
		&NoneLost{From: "front", At: "shop"},
		&AnsweredOnce{At: "shop"},
		&Recovers{Within: dur("200ms")},
		&Unchanged{Against: "before", Where: Where{From: "front", To: "shop"}, Tolerance: 0.3},
	}
}

// anyStory makes a story of any calls, ejections and faults.
func anyStory(rng *rand.Rand) *story {
	s := new2().step("before").calls(100, ok("shop-v1-0"))
	s.at = time.Second - 1
	s.step("now")
	if rng.IntN(3) > 0 {
		s.breaks("pause", time.Duration(rng.IntN(300))*tick, int64(rng.IntN(3)))
	}
	hops := []hop{ok("shop-v1-0"), ok("shop-v2-0"), bad("shop-v2-0"), retried, cut, refused, cart}
	some := hops[:1+rng.IntN(len(hops))]
	for range rng.IntN(30) {
		s.calls(rng.IntN(30), some[rng.IntN(len(some))])
		switch rng.IntN(8) {
		case 0:
			s.ejects("shop-v2-0", time.Duration(rng.IntN(400))*tick)
		case 1:
			s.wait(time.Duration(rng.IntN(200)) * tick)
		}
	}
	return s
}

// A verdict is a function of what happened: in which order records are written, and what other
// callers do, is of no importance; and a silent world proves nothing.
func TestResilienceIsAFunctionOfWhatHappened(t *testing.T) {
	terms := Terms{From: clock.Instant(time.Second), Until: clock.Instant(time.Hour), Alpha: 1e-6,
		Tolerance: 0.05}
	seen := map[Outcome]int{}
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := anyStory(rng).h
		other := observe.History{Requests: slices.Clone(h.Requests),
			Clients: slices.Clone(h.Clients), Faults: h.Faults, Changes: h.Changes}
		for i := range 50 { // another caller's failures
			other.Requests = append(other.Requests, observe.Request{ID: fmt.Sprint("o", i),
				Start: clock.Instant(time.Second + time.Duration(i)*tick), Reporter: observe.Source,
				Proxy: "other-0.default", Workload: "other", Namespace: "default", Status: 503,
				Duration: time.Minute, Cluster: "outbound|80||shop.default.svc.cluster.local",
				Attempts: []observe.Attempt{{Upstream: pods["shop-v2-0"]}}})
		}
		rng.Shuffle(len(other.Requests), func(i, j int) {
			other.Requests[i], other.Requests[j] = other.Requests[j], other.Requests[i]
		})
		for i, e := range everyKind() {
			v, w := Check(e, &h, terms), Check(everyKind()[i], &other, terms)
			seen[v.Outcome]++
			if v.Outcome != w.Outcome || v.Reason != w.Reason {
				t.Fatalf("seed %d, %s: %v %q and %v %q", seed, e.Name(), v.Outcome, v.Reason,
					w.Outcome, w.Reason)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("the stories are all alike: %v", seen)
	}
	for _, e := range everyKind() {
		if v := Check(e, &observe.History{}, terms); v.Outcome != Inconclusive || v.Reason == "" {
			t.Errorf("%s of nothing: %v", e.Name(), v.Outcome)
		}
	}
}

// One record that breaks a promise breaks it whatever else there is.
func TestOneBrokenPromise(t *testing.T) {
	long := ok("shop-v2-0")
	long.took = time.Second
	silent := ok("shop-v1-0")
	silent.silent = true
	twice := hop{tries: []try{{pod: "shop-v2-0", status: 200, took: tick},
		{pod: "shop-v1-0", status: 200, took: tick}}}
	four := hop{tries: slices.Repeat([]try{{pod: "shop-v2-0", took: tick}}, 4), status: 503}
	terms := Terms{From: clock.Instant(time.Second), Until: clock.Instant(time.Hour), Alpha: 1e-6,
		Tolerance: 0.05}
	for i, breach := range map[int]hop{0: four, 2: long, 4: silent, 5: twice} {
		for seed := range uint64(40) {
			s := anyStory(rand.New(rand.NewPCG(seed, 2))).calls(1, breach)
			if v := Check(everyKind()[i], &s.h, terms); v.Outcome != Fail || v.Since == nil {
				t.Fatalf("seed %d: %s: %+v", seed, everyKind()[i].Name(), v)
			}
		}
	}
}

// Two steps of the same mesh are hardly ever called different, and a change by more than the
// tolerance never the same.
func TestUnchangedErrorRates(t *testing.T) {
	terms := Terms{From: clock.Instant(time.Second), Until: clock.Instant(time.Hour), Alpha: 0.05}
	e := &Unchanged{Against: "a", Where: Where{From: "front", To: "shop"}, Tolerance: 0.2}
	var calls [2]observe.Request
	for i, pod := range []string{"shop-v1-0", "shop-v2-0"} {
		calls[i] = new2().calls(1, ok(pod)).h.Requests[1]
	}
	run := func(rng *rand.Rand, before, now float64) Outcome {
		m := e.Monitor(terms).(*sameMonitor)
		m.fault(&observe.Fault{Fired: 1})
		m.Change(&observe.Change{Kind: "step", What: "a"})
		m.Change(&observe.Change{Kind: "step", At: terms.From})
		pick := func(p float64) *observe.Request {
			if rng.Float64() < p {
				return &calls[1]
			}
			return &calls[0]
		}
		for range 400 {
			m.learn(pick(before))
			m.Request(pick(now))
		}
		return m.Verdict().Outcome
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var same, changed [3]int
	const runs = 400
	for range runs {
		same[run(rng, 0.3, 0.3)]++
		changed[run(rng, 0.3, 0.55)]++
	}
	if same[Fail] > runs/20 || same[Pass] < runs/2 {
		t.Errorf("no change: inconclusive, pass, fail = %v", same)
	}
	if changed[Pass] > runs/20 || changed[Fail] < runs/2 {
		t.Errorf("a change: inconclusive, pass, fail = %v", changed)
	}
}

func TestResilienceValidates(t *testing.T) {
	for _, e := range []interface{ Validate() error }{
		&BoundedRetries{From: "a", To: "b"}, &BoundedRetries{From: "a", To: "b", Tries: num(">= 2")},
		&BoundedRetries{To: "b", Tries: num("3")}, &CircuitBreaker{From: "a", To: "b"},
		&CircuitBreaker{Opens: dur("1s")}, &Timeouts{From: "a", To: "b"}, &Bulkhead{},
		&Bulkhead{Slow: Where{To: "a"}, Healthy: Where{To: "b"}},
		&Bulkhead{Slow: Where{At: "a", To: "a"}, Healthy: Where{To: "b"}, Within: dur("1s")},
		&NoneLost{From: "a"}, &AnsweredOnce{}, &Recovers{},
		&Recovers{Within: dur("1s"), Where: Where{At: "a", From: "b"}},
		&Unchanged{Against: "c", Where: Where{At: "a", From: "b"}}, &Unchanged{},
	} {
		if e.Validate() == nil {
			t.Errorf("%+v is valid", e)
		}
	}
}
