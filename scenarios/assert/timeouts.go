package assert

import (
	"fmt"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Timeouts wants every call of a caller to end in time although the destination does not answer.
// Gremlin's HasTimeouts (ICDCS 2016): the source's own callers get an answer within the bound
// whatever its dependency does. It is exact: one call that takes longer is one too many. What shows
// that the bound was needed is a call that was cut short: by a time-out (UT), or by a try that got
// no answer at all; without one it is inconclusive.
type Timeouts struct {
	From   string   `yaml:"from" about:"the caller whose sidecar gives up"`
	To     string   `yaml:"to" about:"the slow destination; NAME or NAME.NAMESPACE"`
	Within Duration `yaml:"within" about:"the longest that a call may take, all tries together: 1s"`
}

// Name says what is judged.
func (e *Timeouts) Name() string { return fmt.Sprintf("time-outs from %s to %s", e.From, e.To) }

// Validate says what is wrong with the expectation itself.
func (e *Timeouts) Validate() error {
	if e.From == "" || e.To == "" || e.Within == 0 {
		return fmt.Errorf("timeouts needs from, to and within")
	}
	return nil
}

// Statistical is false: a bound is exact.
func (e *Timeouts) Statistical() bool { return false }

// Monitor returns a judge.
func (e *Timeouts) Monitor(Terms) Monitor {
	return &timeoutsMonitor{e: e, of: Where{From: e.From, To: e.To}}
}

type timeoutsMonitor struct {
	unchanged
	e       *Timeouts
	of      Where
	n, cut  int64
	longest time.Duration
	late    evidence
	lates   int64
}

// Request judges one call.
func (m *timeoutsMonitor) Request(r *observe.Request) {
	if !m.of.Holds(r) {
		return
	}
	m.n++
	m.longest = max(m.longest, r.Duration)
	if cutShort(r) {
		m.cut++
	}
	if r.Duration > time.Duration(m.e.Within) {
		m.lates++
		m.late.add(r)
	}
}

// cutShort says that nobody waited for the destination's answer any longer.
func cutShort(r *observe.Request) bool {
	if hasFlag(r.Flags, "UT") {
		return true
	}
	for i := range r.Attempts {
		if a := &r.Attempts[i]; a.Status == 0 || hasFlag(a.Flags, "UT") {
			return true
		}
	}
	return false
}

// State says whether a call was late, or one was cut short.
func (m *timeoutsMonitor) State() Outcome {
	switch {
	case m.lates > 0:
		return Fail
	case m.cut > 0:
		return Pass
	}
	return Inconclusive
}

// Verdict judges the calls.
func (m *timeoutsMonitor) Verdict() Verdict {
	v := Verdict{Name: m.e.Name(), Wanted: "every call within " + m.e.Within.String(),
		Samples: m.n, Outcome: m.State()}
	if m.n > 0 {
		v.Observed = fmt.Sprintf("%s at most, %s of %s calls cut short", millis(m.longest),
			count(m.cut), count(m.n))
	}
	switch {
	case m.lates > 0:
		v.Reason = count(m.lates) + " calls took longer"
		m.late.show(&v)
	case m.n == 0:
		v.Reason = "no request was seen that it could be judged by"
	case m.cut == 0:
		v.Reason = "no call was cut short: the destination was never too slow"
	}
	return v
}
