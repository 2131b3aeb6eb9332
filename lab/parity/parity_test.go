package parity

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/testdata/page"
)

func TestCompare(t *testing.T) {
	a := &request.Result{
		Status: 200, Headers: map[string][]string{"date": {"now"}, "x-a": {"1", "2"}, "x-b": {""}},
		Body: `{"pod":"p","version":"v1","path":"/a","headers":{"x-request-id":["1"]},"count":7}`,
		Hops: []request.Hop{{Reporter: "source", Route: "r", Attempts: 2, Pod: "c", Status: 200}},
	}
	b := *a
	b.Headers = map[string][]string{"date": {"later"}, "x-a": {"1"}}
	b.Body = `{"pod":"q","version":"v1","path":"/b","headers":{"x-request-id":["2"]},"count":8}`
	b.Hops = []request.Hop{{Reporter: "source", Route: "s", Attempts: 2, Pod: "c", Status: 200}}
	got := Compare(OutcomeOf(a).settled(), OutcomeOf(&b).settled())
	want := []Difference{
		{"backend path", "/a", "/b"}, {"header x-a", "1 | 2", "1"}, {"header x-b", "", absent},
		{"source route", "r", "s"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
	if d := Compare(OutcomeOf(a), OutcomeOf(&b)); len(d) != len(want)+1 { // and the pod
		t.Errorf("got %v", d)
	}
}

// TestFisher holds the exact test against values that are known in closed form.
func TestFisher(t *testing.T) {
	for _, c := range []struct {
		x, m, y, n int
		want       float64
	}{
		{3, 10, 8, 10, 0.069778}, {0, 12, 12, 12, 7.396023e-7}, {5, 10, 5, 10, 1}, {0, 5, 0, 5, 1},
	} {
		if got := fisher(c.x, c.m, c.y, c.n); math.Abs(got-c.want) > 1e-4*c.want {
			t.Errorf("%v: %g", c, got)
		}
	}
}

// TestFalseAlarms draws pairs of tallies from one distribution: p-values must not be smaller than
// they say, and a drift must be seen.
func TestFalseAlarms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(p float64) tally {
		out := tally{}
		for range 200 {
			if r.Float64() < p {
				out["a"]++
			} else {
				out["b"]++
			}
		}
		return out
	}
	const rounds, alpha = 4000, 0.05
	alarms, seen := 0, 0
	for range rounds {
		if distance(draw(0.9), draw(0.9)) < alpha {
			alarms++
		}
		if distance(draw(0.9), draw(0.7)) < alpha {
			seen++
		}
	}
	if alarms > rounds*alpha || seen < rounds*9/10 {
		t.Errorf("%d false alarms, %d of %d drifts seen", alarms, seen, rounds)
	}
	if p := support(tally{"a": 5}, tally{"a": 50}); p != 1 {
		t.Errorf("the same outcomes: %g", p)
	}
	if p := support(tally{"a": 50}, tally{"b": 50}); p > 1e-20 {
		t.Errorf("other outcomes: %g", p)
	}
}

func TestBudget(t *testing.T) {
	var b budget
	sum := 0.0
	for range 100000 {
		sum += b.next()
	}
	if sum > Alpha || sum < 0.999*Alpha {
		t.Errorf("%g", sum)
	}
}

func TestSmaller(t *testing.T) {
	s := request.Spec{
		From: "a", URL: "http://b/c/d?e=f&g=h", Method: "POST", Body: "xy", Host: "i",
		Headers: []string{"j: klm", "n: o"},
	}
	all := map[string]bool{}
	for _, c := range smaller(s) {
		if weight(c) >= weight(s) {
			t.Errorf("%+v is not smaller", c)
		}
		all[c.URL] = true
	}
	for _, u := range []string{"http://b/", "http://b/c/d", "http://b/c/d?e=f", "http://b/d?e=f&g=h"} {
		if !all[u] {
			t.Errorf("%s is not tried", u)
		}
	}
}

// TestKnown keeps the table of known differences in the documentation.
func TestKnown(t *testing.T) {
	page.Keep(t, "../../docs/fidelity.md",
		page.Begin("known differences of requests", "./lab/parity"), KnownTable())
}
