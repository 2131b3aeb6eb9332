package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// ports warns of a Service's port where the pod's is compared.
func (k *policyCheck) ports(
	o *istio.Object, spec *securityv1.AuthorizationPolicy, pods []*Pod,
) {
	for n, r := range spec.Rules {
		for m, to := range r.To {
			f := fmt.Sprintf("spec.rules[%d].to[%d].operation.", n, m)
			k.portList(o, f+"ports", to.GetOperation().GetPorts(), pods)
			k.portList(o, f+"notPorts", to.GetOperation().GetNotPorts(), pods)
		}
		for m, w := range r.When {
			if w.Key == "destination.port" {
				f := fmt.Sprintf("spec.rules[%d].when[%d].", n, m)
				k.portList(o, f+"values", w.Values, pods)
				k.portList(o, f+"notValues", w.NotValues, pods)
			}
		}
	}
}

func (k *policyCheck) portList(o *istio.Object, field string, ports []string, pods []*Pod) {
	for i, s := range ports {
		number := portOf(s)
		target := uint32(0)
		for _, p := range pods {
			if p.Role != Sidecar {
				target = 0
				break // a gateway may listen anywhere
			}
			for _, ip := range k.ix.inboundPorts(p) {
				if ip.target == number {
					return
				}
				if slices.ContainsFunc(ip.uses, func(u inboundUse) bool {
					return u.port.number == number
				}) {
					target = ip.target
				}
			}
		}
		if target != 0 {
			k.warn(o, field+"["+strconv.Itoa(i)+"]", "the pod's port is compared, and the "+
				"Service's port %s leads to %d; write %q", s, target,
				strconv.Itoa(int(target)))
		}
	}
}

// bytes warns of conditions on HTTP where a port is not HTTP: an ALLOW rule with them never holds
// there, a DENY rule loses them.
func (k *policyCheck) bytes(
	o *istio.Object, spec *securityv1.AuthorizationPolicy, pods []*Pod,
) {
	for n, r := range spec.Rules {
		field := asksHTTP(r)
		if field == "" {
			continue
		}
		for _, p := range pods {
			for _, ip := range k.ix.inboundPorts(p) {
				first := ip.uses[0].port
				if first.protocol.maybeHTTP() || first.protocol == protoUDP ||
					!mayReach(r, ip.target) {
					continue
				}
				k.notHTTP(o, spec.Action, fmt.Sprintf("spec.rules[%d].%s", n, field), p, ip)
				return
			}
		}
	}
}

func (k *policyCheck) notHTTP(
	o *istio.Object, action securityv1.AuthorizationPolicy_Action, field string, p *Pod,
	ip *inboundPort,
) {
	where := fmt.Sprintf("port %d of pod %s (port %s of its Service) is not HTTP", ip.target,
		p.ID(), ip.uses[0].port.name)
	switch action {
	case securityv1.AuthorizationPolicy_ALLOW:
		k.warn(o, field, "%s: there a rule with conditions on HTTP never holds", where)
	case securityv1.AuthorizationPolicy_DENY:
		k.warn(o, field, "%s: there the rule loses its conditions on HTTP, and denies whatever "+
			"the others match; name the ports that it is for", where)
	}
}

// asksHTTP returns the first field of a rule that asks about HTTP, or "".
func asksHTTP(r *securityv1.Rule) string {
	for i, to := range r.To {
		o := to.GetOperation()
		for _, l := range []struct {
			name   string
			values []string
		}{
			{"hosts", o.GetHosts()}, {"notHosts", o.GetNotHosts()},
			{"methods", o.GetMethods()}, {"notMethods", o.GetNotMethods()},
			{"paths", o.GetPaths()}, {"notPaths", o.GetNotPaths()},
		} {
			if len(l.values) > 0 {
				return fmt.Sprintf("to[%d].operation.%s", i, l.name)
			}
		}
	}
	for i, from := range r.From {
		s := from.GetSource()
		if len(s.GetRequestPrincipals())+len(s.GetNotRequestPrincipals()) > 0 {
			return fmt.Sprintf("from[%d].source", i)
		}
	}
	for i, w := range r.When {
		if strings.HasPrefix(w.Key, "request.") {
			return fmt.Sprintf("when[%d].key", i)
		}
	}
	return ""
}

// mayReach says whether a rule's ports leave a port open.
func mayReach(r *securityv1.Rule, target uint32) bool {
	number := strconv.Itoa(int(target))
	for _, w := range r.When {
		if w.Key == "destination.port" && (slices.Contains(w.NotValues, number) ||
			len(w.Values) > 0 && !slices.Contains(w.Values, number)) {
			return false
		}
	}
	if len(r.To) == 0 {
		return true
	}
	return slices.ContainsFunc(r.To, func(to *securityv1.Rule_To) bool {
		o := to.GetOperation()
		return !slices.Contains(o.GetNotPorts(), number) &&
			(len(o.GetPorts()) == 0 || slices.Contains(o.GetPorts(), number))
	})
}
