package assert

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Recovers wants success to hold again soon after what was broken is healed. The recovery time is
// from the end of the step's faults to the first request from which on all succeed. That they do is
// believed after `holding` successes in a row: a mesh in which a share p of the requests still
// fails seems recovered at a given request with probability (1-p)^holding, which is 36 % of one
// that fails one in twenty, with the 20 that hold unless said, and 0.6 % with 100. It is
// inconclusive where nothing was healed, where nothing failed while the fault lasted (there was
// nothing to recover from), and where fewer requests came.
type Recovers struct {
	Within  Duration `yaml:"within" about:"so long after the fault's end, at the latest: 2s"`
	Where   Where    `yaml:"where" about:"which requests; the load's unless said"`
	Holding int      `yaml:"holding" about:"successes in a row at the end; 20 unless said"`
	Fault   string   `yaml:"fault" about:"the fault's name; all of the step unless said"`
}

// defaultHolding is how many successes in a row show that success holds.
const defaultHolding = 20

// Name says what is judged.
func (e *Recovers) Name() string { return named("recovers", &e.Where) }

// Validate says what is wrong with the expectation itself.
func (e *Recovers) Validate() error {
	if e.Within == 0 {
		return fmt.Errorf("recovers needs within: 2s")
	}
	return e.Where.Validate()
}

// Statistical is false: it has no rate of false alarms to divide; see Recovers.
func (e *Recovers) Statistical() bool { return false }

// Monitor returns a judge.
func (e *Recovers) Monitor(t Terms) Monitor {
	return &recoversMonitor{e: e, lasting: lasting{name: e.Fault, terms: t},
		holding: int64(cmp.Or(e.Holding, defaultHolding))}
}

type recoversMonitor struct {
	unchanged
	lasting
	e       *Recovers
	holding int64
	calls   []observe.Request // what is needed of each
}

// Request takes one request.
func (m *recoversMonitor) Request(r *observe.Request) {
	if m.e.Where.Holds(r) {
		m.calls = append(m.calls,
			observe.Request{ID: r.ID, Start: r.Start, Status: r.Status, Config: r.Config})
	}
}

// State is undecided: success must hold to the end.
func (m *recoversMonitor) State() Outcome { return Inconclusive }

// Verdict judges the time.
func (m *recoversMonitor) Verdict() Verdict {
	v := Verdict{Name: m.e.Name(), Wanted: "success again within " + m.e.Within.String()}
	healed, ok := m.healed()
	if !ok {
		v.Reason = "nothing was healed in this step"
		return v
	}
	slices.SortStableFunc(m.calls, func(a, b observe.Request) int {
		return cmp.Compare(a.Start, b.Start)
	})
	began, failed := m.began(), int64(0) // while the fault lasted
	var after evidence                   // failures since
	back, row := clock.Never, int64(0)
	for i := range m.calls {
		q := &m.calls[i]
		switch {
		case !succeeded(q) && q.Start < healed:
			if q.Start >= began {
				failed++
			}
			continue
		case !succeeded(q):
			after.add(q)
			back, row = clock.Never, 0
			continue
		case q.Start < healed:
			continue
		}
		v.Samples++
		row++
		back = min(back, q.Start)
	}
	m.judge(&v, healed, back, row, failed)
	if v.Outcome == Fail {
		after.show(&v)
	}
	return v
}

// judge fills in what a row of successes from back on comes to.
func (m *recoversMonitor) judge(
	v *Verdict, healed, back clock.Instant, row, failed int64,
) {
	took := time.Duration(math.MaxInt64)
	if back != clock.Never {
		took = back.Sub(healed)
		v.Observed = fmt.Sprintf("%s after healing, %s in a row", millis(took), count(row))
	}
	deadline := healed.Add(time.Duration(m.e.Within))
	switch late := took > time.Duration(m.e.Within); {
	case failed == 0:
		v.Reason = "nothing failed while the fault lasted: there was nothing to recover from"
	case late && len(m.calls) > 0 && m.calls[len(m.calls)-1].Start >= deadline:
		v.Outcome, v.Reason = Fail, "it still failed "+m.e.Within.String()+" after healing"
	case late:
		v.Reason = "no request came so late that it shows whether it recovered in time"
	case row < m.holding:
		v.Reason = fmt.Sprintf("%s successes in a row are too few; %s show that it holds",
			count(row), count(m.holding))
	default:
		v.Outcome = Pass
	}
}
