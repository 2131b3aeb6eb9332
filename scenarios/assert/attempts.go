package assert

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Attempts wants a number of upstream tries for each request: as the caller's sidecar made them
// (from, to), or as they arrived at the destination (at), where the tries of one request share
// its id.
type Attempts struct {
	Where `yaml:",inline"`
	Each  Number `yaml:"each" about:"tries of each request: 3, <= 3, 1..3"`
	Total Number `yaml:"total" about:"tries of all requests together"`
}

// Name says what is judged.
func (a *Attempts) Name() string { return named("attempts", &a.Where) }

// Validate says what is wrong with the expectation itself.
func (a *Attempts) Validate() error {
	if !a.Each.Set() && !a.Total.Set() {
		return fmt.Errorf("attempts needs each or total: each: 3")
	}
	if a.View() == ClientView {
		return fmt.Errorf("only sidecars count attempts: add from and to, or at")
	}
	return a.Where.Validate()
}

// Statistical is false: numbers are exact.
func (a *Attempts) Statistical() bool { return false }

// Monitor returns a judge.
func (a *Attempts) Monitor(t Terms) Monitor {
	return &attemptsMonitor{a: a, terms: t, tries: map[string]int64{},
		first: map[string]observe.Request{}}
}

type attemptsMonitor struct {
	unchanged
	a     *Attempts
	terms Terms
	tries map[string]int64 // by request id
	first map[string]observe.Request
	total int64
}

// Request takes one record.
func (m *attemptsMonitor) Request(r *observe.Request) {
	if !m.a.Holds(r) {
		return
	}
	n := int64(1)
	if m.a.View() == SourceView {
		n = int64(len(r.Attempts))
	}
	if _, known := m.tries[r.ID]; !known {
		m.first[r.ID] = observe.Request{ID: r.ID, Start: r.Start, Config: r.Config}
	}
	m.tries[r.ID] += n
	m.total += n
}

// State says whether a drift of the tolerance would have shown; the tries of a request come one
// by one, so that only the verdict can fail.
func (m *attemptsMonitor) State() Outcome {
	p := NewProportion(Exactly(1), m.terms)
	p.seq = Sequence{Draws: int64(len(m.tries)), Hits: int64(len(m.tries))}
	return p.State()
}

// Verdict judges the numbers.
func (m *attemptsMonitor) Verdict() Verdict {
	requests := int64(len(m.tries))
	v := Verdict{Name: m.a.Name(), Samples: requests}
	if m.a.Each.Set() {
		v.Wanted = m.a.Each.String() + " each"
	}
	if m.a.Total.Set() {
		v.Wanted = joined(v.Wanted, m.a.Total.String()+" in all")
	}
	if requests == 0 {
		v.Reason = "no request was seen that it could be judged by"
		return v
	}
	least, most := int64(1<<62), int64(0)
	var stray evidence
	wrong := int64(0)
	for _, id := range slices.SortedFunc(maps.Keys(m.tries), m.earlier) {
		n := m.tries[id]
		least, most = min(least, n), max(most, n)
		if m.a.Each.Set() && !m.a.Each.Holds(n) {
			first := m.first[id]
			stray.add(&first)
			wrong++
		}
	}
	v.Outcome = Pass
	v.Observed = fmt.Sprintf("%s in all, %s each", count(m.total),
		Number{Low: least, High: most, set: true}.between())
	switch {
	case wrong > 0:
		v.Outcome = Fail
		v.Reason = fmt.Sprintf("%s of %s requests had another number of tries", count(wrong),
			count(requests))
		stray.show(&v)
	case m.a.Total.Set() && !m.a.Total.Holds(m.total):
		v.Outcome, v.Reason = Fail, count(m.total)+" tries in all"
	}
	return v
}

func (m *attemptsMonitor) earlier(a, b string) int {
	if d := m.first[a].Start - m.first[b].Start; d != 0 {
		return int(d)
	}
	if a < b {
		return -1
	}
	return 1
}

// between prints a range that was seen: "3", "1 to 3".
func (n Number) between() string {
	if n.Low == n.High {
		return count(n.Low)
	}
	return count(n.Low) + " to " + count(n.High)
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}
