package parity

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// limited says whether a configuration counts requests that are under way or have failed, so that
// the order of requests matters: then they are sent one after the other. A limit above what is
// under way at a time limits nothing.
func limited(c *istio.Config) bool {
	return slices.ContainsFunc(policies(c), func(p *networkingv1alpha3.TrafficPolicy) bool {
		h, t := p.GetConnectionPool().GetHttp(), p.GetConnectionPool().GetTcp()
		small := func(n int32) bool { return n > 0 && n <= 2*connections }
		return small(h.GetHttp1MaxPendingRequests()) || small(h.GetHttp2MaxRequests()) ||
			small(h.GetMaxRetries()) || small(t.GetMaxConnections()) ||
			p.GetOutlierDetection() != nil || p.GetRetryBudget() != nil
	})
}

// sticking says whether a policy may take one and the same request to one pod for ever: by a hash,
// of addresses too, of which an Envoy of the embedded topology sees other ones; or on a connection
// to a Service's address that is kept.
func sticking(c *istio.Config) bool {
	return slices.ContainsFunc(policies(c), func(p *networkingv1alpha3.TrafficPolicy) bool {
		lb := p.GetLoadBalancer()
		return lb.GetConsistentHash() != nil ||
			lb.GetSimple() == networkingv1alpha3.LoadBalancerSettings_PASSTHROUGH
	})
}

// policies lists all traffic policies, those of ports as well.
func policies(c *istio.Config) []*networkingv1alpha3.TrafficPolicy {
	var out []*networkingv1alpha3.TrafficPolicy
	add := func(p *networkingv1alpha3.TrafficPolicy) {
		out = append(out, p)
		for _, s := range p.GetPortLevelSettings() {
			out = append(out, &networkingv1alpha3.TrafficPolicy{
				LoadBalancer: s.LoadBalancer, ConnectionPool: s.ConnectionPool,
				OutlierDetection: s.OutlierDetection,
			})
		}
	}
	for _, r := range destinationRules(c) {
		add(r.TrafficPolicy)
		for _, s := range r.Subsets {
			add(s.TrafficPolicy)
		}
	}
	return out
}

func destinationRules(c *istio.Config) []*networkingv1alpha3.DestinationRule {
	var out []*networkingv1alpha3.DestinationRule
	for _, o := range c.Kind("DestinationRule") {
		if r, ok := o.Body.(*networkingv1alpha3.DestinationRule); ok {
			out = append(out, r)
		}
	}
	return out
}

// drawn says whether a VirtualService has an outcome that is drawn for each request: weights, or a
// percentage between none and all.
func drawn(vs *networkingv1alpha3.VirtualService) bool {
	part := func(p *networkingv1alpha3.Percent) bool {
		return p.GetValue() > 0 && p.GetValue() < 100
	}
	for _, r := range vs.Http {
		weighted := 0
		for _, d := range r.Route {
			if d.Weight > 0 {
				weighted++
			}
		}
		if weighted > 1 || part(r.GetFault().GetAbort().GetPercentage()) ||
			part(r.GetFault().GetDelay().GetPercentage()) || part(r.MirrorPercentage) {
			return true
		}
		for _, m := range r.Mirrors {
			if part(m.Percentage) {
				return true
			}
		}
	}
	return false
}

// drawing is the set of VirtualServices, as records name them, with outcomes that are drawn.
func drawing(c *istio.Config) map[string]bool {
	out := map[string]bool{}
	for _, o := range c.Kind("VirtualService") {
		if vs, ok := o.Body.(*networkingv1alpha3.VirtualService); ok && drawn(vs) {
			out[o.Namespace+"/virtual-service/"+o.Name] = true
		}
	}
	return out
}
