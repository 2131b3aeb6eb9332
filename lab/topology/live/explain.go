package live

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Tracer is the optional power of a Pod to tell what its proxy decides; nil: no more.
type Tracer interface{ Trace(f func(*trace.Trace)) }

// carried is what a proxy was told last, and has taken; while the control plane does not tell it
// anything that is not what the configuration leads to.
type carried struct {
	snap *xds.Snapshot
	dns  *names
}

// noteCarried notes what proxies carry out after a push.
func (m *Mesh) noteCarried(from clock.Instant, s state, res control.Result, err error) {
	if err != nil {
		return
	}
	m.mu.Lock()
	next, told := map[string]carried{}, m.told
	for id, snap := range s.snaps {
		next[id] = carried{snap, s.dns}
	}
	for _, id := range res.Withheld {
		delete(next, id)
		if old, ok := m.carried[id]; ok {
			next[id] = old
		}
	}
	m.carried = next
	m.mu.Unlock()
	if told != nil {
		told(from)
	}
}

// Carrying has f called each time that proxies carry out something else.
func (m *Mesh) Carrying(f func(from clock.Instant)) (stop func()) {
	set := func(f func(clock.Instant)) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.told = f
	}
	set(f)
	return func() { set(nil) }
}

// Carried is what a node's data plane carries out, with logical addresses.
func (m *Mesh) Carried(node string) (*xds.Snapshot, error) {
	m.mu.RLock()
	c, ok := m.carried[node]
	m.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("no proxy %q in the lab has taken a configuration", node)
	}
	out, err := m.lower(c.dns, map[string]*xds.Snapshot{node: c.snap})
	return out[node], err
}

// Trace has the proxies of the pods that run tell what they decide.
func (m *Mesh) Trace(f func(*trace.Trace)) (stop func()) {
	var traced []Tracer
	for _, p := range m.Running() {
		if t, ok := p.(Tracer); ok {
			t.Trace(f)
			traced = append(traced, t)
		}
	}
	return func() {
		for _, t := range traced {
			t.Trace(nil)
		}
	}
}

var _ topology.Explainer = (*Mesh)(nil)
