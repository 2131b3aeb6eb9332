package model

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

const second = clock.Instant(time.Second)

func configured(weights ...int) *feed.Config {
	c := &feed.Config{Pods: []feed.Pod{{ID: "curl-0.default", App: "curl"}}}
	s := feed.Split{Service: "reviews", Object: "default/reviews"}
	for i, w := range weights {
		v := fmt.Sprint("v", i+1)
		s.Parts = append(s.Parts, feed.Part{Subset: v, Version: v, Weight: w})
	}
	c.Splits = []feed.Split{s}
	return c
}

func sent(at clock.Instant, version string) observe.Request {
	return observe.Request{
		ID: fmt.Sprint(at), Start: at, Duration: 2 * time.Millisecond, Reporter: observe.Source,
		Proxy: "curl-0.default", Status: 200, Route: "default",
		Config:  "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews",
		Cluster: "outbound|9080|" + version + "|reviews.default.svc.cluster.local",
		Dest:    observe.Workload{Service: "reviews", Version: version},
	}
}

// flow sends so many requests a second, from one second to another; every n-th goes to v2.
func flow(m *Model, from, to clock.Instant, rate, n int) {
	b := &feed.Batch{At: to}
	for i := 0; from+clock.Instant(i)*second/clock.Instant(rate) < to; i++ {
		v := "v1"
		if i%n == n-1 {
			v = "v2"
		}
		b.Requests = append(b.Requests, sent(from+clock.Instant(i)*second/clock.Instant(rate), v))
	}
	m.Take(b)
}

func TestRatesAndShares(t *testing.T) {
	m := New()
	m.Take(&feed.Batch{At: 1, Config: configured(90, 10)})
	flow(m, 1, 10*second, 200, 10)
	v := m.At(m.Now(), Look{Past: 20, Service: "reviews"})
	s := v.Services[0]
	if s.Name != "reviews" || math.Abs(s.Rate-200) > 1 || s.Callers[0] != "curl" {
		t.Errorf("%s has %g requests/s from %v; want 200 from curl", s.Name, s.Rate, s.Callers)
	}
	if d := s.Times.P99; d < 1900*time.Microsecond || d > 2100*time.Microsecond {
		t.Errorf("p99 is %v, want 2 ms", d)
	}
	v2 := s.Versions[1]
	if v2.Share == nil || v2.Share.Draws != 2000 || v2.Share.Drift ||
		v2.Share.Low > 0.1 || v2.Share.High < 0.1 {
		t.Errorf("share of v2: %+v", v2.Share)
	}
}

// TestDriftAndNewWeights: what leaves the interval drifts, and new weights are judged by what was
// sent since alone; one may still look back at the old ones.
func TestDriftAndNewWeights(t *testing.T) {
	m := New()
	m.Take(&feed.Batch{At: 1, Config: configured(70, 30)})
	flow(m, 1, 10*second, 200, 10)
	share := func(at clock.Instant) *Share {
		return m.At(at, Look{Past: 1}).Services[0].Versions[1].Share
	}
	if s := share(m.Now()); !s.Drift || s.High >= 0.3 {
		t.Errorf("a tenth instead of three in ten: %+v", s)
	}
	m.Take(&feed.Batch{At: 10 * second, Config: configured(90, 10)})
	if s := share(m.Now()); s.Draws != 0 || s.Drift {
		t.Errorf("right after the change: %+v", s)
	}
	flow(m, 10*second, 20*second, 200, 10)
	if s := share(m.Now()); s.Drift || s.Draws < 1990 {
		t.Errorf("after the change: %+v", s)
	}
	if s := share(5 * second); !s.Drift || s.Want != 0.3 {
		t.Errorf("looking back: %+v", s)
	}
}

func TestSampledRequestsCount(t *testing.T) {
	m := New()
	m.Take(&feed.Batch{At: 1, Config: configured(100)})
	b := &feed.Batch{At: 8 * second, Every: 4}
	for i := range 80 {
		b.Requests = append(b.Requests, sent(clock.Instant(i)*second/10+1, "v1"))
	}
	m.Take(b)
	v := m.At(m.Now(), Look{})
	if v.Every != 4 || math.Abs(v.Services[0].Rate-40) > 2 {
		t.Errorf("one of %d, %g requests/s; want 4 and 40", v.Every, v.Services[0].Rate)
	}
	if n := v.Services[0].Versions[0].Share.Draws; n != 80 {
		t.Errorf("%d draws; those that were not seen are none", n)
	}
}

