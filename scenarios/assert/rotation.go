package assert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Rotation wants strict round robin: each caller's sidecar takes a service's pods in turn, in the
// order in which requests started. It is meant for one connection; requests that race have no
// order.
type Rotation struct {
	Service string `yaml:"service" about:"the destination; NAME or NAME.NAMESPACE"`
	By      string `yaml:"by" about:"pod (default) or version"`
	Over    Number `yaml:"over" about:"how many pods take turns: 3"`
	Where   Where  `yaml:"where" about:"which requests; all of them unless said"`
}

// Name says what is judged.
func (m *Rotation) Name() string { return "rotation " + m.Service }

// Validate says what is wrong with the expectation itself.
func (m *Rotation) Validate() error {
	switch {
	case m.Service == "":
		return fmt.Errorf("rotation needs a service")
	case m.By != "" && m.By != "pod" && m.By != "version":
		return fmt.Errorf("by is pod or version, not %s", m.By)
	}
	return nil
}

// Statistical is false: rotation is exact.
func (m *Rotation) Statistical() bool { return false }

// Monitor returns a judge.
func (m *Rotation) Monitor(t Terms) Monitor {
	j := &rotationMonitor{r: m, where: m.Where, tolerance: t}
	j.where.To = m.Service
	return j
}

type rotationMonitor struct {
	unchanged
	r         *Rotation
	where     Where
	tolerance Terms
	seen      []observe.Request
}

// Request takes one request.
func (m *rotationMonitor) Request(r *observe.Request) {
	if m.where.Holds(r) && r.Upstream != "" {
		m.seen = append(m.seen, observe.Request{ID: r.ID, Start: r.Start, Proxy: r.Proxy,
			Upstream: r.Upstream, Dest: r.Dest, Config: r.Config})
	}
}

// State says whether enough turns were seen. Records come in the order of completion, so only the
// verdict, which sorts them, can fail.
func (m *rotationMonitor) State() Outcome {
	p := NewProportion(Exactly(1), m.tolerance)
	p.seq = Sequence{Draws: int64(len(m.seen)), Hits: int64(len(m.seen))}
	return p.State()
}

// Verdict judges the order.
func (m *rotationMonitor) Verdict() Verdict {
	v := Verdict{Name: m.r.Name(), Wanted: "strict rotation", Samples: int64(len(m.seen))}
	if m.r.Over.Set() {
		v.Wanted += " over " + m.r.Over.String()
	}
	names, stray, example := m.turns()
	v.Observed = fmt.Sprintf("%s in turn", strings.Join(names, ", "))
	switch {
	case len(m.seen) == 0:
		v.Reason = "no request was seen that it could be judged by"
		v.Observed = "nothing"
	case stray.any:
		v.Outcome, v.Reason = Fail, example
		v.Observed = strings.Join(names, ", ")
		stray.show(&v)
	case m.r.Over.Set() && !m.r.Over.Holds(int64(len(names))):
		v.Outcome, v.Reason = Fail, fmt.Sprintf("%d take turns", len(names))
	case len(m.seen) < 2*len(names):
		v.Reason = fmt.Sprintf("%d requests are too few to see %d turns", len(m.seen), len(names))
	default:
		v.Outcome = Pass
	}
	return v
}

// turns returns who takes turns, in order, and the requests that broke the rotation of their proxy.
func (m *rotationMonitor) turns() (names []string, stray evidence, example string) {
	byProxy := map[string][]string{}
	seen := slices.SortedStableFunc(slices.Values(m.seen), func(a, b observe.Request) int {
		return int(a.Start - b.Start)
	})
	for i := range seen {
		name := cmp.Or(seen[i].Dest.Pod, seen[i].Upstream)
		if m.r.By == "version" {
			name = seen[i].Dest.Version
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		before := byProxy[seen[i].Proxy]
		// In strict rotation the last turn of the same pod is as long ago as there are pods.
		if last := slices.Index(before, name); last >= 0 && last != 0 ||
			last < 0 && m.full(before) {
			stray.add(&seen[i])
			if example == "" {
				example = fmt.Sprintf("%s came after %s", name, strings.Join(before, ", "))
			}
		}
		if last := slices.Index(before, name); last >= 0 {
			before = slices.Delete(before, last, last+1)
		}
		byProxy[seen[i].Proxy] = append(before, name)
	}
	return names, stray, example
}

// full says that all pods have had a turn already.
func (m *rotationMonitor) full(before []string) bool {
	return m.r.Over.Set() && int64(len(before)) >= m.r.Over.High
}
