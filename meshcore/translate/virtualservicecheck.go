package translate

import (
	"fmt"
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// virtualServiceChecker finds what istiod would drop, or send nowhere, without a word.
type virtualServiceChecker struct {
	index  *index
	rules  []*destinationRule
	object *istio.Object
	out    []istio.Diagnostic
}

// checkVirtualServices returns the problems of VirtualServices that need the whole configuration to
// be seen: as errors what cannot be translated, as warnings what is hardly meant so.
func checkVirtualServices(c *istio.Config, ix *index) []istio.Diagnostic {
	k := &virtualServiceChecker{index: ix}
	for _, o := range c.Kind("DestinationRule") {
		k.rules = append(k.rules, newDestinationRule(o))
	}
	for _, vs := range ix.vs {
		k.out = append(k.out, vs.problems...)
	}
	for _, o := range c.Kind("VirtualService") {
		k.object = o
		for i, rule := range o.Body.(*networkingv1alpha3.VirtualService).Http {
			k.rule(fmt.Sprintf("spec.http[%d]", i), rule)
		}
	}
	k.overruled()
	return k.out
}

func (k *virtualServiceChecker) report(s istio.Severity, field, format string, args ...any) {
	k.out = append(k.out, diagnostic(s, k.object, field, format, args...))
}

func (k *virtualServiceChecker) rule(field string, rule *networkingv1alpha3.HTTPRoute) {
	if rule.Redirect != nil {
		if _, ok := redirectCodes[rule.Redirect.RedirectCode]; !ok {
			k.report(istio.Error, field+".redirect.redirectCode",
				"%d: Envoy redirects with 301, 302, 303, 307 or 308", rule.Redirect.RedirectCode)
		}
	}
	for i, r := range rule.Route {
		k.destination(fmt.Sprintf("%s.route[%d].destination", field, i), r.Destination)
	}
	k.destination(field+".mirror", rule.Mirror)
	for i, m := range rule.Mirrors {
		k.destination(fmt.Sprintf("%s.mirrors[%d].destination", field, i), m.Destination)
	}
}

// destination warns of requests that will get 503 with flag NC: no cluster.
func (k *virtualServiceChecker) destination(field string, d *networkingv1alpha3.Destination) {
	if d == nil {
		return
	}
	host := fqdn(d.Host, k.object.Namespace)
	s := k.index.service(host)
	if s != nil && s.external != "" {
		host = s.external
		s = k.index.service(host)
	}
	switch port := d.GetPort().GetNumber(); {
	case s == nil:
		k.report(istio.Warning, field+".host",
			"there is no Service %s: requests get 503 (NC)", host)
	case port != 0 && s.port(port) == nil:
		k.report(istio.Warning, field+".port.number",
			"Service %s has no port %d: requests get 503 (NC)", host, port)
	case d.Subset != "" && !k.hasSubset(host, d.Subset):
		k.report(istio.Warning, field+".subset",
			"no DestinationRule has subset %q of %s: requests get 503 (NC)", d.Subset, host)
	}
}

// hasSubset reports whether any DestinationRule for the host has the subset.
func (k *virtualServiceChecker) hasSubset(host, name string) bool {
	return slices.ContainsFunc(k.rules, func(dr *destinationRule) bool {
		return hostSubset(host, dr.spec.Host) && dr.subset(name) != nil
	})
}

// overruled warns of hosts for which an older VirtualService wins in the sidecars of a namespace:
// they never merge, in contrast to gateways.
func (k *virtualServiceChecker) overruled() {
	type claim struct {
		vs   *virtualService
		host int
	}
	seen := map[claim]bool{}
	var namespaces []string
	for _, p := range k.index.registry.Pods {
		if !slices.Contains(namespaces, p.Namespace) {
			namespaces = append(namespaces, p.Namespace)
		}
	}
	for _, ns := range namespaces {
		list := k.index.scope(ns).vs
		first := virtualServicesByHost(list)
		for _, vs := range list {
			for i, h := range vs.spec.Hosts {
				winner, at := first[h], claim{vs, i}
				if winner == vs || seen[at] {
					continue
				}
				seen[at] = true
				k.object = vs.object
				k.report(istio.Warning, fmt.Sprintf("spec.hosts[%d]", i),
					"%s rules this host already: sidecars of namespace %s ignore this one for it",
					winner.object.Ref(), ns)
			}
		}
	}
}

func diagnostic(
	s istio.Severity, o *istio.Object, field, format string, args ...any,
) istio.Diagnostic {
	return istio.Diagnostic{
		Severity: s, Place: o.At(field), Object: o.Ref(), Field: field,
		Msg: fmt.Sprintf(format, args...),
	}
}
