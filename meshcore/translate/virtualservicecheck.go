package translate

import (
	"fmt"
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// checkVirtualServices returns the problems of VirtualServices that show in translation: as errors
// what cannot be translated, as warnings what istiod leaves out without a word. Names that do not
// exist are istio.CrossCheck's.
func checkVirtualServices(c *istio.Config, ix *index) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, vs := range ix.vs {
		out = append(out, vs.problems...)
	}
	for _, o := range c.Kind("VirtualService") {
		for i, rule := range o.Body.(*networkingv1alpha3.VirtualService).Http {
			code := rule.GetRedirect().GetRedirectCode()
			if _, ok := redirectCodes[code]; !ok {
				out = append(out, diagnostic(istio.Error, o,
					fmt.Sprintf("spec.http[%d].redirect.redirectCode", i),
					"%d: Envoy redirects with 301, 302, 303, 307 or 308", code))
			}
		}
	}
	return append(out, overruled(ix)...)
}

// overruled warns of hosts for which an older VirtualService wins in the sidecars of a namespace:
// they never merge, in contrast to gateways.
func overruled(ix *index) []istio.Diagnostic {
	type claim struct {
		vs   *virtualService
		host int
	}
	var out []istio.Diagnostic
	var namespaces []string
	seen := map[claim]bool{}
	for _, p := range ix.registry.Pods {
		if !slices.Contains(namespaces, p.Namespace) {
			namespaces = append(namespaces, p.Namespace)
		}
	}
	for _, ns := range namespaces {
		list := ix.scope(ns).vs
		first := virtualServicesByHost(list)
		for _, vs := range list {
			for i, h := range vs.spec.Hosts {
				winner, at := first[h], claim{vs, i}
				if winner == vs || seen[at] {
					continue
				}
				seen[at] = true
				out = append(out, diagnostic(istio.Warning, vs.object,
					fmt.Sprintf("spec.hosts[%d]", i),
					"%s rules this host already: sidecars of namespace %s ignore this one for it",
					winner.object.Ref(), ns))
			}
		}
	}
	return out
}

func diagnostic(
	s istio.Severity, o *istio.Object, field, format string, args ...any,
) istio.Diagnostic {
	return istio.Diagnostic{
		Severity: s, Place: o.At(field), Object: o.Ref(), Field: field,
		Msg: fmt.Sprintf(format, args...),
	}
}
