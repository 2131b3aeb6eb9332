package translate

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// virtualService is a VirtualService with hosts: every name in it is resolved and its delegates are
// merged in. Immutable.
type virtualService struct {
	object   *istio.Object
	spec     *networkingv1alpha3.VirtualService // its own copy
	exportTo exportSet
	metadata *corev3.Metadata
	from     []ruleSource       // of each of spec.Http
	problems []istio.Diagnostic // what was left out of spec
}

// ruleSource says where an HTTP rule is written.
type ruleSource struct {
	object *istio.Object
	rule   int  // http[rule]
	merged bool // its matches are made of those of two rules
}

// mergedVirtualServices returns the VirtualServices that have hosts, oldest first. One without
// hosts is a delegate: it acts only where others refer to it.
func mergedVirtualServices(c *istio.Config) []*virtualService {
	var roots, delegates []*virtualService
	for _, o := range slices.SortedFunc(slices.Values(c.Kind("VirtualService")), compareAge) {
		vs := newVirtualService(o, c.Mesh.GetDefaultVirtualServiceExportTo())
		if len(vs.spec.Hosts) > 0 {
			roots = append(roots, vs)
		} else {
			delegates = append(delegates, vs)
		}
	}
	for _, vs := range roots {
		vs.mergeDelegates(delegates)
	}
	return roots
}

func newVirtualService(o *istio.Object, exportTo []string) *virtualService {
	vs := &virtualService{
		object: o,
		spec:   o.Body.(*networkingv1alpha3.VirtualService).DeepCopy(),
		metadata: configMetadata("/apis/networking.istio.io/v1/namespaces/" + o.Namespace +
			"/virtual-service/" + o.Name),
	}
	for i := range vs.spec.Http {
		vs.from = append(vs.from, ruleSource{object: o, rule: i})
	}
	vs.exportTo = newExportSet(vs.spec.ExportTo, exportTo)
	vs.resolveNames()
	return vs
}

// resolveNames writes every short host out as an FQDN, and every gateway as "NAMESPACE/NAME".
func (vs *virtualService) resolveNames() {
	ns := vs.object.Namespace
	for i, h := range vs.spec.Hosts {
		vs.spec.Hosts[i] = fqdn(h, ns)
	}
	resolveGateways(vs.spec.Gateways, ns)
	for _, rule := range vs.spec.Http {
		for _, m := range rule.Match {
			resolveGateways(m.Gateways, ns)
		}
		for _, d := range ruleDestinations(rule) {
			d.Host = fqdn(d.Host, ns)
		}
	}
	for _, rule := range vs.spec.Tls {
		for _, m := range rule.Match {
			resolveGateways(m.Gateways, ns)
		}
	}
	for _, rule := range vs.spec.Tcp {
		for _, m := range rule.Match {
			resolveGateways(m.Gateways, ns)
		}
	}
	for _, d := range vs.l4Destinations() {
		d.Host = fqdn(d.Host, ns)
	}
}

func resolveGateways(names []string, ns string) {
	for i, name := range names {
		names[i] = gatewayRef(name, ns)
	}
}

// ruleDestinations returns where a rule may send requests or copies of them.
func ruleDestinations(rule *networkingv1alpha3.HTTPRoute) []*networkingv1alpha3.Destination {
	var out []*networkingv1alpha3.Destination
	for _, r := range rule.Route {
		if r.Destination != nil {
			out = append(out, r.Destination)
		}
	}
	if rule.Mirror != nil {
		out = append(out, rule.Mirror)
	}
	for _, m := range rule.Mirrors {
		if m.Destination != nil {
			out = append(out, m.Destination)
		}
	}
	return out
}

// warn adds a problem at a field of the VirtualService.
func (vs *virtualService) warn(field, format string, args ...any) {
	vs.problems = append(vs.problems,
		diagnostic(istio.Warning, vs.object, field, format, args...))
}
