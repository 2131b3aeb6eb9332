package translate

import (
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// checkListeners returns the problems of Gateways and of rules for connections that show only at a
// proxy, each once.
func checkListeners(ix *index, routes *routeIndex) []istio.Diagnostic {
	var out []istio.Diagnostic
	add := func(list []istio.Diagnostic) {
		for _, d := range list {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	seen := map[string]bool{}
	for _, p := range ix.registry.Pods {
		switch {
		case p.Role == Gateway:
			add(ix.gatewayView(p).problems)
			add(ix.secretProblems(p))
			for _, e := range ix.gatewayEntries(p, newManagers(ix.mesh, p, &guard{})) {
				add(refusedChains(e.name, e.chains))
			}
		case p.Role == Sidecar && len(ix.scope(p.Namespace).l4) > 0:
			key := p.Namespace + "|" + marks(routes.l4, ix.podLabels[p])
			if seen[key] {
				continue
			}
			seen[key] = true
			for _, e := range ix.outboundEntries(p, newManagers(ix.mesh, p, &guard{})) {
				add(refusedChains(listenerName(e.key.ip, e.key.number), e.chains))
			}
		}
	}
	return out
}

// refusedChains finds chains of a listener that match alike: istiod sends both, and Envoy refuses
// the listener.
func refusedChains(listener string, chains []*chain) []istio.Diagnostic {
	var out []istio.Diagnostic
	for i, c := range chains {
		if c.from.object == nil {
			continue
		}
		refuse := func(format string, args ...any) {
			out = append(out, diagnostic(istio.Error, c.from.object, c.from.field, format, args...))
		}
		if c.repeats() {
			refuse("a network is given twice, so Envoy refuses the listener %s", listener)
		}
		for _, o := range chains[:i] {
			if c.overlaps(o) && o.from.object != nil {
				remedy := "give each SNI host and network to one of them"
				if len(c.sni)+len(c.cidrs)+len(o.sni)+len(o.cidrs) == 0 {
					remedy = "leave one of them out, or write the same bind in both" // servers
				}
				refuse("%s %s matches some of the same connections, so Envoy refuses the listener "+
					"%s; %s", o.from.object.Ref(), strings.TrimPrefix(o.from.field, "spec."),
					listener, remedy)
				break
			}
		}
	}
	return out
}
