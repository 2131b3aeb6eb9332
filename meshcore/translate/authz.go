package translate

import (
	"fmt"
	"slices"
	"strconv"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Names of filters.
const (
	httpRBAC    = "envoy.filters.http.rbac"
	networkRBAC = "envoy.filters.network.rbac"
)

// dryRunAnnotation makes a policy one that is evaluated and told of, but not enforced.
const dryRunAnnotation = "istio.io/dry-run"

// ruleSet is the rules of some policies, for an HTTP filter or a network filter: those that are
// enforced, and those of a dry run. nil: no policy is of that kind.
type ruleSet struct{ enforced, dry *rbacv3.RBAC }

// localFilters makes the filters of the actions that the proxy carries out alone: one filter for
// each of AUDIT, DENY and ALLOW that some policy has. Istio
// pilot/pkg/security/authz/builder/builder.go.
func (ix *index) localFilters(
	policies map[securityv1.AuthorizationPolicy_Action][]*istio.Object,
) *guard {
	out := &guard{}
	for _, a := range []struct {
		action securityv1.AuthorizationPolicy_Action
		rbac   rbacv3.RBAC_Action
	}{
		{securityv1.AuthorizationPolicy_AUDIT, rbacv3.RBAC_LOG},
		{securityv1.AuthorizationPolicy_DENY, rbacv3.RBAC_DENY},
		{securityv1.AuthorizationPolicy_ALLOW, rbacv3.RBAC_ALLOW},
	} {
		if len(policies[a.action]) == 0 {
			continue
		}
		set := ix.ruleSet(policies[a.action], a.rbac, false)
		out.http = append(out.http, httpFilter(httpRBAC, &httprbacv3.RBAC{
			Rules: set.enforced, ShadowRules: set.dry,
			ShadowRulesStatPrefix: dryRunPrefix(set.dry),
		}))
		set = ix.ruleSet(policies[a.action], a.rbac, true)
		out.network = append(out.network, networkFilter(networkRBAC, &networkrbacv3.RBAC{
			Rules: set.enforced, ShadowRules: set.dry, StatPrefix: "tcp.",
			ShadowRulesStatPrefix: dryRunPrefix(set.dry),
		}))
	}
	return out
}

// dryRunPrefix is in front of the names under which a dry run's result stands in metadata. Without
// a dry run istiod writes that of ALLOW, which is an action's zero value.
func dryRunPrefix(rules *rbacv3.RBAC) string {
	switch rules.GetAction() {
	case rbacv3.RBAC_ALLOW:
		return "istio_dry_run_allow_"
	case rbacv3.RBAC_DENY:
		return "istio_dry_run_deny_"
	}
	return ""
}

func newRBAC(action rbacv3.RBAC_Action) *rbacv3.RBAC {
	return &rbacv3.RBAC{Action: action, Policies: map[string]*rbacv3.Policy{}}
}

// ruleSet translates policies of one action.
func (ix *index) ruleSet(
	policies []*istio.Object, action rbacv3.RBAC_Action, tcp bool,
) ruleSet {
	var out ruleSet
	for _, o := range policies {
		into := &out.enforced
		if isDryRun(o) {
			into = &out.dry
		}
		if *into == nil {
			*into = newRBAC(action)
		}
		ix.addRules(*into, o, "", tcp)
	}
	return out
}

func isDryRun(o *istio.Object) bool {
	dry, err := strconv.ParseBool(o.Annotations[dryRunAnnotation])
	return err == nil && dry
}

// addRules adds the rules of a policy under their names. A policy without rules matches nothing.
func (ix *index) addRules(into *rbacv3.RBAC, o *istio.Object, prefix string, tcp bool) {
	name := func(rule int) string {
		return fmt.Sprintf("%sns[%s]-policy[%s]-rule[%d]", prefix, o.Namespace, o.Name, rule)
	}
	spec := o.Body.(*securityv1.AuthorizationPolicy)
	if len(spec.Rules) == 0 {
		into.Policies[name(0)] = matchesNever()
	}
	w := ruleWriter{
		namespace: o.Namespace,
		domains:   trustDomains(ix.mesh),
		tcp:       tcp,
		allow:     into.Action == rbacv3.RBAC_ALLOW,
	}
	for i, rule := range spec.Rules {
		if p := w.policy(rule); p != nil {
			into.Policies[name(i)] = p
		}
	}
}

func matchesNever() *rbacv3.Policy {
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{permissions.not(permissions.any())},
		Principals:  []*rbacv3.Principal{principals.not(principals.any())},
	}
}

// ruleWriter translates the rules of a policy.
type ruleWriter struct {
	namespace string   // the policy's
	domains   []string // the mesh's trust domain, and its aliases
	tcp       bool     // for a network filter
	allow     bool
}

// policy translates a rule; nil where it can not hold: on TCP an ALLOW rule with conditions on HTTP
// never does. Other rules lose such conditions, and so match more. Istio
// pilot/pkg/security/authz/model/model.go.
func (w *ruleWriter) policy(r *securityv1.Rule) *rbacv3.Policy {
	out := &rbacv3.Policy{}
	whenPermissions, whenPrincipals := w.conditions(r.When)
	operations := r.To
	if len(operations) == 0 {
		operations = []*securityv1.Rule_To{{}}
	}
	for _, to := range operations {
		p, ok := permissions.all(slices.Concat(w.operation(to.Operation), whenPermissions), w)
		if !ok {
			return nil
		}
		out.Permissions = append(out.Permissions, p)
	}
	sources := r.From
	if len(sources) == 0 {
		sources = []*securityv1.Rule_From{{}}
	}
	for _, from := range sources {
		p, ok := principals.all(slices.Concat(w.source(from.Source), whenPrincipals), w)
		if !ok {
			return nil
		}
		out.Principals = append(out.Principals, p)
	}
	return out
}
