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

// destinations lists what the rules of a VirtualService may send requests and connections of a
// namespace to, each host once, in the order of the rules; an empty namespace means any. Only HTTP
// rules are looked at for source namespaces. Istio pilot/pkg/model/push_context.go
// virtualServiceDestinationsFilteredBySourceNamespace.
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
	for _, r := range vs.l4Destinations() {
		add(r)
	}
	return out
}

// l4Destinations returns where the rules for connections may send them.
func (vs *virtualService) l4Destinations() []*networkingv1alpha3.Destination {
	var out []*networkingv1alpha3.Destination
	add := func(routes []*networkingv1alpha3.RouteDestination) {
		for _, r := range routes {
			if r.Destination != nil {
				out = append(out, r.Destination)
			}
		}
	}
	for _, rule := range vs.spec.Tcp {
		add(rule.Route)
	}
	for _, rule := range vs.spec.Tls {
		add(rule.Route)
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
