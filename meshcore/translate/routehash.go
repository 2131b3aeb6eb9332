package translate

import (
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// destinationHash returns the consistent hash that a proxy uses towards a destination of a rule:
// that of the subset's port, else the subset's, else the port's, else the host's. Ports count only
// when the destination names one. (istio route.go HashForHTTPDestination)
func (sc *scope) destinationHash(p *Pod, d *networkingv1alpha3.Destination) *consistentHash {
	rule := sc.destinationRule(p, d.GetHost())
	if rule == nil {
		return nil
	}
	policy := rule.spec.GetTrafficPolicy()
	port := d.GetPort().GetNumber()
	subset := rule.subset(d.GetSubset()).GetTrafficPolicy()
	for _, hash := range []*consistentHash{
		portHash(subset, port),
		subset.GetLoadBalancer().GetConsistentHash(),
		portHash(policy, port),
	} {
		if hash != nil {
			return hash
		}
	}
	return policy.GetLoadBalancer().GetConsistentHash()
}

// serviceHash returns the consistent hash towards a port of a service without rules.
// (istio route.go hashForService)
func (sc *scope) serviceHash(p *Pod, host string, port uint32) *consistentHash {
	rule := sc.destinationRule(p, host)
	if rule == nil {
		return nil
	}
	policy := rule.spec.GetTrafficPolicy()
	if hash := portHash(policy, port); hash != nil {
		return hash
	}
	return policy.GetLoadBalancer().GetConsistentHash()
}

func portHash(policy *networkingv1alpha3.TrafficPolicy, port uint32) *consistentHash {
	for _, setting := range policy.GetPortLevelSettings() {
		if port != 0 && setting.GetPort().GetNumber() == port {
			return setting.GetLoadBalancer().GetConsistentHash()
		}
	}
	return nil
}
