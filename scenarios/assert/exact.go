package assert

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// enumerated judges a split whose draws were enumerated, to the request. A record names the
// sequence that its draw was taken from (observe.Request.Exact); each proxy has its own, and one
// for each combination of faults before it. The draws of a sequence follow each other without a gap,
// and of any n in a row each outcome gets its share, rounded up or down; when there are more than
// two, it may be off by less than 2, and only when n is no multiple of the period. With k sequences
// the whole is within k times that.
//
// It judges only what it can be sure of: that every request of the population was enumerated, that
// no request of these sequences was left out, and that the cluster which was drawn says of which
// category a request is. Else the split is judged as any other.
type enumerated struct {
	sequences map[string]*sequenceSeen
	missing   bool // a request of the population was drawn at random
}

// sequenceSeen is what came of one sequence.
type sequenceSeen struct {
	n, out   int64   // of the population, and not
	hits     []int64 // by category
	clusters map[string]int
	mixed    bool // a cluster has requests of two categories
}

// add takes a record of the step; category is -1 for what is of none.
func (e *enumerated) add(r *observe.Request, in bool, category, categories int) {
	key := r.Exact["split"]
	if key == "" {
		e.missing = e.missing || in
		return
	}
	if e.sequences == nil {
		e.sequences = map[string]*sequenceSeen{}
	}
	key += " " + r.Proxy
	s := e.sequences[key]
	if s == nil {
		s = &sequenceSeen{hits: make([]int64, categories), clusters: map[string]int{}}
		e.sequences[key] = s
	}
	if !in {
		s.out++
		return
	}
	s.n++
	if category >= 0 {
		s.hits[category]++
	}
	if was, ok := s.clusters[r.Cluster]; ok && was != category {
		s.mixed = true
	}
	s.clusters[r.Cluster] = category
}

// known says that the split was enumerated and can be judged so.
func (e *enumerated) known() bool {
	any := false
	for _, s := range e.sequences {
		if s.n > 0 && (s.out > 0 || s.mixed) {
			return false
		}
		any = any || s.n > 0
	}
	return any && !e.missing
}

// routes counts the routes that were enumerated: a sequence is named ROUTE[/OUTCOMES] PROXY.
func (e *enumerated) routes() int {
	ids := map[string]bool{}
	for key, s := range e.sequences {
		if s.n > 0 {
			key, _, _ = strings.Cut(key, " ")
			key, _, _ = strings.Cut(key, "/")
			ids[key] = true
		}
	}
	return len(ids)
}

// slack is by how much a category may be off in a sequence: less than this.
func (s *sequenceSeen) slack(want []float64) float64 {
	outcomes := len(s.clusters)
	whole := true // n is a multiple of the period
	positive := 0
	for _, w := range want {
		if w > 0 {
			positive++
		}
		due := w * float64(s.n)
		whole = whole && math.Abs(due-math.Round(due)) < 1e-6
	}
	switch {
	case whole:
		return 0.5
	case max(outcomes, positive) > 2:
		return 2
	}
	return 1
}

// judge fills in the verdict on shares that add up; ok is false when it must be judged as a split
// that was drawn: several routes with splits of their own may add up to what is wanted together.
func (e *enumerated) judge(v *Verdict, all []*category, tolerance float64) (ok bool) {
	if !e.known() {
		return false
	}
	var want []float64
	for _, k := range all {
		if !k.want.Share.Set() || k.want.Share.Low != k.want.Share.High {
			return false
		}
		want = append(want, k.want.Share.Low)
	}
	var n int64
	slack, off, worst := 0.0, 0.0, -1
	for _, s := range e.sequences {
		if s.n == 0 {
			continue
		}
		n += s.n
		limit := s.slack(want)
		slack += limit
		for i, w := range want {
			by := float64(s.hits[i]) - w*float64(s.n)
			if math.Abs(by) >= limit-1e-9 && math.Abs(by) > math.Abs(off) {
				off, worst = by, i
			}
		}
	}
	if worst >= 0 && e.routes() > 1 {
		return false
	}
	v.FalseAlarm, v.SmallestDrift, v.Unit = 0, slack/float64(n), "share"
	v.Interval, v.Since, v.Evidence, v.Reason, v.Of = nil, nil, nil, "", ""
	v.Wanted, v.Observed = e.wanted(want), e.observed(all, n)
	switch {
	case worst >= 0:
		v.Outcome = Fail
		e.fail(v, all[worst], off)
	case v.SmallestDrift <= tolerance:
		v.Outcome = Pass
	default:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%s requests are too few to tell shares apart that differ by %s points",
			count(n), points(tolerance))
	}
	return true
}

func (e *enumerated) fail(v *Verdict, k *category, off float64) {
	v.Of = k.name
	side := "more"
	if off < 0 {
		side = "less"
	}
	if stray := k.seen; off > 0 {
		stray.show(v)
	}
	v.Reason = fmt.Sprintf("%s: %s requests %s than the enumeration of one proxy gives", k.name,
		decimals(math.Abs(off)), side)
}

func (e *enumerated) wanted(want []float64) string {
	var parts []string
	for _, w := range want {
		parts = append(parts, decimals(100*w))
	}
	return strings.Join(parts, " / ") + ", to the request"
}

func (e *enumerated) observed(all []*category, n int64) string {
	var parts []string
	for _, k := range all {
		parts = append(parts, strings.TrimSpace(k.name+" "+count(k.n)))
	}
	return strings.Join(parts, "  ") + " of " + count(n)
}

// categoryOf returns the place of the category that a record is of, -1 for none.
func categoryOf(all []*category, r *observe.Request) int {
	return slices.IndexFunc(all, func(k *category) bool { return k.is(r) })
}
