package assert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// drawn is a run of requests to a service whose split was enumerated: v2 gets the requests that hit
// says, from n of them.
func drawn(n int, hit func(i int) bool, change func(i int, r *observe.Request)) *observe.History {
	h := &observe.History{}
	for i := range n {
		version := "v1"
		if hit(i) {
			version = "v2"
		}
		r := observe.Request{ID: fmt.Sprintf("id-%d", i), Start: clock.Instant(i),
			Reporter: observe.Source, Proxy: "a-0.default", Workload: "a", Namespace: "default",
			Status: 200, Upstream: "10.244.0.9:80", Exact: map[string]string{"split": "route"},
			Cluster: "outbound|80|" + version + "|b.default.svc.cluster.local",
			Dest:    observe.Workload{Pod: "b-" + version, Workload: "b-" + version, Version: version}}
		if change != nil {
			change(i, &r)
		}
		h.Requests = append(h.Requests, r)
	}
	return h
}

func everyFifth(i int) bool { return i%5 == 2 }

// TestEnumerated judges shares of enumerated draws to the request, and only where it may.
func TestEnumerated(t *testing.T) {
	proxies := func(k int) func(int, *observe.Request) {
		return func(i int, r *observe.Request) { r.Proxy = fmt.Sprintf("a-%d.default", i/5%k) }
	}
	for _, c := range []struct {
		name   string
		n      int
		hit    func(int) bool
		change func(int, *observe.Request)
		want   Outcome
		says   string
		exact  bool
	}{
		{"as enumerated", 1000, everyFifth, nil, Pass, "", true},
		{"rounded", 998, everyFifth, nil, Pass, "", true},
		{"one off", 1000, func(i int) bool { return i == 3 || everyFifth(i) }, nil, Fail,
			"1 requests", true},
		{"one off, no period", 998, func(i int) bool { return i == 3 || everyFifth(i) && i > 20 },
			nil, Fail, "requests less", true},
		{"too few to tell", 8, everyFifth, nil, Inconclusive, "too few", true},
		{"few, and the period", 15, everyFifth, nil, Pass, "", true},
		{"several proxies", 1000, everyFifth, proxies(4), Pass, "", true},
		{"all together, no proxy for itself", 1000, func(i int) bool { return i%20 < 4 },
			proxies(4), Fail, "one proxy", true},
		{"drawn at random", 1000, everyFifth,
			func(_ int, r *observe.Request) { r.Exact = nil }, Pass, "", false},
		{"one at random", 1000, everyFifth, func(i int, r *observe.Request) {
			if i == 7 {
				r.Exact = nil
			}
		}, Pass, "", false},
		{"requests that are left out", 1000, everyFifth, func(i int, r *observe.Request) {
			if i%100 == 50 {
				r.Upstream = "" // nobody was there
			}
		}, Pass, "", false},
		{"pods of one cluster", 1000, everyFifth, func(_ int, r *observe.Request) {
			r.Cluster = "outbound|80||b.default.svc.cluster.local"
		}, Pass, "", false},
		{"routes that add up", 1000, func(i int) bool { return i%10 < 2 },
			func(i int, r *observe.Request) {
				r.Exact = map[string]string{"split": fmt.Sprintf("route-%d", i%2)}
			}, Pass, "", true},
		{"routes that only together add up", 1000, func(i int) bool { return i%10 == 0 || i%10 == 2 },
			func(i int, r *observe.Request) {
				r.Exact = map[string]string{"split": fmt.Sprintf("route-%d", i%2)}
			}, Pass, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Split{Service: "b", Shares: Shares{{"v1", Exactly(0.8)}, {"v2", Exactly(0.2)}}}
			v := Check(s, drawn(c.n, c.hit, c.change), Terms{Until: clock.Never, Alpha: 1e-6,
				Tolerance: 0.1})
			if v.Outcome != c.want || !strings.Contains(v.Reason, c.says) {
				t.Errorf("%v %q, want %v %q", v.Outcome, v.Reason, c.want, c.says)
			}
			if exact := v.FalseAlarm == 0; exact != c.exact {
				t.Errorf("exact: %v, want %v: %+v", exact, c.exact, v)
			}
		})
	}
}

// TestEnumeratedThree: with three outcomes any number may be off by less than 2, a period by none.
func TestEnumeratedThree(t *testing.T) {
	s := &Split{Service: "b", Shares: Shares{{"v1", Exactly(0.5)}, {"v2", Exactly(0.3)},
		{"v3", Exactly(0.2)}}}
	for _, c := range []struct {
		n, third int
		want     Outcome
	}{{1000, 200, Pass}, {1000, 201, Fail}, {1001, 201, Pass}, {1001, 203, Fail}} {
		third := 0
		h := drawn(c.n, func(i int) bool { return i%10 >= 7 }, func(i int, r *observe.Request) {
			if i%5 == 0 && third < 200 || i >= c.n-(c.third-200) {
				third++
				r.Dest.Version, r.Cluster = "v3", "outbound|80|v3|b.default.svc.cluster.local"
			}
		})
		v := Check(s, h, Terms{Until: clock.Never, Alpha: 1e-6, Tolerance: 0.05})
		if v.Outcome != c.want || v.FalseAlarm != 0 {
			t.Errorf("%d of %d: %v %+v", c.third, c.n, v.Outcome, v)
		}
	}
}

// TestEnumeratedFaults judges faults and mirrors in the same way.
func TestEnumeratedFaults(t *testing.T) {
	flags := &Flags{Where: Where{From: "a", To: "b"}, Amounts: Amounts{{"FI",
		Amount{Share: Exactly(0.2)}}}}
	mirrored := &Mirrored{Service: "b", To: "c", Share: Exactly(0.2)}
	for name, row := range map[string]struct {
		e      Expectation
		change func(bool, *observe.Request)
	}{
		"abort": {flags, func(hit bool, r *observe.Request) {
			if hit {
				r.Flags, r.Upstream = "FI", ""
			}
		}},
		"mirror": {mirrored, func(hit bool, r *observe.Request) {
			if hit {
				r.Mirrors = []observe.Attempt{{Cluster: "outbound|80||c.default.svc.cluster.local"}}
			}
		}},
	} {
		for stray, want := range map[int]Outcome{0: Pass, 1: Fail} {
			h := drawn(1000, func(int) bool { return false }, func(i int, r *observe.Request) {
				r.Exact = map[string]string{name: "route"}
				row.change(everyFifth(i) || i < stray, r)
			})
			v := Check(row.e, h, Terms{Until: clock.Never, Alpha: 1e-6, Tolerance: 0.05})
			if v.Outcome != want || v.FalseAlarm != 0 {
				t.Errorf("%s, %d stray: %+v", name, stray, v)
			}
		}
	}
}
