package runner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// strangers refuses expectations that speak of somebody who is not in the mesh: nothing would be
// recorded of a misspelt workload, ever, and "never" would hold.
func (r *run) strangers(s *scenarios.Step) error {
	known := r.known()
	var problems []istio.Diagnostic
	for _, e := range s.Expect {
		for _, name := range assert.Names(e) {
			first, _, _ := strings.Cut(name, ".")
			if known[first] || known[name] {
				continue
			}
			msg := fmt.Sprintf("%s: nobody in the mesh is called %q", e.Name(), name)
			if near := istio.Suggest(name, slices.Sorted(maps.Keys(known))); near != "" {
				msg += "; did you mean " + near + "?"
			}
			problems = append(problems, istio.Diagnostic{
				Place: s.Place, Object: "Scenario " + r.s.Name, Field: "expect", Msg: msg,
			})
		}
	}
	return invalid(problems)
}

// known lists what pods, workloads, services and hosts are called, as expectations may call them.
func (r *run) known() map[string]bool {
	out := map[string]bool{topology.Outside: true}
	for _, o := range r.config.Objects {
		out[o.Name] = true
	}
	reg := r.mesh.Registry()
	for _, s := range reg.Services {
		out[s.Name], out[s.Host] = true, true
	}
	for _, p := range reg.Pods {
		out[p.Name], out[p.Workload], out[p.Host] = true, true, true
		out[p.Labels["app"]] = true
		out[p.Labels["service.istio.io/canonical-name"]] = true
		if v := p.Labels["version"]; v != "" {
			out[strings.TrimSuffix(p.Workload, "-"+v)] = true
		}
	}
	return out
}
