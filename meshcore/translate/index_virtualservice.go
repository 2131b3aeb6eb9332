package translate

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// destination is one host that a VirtualService sends to, with the ports it names; 0 stands for a
// destination without a port.
type destination struct {
	host  string
	ports []uint32
}

// destinations lists what the HTTP rules of a VirtualService may send requests of a namespace to,
// each host once, in the order of the rules; an empty namespace means any.
func (vs *virtualService) destinations(ns string) []destination {
	var out []destination
	add := func(d *networkingv1alpha3.Destination) {
		if d == nil {
			return
		}
		i := slices.IndexFunc(out, func(have destination) bool { return have.host == d.Host })
		if i < 0 {
			i = len(out)
			out = append(out, destination{host: d.Host})
		}
		out[i].ports = append(out[i].ports, d.GetPort().GetNumber())
	}
	for _, rule := range vs.spec.Http {
		if ns != "" && !admitsNamespace(rule.Match, ns) {
			continue
		}
		for _, r := range rule.Route {
			add(r.Destination)
		}
		add(rule.Mirror)
		for _, m := range rule.Mirrors {
			add(m.Destination)
		}
	}
	return out
}

// admitsNamespace: no match names a source namespace, or one of them names this one.
func admitsNamespace(matches []*networkingv1alpha3.HTTPMatchRequest, ns string) bool {
	admitted := true
	for _, m := range matches {
		if m.SourceNamespace == ns {
			return true
		}
		if m.SourceNamespace != "" {
			admitted = false
		}
	}
	return admitted
}
