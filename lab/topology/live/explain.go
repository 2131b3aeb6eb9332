package live

import (
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Tracer is the optional power of a Pod to tell what its proxy decides; nil: no more.
type Tracer interface{ Trace(f func(*trace.Trace)) }

// Carried is what a node's data plane carries out, with logical addresses.
func (m *Mesh) Carried(node string) (*xds.Snapshot, error) {
	s, err := m.Snapshot(node)
	if err != nil {
		return nil, err
	}
	out, err := m.lower(m.current().dns, map[string]*xds.Snapshot{node: s})
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
