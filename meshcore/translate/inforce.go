package translate

import (
	"fmt"
	"strconv"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// InForce says which rules are in force at a pod's proxy beside those that its routes name, each as
// "Kind NAMESPACE/NAME FIELD", by what they are about:
//
//	mtls, mtls.PORT   the mode of mutual TLS, then the rule that says so; no rule: the default
//	tokens            RequestAuthentications
//	policies          AuthorizationPolicies
//	server.ROUTES     a gateway's servers, by the name of their route configuration
//
// It is for who explains a request; no proxy is told.
func (t *Translator) InForce(p *Pod) map[string][]string {
	out := map[string][]string{}
	mode := func(key string, number uint32) {
		from := t.index.peers.writtenFor(p, number)
		out[key] = []string{modeNames[t.index.peers.of(p).port(number)]}
		if from.object != nil {
			out[key] = append(out[key], from.String())
		}
	}
	mode("mtls", 0)
	for number := range t.index.peers.of(p).ports {
		mode("mtls."+strconv.Itoa(int(number)), number)
	}
	s := t.index.policies(p)
	list := func(key string, all []*istio.Object) {
		for _, o := range all {
			out[key] = append(out[key], ruleRef{o, "spec"}.String())
		}
	}
	list("tokens", s.requests)
	list("policies", s.authz)
	if p.Role == Gateway {
		for name, servers := range t.index.gatewayView(p).routes {
			for _, x := range servers {
				out["server."+name] = append(out["server."+name], x.ref().String())
			}
		}
	}
	return out
}

// String is "Kind NAMESPACE/NAME FIELD".
func (r ruleRef) String() string { return r.object.Ref() + " " + r.field }

var modeNames = map[mutualTLS]string{
	mutualDisable: "DISABLE", mutualPermissive: "PERMISSIVE", mutualStrict: "STRICT",
}

// writtenFor is where the mode is written that of gives a port of a pod: in the narrowest scope
// that sets one; the zero value where none does.
func (ps *peerPolicies) writtenFor(p *Pod, number uint32) ruleRef {
	for _, policy := range ps.workload[p.Namespace] {
		if !Selects(policy.selector(), p.Labels) {
			continue
		}
		if peerMode(policy.spec.PortLevelMtls[number]) != mutualUnknown {
			return ruleRef{policy.object, fmt.Sprintf("spec.portLevelMtls.%d.mode", number)}
		}
		if peerMode(policy.spec.Mtls) != mutualUnknown {
			return ruleRef{policy.object, "spec.mtls.mode"}
		}
		break
	}
	for _, ns := range []string{p.Namespace, ps.root} {
		if w := ps.whole[ns]; w != nil && peerMode(w.spec.Mtls) != mutualUnknown {
			return ruleRef{w.object, "spec.mtls.mode"}
		}
	}
	return ruleRef{}
}
