package assert

import (
	"fmt"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// CircuitBreaker wants a caller to stop asking what fails, soon, and to ask it again when it is
// well. Gremlin's HasCircuitBreaker (ICDCS 2016): after so many failures no calls for a while, then
// calls again. A circuit is open while the caller's sidecar has ejected the host, and where it
// refuses a call because too many wait (UO).
//
//	first failed try ── opens ──▶ ejected or UO ...leaks... fault healed ── closes ──▶ answered
//
// It opens within `opens` of the first failed try, or of the fault's beginning where none fails. No
// try is made at a host while it is ejected, but for `leaks` each time: several threads of a real
// Envoy learn of an ejection one after the other. It closes within `closes` of the end of the
// step's faults: hosts are back, and one has answered. It is exact, and inconclusive where nothing
// failed, and where nothing was healed.
type CircuitBreaker struct {
	From   string   `yaml:"from" about:"the caller whose sidecar has the breaker"`
	To     string   `yaml:"to" about:"what fails: a pod, workload or service"`
	Opens  Duration `yaml:"opens" about:"so long after the first failure, at the latest: 1s"`
	Closes Duration `yaml:"closes" about:"so long after the fault's end, at the latest: 5s"`
	Leaks  Number   `yaml:"leaks" about:"tries at a host while it is out: <= 1 unless said"`
	Fault  string   `yaml:"fault" about:"the fault's name; all of the step unless said"`
}

// Name says what is judged.
func (c *CircuitBreaker) Name() string {
	return fmt.Sprintf("circuit breaker from %s to %s", c.From, c.To)
}

// Validate says what is wrong with the expectation itself.
func (c *CircuitBreaker) Validate() error {
	if c.From == "" || c.To == "" || c.Opens == 0 {
		return fmt.Errorf("circuitBreaker needs from, to and opens")
	}
	return nil
}

// Statistical is false: times have bounds.
func (c *CircuitBreaker) Statistical() bool { return false }

// Monitor returns a judge.
func (c *CircuitBreaker) Monitor(t Terms) Monitor {
	m := &circuitMonitor{c: c, leaks: c.Leaks, lasting: lasting{name: c.Fault, terms: t},
		hosts: ejectionMonitor{pod: c.To, by: c.From, terms: t,
			address: map[string]observe.Workload{}}}
	if !m.leaks.Set() {
		m.leaks = Number{High: 1, set: true}
	}
	return m
}

type circuitMonitor struct {
	lasting
	c     *CircuitBreaker
	leaks Number
	hosts ejectionMonitor // who was out, and when
	tries []circuitTry

	refused evidence      // UO
	lastUO  clock.Instant // the last refusal
	last    clock.Instant // the last call
	n       int64
}

// circuitTry is one try at some host.
type circuitTry struct {
	by, id  string
	address string
	at, end clock.Instant
	failed  bool
}

// Request takes one call.
func (m *circuitMonitor) Request(r *observe.Request) {
	m.hosts.Request(r)
	if !SourceView.Holds(r) || !isWorkload(m.c.From, self(r)) {
		return
	}
	m.n++
	m.last = max(m.last, r.Start)
	if hasFlag(r.Flags, "UO") && (isService(m.c.To, r.Cluster) || isWorkload(m.c.To, r.Dest)) {
		m.refused.add(r)
		m.lastUO = max(m.lastUO, r.Start)
	}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		m.tries = append(m.tries, circuitTry{by: r.Proxy, id: r.ID, address: a.Upstream,
			at: a.Start, end: a.Start.Add(a.Duration), failed: failedTry(a)})
	}
}

// Change takes ejections and returns.
func (m *circuitMonitor) Change(c *observe.Change) { m.hosts.Change(c) }

// learn remembers who an address is.
func (m *circuitMonitor) learn(r *observe.Request) { m.hosts.learn(r) }

// State is undecided: only the end shows that it closed.
func (m *circuitMonitor) State() Outcome { return Inconclusive }

