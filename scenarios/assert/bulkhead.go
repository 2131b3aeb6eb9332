package assert

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Bulkhead wants a slow neighbour not to take a healthy one down. Gremlin's HasBulkhead (ICDCS
// 2016): while one dependency is slow, calls of the others go on at their rate. Judged are the
// calls of the healthy one that were under way while one of the slow one was: a call of that one is
// slow when it fails, or takes as long as no healthy one may. Their share that succeeds in time is
// judged as any share is; it is inconclusive where nothing was slow, and where nothing healthy was
// asked for meanwhile.
type Bulkhead struct {
	Slow    Where    `yaml:"slow" about:"calls of the slow one: {from: productpage, to: reviews}"`
	Healthy Where    `yaml:"healthy" about:"calls that must not suffer"`
	Within  Duration `yaml:"within" about:"how long a healthy call may take: 300ms"`
	Share   Share    `yaml:"share" about:"of healthy calls that succeed in time; 100% unless said"`
	Calls   Number   `yaml:"calls" about:"healthy calls while the other is slow: >= 1 unless said"`
}

// Name says what is judged.
func (b *Bulkhead) Name() string {
	return fmt.Sprintf("bulkhead (%s) beside (%s)", b.Healthy.String(), b.Slow.String())
}

// Validate says what is wrong with the expectation itself.
func (b *Bulkhead) Validate() error {
	if b.Slow.String() == "" || b.Healthy.String() == "" || b.Within == 0 {
		return fmt.Errorf("bulkhead needs slow, healthy and within")
	}
	return cmp.Or(b.Slow.Validate(), b.Healthy.Validate())
}

// Headers returns the request headers that records must keep.
func (b *Bulkhead) Headers() []string { return append(b.Slow.Headers(), b.Healthy.Headers()...) }

// Statistical says whether it takes a part of α.
func (b *Bulkhead) Statistical() bool { return b.Share.Set() && !b.Share.Exact() }

// Monitor returns a judge.
func (b *Bulkhead) Monitor(t Terms) Monitor {
	m := &bulkheadMonitor{b: b, terms: t, want: b.Share, calls: b.Calls}
	if !m.want.Set() {
		m.want = Exactly(1)
	}
	if !m.calls.Set() {
		m.calls = AtLeast(1)
	}
	return m
}

type bulkheadMonitor struct {
	unchanged
	b       *Bulkhead
	terms   Terms
	want    Share
	calls   Number
	slow    []stretch         // when calls of the slow one were under way
	healthy []observe.Request // what is needed of each
}

// stretch is a time, both ends included.
type stretch struct{ from, until clock.Instant }

// Request takes one call.
func (m *bulkheadMonitor) Request(r *observe.Request) {
	if m.b.Slow.Holds(r) && (!succeeded(r) || r.Duration >= time.Duration(m.b.Within)) {
		m.slow = append(m.slow, stretch{r.Start, r.Start.Add(r.Duration)})
	}
	if m.b.Healthy.Holds(r) {
		m.healthy = append(m.healthy, observe.Request{ID: r.ID, Start: r.Start,
			Duration: r.Duration, Status: r.Status, Config: r.Config})
	}
}

// State is undecided: a slow call is known to be so when it has ended.
func (m *bulkheadMonitor) State() Outcome { return Inconclusive }

// Verdict judges the healthy calls that were under way while a slow one was.
func (m *bulkheadMonitor) Verdict() Verdict {
	p := NewProportion(m.want, m.terms)
	slow := united(m.slow)
	longest := time.Duration(0)
	for _, r := range slices.SortedStableFunc(slices.Values(m.healthy),
		func(a, b observe.Request) int { return cmp.Compare(a.Start, b.Start) }) {
		if !meets(slow, stretch{r.Start, r.Start.Add(r.Duration)}) {
			continue
		}
		longest = max(longest, r.Duration)
		p.Add(succeeded(&r) && r.Duration < time.Duration(m.b.Within), &r)
	}
	v := Verdict{Name: m.b.Name(),
		Wanted: fmt.Sprintf("%s in %s", p.want.String(), m.b.Within.String())}
	p.fill(&v)
	n := p.seq.Draws
	v.Observed = fmt.Sprintf("%s of %s healthy calls in time, %s at most", count(p.seq.Hits),
		count(n), millis(longest))
	switch {
	case len(slow) == 0:
		v.Outcome, v.Observed = Inconclusive, ""
		v.Reason = "no call of the slow one failed or took " + m.b.Within.String() +
			": there was nothing to be shielded from"
	case v.Outcome != Fail && !m.calls.Holds(n) && (n > 0 || m.b.Calls.Set()):
		v.Outcome = Fail
		v.Reason = fmt.Sprintf("%s healthy calls while the other was slow, not %s", count(n),
			m.calls)
	case n == 0:
		v.Reason = "no healthy call was made while the other was slow"
	}
	return v
}

// united returns stretches in order, those that touch made one.
func united(all []stretch) []stretch {
	var out []stretch
	for _, s := range slices.SortedFunc(slices.Values(all), func(a, b stretch) int {
		return cmp.Compare(a.from, b.from)
	}) {
		if last := len(out) - 1; last >= 0 && s.from <= out[last].until {
			out[last].until = max(out[last].until, s.until)
			continue
		}
		out = append(out, s)
	}
	return out
}

// meets says whether a stretch has a moment in common with one of those, which are in order.
func meets(united []stretch, s stretch) bool {
	i, _ := slices.BinarySearchFunc(united, s.from, func(u stretch, at clock.Instant) int {
		return cmp.Compare(u.until, at)
	})
	return i < len(united) && united[i].from <= s.until
}