func TestForgets(t *testing.T) {
	m := New()
	m.Take(&feed.Batch{At: 1, Config: configured(100)})
	flow(m, 1, 2*second, 10, 10)
	m.Take(&feed.Batch{At: clock.Instant(2 * Memory)})
	if n := len(m.At(m.Now(), Look{Past: 5}).Edges); n != 0 {
		t.Errorf("%d edges of long ago are shown", n)
	}
	if o := m.Oldest(); o < clock.Instant(Memory) {
		t.Errorf("one may go back to %v", o)
	}
}

func TestEjected(t *testing.T) {
	m := New()
	c := configured(100)
	c.Limits = []feed.Limit{{Service: "reviews", Ejection: 5 * time.Second}}
	c.Pods = append(c.Pods, feed.Pod{ID: "reviews-v1-0.default", IP: "10.244.0.9"})
	m.Take(&feed.Batch{At: 1, Config: c})
	change := func(at clock.Instant, kind string) {
		m.Take(&feed.Batch{At: at, Changes: []observe.Change{{At: at, Kind: kind, By: "curl-0.default",
			What: "outbound|9080||reviews.default.svc.cluster.local 10.244.0.9:9080"}}})
	}
	change(second, "eject")
	out := m.At(2*second, Look{}).Out
	if len(out) != 1 || out[0].Pod != "reviews-v1-0.default" || out[0].Back != 6*second {
		t.Fatalf("ejected: %+v", out)
	}
	change(6*second, "uneject")
	if out := m.At(7*second, Look{}).Out; len(out) != 0 {
		t.Errorf("still ejected: %+v", out)
	}
	change(8*second, "eject")
	if out := m.At(9*second, Look{}).Out; len(out) != 1 || out[0].Back != 18*second {
		t.Errorf("the second time lasts twice as long: %+v", out)
	}
	if out := m.At(3*second, Look{}).Out; len(out) != 1 || out[0].Times != 1 {
		t.Errorf("looking back: %+v", out)
	}
}

func TestFilter(t *testing.T) {
	m := New()
	m.Take(&feed.Batch{At: 1, Config: configured(100)})
	bad := sent(2, "v2")
	bad.Status, bad.Flags, bad.Path, bad.Method = 503, "UF,URX", "/a/b", "POST"
	m.Take(&feed.Batch{At: second, Requests: []observe.Request{sent(1, "v1"), bad}})
	for filter, want := range map[string]int{
		"": 2, "503": 1, "5xx": 1, "!5xx": 1, "uf": 1, "flag:URX": 1, "/a": 1, "path:/b": 1,
		"from:curl": 2, "to:reviews version:v2": 1, "to:ratings": 0, "curl 200": 1, "UO": 0,
		"method:post": 1, "!from:curl": 0, "status:2xx": 1, ":": 2,
	} {
		if n := len(m.Tap(ParseFilter(filter), m.Now(), 10)); n != want {
			t.Errorf("%q chooses %d, want %d", filter, n, want)
		}
	}
}

// TestTapRemembers: of what was long ago, whole requests are still there, and no more than there is
// room for.
func TestTapRemembers(t *testing.T) {
	m := New()
	m.Take(&feed.Batch{At: 1, Config: configured(90, 10)})
	const seconds, rate = 60, 400
	for i := range seconds {
		b := &feed.Batch{At: clock.Instant(i+1) * second}
		for k := range rate {
			r := sent(clock.Instant(i)*second+clock.Instant(k)*second/rate, "v1")
			r.ID = fmt.Sprint(i, " ", k)
			in := r
			in.Reporter = observe.Destination
			b.Requests = append(b.Requests, r, in)
		}
		m.Take(b)
	}
	if n := len(m.tap.last) + len(m.tap.old); n > 2*tapped {
		t.Errorf("%d records are remembered", n)
	}
	for i := 2; i < seconds; i += 10 {
		all := m.Tap(nil, clock.Instant(i)*second, 20)
		if len(all) < 20 || all[0].Start < clock.Instant(i-2)*second {
			t.Fatalf("of second %d there are %d requests", i, len(all))
		}
		for _, r := range all {
			if n := len(m.Hops(r.ID)); n != 2 {
				t.Fatalf("%s has %d of its 2 hops", r.ID, n)
			}
		}
	}
	all := 0
	m.tap.newest(func(_ *observe.Request, many int) bool { all += many; return true })
	if want := seconds * rate * 2; all < want*8/10 || all > want*12/10 {
		t.Errorf("what is remembered stands for %d records of %d", all, want)
	}
}
