package assert

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// enumerated judges shares whose draws were enumerated, to the request. A record names the sequence
// that its draw was taken from (observe.Request.Exact); each proxy has its own, and one for each
// combination of faults before it. The draws of a sequence follow each other without a gap, and of
// any n in a row each outcome gets its share, rounded up or down; when there are more than two, it
// may be off by less than 2, and only when n is no multiple of the period. With k sequences the
// whole is within k times that.
//
// It judges only what it can be sure of: that every request of the population was enumerated, that
// no request of these sequences was left out, and that the outcome which was drawn says of which
// category a request is. Else the shares are judged as any others.
type enumerated struct {
	kind      string // of the decision: split, abort, delay, mirror
	sequences map[string]*drawnFrom
	missing   bool // a request of the population was drawn at random, or met no decision
}

// drawnFrom is what came of one sequence.
type drawnFrom struct {
	n, out   int64          // of the population, and not
	hits     []int64        // by category
	outcomes map[string]int // what was drawn, and its category
	mixed    bool           // an outcome has requests of two categories
}

// outcome says what a decision came to, as its record tells.
func (e *enumerated) outcome(r *observe.Request) string {
	switch e.kind {
	case "split":
		return r.Cluster
	case "mirror":
		var to []string
		for _, m := range r.Mirrors {
			to = append(to, m.Cluster)
		}
		slices.Sort(to)
		return strings.Join(to, " ")
	}
	flag := map[string]string{"abort": "FI", "delay": "DI"}[e.kind]
	if hasFlag(r.Flags, flag) {
		return flag
	}
	return ""
}

// add takes a record of the step; category is -1 for what is of none.
func (e *enumerated) add(r *observe.Request, in bool, category, categories int) {
	key := r.Exact[e.kind]
	if key == "" || in && e.kind == "mirror" && r.Upstream == "" {
		e.missing = e.missing || in
		return
	}
	if e.sequences == nil {
		e.sequences = map[string]*drawnFrom{}
	}
	key += " " + r.Proxy
	s := e.sequences[key]
	if s == nil {
		s = &drawnFrom{hits: make([]int64, categories), outcomes: map[string]int{}}
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
	o := e.outcome(r)
	if was, ok := s.outcomes[o]; ok && was != category {
		s.mixed = true
	}
	s.outcomes[o] = category
}

// known says that the shares were enumerated and can be judged so.
func (e *enumerated) known() bool {
	any := false
	for _, s := range e.sequences {
		if s.n > 0 && (s.out > 0 || s.mixed || e.kind != "split" && len(s.outcomes) > 2) {
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
func (s *drawnFrom) slack(want []float64) float64 {
	whole := true // n is a multiple of the period
	positive, sum := 0, 0.0
	for _, w := range want {
		sum += w
		if w > 0 {
			positive++
		}
		due := w * float64(s.n)
		whole = whole && math.Abs(due-math.Round(due)) < 1e-6
	}
	more := max(len(s.outcomes), positive) > 2
	switch {
	case whole && (!more || sum > 1-1e-9): // the period of shares that are not told is not known
		return 0.5
	case more:
		return 2
	}
	return 1
}

// judge fills in the verdict; ok is false when the shares must be judged as if they were drawn:
// several routes with shares of their own may add up to what is wanted together.
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
	v.Wanted, v.Observed = e.wanted(all), e.observed(all, n)
	switch {
	case worst >= 0:
		v.Outcome = Fail
		e.fail(v, all[worst], off)
	case v.SmallestDrift <= tolerance:
		v.Outcome = Pass
	default:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%s requests are too few to tell shares apart that are "+
			"%s points off", count(n), points(tolerance))
	}
	return true
}

func (e *enumerated) fail(v *Verdict, k *category, off float64) {
	v.Of = k.name
	side := "more"
	if off < 0 {
		side = "less"
	}
	if off > 0 {
		k.seen.show(v)
	}
	v.Reason = strings.TrimPrefix(fmt.Sprintf("%s: %s requests %s of one proxy than were "+
		"enumerated", k.name, decimals(math.Abs(off)), side), ": ")
}

func (e *enumerated) wanted(all []*category) string {
	if len(all) == 1 {
		return strings.TrimSpace(all[0].name+" "+pct(all[0].want.Share.Low)) + ", to the request"
	}
	var parts []string
	for _, k := range all {
		parts = append(parts, decimals(100*k.want.Share.Low))
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
