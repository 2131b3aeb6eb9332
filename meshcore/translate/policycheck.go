package translate

import (
	"fmt"
	"slices"
	"strings"

	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// checkPolicies warns of policies that do not do what they seem to: those that show with the
// workloads only.
func checkPolicies(c *istio.Config, ix *index) []istio.Diagnostic {
	k := &policyCheck{ix: ix, sets: map[*Pod]policySet{}}
	for _, p := range ix.registry.Pods {
		if p.Role == Sidecar || p.Role == Gateway {
			k.sets[p] = ix.policies(p)
		}
	}
	for _, o := range c.Kind("AuthorizationPolicy") {
		spec := o.Body.(*securityv1.AuthorizationPolicy)
		pods := k.pods(o, spec, func(s policySet) []*istio.Object { return s.authz })
		k.provider(o, spec, pods)
		k.nothingAllowed(o, spec, pods)
		k.remoteBlocks(o, spec, pods)
		k.tokens(o, spec, pods)
		k.ports(o, spec, pods)
		k.bytes(o, spec, pods)
	}
	for _, o := range c.Kind("RequestAuthentication") {
		spec := o.Body.(*securityv1.RequestAuthentication)
		pods := k.pods(o, spec, func(s policySet) []*istio.Object { return s.requests })
		k.optional(o, spec, pods)
	}
	return k.found
}

type policyCheck struct {
	ix    *index
	sets  map[*Pod]policySet
	found []istio.Diagnostic
}

func (k *policyCheck) warn(o *istio.Object, field, format string, args ...any) {
	k.found = append(k.found, diagnostic(istio.Warning, o, field, format, args...))
}

// pods returns the proxies that apply a policy, and warns where there are none.
func (k *policyCheck) pods(
	o *istio.Object, spec targetable, of func(policySet) []*istio.Object,
) []*Pod {
	var out []*Pod
	bare := ""
	for _, p := range k.ix.registry.Pods {
		if slices.Contains(of(k.sets[p]), o) {
			out = append(out, p)
		} else if p.Role == Bare && bare == "" &&
			(o.Namespace == k.ix.policyIndex.root || o.Namespace == p.Namespace) &&
			attaches(o, spec, p, k.ix.podLabels[p]) {
			bare = p.ID()
		}
	}
	switch {
	case len(out) > 0 || len(targets(spec)) > 0:
	case bare != "":
		k.warn(o, "spec.selector", "nobody applies it: pod %s has no sidecar", bare)
	case spec.GetSelector() != nil:
		k.warn(o, "spec.selector.matchLabels", "selects no pod: nobody applies it")
	}
	return out
}

// provider warns of CUSTOM policies whose authorizer is never asked: what they match is denied.
func (k *policyCheck) provider(
	o *istio.Object, spec *securityv1.AuthorizationPolicy, pods []*Pod,
) {
	if spec.Action != securityv1.AuthorizationPolicy_CUSTOM {
		return
	}
	const field = "spec.provider.name"
	if _, problem := k.ix.authorizer(providerName(o)); problem != "" {
		k.warn(o, field, "%s: everything that the policy matches is denied", problem)
		return
	}
	for _, p := range pods {
		for _, other := range k.sets[p].authz {
			if custom(other) && providerName(other) != providerName(o) {
				k.warn(o, field, "%s asks another provider for pod %s, and istiod takes one "+
					"for a workload: everything that they match is denied", other.Ref(), p.ID())
				return
			}
		}
	}
}

func custom(o *istio.Object) bool {
	return policyAction(o) == securityv1.AuthorizationPolicy_CUSTOM
}

func policyAction(o *istio.Object) securityv1.AuthorizationPolicy_Action {
	return o.Body.(*securityv1.AuthorizationPolicy).Action
}

// nothingAllowed warns of an ALLOW policy without rules where no other one allows anything.
func (k *policyCheck) nothingAllowed(
	o *istio.Object, spec *securityv1.AuthorizationPolicy, pods []*Pod,
) {
	if spec.Action != securityv1.AuthorizationPolicy_ALLOW || len(spec.Rules) > 0 || isDryRun(o) {
		return
	}
	allows := func(other *istio.Object) bool {
		return policyAction(other) == securityv1.AuthorizationPolicy_ALLOW && !isDryRun(other) &&
			len(other.Body.(*securityv1.AuthorizationPolicy).Rules) > 0
	}
	for _, p := range pods {
		if !slices.ContainsFunc(k.sets[p].authz, allows) {
			k.warn(o, "spec", "has no rules, so it allows nothing, and no other ALLOW policy "+
				"allows anything to pod %s: every request to it gets 403; rules: [{}] allows all",
				p.ID())
			return
		}
	}
}

// remoteBlocks warns where clients choose the address that is compared.
func (k *policyCheck) remoteBlocks(
	o *istio.Object, spec *securityv1.AuthorizationPolicy, pods []*Pod,
) {
	i := slices.IndexFunc(pods, func(p *Pod) bool { return p.Role == Sidecar })
	field := ""
	for n, r := range spec.Rules {
		for m, from := range r.From {
			f := fmt.Sprintf("spec.rules[%d].from[%d].source.", n, m)
			if s := from.GetSource(); len(s.GetRemoteIpBlocks()) > 0 {
				field = f + "remoteIpBlocks"
			} else if len(s.GetNotRemoteIpBlocks()) > 0 {
				field = f + "notRemoteIpBlocks"
			}
		}
		for m, w := range r.When {
			if w.Key == "remote.ip" {
				field = fmt.Sprintf("spec.rules[%d].when[%d].key", n, m)
			}
		}
	}
	if i >= 0 && field != "" {
		k.warn(o, field, "the sidecar of pod %s takes the address from x-forwarded-for, which "+
			"any client may write; compare it at a gateway, or ipBlocks with the peer's address",
			pods[i].ID())
	}
}

// asksToken returns the first field of a policy that asks about a token, or "".
func asksToken(spec *securityv1.AuthorizationPolicy) string {
	for n, r := range spec.Rules {
		for m, from := range r.From {
			f := fmt.Sprintf("spec.rules[%d].from[%d].source.", n, m)
			if len(from.GetSource().GetRequestPrincipals()) > 0 {
				return f + "requestPrincipals"
			}
			if len(from.GetSource().GetNotRequestPrincipals()) > 0 {
				return f + "notRequestPrincipals"
			}
		}
		for m, w := range r.When {
			if strings.HasPrefix(w.Key, "request.auth.") {
				return fmt.Sprintf("spec.rules[%d].when[%d].key", n, m)
			}
		}
	}
	return ""
}

// tokens warns of conditions on tokens that nobody reads.
func (k *policyCheck) tokens(
	o *istio.Object, spec *securityv1.AuthorizationPolicy, pods []*Pod,
) {
	field := asksToken(spec)
	if field == "" {
		return
	}
	reads := func(ra *istio.Object) bool {
		return len(ra.Body.(*securityv1.RequestAuthentication).JwtRules) > 0
	}
	for _, p := range pods {
		if !slices.ContainsFunc(k.sets[p].requests, reads) {
			k.warn(o, field, "no RequestAuthentication with jwtRules applies to pod %s, so no "+
				"request to it has a token that could be compared", p.ID())
			return
		}
	}
}

// optional warns of a RequestAuthentication where no policy asks for a token.
func (k *policyCheck) optional(
	o *istio.Object, spec *securityv1.RequestAuthentication, pods []*Pod,
) {
	if len(spec.JwtRules) == 0 {
		return
	}
	asks := func(policy *istio.Object) bool {
		return asksToken(policy.Body.(*securityv1.AuthorizationPolicy)) != ""
	}
	for _, p := range pods {
		if !slices.ContainsFunc(k.sets[p].authz, asks) {
			k.warn(o, "spec.jwtRules", "requests without a token pass: only wrong ones are "+
				"refused; no AuthorizationPolicy of pod %s asks for one (requestPrincipals)",
				p.ID())
			return
		}
	}
}
