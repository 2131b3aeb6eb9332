package translate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// mutualTLS says what a server takes; the zero value is that no policy says so.
type mutualTLS int

const (
	mutualUnknown mutualTLS = iota
	mutualDisable
	mutualPermissive
	mutualStrict
)

// peerMode reads a policy's mode; mutualUnknown for one that leaves it to the scope around it.
func peerMode(m *securityv1beta1.PeerAuthentication_MutualTLS) mutualTLS {
	switch m.GetMode() {
	case securityv1beta1.PeerAuthentication_MutualTLS_DISABLE:
		return mutualDisable
	case securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE:
		return mutualPermissive
	case securityv1beta1.PeerAuthentication_MutualTLS_STRICT:
		return mutualStrict
	}
	return mutualUnknown
}

// or returns the mode, or another where no policy says it.
func (m mutualTLS) or(other mutualTLS) mutualTLS {
	if m == mutualUnknown {
		return other
	}
	return m
}

// peerPolicy is one PeerAuthentication.
type peerPolicy struct {
	object *istio.Object
	spec   *securityv1beta1.PeerAuthentication
}

func (p *peerPolicy) selector() map[string]string { return p.spec.GetSelector().GetMatchLabels() }

// peerPolicies holds the PeerAuthentications: those of the mesh and of whole namespaces, of which
// the oldest counts, and those of workloads.
type peerPolicies struct {
	root       string
	whole      map[string]*peerPolicy   // by namespace
	workload   map[string][]*peerPolicy // by namespace, oldest first
	unassigned []ignoredPolicy
}

// ignoredPolicy is a policy that istiod leaves out without a word.
type ignoredPolicy struct {
	policy *peerPolicy
	why    string
}

// newPeerPolicies follows Istio pilot/pkg/model/authentication.go addPeerAuthentication.
func newPeerPolicies(c *istio.Config) *peerPolicies {
	out := &peerPolicies{
		root:     c.Mesh.GetRootNamespace(),
		whole:    map[string]*peerPolicy{},
		workload: map[string][]*peerPolicy{},
	}
	for _, o := range slices.SortedStableFunc(
		slices.Values(c.Kind("PeerAuthentication")), compareAge) {
		p := &peerPolicy{o, o.Body.(*securityv1beta1.PeerAuthentication)}
		first := out.whole[o.Namespace]
		switch {
		case len(p.selector()) > 0 && o.Namespace == out.root:
			out.ignore(p, "a policy with a selector does nothing in the root namespace: "+
				"put it into the namespace of its workloads")
		case len(p.selector()) > 0:
			out.workload[o.Namespace] = append(out.workload[o.Namespace], p)
		case first != nil:
			out.ignore(p, first.object.Ref()+" is older and has no selector either: it wins, "+
				"and this policy does nothing")
		default:
			out.whole[o.Namespace] = p
		}
	}
	return out
}

func (ps *peerPolicies) ignore(p *peerPolicy, why string) {
	ps.unassigned = append(ps.unassigned, ignoredPolicy{p, why})
}

// ofNamespace returns the mode of a namespace as clients infer it, workloads aside; mutualUnknown
// where neither the namespace nor the mesh has a policy. Istio pilot/pkg/model/authentication.go
// GetNamespaceMutualTLSMode.
func (ps *peerPolicies) ofNamespace(ns string) mutualTLS {
	mesh := mutualUnknown
	if p := ps.whole[ps.root]; p != nil {
		mesh = peerMode(p.spec.Mtls).or(mutualPermissive)
	}
	if p := ps.whole[ns]; p != nil && ns != ps.root {
		return peerMode(p.spec.Mtls).or(mesh).or(mutualPermissive)
	}
	return mesh
}

// workloadTLS is what one pod's sidecar takes.
type workloadTLS struct {
	mode  mutualTLS            // never mutualUnknown
	ports map[uint32]mutualTLS // by port of the pod; others have mode
}

func (w workloadTLS) port(number uint32) mutualTLS {
	if m, ok := w.ports[number]; ok {
		return m
	}
	return w.mode
}

// key tells workloads apart whose inbound listeners differ.
func (w workloadTLS) key() string {
	var out strings.Builder
	out.WriteString(strconv.Itoa(int(w.mode)))
	for _, number := range slices.Sorted(maps.Keys(w.ports)) {
		out.WriteString("," + strconv.Itoa(int(number)) + "=" + strconv.Itoa(int(w.ports[number])))
	}
	return out.String()
}

// of composes the policies that apply to a pod, from the mesh to the workload: the oldest of each
// scope, and what one leaves unset is that of the scope around it. Istio
// pilot/pkg/security/authn/policy_applier.go ComposePeerAuthentication.
func (ps *peerPolicies) of(p *Pod) workloadTLS {
	out := workloadTLS{mode: ps.ofNamespace(p.Namespace).or(mutualPermissive)}
	for _, policy := range ps.workload[p.Namespace] {
		if !Selects(policy.selector(), p.Labels) {
			continue
		}
		out.mode = peerMode(policy.spec.Mtls).or(out.mode)
		out.ports = map[uint32]mutualTLS{}
		for number, m := range policy.spec.PortLevelMtls {
			out.ports[number] = peerMode(m).or(out.mode)
		}
		break
	}
	return out
}

// diagnostics warns of policies that do nothing.
func (ps *peerPolicies) diagnostics(r *Registry) []istio.Diagnostic {
	var out []istio.Diagnostic
	warn := func(p *peerPolicy, field, msg string) {
		out = append(out, istio.Diagnostic{
			Severity: istio.Warning, Place: p.object.At(field), Object: p.object.Ref(),
			Field: field, Msg: msg,
		})
	}
	for _, i := range ps.unassigned {
		warn(i.policy, "spec", i.why)
	}
	for _, ns := range slices.Sorted(maps.Keys(ps.workload)) {
		for i, p := range ps.workload[ns] {
			selected, left := 0, 0
			for _, pod := range r.Pods {
				if pod.Namespace != ns || !Selects(p.selector(), pod.Labels) {
					continue
				}
				selected++
				older := slices.ContainsFunc(ps.workload[ns][:i], func(o *peerPolicy) bool {
					return Selects(o.selector(), pod.Labels)
				})
				if !older {
					left++
				}
			}
			switch {
			case selected == 0:
				warn(p, "spec.selector", "no pod of "+ns+" has the labels "+
					sortedLabels(p.selector())+": the policy does nothing")
			case left < selected:
				warn(p, "spec.selector", "an older policy selects "+strconv.Itoa(selected-left)+
					" of its "+strconv.Itoa(selected)+" pods too, and wins there")
			}
		}
	}
	return out
}

// trustDomain returns the mesh's own trust domain.
func trustDomain(mesh *meshconfig.MeshConfig) string {
	if d := mesh.GetTrustDomain(); d != "" {
		return d
	}
	return clusterDomain
}

// spiffeID is the identity of a pod's service account. Istio pkg/spiffe/spiffe.go.
func spiffeID(domain, namespace, account string) string {
	return "spiffe://" + domain + "/ns/" + namespace + "/sa/" + account
}