// Verdict judges the circuit.
func (m *circuitMonitor) Verdict() Verdict {
	v := Verdict{Name: m.c.Name(), Samples: m.n,
		Wanted: "open within " + m.c.Opens.String()}
	if m.c.Closes > 0 {
		v.Wanted += ", closed within " + m.c.Closes.String()
	}
	began, failures, first := m.trouble()
	if began == clock.Never {
		v.Reason = "nothing failed and nothing was broken: there was nothing to open for"
		return v
	}
	opened := m.opened(began)
	switch {
	case opened == clock.Never:
		v.Observed = fmt.Sprintf("%s tries failed", count(failures))
		v.Outcome, v.Reason, v.Since = Fail, "it never opened", &began
		v.Evidence = first
		return v
	case opened.Sub(began) > time.Duration(m.c.Opens):
		v.Outcome, v.Reason, v.Since = Fail, "it opened late", &began
		v.Evidence = first
	default:
		v.Outcome = Pass
	}
	v.Observed = "open after " + millis(opened.Sub(began))
	m.leaked(&v)
	m.closed(&v)
	return v
}

// trouble returns when the first try at the destination had failed, or when the fault began where
// none did, and how many failed; Never when there was none at all.
func (m *circuitMonitor) trouble() (began clock.Instant, failures int64, first []string) {
	began = clock.Never
	for i := range m.tries {
		if t := &m.tries[i]; t.failed && m.hosts.theirs(t.address) {
			failures++
			if t.end < began {
				began, first = t.end, []string{t.id}
			}
		}
	}
	if failures == 0 && m.fired() {
		began = m.began()
	}
	return began, failures, first
}

// opened returns when the circuit did first, not before it began to fail: a host that was ejected
// by a try's failure may be out before the try's record has ended.
func (m *circuitMonitor) opened(began clock.Instant) clock.Instant {
	opened := clock.Never
	for _, e := range m.hosts.events() {
		if e.out >= m.terms.From {
			opened = min(opened, max(e.out, began))
		}
	}
	if m.refused.any {
		opened = min(opened, max(m.refused.first, began))
	}
	return opened
}

// leaked fails the verdict when tries were made at a host that was out.
func (m *circuitMonitor) leaked(v *Verdict) {
	for _, e := range m.hosts.events() {
		var leaks evidence
		n := int64(0)
		for i := range m.tries {
			t := &m.tries[i]
			if t.by == e.by && t.address == e.address && t.at > e.out && t.at < e.back {
				n++
				leaks.add(&observe.Request{ID: t.id, Start: t.at})
			}
		}
		if !m.leaks.Holds(n) && v.Outcome != Fail {
			v.Outcome = Fail
			v.Reason = fmt.Sprintf("%s tries at %s while it was open", count(n), e.address)
			leaks.show(v)
		}
	}
}

// closed judges what came after the fault.
func (m *circuitMonitor) closed(v *Verdict) {
	healed, ok := m.healed()
	if m.c.Closes == 0 || v.Outcome == Fail {
		return
	}
	if !ok {
		v.Outcome, v.Reason = Inconclusive, "nothing was healed in this step: it can not close"
		return
	}
	closed, answered := m.lastOpen(healed), clock.Never
	for i := range m.tries {
		t := &m.tries[i]
		if !t.failed && t.at >= closed && m.hosts.theirs(t.address) {
			answered = min(answered, t.end)
		}
	}
	closed = max(closed, answered)
	deadline := healed.Add(time.Duration(m.c.Closes))
	switch {
	case closed <= deadline:
		v.Observed += ", closed " + millis(closed.Sub(healed)) + " after healing"
	case m.last < deadline: // nobody asked for so long
		v.Outcome, v.Reason = Inconclusive,
			"no call came so late that it shows whether it closed"
	default:
		v.Outcome, v.Reason, v.Since = Fail, "it did not close in time", &deadline
	}
}

// lastOpen is when the circuit was open last, not before healing; Never while it is.
func (m *circuitMonitor) lastOpen(healed clock.Instant) clock.Instant {
	at := max(healed, m.lastUO)
	for _, e := range m.hosts.events() {
		at = max(at, e.back)
	}
	return at
}
