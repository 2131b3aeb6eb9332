package assert

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Overflow wants a circuit breaker to have refused requests, and the accounts to agree exactly:
// as many requests flagged UO at the caller's sidecar as clients got 503s, and none of the
// refused seen at the destination.
type Overflow struct {
	From string `yaml:"from" about:"the caller whose sidecar's breaker opens"`
	To   string `yaml:"to" about:"the destination; NAME or NAME.NAMESPACE"`
	Is   Number `yaml:"is" about:"how many must overflow: >= 1 unless said"`
}

// Name says what is judged.
func (o *Overflow) Name() string { return fmt.Sprintf("overflow from %s to %s", o.From, o.To) }

// Validate says what is wrong with the expectation itself.
func (o *Overflow) Validate() error {
	if o.From == "" || o.To == "" {
		return fmt.Errorf("overflow needs from and to")
	}
	return nil
}

// Statistical is false: the accounts are exact.
func (o *Overflow) Statistical() bool { return false }

// Monitor returns a judge.
func (o *Overflow) Monitor(Terms) Monitor {
	want := o.Is
	if !want.Set() {
		want = AtLeast(1)
	}
	return &overflowMonitor{o: o, want: want, refused: map[string]bool{},
		arrived: map[string]bool{}, sent: Where{From: o.From, To: o.To}, got: Where{At: o.To}}
}

type overflowMonitor struct {
	unchanged
	o         *Overflow
	want      Number
	sent, got Where
	n         int64
	flagged   int64 // UO at the caller's sidecar
	clients   int64
	failed    int64 // clients that got 503
	refused   map[string]bool
	arrived   map[string]bool // at the destination
	seen      evidence
}

// Request takes one record.
func (m *overflowMonitor) Request(r *observe.Request) {
	switch {
	case ClientView.Holds(r):
		m.clients++
		if r.Status == 503 {
			m.failed++
		}
	case m.sent.Holds(r):
		m.n++
		if hasFlag(r.Flags, "UO") {
			m.flagged++
			m.refused[r.ID] = true
			m.seen.add(r)
		}
	case m.got.Holds(r):
		m.arrived[r.ID] = true
	}
}

// State says that no more load is needed. Records of one request come one by one, so that the
// accounts agree only in the end.
func (m *overflowMonitor) State() Outcome {
	if m.want.Holds(m.flagged) {
		return Pass
	}
	return Inconclusive
}

// Verdict judges the accounts.
func (m *overflowMonitor) Verdict() Verdict {
	v := Verdict{Name: m.o.Name(), Samples: m.n}
	v.Wanted = m.want.String() + " UO, each a client's 503"
	v.Observed = fmt.Sprintf("%s UO, %s client 503", count(m.flagged), count(m.failed))
	through := m.through()
	switch {
	case m.n == 0:
		v.Reason = "no request was seen that it could be judged by"
	case !m.want.Holds(m.flagged):
		v.Outcome = Fail
		v.Reason = fmt.Sprintf("%s of %s requests overflowed", count(m.flagged), count(m.n))
	case m.clients > 0 && m.failed != m.flagged:
		v.Outcome = Fail
		v.Reason = fmt.Sprintf("%s clients got 503 but %s requests were flagged UO",
			count(m.failed), count(m.flagged))
	case through > 0:
		v.Outcome = Fail
		v.Reason = fmt.Sprintf("%s refused requests were seen at %s", count(through), m.o.To)
	default:
		v.Outcome = Pass
	}
	if v.Outcome == Fail {
		m.seen.show(&v)
	}
	return v
}

// through counts the refused requests that arrived nevertheless.
func (m *overflowMonitor) through() (n int64) {
	for id := range m.refused {
		if id != "" && m.arrived[id] {
			n++
		}
	}
	return n
}
