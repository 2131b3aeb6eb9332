// Package assert judges a run: expectations are pure functions of the History, and each verdict
// states its error rates. It never sends, waits or asks for the time.
//
//	observe.History ─▶ Judge ─┬▶ Monitor (one for each Expectation) ─▶ Verdict
//	   (or record by record,  └▶ Decided: the load may stop
//	    while the load runs)
//
// Shares are judged by an anytime-valid confidence sequence (Sequence), so that one may look
// after every request: fail as soon as the wanted share has left the interval, pass as soon as
// the interval lies inside wanted ± tolerance, inconclusive otherwise. What is exact (0 %, 100 %,
// stickiness, rotation, counts) is judged exactly. Each step is judged by itself.
//
// A verdict is computed from the whole History, in the order in which requests started. While a
// load runs, records come in the order of completion; the same monitors then only say when
// enough has been seen (Decided), as if whatever is still under way were to turn out worst.
package assert

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// DefaultAlpha is a suite's false-alarm rate: one wrong failure in a million runs of a right mesh.
const DefaultAlpha = 1e-6

// DefaultTolerance is how far a share may be off before it must not pass: 5 points.
const DefaultTolerance = 0.05

// Outcome is what a verdict says.
type Outcome uint8

// The outcomes. The zero value is Inconclusive: what was never judged did not pass.
const (
	Inconclusive Outcome = iota
	Pass
	Fail
)

// String returns the outcome as the Result spells it.
func (o Outcome) String() string { return [...]string{"inconclusive", "pass", "fail"}[o] }

// MarshalText spells an outcome for JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (o *Outcome) UnmarshalText(b []byte) error {
	for _, k := range []Outcome{Inconclusive, Pass, Fail} {
		if k.String() == string(b) {
			*o = k
			return nil
		}
	}
	return fmt.Errorf("outcome %q is none of pass, fail, inconclusive", b)
}

// Worst returns the outcome of several together: fail before inconclusive before pass. Nothing at
// all passes: a step without expectations has none to break.
func Worst(all ...Outcome) Outcome {
	worst := Pass
	for _, o := range all {
		switch {
		case o == Fail:
			return Fail
		case o == Inconclusive:
			worst = Inconclusive
		}
	}
	return worst
}

// Verdict is one expectation's judgement, in the form in which the Result carries it.
type Verdict struct {
	Name     string  `json:"name"` // "split recommendation"
	Outcome  Outcome `json:"verdict"`
	Wanted   string  `json:"wanted"`   // "90 / 10 ± 5"
	Observed string  `json:"observed"` // "v1 89.7 %  v2 10.3 %"
	Samples  int64   `json:"samples"`
	// Interval holds the truth with probability 1-α, at every number of samples at once; Unit says
	// what it counts ("share", "ms"), and Of which category it is about ("v2").
	Interval *[2]float64 `json:"interval,omitempty"`
	Unit     string      `json:"unit,omitempty"`
	Of       string      `json:"of,omitempty"`
	// FalseAlarm bounds the probability that a right mesh fails this; 0: exact.
	FalseAlarm float64 `json:"false_alarm"`
	// SmallestDrift is the smallest distance from what was wanted that would have shown: a mesh
	// further off has its share inside the interval with probability at most α.
	SmallestDrift float64 `json:"smallest_drift,omitempty"`
	// Evidence names requests that show a failure (x-request-id).
	Evidence []string `json:"evidence,omitempty"`
	// Since is when the expectation was first broken; nil unless it failed.
	Since *clock.Instant `json:"since_ns,omitempty"`
	// Config is the Istio object whose rule decided the requests in Evidence.
	Config string `json:"config,omitempty"`
	// Reason says in a sentence why it failed or could not be decided.
	Reason string `json:"reason,omitempty"`
	// Hint is a command that shows more.
	Hint string `json:"hint,omitempty"`
}

// Terms are the conditions under which one step is judged.
type Terms struct {
	Step        string
	From, Until clock.Instant // records that start in [From, Until) belong to the step
	Alpha       float64       // this expectation's share of the suite's false-alarm rate
	Tolerance   float64       // of shares that name none
	InFlight    int64         // how many requests may be under way at a time, while the load runs
}

// Expectation is one thing that must be true of a step.
type Expectation interface {
	// Name says what is judged, in a few words.
	Name() string
	// Statistical says whether it takes a part of the suite's false-alarm rate.
	Statistical() bool
	// Monitor returns a judge of records as they come.
	Monitor(Terms) Monitor
}

// Monitor judges one expectation while records come in. It is given only records of its step.
type Monitor interface {
	// Request takes a proxy's record, or a client's in the same form with an empty Reporter. It
	// must not keep the pointer.
	Request(*observe.Request)
	// Change takes a change of the step or of an earlier one.
	Change(*observe.Change)
	// State says, while the load runs, whether more of it can still be useful: Inconclusive
	// means undecided so far.
	State() Outcome
	// Verdict judges what has come in, in the order in which requests started.
	Verdict() Verdict
}

