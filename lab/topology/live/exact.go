package live

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// exactly makes the snapshots of one configuration exact, where that was asked for, and remembers
// what that comes to. Our own data plane enumerates by itself; real Envoys are sent other
// resources.
type exactly struct {
	topology.Exactness
	on   bool
	low  *exact.Lowering // nil: our own data plane
	said exact.Description
}

func (m *Mesh) exactly() *exactly {
	x := &exactly{on: m.o.Spec.Exact}
	if x.on && m.o.Envoy {
		x.low = exact.NewLowering()
	}
	return x
}

// snapshot returns what a proxy is given in place of s.
func (x *exactly) snapshot(s *xds.Snapshot) (*xds.Snapshot, error) {
	if !x.on {
		return s, nil
	}
	d, err := exact.Describe(s)
	if err != nil {
		return nil, fmt.Errorf("--exact: %w", err)
	}
	x.said.Add(d)
	x.Enumerated, x.Random = x.said.Enumerated, x.said.Random
	if x.low == nil {
		return s, nil
	}
	x.Altered = exact.Altered(x.said)
	if s, err = x.low.Snapshot(s); err != nil {
		return nil, fmt.Errorf("--exact: %w", err)
	}
	return s, nil
}

// Exactness tells what the proxies enumerate.
func (m *Mesh) Exactness() topology.Exactness { return m.current().exact }
