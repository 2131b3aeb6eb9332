package assert

import (
	"fmt"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Ejected wants hosts to be ejected by outlier detection, from the proxies' changes: how often,
// how soon, and for how long.
type Ejected struct {
	Pod    string   `yaml:"pod" about:"the pod, workload or service that is ejected"`
	By     string   `yaml:"by" about:"the workload whose sidecar ejects it; any unless said"`
	Times  Number   `yaml:"times" about:"how often: >= 1 unless said; 0 is never"`
	Within Duration `yaml:"within" about:"so long after the first failure at it, at the latest"`
	For    Span     `yaml:"for" about:"how long until it is back: 1s..1.5s"`
}

// Name says what is judged.
func (e *Ejected) Name() string { return "ejected " + e.Pod }

// Validate says what is wrong with the expectation itself.
func (e *Ejected) Validate() error {
	if e.Pod == "" {
		return fmt.Errorf("ejected needs a pod")
	}
	return nil
}

// Statistical is false: times have bounds.
func (e *Ejected) Statistical() bool { return false }

// Monitor returns a judge.
func (e *Ejected) Monitor(t Terms) Monitor {
	times := e.Times
	if !times.Set() {
		times = AtLeast(1)
	}
	return &ejectionMonitor{name: e.Name(), pod: e.Pod, by: e.By, times: times,
		within: time.Duration(e.Within), span: e.For, terms: t,
		address: map[string]observe.Workload{}}
}

// Returned wants ejected hosts to be back: how often, and how long after their ejection.
type Returned struct {
	Pod   string `yaml:"pod" about:"the pod, workload or service that returns"`
	By    string `yaml:"by" about:"the workload whose sidecar takes it back; any unless said"`
	Times Number `yaml:"times" about:"how often: >= 1 unless said"`
	After Span   `yaml:"after" about:"how long after its ejection: 1s..1.5s"`
}

// Name says what is judged.
func (e *Returned) Name() string { return "returned " + e.Pod }

// Validate says what is wrong with the expectation itself.
func (e *Returned) Validate() error {
	if e.Pod == "" {
		return fmt.Errorf("returned needs a pod")
	}
	return nil
}

// Statistical is false: times have bounds.
func (e *Returned) Statistical() bool { return false }

// Monitor returns a judge.
func (e *Returned) Monitor(t Terms) Monitor {
	times := e.Times
	if !times.Set() {
		times = AtLeast(1)
	}
	return &ejectionMonitor{name: e.Name(), pod: e.Pod, by: e.By, times: times, span: e.After,
		returned: true, terms: t, address: map[string]observe.Workload{}}
}

// ejectionMonitor follows the ejections and returns of one host (or of a service's hosts).
type ejectionMonitor struct {
	name, pod, by string
	times         Number
	within        time.Duration // from the first failure to the ejection
	span          Span          // from an ejection to the return
	returned      bool          // counts returns, not ejections
	terms         Terms

	address  map[string]observe.Workload // who an upstream address is
	failures []failure
	changes  []observe.Change
	n        int64

	fresh bool // changes have come since state was worked out
	state Outcome
}

// failure is one failed try at a host.
type failure struct {
	address string
	at      clock.Instant
	id      string
}

// Request learns who an address is, and when tries at it failed.
func (m *ejectionMonitor) Request(r *observe.Request) {
	m.learn(r)
	if !SourceView.Holds(r) || m.by != "" && !isWorkload(m.by, self(r)) {
		return
	}
	m.n++
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if a.Status >= 500 || a.Status == 0 || a.Flags != "" {
			m.failures = append(m.failures,
				failure{address: a.Upstream, at: a.Start.Add(a.Duration), id: r.ID})
		}
	}
}

// learn remembers who an upstream address is.
func (m *ejectionMonitor) learn(r *observe.Request) {
	if r.Upstream != "" && r.Dest.Pod != "" {
		if m.address[r.Upstream].Pod != r.Dest.Pod {
			m.fresh = true
		}
		m.address[r.Upstream] = r.Dest
	}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if _, known := m.address[a.Upstream]; !known && a.Pod != "" {
			m.address[a.Upstream] = observe.Workload{Pod: a.Pod, Version: a.Version}
		}
	}
}

// Change takes ejections and returns.
func (m *ejectionMonitor) Change(c *observe.Change) {
	if c.Kind == "eject" || c.Kind == "uneject" {
		m.changes = append(m.changes, *c)
		m.fresh = true
	}
}

