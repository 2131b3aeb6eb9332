package translate

import (
	"slices"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// checkGateways returns the problems of Gateways that show only at a gateway's pod, each once.
func checkGateways(ix *index) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, p := range ix.registry.Pods {
		if p.Role != Gateway {
			continue
		}
		for _, d := range append(ix.gatewayView(p).problems, ix.secretProblems(p)...) {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}
