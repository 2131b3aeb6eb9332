package assert

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// NoneLost wants every request to get an answer, and every answer of success to come from the
// destination: its own sidecar must have a record of the same request. An answer that tells of a
// failure is an answer: `success` judges those. It is exact.
type NoneLost struct {
	From string `yaml:"from" about:"the caller"`
	At   string `yaml:"at" about:"the destination whose records are looked at"`
}

// Name says what is judged.
func (e *NoneLost) Name() string { return fmt.Sprintf("none lost from %s at %s", e.From, e.At) }

// Validate says what is wrong with the expectation itself.
func (e *NoneLost) Validate() error {
	if e.From == "" || e.At == "" {
		return fmt.Errorf("noneLost needs from and at")
	}
	return nil
}

// Statistical is false: one lost request is one too many.
func (e *NoneLost) Statistical() bool { return false }

// Monitor returns a judge.
func (e *NoneLost) Monitor(Terms) Monitor {
	return &lostMonitor{e: e, sent: Where{From: e.From, To: e.At}, got: Where{At: e.At},
		arrived: map[string]bool{}}
}

type lostMonitor struct {
	unchanged
	e          *NoneLost
	sent, got  Where
	n          int64
	arrived    map[string]bool
	answered   []observe.Request // with success, at the caller's sidecar
	unanswered evidence
	silent     int64
}

// Request takes one record.
func (m *lostMonitor) Request(r *observe.Request) {
	client := ClientView.Holds(r)
	switch {
	case m.got.Holds(r):
		m.arrived[r.ID] = true
	case client && r.Status == 0, m.sent.Holds(r) && r.Status == 0:
		m.silent++
		m.unanswered.add(r)
	case !client && m.sent.Holds(r) && succeeded(r):
		m.answered = append(m.answered,
			observe.Request{ID: r.ID, Start: r.Start, Config: r.Config})
	}
	if !client && m.sent.Holds(r) {
		m.n++
	}
}

// State says whether a request got no answer; records of one request come one by one, so that only
// the verdict can find the others.
func (m *lostMonitor) State() Outcome {
	switch {
	case m.silent > 0:
		return Fail
	case m.n > 0:
		return Pass
	}
	return Inconclusive
}

// Verdict judges the accounts.
func (m *lostMonitor) Verdict() Verdict {
	v := Verdict{Name: m.e.Name(), Wanted: "each answered, each success by " + m.e.At, Samples: m.n}
	var lost evidence
	n := int64(0)
	for i := range m.answered {
		if q := &m.answered[i]; !m.arrived[q.ID] {
			n++
			lost.add(q)
		}
	}
	v.Observed = fmt.Sprintf("%s requests, %s without an answer, %s that %s has not seen",
		count(m.n), count(m.silent), count(n), m.e.At)
	switch {
	case m.silent > 0:
		v.Outcome, v.Reason = Fail, count(m.silent)+" requests got no answer"
		m.unanswered.show(&v)
	case n > 0:
		v.Outcome, v.Reason = Fail, count(n)+" were answered with success, and never arrived"
		lost.show(&v)
	case m.n == 0:
		v.Reason = "no request was seen that it could be judged by"
	default:
		v.Outcome = Pass
	}
	return v
}

// AnsweredOnce wants no request to be answered twice by the destination: of those that share a
// request id it answers one with success and no more, whatever was tried again. That is what
// retries of what is not idempotent must keep to. It is exact; inconclusive where nothing was tried
// again, and where records have no request id.
type AnsweredOnce struct {
	At   string `yaml:"at" about:"the destination whose records are looked at"`
	From string `yaml:"from" about:"whose sidecar tries again; any unless said"`
}

// Name says what is judged.
func (e *AnsweredOnce) Name() string { return "answered once at " + e.At }

// Validate says what is wrong with the expectation itself.
func (e *AnsweredOnce) Validate() error {
	if e.At == "" {
		return fmt.Errorf("answeredOnce needs at")
	}
	return nil
}

// Statistical is false: one answer too many is one too many.
func (e *AnsweredOnce) Statistical() bool { return false }

// Monitor returns a judge.
func (e *AnsweredOnce) Monitor(Terms) Monitor {
	return &onceMonitor{e: e, sent: Where{From: e.From, To: e.At}, got: Where{At: e.At},
		answers: map[string]int64{}}
}

type onceMonitor struct {
	unchanged
	e         *AnsweredOnce
	sent, got Where
	answers   map[string]int64 // with success, by request id
	again     int64            // requests that were tried again
	nameless  int64
	twice     evidence
	twices    int64
}

// Request takes one record.
func (m *onceMonitor) Request(r *observe.Request) {
	if m.sent.Holds(r) && len(r.Attempts) > 1 {
		m.again++
	}
	if !m.got.Holds(r) || !succeeded(r) {
		return
	}
	if r.ID == "" {
		m.nameless++
		return
	}
	if m.answers[r.ID]++; m.answers[r.ID] == 2 {
		m.twices++
		m.twice.add(r)
	}
}

// State says whether a request was answered twice, or tried twice.
func (m *onceMonitor) State() Outcome {
	switch {
	case m.twices > 0:
		return Fail
	case m.again > 0:
		return Pass
	}
	return Inconclusive
}

// Verdict judges the answers.
func (m *onceMonitor) Verdict() Verdict {
	v := Verdict{Name: m.e.Name(), Wanted: "one success each", Samples: int64(len(m.answers)),
		Outcome: m.State()}
	v.Observed = fmt.Sprintf("%s requests, %s tried again, %s answered twice",
		count(int64(len(m.answers))), count(m.again), count(m.twices))
	switch {
	case m.twices > 0:
		v.Reason = count(m.twices) + " requests were answered with success more than once"
		m.twice.show(&v)
	case m.again == 0:
		v.Reason = "nothing was tried again: there was nothing to answer twice"
	case m.nameless > 0:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%s records had no request id", count(m.nameless))
	}
	return v
}
