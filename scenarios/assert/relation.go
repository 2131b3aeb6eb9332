package assert

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Relation wants a share of some requests to have another record too, joined by the request's id:
// "of what preference aborted, 0 % was seen at recommendation".
type Relation struct {
	Of        Where  `yaml:"of" about:"which requests; the load's unless said"`
	That      Where  `yaml:"that" about:"what must also have been seen of the same request"`
	Is        Share  `yaml:"is" about:"the share: 0%, 30%, >= 99%"`
	Tolerance Points `yaml:"tolerance" about:"how far the share may be off; 5% unless said"`
}

// Name says what is judged.
func (e *Relation) Name() string {
	return fmt.Sprintf("share of (%s) that (%s)", e.Of.String(), e.That.String())
}

// Validate says what is wrong with the expectation itself.
func (e *Relation) Validate() error {
	if e.That.String() == "" || !e.Is.Set() {
		return fmt.Errorf("share needs that and is: {of: {flag: FI}, that: {at: ratings}, is: 0%%}")
	}
	if err := e.Of.Validate(); err != nil {
		return err
	}
	return e.That.Validate()
}

// Headers returns the request headers that records must keep.
func (e *Relation) Headers() []string { return append(e.Of.Headers(), e.That.Headers()...) }

// Statistical says whether it takes a part of α.
func (e *Relation) Statistical() bool { return !e.Is.Exact() }

// Monitor returns a judge.
func (e *Relation) Monitor(t Terms) Monitor {
	if e.Tolerance > 0 {
		t.Tolerance = float64(e.Tolerance)
	}
	return &relation{name: e.Name(), of: &e.Of, that: &e.That, want: e.Is, terms: t,
		seen: map[string]bool{}}
}

// Hidden wants failures at a destination that no client sees: what failed there was made good
// on the way, by a retry.
type Hidden struct {
	Where `yaml:",inline"`
}

// Name says what is judged.
func (h *Hidden) Name() string { return named("hidden", &h.Where) }

// Validate says what is wrong with the expectation itself.
func (h *Hidden) Validate() error {
	if h.View() == ClientView {
		return fmt.Errorf("hidden needs to know what fails: {at: recommendation-v2, status: 5xx}")
	}
	return h.Where.Validate()
}

// Statistical is false: one failure that a client sees is one too many.
func (h *Hidden) Statistical() bool { return false }

// Monitor returns a judge.
func (h *Hidden) Monitor(t Terms) Monitor {
	failed := Where{Status: Statuses{{0, 0}, {400, 599}}}
	return &relation{name: h.Name(), of: &h.Where, that: &failed, want: Exactly(0), terms: t,
		seen: map[string]bool{}, wanted: "no client sees it", strict: true}
}

// relation judges the share of one sort of requests that are of another sort too. The two records
// of a request come in any order, so it is judged over what has come in whenever it is asked.
type relation struct {
	unchanged
	name, wanted string
	of, that     *Where
	want         Share
	terms        Terms
	draws        []observe.Request
	seen         map[string]bool
	settled      *Proportion // of all draws but the newest, while the load runs
	at           int         // how many are in it
	anonymous    int64       // records without an id that could not be joined
	strict       bool        // a record of the other sort without an id breaks it
	stray        evidence
}

// Request takes one record.
func (m *relation) Request(r *observe.Request) {
	is, that := m.of.Holds(r), m.that.Holds(r)
	if !is && !that {
		return
	}
	if r.ID == "" {
		m.anonymous++
		if that {
			m.stray.add(r)
		}
		return
	}
	if is {
		m.draws = append(m.draws, observe.Request{ID: r.ID, Start: r.Start, Config: r.Config})
	}
	if that {
		m.seen[r.ID] = true
	}
}

// pending is how many of the newest requests are left out while the load runs: their other record
// may still come.
const pending = 20

// State says whether the share is decided, the newest requests aside.
func (m *relation) State() Outcome {
	if m.settled == nil {
		m.settled = NewProportion(m.want, m.terms)
	}
	m.at = m.count(m.settled, m.at, len(m.draws)-pending)
	return m.settled.State()
}

// count adds draws from..to to a proportion and returns how far it came.
func (m *relation) count(p *Proportion, from, to int) int {
	for ; from < to; from++ {
		p.Add(m.seen[m.draws[from].ID], &m.draws[from])
	}
	return from
}

// Verdict judges the share.
func (m *relation) Verdict() Verdict {
	p := NewProportion(m.want, m.terms)
	m.count(p, 0, len(m.draws))
	v := Verdict{Name: m.name, Wanted: m.wanted}
	if v.Wanted == "" {
		v.Wanted = p.want.String()
	}
	v.Observed = fmt.Sprintf("%s of %s", count(p.seq.Hits), count(p.seq.Draws))
	p.fill(&v)
	switch {
	case m.strict && m.stray.any && v.Outcome != Fail:
		v.Outcome, v.Reason = Fail, fmt.Sprintf("%s clients failed", count(m.anonymous))
		m.stray.show(&v)
	case m.anonymous > 0 && v.Outcome == Pass && !m.strict:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%s records had no request id", count(m.anonymous))
	}
	return v
}