// host returns the address that an ejection is about: its What is "CLUSTER ADDRESS".
func host(c *observe.Change) string {
	return c.What[strings.LastIndexByte(c.What, ' ')+1:]
}

func (m *ejectionMonitor) mine(c *observe.Change) bool {
	pod, rest, _ := strings.Cut(c.By, ".")
	by := observe.Workload{Pod: pod, Namespace: rest}
	if m.by != "" && !isWorkload(m.by, by) && !strings.HasPrefix(pod, m.by+"-") {
		return false
	}
	return m.theirs(host(c))
}

// theirs says whether an address is the pod's, or one of the workload's or service's pods.
func (m *ejectionMonitor) theirs(address string) bool {
	w := m.address[address]
	return address == m.pod || isWorkload(m.pod, w) || strings.HasPrefix(w.Pod, m.pod+"-")
}

// event is one ejection with its return.
type event struct {
	by, address string        // the proxy and the host
	out, back   clock.Instant // back is Never while it is still out
	cause       clock.Instant // first failure since the step began or the last return
	id          string
}

func (m *ejectionMonitor) events() []event {
	var all []event
	open := map[string]int{} // proxy and address → index in all
	last := map[string]clock.Instant{}
	for i := range m.changes {
		c := &m.changes[i]
		if !m.mine(c) {
			continue
		}
		key := c.By + " " + c.What
		j, isOpen := open[key]
		switch {
		case c.Kind == "eject":
			e := event{by: c.By, address: host(c), out: c.At, back: clock.Never, cause: c.At}
			for _, f := range m.failures {
				if f.address == host(c) && f.at >= last[key] && f.at < e.cause {
					e.cause, e.id = f.at, f.id
				}
			}
			open[key] = len(all)
			all = append(all, e)
		case isOpen:
			all[j].back, last[key] = c.At, c.At
			delete(open, key)
		}
	}
	return all
}

// State says whether what was wanted has happened.
func (m *ejectionMonitor) State() Outcome {
	if m.times.Holds(0) {
		return Pass // only the end can tell
	}
	if m.fresh {
		m.fresh, m.state = false, Inconclusive
		if m.Verdict().Outcome == Pass {
			m.state = Pass
		}
	}
	return m.state
}

// Verdict judges the times.
func (m *ejectionMonitor) Verdict() Verdict {
	v := Verdict{Name: m.name, Wanted: m.times.String() + " times", Outcome: Pass, Samples: m.n}
	if m.span.Set() {
		v.Wanted += ", for " + m.span.String()
	}
	if m.within > 0 {
		v.Wanted += ", within " + millis(m.within)
	}
	var happened int64
	var seen []string
	for _, e := range m.events() {
		at := e.out
		if m.returned {
			at = e.back
		}
		if at == clock.Never || at < m.terms.From {
			continue
		}
		happened++
		seen = append(seen, m.tell(&v, e))
	}
	v.Observed = count(happened) + " times"
	if len(seen) > 0 {
		v.Observed += ": " + strings.Join(seen[:min(3, len(seen))], "; ")
	}
	if !m.times.Holds(happened) {
		v.Outcome, v.Reason = Fail, fmt.Sprintf("it happened %s times", count(happened))
	}
	if m.n == 0 && len(m.changes) == 0 {
		v.Outcome, v.Reason = Inconclusive, "no request was seen that could have caused it"
	}
	return v
}

// tell describes one ejection and fails the verdict when it is out of bounds.
func (m *ejectionMonitor) tell(v *Verdict, e event) string {
	fail := func(at clock.Instant, format string, args ...any) {
		if v.Outcome != Fail {
			v.Outcome, v.Reason, v.Since = Fail, fmt.Sprintf(format, args...), &at
			if e.id != "" {
				v.Evidence = []string{e.id}
			}
		}
	}
	text, lasting := "out at "+millis(e.out.Sub(m.terms.From)), " for "
	if m.returned {
		text, lasting = "back at "+millis(e.back.Sub(m.terms.From)), " after "
	}
	if took := e.out.Sub(e.cause); m.within > 0 && took > m.within {
		fail(e.out, "ejected %s after the first failure", millis(took))
	}
	switch {
	case e.back != clock.Never:
		away := e.back.Sub(e.out)
		text += lasting + millis(away)
		if m.span.Set() && !m.span.Holds(away) {
			fail(e.back, "it was out for %s", millis(away))
		}
	case m.span.Set() && v.Outcome == Pass:
		v.Outcome, v.Reason = Inconclusive, "it was still out when the step ended"
	}
	return text
}
