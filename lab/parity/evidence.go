package parity

import (
	"fmt"
	"maps"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
)

// compared notes what was compared under a configuration of a case: what differed, from finding
// number before on, is no evidence.
func (r *Run) compared(name string, c *istio.Config, requests, before int) {
	used := istio.Used(c)
	if r.Tally.Fields == nil {
		r.Tally.Fields = map[string]int{}
	}
	for _, f := range used {
		r.Tally.Fields[f]++
	}
	if len(r.Findings) > before {
		return
	}
	if r.cases == nil {
		r.cases = map[string]int{}
		r.uses = map[string]fidelity.Use{}
	}
	r.cases[name] += requests
	r.alike++
	for _, f := range used {
		u := r.uses[f]
		if u.Cases++; u.Example == "" {
			u.Example = name
		}
		r.uses[f] = u
	}
}

// Evidence returns what the run shows of both data planes, for docs/fidelity.md.
func (r *Run) Evidence() []fidelity.Evidence {
	e := fidelity.Evidence{
		By: "mesh-lab parity",
		What: fmt.Sprintf("the outcome of the same requests on %s and %s, under %d configurations",
			r.A.Name, r.B.Name, r.alike),
		Short: "in parity", Shows: fidelity.Answered, Plane: fidelity.Meshcore, Unit: "requests",
		Cases: maps.Clone(r.cases), Fields: map[string]fidelity.Use{},
	}
	for _, field := range istio.Supported() {
		if u, ok := r.uses[field.Path]; ok {
			e.Fields[field.Path] = u
		}
	}
	other := e
	other.Plane = fidelity.Envoy
	return []fidelity.Evidence{e, other}
}
