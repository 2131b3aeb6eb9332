package assert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Unchanged wants requests to fare as in an earlier step, although something is away: proxies go on
// without their control plane. The outcomes of requests (status, flags and version, as far as the
// records that are looked at have them) are compared, each by its share.
//
// Each outcome's share lies in a confidence sequence at α / 2k in each of the two steps, k being
// the number of outcomes seen. It fails when two intervals have nothing in common: one that did not
// change fails with probability at most α. It passes when every two shares differ by at most the
// tolerance, wherever in their intervals they are: one in which a share changed by more passes with
// probability at most α. It is inconclusive in between, and where no fault took effect in the step.
type Unchanged struct {
	Against   string `yaml:"against" about:"name of the step to compare with"`
	Where     Where  `yaml:"where" about:"which requests; the load's unless said"`
	Tolerance Points `yaml:"tolerance" about:"how far each share may be off; 5% unless said"`
	Fault     string `yaml:"fault" about:"the fault's name; any of the step unless said"`
}

// Name says what is judged.
func (e *Unchanged) Name() string { return named("unchanged", &e.Where) }

// Validate says what is wrong with the expectation itself.
func (e *Unchanged) Validate() error {
	if e.Against == "" {
		return fmt.Errorf("unchanged needs to know the step to compare with: against: NAME")
	}
	return e.Where.Validate()
}

// Statistical is true: shares are compared.
func (e *Unchanged) Statistical() bool { return true }

// Monitor returns a judge.
func (e *Unchanged) Monitor(t Terms) Monitor {
	if e.Tolerance > 0 {
		t.Tolerance = float64(e.Tolerance)
	}
	return &sameMonitor{e: e, lasting: lasting{name: e.Fault, terms: t},
		now: tally{shares: map[string]int64{}, stray: map[string]*evidence{}}}
}

type sameMonitor struct {
	lasting
	e     *Unchanged
	steps []observe.Change  // their beginnings
	past  []observe.Request // what is needed of other steps' records
	now   tally
}

// tally counts outcomes.
type tally struct {
	n      int64
	shares map[string]int64
	stray  map[string]*evidence // by outcome
}

func (t *tally) add(r *observe.Request) {
	k := outcome(r)
	t.n++
	t.shares[k]++
	if t.stray[k] == nil {
		t.stray[k] = &evidence{}
	}
	t.stray[k].add(r)
}

// outcome tells a request's in a few words: "200 v1", "503 UF".
func outcome(r *observe.Request) string {
	parts := []string{strconv.Itoa(r.Status)}
	if r.Status == 0 {
		parts[0] = "error"
	}
	if SourceView.Holds(r) {
		parts = append(parts, r.Flags, r.Dest.Version)
	} else {
		parts = append(parts, r.Version)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// Change learns when steps began.
func (m *sameMonitor) Change(c *observe.Change) {
	if c.Kind == "step" {
		m.steps = append(m.steps, *c)
	}
}

// Request counts a record of the step.
func (m *sameMonitor) Request(r *observe.Request) {
	if m.e.Where.Holds(r) {
		m.now.add(r)
	}
}

// learn keeps a record of another step.
func (m *sameMonitor) learn(r *observe.Request) {
	if m.e.Where.Holds(r) && r.Start < m.terms.From {
		m.past = append(m.past, observe.Request{ID: r.ID, Start: r.Start, Reporter: r.Reporter,
			Status: r.Status, Flags: r.Flags, Version: r.Version, Dest: r.Dest})
	}
}

// before counts the earlier step's records; ok is false when there was no such step.
func (m *sameMonitor) before() (t tally, ok bool) {
	from, until := clock.Never, clock.Never
	for i := 0; i+1 < len(m.steps); i++ { // the step that is judged began last
		if m.e.Against == m.steps[i].What {
			from, until = m.steps[i].At, m.steps[i+1].At
		}
	}
	t = tally{shares: map[string]int64{}, stray: map[string]*evidence{}}
	for i := range m.past {
		if q := &m.past[i]; q.Start >= from && q.Start < until {
			t.add(q)
		}
	}
	return t, from != clock.Never
}

// State says whether the shares are known well enough.
func (m *sameMonitor) State() Outcome { return m.Verdict().Outcome }

// Verdict compares the shares.
func (m *sameMonitor) Verdict() Verdict {
	was, ok := m.before()
	v := Verdict{Name: m.e.Name(), Samples: m.now.n, FalseAlarm: m.terms.Alpha,
		Wanted: fmt.Sprintf("as in %q ± %s", m.e.Against, points(m.terms.Tolerance))}
	switch {
	case !ok:
		v.Reason = "there was no such step before"
		return v
	case was.n == 0 || m.now.n == 0:
		v.Reason = "no request was seen that it could be judged by"
		return v
	}
	v.Observed = told(&m.now)
	kinds := maps.Clone(was.shares)
	maps.Copy(kinds, m.now.shares)
	alpha := m.terms.Alpha / float64(2*len(kinds))
	v.Outcome = Pass
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		a := Sequence{Draws: was.n, Hits: was.shares[k]}
		b := Sequence{Draws: m.now.n, Hits: m.now.shares[k]}
		m.compare(&v, k, a, b, alpha)
	}
	if v.Outcome == Pass && !m.fired() {
		v.Outcome, v.Reason = Inconclusive, "no fault took effect that could have changed anything"
	}
	return v
}

// compare judges one outcome's shares, then and now.
func (m *sameMonitor) compare(v *Verdict, kind string, a, b Sequence, alpha float64) {
	alo, ahi := a.Interval(alpha)
	blo, bhi := b.Interval(alpha)
	apart := max(ahi-blo, bhi-alo) // how far they may be
	if apart > v.SmallestDrift {
		v.SmallestDrift = apart
		v.Interval, v.Unit, v.Of = &[2]float64{blo, bhi}, "share", kind
	}
	switch {
	case v.Outcome == Fail && (v.Since != nil || m.now.stray[kind] == nil):
	case ahi < blo || bhi < alo:
		v.Outcome = Fail
		v.Reason = fmt.Sprintf("%s: %s, and %s before", kind, pct(b.Share()), pct(a.Share()))
		if e := m.now.stray[kind]; e != nil {
			e.show(v)
		}
	case v.Outcome == Fail:
	case apart > m.terms.Tolerance:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%s and %s requests are too few: %s may have changed by %s points",
			count(a.Draws), count(b.Draws), kind, points(apart))
	}
}

// told prints the shares, the largest first.
func told(t *tally) string {
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(t.shares), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.shares[b], t.shares[a]), cmp.Compare(a, b))
	}) {
		parts = append(parts, k+" "+pct(float64(t.shares[k])/float64(t.n)))
	}
	return strings.Join(parts[:min(4, len(parts))], "  ")
}
