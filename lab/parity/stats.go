package parity

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
)

// Alpha is the false-alarm rate of a whole run: how often two data planes that do the same are
// said to differ in something random. It is divided among all the tests that a run makes.
const Alpha = 1e-6

// budget divides Alpha among tests of which nobody knows beforehand how many there will be: test k
// gets α/(k(k+1)), which adds up to α.
type budget struct{ tests int }

func (b *budget) next() float64 {
	b.tests++
	k := float64(b.tests)
	return Alpha / (k * (k + 1))
}

// Share is how often one outcome was seen on each side.
type Share struct {
	Outcome string `json:"outcome"`
	A       int    `json:"a"`
	B       int    `json:"b"`
}

// tally counts outcomes by their text.
type tally map[string]int

// shares joins two tallies, the most frequent first.
func shares(a, b tally) []Share {
	var out []Share
	for _, k := range slices.Sorted(maps.Keys(union(a, b))) {
		out = append(out, Share{Outcome: k, A: a[k], B: b[k]})
	}
	slices.SortStableFunc(out, func(x, y Share) int { return cmp.Compare(y.A+y.B, x.A+x.B) })
	return out
}

func union(a, b tally) tally {
	out := maps.Clone(a)
	for k, n := range b {
		out[k] += n
	}
	return out
}

// distance returns the p-value of the hypothesis that both tallies, of as many requests each, come
// from one distribution: the least of Fisher's exact p-values of all outcomes, times how many
// outcomes there are (Bonferroni). Draws that repel each other, as those of a rotation do, make it
// larger: a rotation is no false alarm.
func distance(a, b tally) float64 {
	all := union(a, b)
	na, nb := total(a), total(b)
	least := 1.0
	for k := range all {
		least = min(least, fisher(a[k], na, b[k], nb))
	}
	return min(1, least*float64(len(all)))
}

func total(t tally) int {
	n := 0
	for _, c := range t {
		n += c
	}
	return n
}

// fisher is the two-sided p-value of Fisher's exact test of x hits in m draws against y in n: the
// probability, given x+y hits in all, of a table that is as unlikely as this one or more so.
func fisher(x, m, y, n int) float64 {
	hits := x + y
	lp := func(i int) float64 { // hypergeometric: i of the hits among the first m draws
		return choose(m, i) + choose(n, hits-i) - choose(m+n, hits)
	}
	seen, p := lp(x), 0.0
	for i := max(0, hits-n); i <= min(hits, m); i++ {
		if l := lp(i); l <= seen+1e-9 {
			p += math.Exp(l)
		}
	}
	return min(1, p)
}

// choose is the logarithm of the binomial coefficient.
func choose(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return lg(n) - lg(k) - lg(n-k)
}

// support is distance with the outcomes alone that one side never had.
func support(a, b tally) float64 {
	na, nb := total(a), total(b)
	least, only := 1.0, 0
	for k := range union(a, b) {
		if a[k]*b[k] == 0 {
			only++
			least = min(least, fisher(a[k], na, b[k], nb))
		}
	}
	if only == 0 {
		return 1
	}
	return min(1, least*float64(only))
}

// telling reduces outcomes to the facts in which they differ from each other.
func telling(all []Share) []Share {
	var common map[string]bool
	lines := func(s Share) []string { return strings.Split(strings.TrimSpace(s.Outcome), "\n") }
	for _, s := range all {
		has := map[string]bool{}
		for _, l := range lines(s) {
			if common == nil || common[l] {
				has[l] = true
			}
		}
		common = has
	}
	out := slices.Clone(all)
	for i, s := range out {
		left := slices.DeleteFunc(lines(s), func(l string) bool { return common[l] })
		out[i].Outcome = strings.Join(left, "; ")
	}
	return out
}
