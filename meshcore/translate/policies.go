package translate

import (
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	securityv1 "istio.io/api/security/v1"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// gatewayNameLabel marks pods that the Gateway API made for a Gateway: policies attach to them by
// targetRefs.
const gatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

// policyIndex holds the security policies by namespace, oldest first.
type policyIndex struct {
	root     string
	authz    map[string][]*istio.Object
	requests map[string][]*istio.Object // RequestAuthentications
	keys     Keys
}

func newPolicyIndex(c *istio.Config) *policyIndex {
	byNamespace := func(kind string) map[string][]*istio.Object {
		out := map[string][]*istio.Object{}
		for _, o := range slices.SortedStableFunc(slices.Values(c.Kind(kind)), compareAge) {
			out[o.Namespace] = append(out[o.Namespace], o)
		}
		return out
	}
	return &policyIndex{
		root:     c.Mesh.GetRootNamespace(),
		authz:    byNamespace("AuthorizationPolicy"),
		requests: byNamespace("RequestAuthentication"),
	}
}

// targetable is what the spec of every policy that chooses workloads has.
type targetable interface {
	GetSelector() *typev1beta1.WorkloadSelector
	GetTargetRef() *typev1beta1.PolicyTargetReference
	GetTargetRefs() []*typev1beta1.PolicyTargetReference
}

// targets returns what a policy refers to; the single reference is the old form.
func targets(spec targetable) []*typev1beta1.PolicyTargetReference {
	if refs := spec.GetTargetRefs(); len(refs) > 0 {
		return refs
	}
	if ref := spec.GetTargetRef(); ref != nil {
		return []*typev1beta1.PolicyTargetReference{ref}
	}
	return nil
}

// attaches says whether a policy applies to a pod of its own or, if the policy's is the root
// namespace, any namespace. References to Services and ServiceEntries are for waypoints, of which
// there are none. Istio pilot/pkg/model/policyattachment.go ShouldAttachPolicy.
func attaches(o *istio.Object, spec targetable, p *Pod, labels map[string]string) bool {
	refs := targets(spec)
	if len(refs) == 0 {
		return Selects(spec.GetSelector().GetMatchLabels(), labels)
	}
	name, made := labels[gatewayNameLabel]
	if !made || o.Namespace != p.Namespace {
		return false
	}
	return slices.ContainsFunc(refs, func(r *typev1beta1.PolicyTargetReference) bool {
		return r.GetGroup() == "gateway.networking.k8s.io" && r.GetKind() == "Gateway" &&
			r.GetName() == name && (r.GetNamespace() == "" || r.GetNamespace() == p.Namespace)
	})
}

// policySet is the policies that apply to a proxy.
type policySet struct {
	gateway  bool
	authz    []*istio.Object // of the root namespace first
	requests []*istio.Object // of the own namespace first
}

// key names the policies of a set.
func (s policySet) key() string {
	var out strings.Builder
	if s.gateway && len(s.requests) > 0 {
		out.WriteString("gateway ") // its token filter differs
	}
	for _, o := range slices.Concat(s.authz, s.requests) {
		out.WriteString(o.Ref() + ",")
	}
	return out.String()
}

// policies returns what applies to a pod. Istio pilot/pkg/model/authorization.go
// ListAuthorizationPolicies, authentication.go getConfigsForWorkload.
func (ix *index) policies(p *Pod) policySet {
	labels := ix.podLabels[p]
	pick := func(from map[string][]*istio.Object, namespaces ...string) []*istio.Object {
		var out []*istio.Object
		for _, ns := range slices.Compact(namespaces) {
			for _, o := range from[ns] {
				if attaches(o, o.Body.(targetable), p, labels) {
					out = append(out, o)
				}
			}
		}
		return out
	}
	root := ix.policyIndex.root
	return policySet{
		gateway:  p.Role == Gateway,
		authz:    pick(ix.policyIndex.authz, root, p.Namespace),
		requests: pick(ix.policyIndex.requests, p.Namespace, root),
	}
}

// guard is what the policies of a proxy put in front of the traffic that enters at it: on inbound
// listeners of sidecars, and on gateways.
type guard struct {
	http    []*hcmv3.HttpFilter  // at the front of connection managers
	network []*listenerv3.Filter // in front of what passes bytes on
}

// newGuard makes the filters in the order in which they decide: CUSTOM, tokens, AUDIT, DENY, ALLOW.
// Istio pilot/pkg/networking/core/listener_builder.go buildHTTPConnectionManager, networkfilter.go
// buildCompleteNetworkFilters.
func (ix *index) newGuard(s policySet) *guard {
	byAction := map[securityv1.AuthorizationPolicy_Action][]*istio.Object{}
	for _, o := range s.authz {
		action := o.Body.(*securityv1.AuthorizationPolicy).Action
		byAction[action] = append(byAction[action], o)
	}
	out := ix.customFilters(byAction[securityv1.AuthorizationPolicy_CUSTOM])
	if jwt := ix.jwtFilter(s); jwt != nil {
		out.http = append(out.http, jwt)
	}
	out.add(ix.localFilters(byAction))
	return out
}

func (g *guard) add(other *guard) {
	g.http = append(g.http, other.http...)
	g.network = append(g.network, other.network...)
}

// passOn puts the policies for bytes in front of the filter that passes them on.
func (g *guard) passOn(last *listenerv3.Filter) []*listenerv3.Filter {
	if g == nil {
		return []*listenerv3.Filter{last}
	}
	return append(slices.Clone(g.network), last)
}