// learner is a Monitor that wants to know of records of other steps too.
type learner interface{ learn(*observe.Request) }

// Check judges one expectation over a recorded History.
func Check(e Expectation, h *observe.History, t Terms) Verdict {
	j := NewJudge(t, e)
	j.History(h)
	return j.Verdicts()[0]
}

// Judge judges a step: it hands the records of the step to the monitors of its expectations.
type Judge struct {
	terms    Terms
	monitors []Monitor
	pods     map[string]string // address → pod, as destinations' own sidecars report it
	named    observe.Request   // a record in which the destination's pod has its name
}

// NewJudge returns a judge of these expectations, each under the terms given.
func NewJudge(t Terms, expectations ...Expectation) *Judge {
	j := &Judge{terms: t, pods: map[string]string{}}
	for _, e := range expectations {
		j.monitors = append(j.monitors, e.Monitor(t))
	}
	return j
}

func (j *Judge) within(at clock.Instant) bool { return at >= j.terms.From && at < j.terms.Until }

// Request judges a proxy's record, when it belongs to the step.
func (j *Judge) Request(r *observe.Request) {
	r = j.name(r)
	if !j.within(r.Start) {
		j.learn(r)
		return
	}
	for _, m := range j.monitors {
		m.Request(r)
	}
}

// name returns the record with the destination's pod by its own name: an endpoint's metadata
// names the workload only. It is valid until the next call.
func (j *Judge) name(r *observe.Request) *observe.Request {
	if r.Reporter == observe.Destination {
		if _, known := j.pods[r.Local]; !known && r.Local != "" {
			j.pods[r.Local] = self(r).Pod
		}
		return r
	}
	pod, known := j.pods[r.Upstream]
	if !known || pod == r.Dest.Pod {
		return r
	}
	j.named = *r
	j.named.Dest.Pod = pod
	return &j.named
}

// Client judges a sender's record, when it belongs to the step.
func (j *Judge) Client(c *observe.Client) {
	r := observe.Request{ID: c.ID, Start: c.Start, Duration: c.Duration, Status: c.Status,
		Workload: c.From}
	if !j.within(c.Start) {
		j.learn(&r)
		return
	}
	for _, m := range j.monitors {
		m.Request(&r)
	}
}

// learn hands on a record of another step.
func (j *Judge) learn(r *observe.Request) {
	for _, m := range j.monitors {
		if l, ok := m.(learner); ok {
			l.learn(r)
		}
	}
}

// Fault hands on something that was broken, at any time of the run.
func (j *Judge) Fault(f *observe.Fault) {
	for _, m := range j.monitors {
		if b, ok := m.(faulted); ok {
			b.fault(f)
		}
	}
}

// Change hands on a change of the step or of an earlier one.
func (j *Judge) Change(c *observe.Change) {
	if c.At >= j.terms.Until {
		return
	}
	for _, m := range j.monitors {
		m.Change(c)
	}
}

// History judges all records of a History that belong to the step, in the order in which requests
// started. In the order of completion, slow ones would be missing among the first, and the draws
// would depend on what is drawn.
func (j *Judge) History(h *observe.History) {
	for i := range h.Faults {
		j.Fault(&h.Faults[i])
	}
	for i := range h.Changes {
		j.Change(&h.Changes[i])
	}
	requests := make([]*observe.Request, 0, len(h.Requests))
	for i := range h.Requests {
		j.name(&h.Requests[i])
		requests = append(requests, &h.Requests[i])
	}
	slices.SortStableFunc(requests, func(a, b *observe.Request) int {
		return cmp.Compare(a.Start, b.Start)
	})
	for _, r := range requests {
		j.Request(r)
	}
	clients := make([]*observe.Client, 0, len(h.Clients))
	for i := range h.Clients {
		clients = append(clients, &h.Clients[i])
	}
	slices.SortStableFunc(clients, func(a, b *observe.Client) int {
		return cmp.Compare(a.Start, b.Start)
	})
	for _, c := range clients {
		j.Client(c)
	}
}

// Decided says that more load cannot change the step's outcome for the better: something has
// failed, or everything is decided. A load `until: decided` stops at this moment.
func (j *Judge) Decided() bool {
	all := true
	for _, m := range j.monitors {
		switch m.State() {
		case Fail:
			return true
		case Inconclusive:
			all = false
		}
	}
	return all
}

// Verdicts returns the verdicts on what has come in so far, in the order of the expectations.
func (j *Judge) Verdicts() []Verdict {
	out := make([]Verdict, 0, len(j.monitors))
	for _, m := range j.monitors {
		out = append(out, m.Verdict())
	}
	return out
}
