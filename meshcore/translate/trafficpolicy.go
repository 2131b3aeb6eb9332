package translate

import (
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// policy returns the traffic policy of a cluster: of the rule, overlaid with the subset's. Settings
// of a port replace those around them as a whole: what they leave out gets Istio's defaults. Istio
// pilot/pkg/networking/util/util.go MergeSubsetTrafficPolicy. The mesh's defaults, unless mesh is
// nil, stand below the subset's settings: a port of the subset resets them.
func (d *destinationRule) policy(
	number uint32, subset string, mesh *meshconfig.MeshConfig,
) *networkingv1alpha3.TrafficPolicy {
	if d == nil {
		return withMeshDefaults(nil, mesh)
	}
	base, _ := portPolicy(d.spec.TrafficPolicy, number)
	base = withMeshDefaults(base, mesh)
	s := d.subset(subset)
	if s.GetTrafficPolicy() == nil {
		return base
	}
	over, ofPort := portPolicy(s.TrafficPolicy, number)
	if base == nil {
		return over
	}
	out := copyPolicy(base)
	overlay(out, over, ofPort)
	return out
}

// portPolicy returns the settings for a port, and whether they are the port's own.
func portPolicy(
	p *networkingv1alpha3.TrafficPolicy, number uint32,
) (*networkingv1alpha3.TrafficPolicy, bool) {
	for _, s := range p.GetPortLevelSettings() {
		if s.GetPort().GetNumber() == number {
			return &networkingv1alpha3.TrafficPolicy{
				ConnectionPool:   s.ConnectionPool,
				LoadBalancer:     s.LoadBalancer,
				OutlierDetection: s.OutlierDetection,
				Tls:              s.Tls,
			}, true
		}
	}
	return p, false
}

// copyPolicy copies the settings, not those of ports.
func copyPolicy(p *networkingv1alpha3.TrafficPolicy) *networkingv1alpha3.TrafficPolicy {
	return &networkingv1alpha3.TrafficPolicy{
		ConnectionPool:   p.GetConnectionPool(),
		LoadBalancer:     p.GetLoadBalancer(),
		OutlierDetection: p.GetOutlierDetection(),
		Tls:              p.GetTls(),
		Tunnel:           p.GetTunnel(),
		ProxyProtocol:    p.GetProxyProtocol(),
		RetryBudget:      p.GetRetryBudget(),
	}
}

// overlay sets in out what over sets; whole says that what over leaves out is reset.
func overlay(out, over *networkingv1alpha3.TrafficPolicy, whole bool) {
	if over.ConnectionPool != nil || whole {
		out.ConnectionPool = over.ConnectionPool
	}
	if over.OutlierDetection != nil || whole {
		out.OutlierDetection = over.OutlierDetection
	}
	if over.LoadBalancer != nil || whole {
		out.LoadBalancer = over.LoadBalancer
	}
	if over.Tls != nil || whole {
		out.Tls = over.Tls
	}
	if over.Tunnel != nil {
		out.Tunnel = over.Tunnel
	}
	if over.ProxyProtocol != nil {
		out.ProxyProtocol = over.ProxyProtocol
	}
	if over.RetryBudget != nil {
		out.RetryBudget = over.RetryBudget
	}
}

// withMeshDefaults fills in the pool and outlier detection that the mesh gives to every host. Istio
// pilot/pkg/networking/core/cluster_traffic_policy.go applyDefaultTrafficPolicy.
func withMeshDefaults(
	p *networkingv1alpha3.TrafficPolicy, mesh *meshconfig.MeshConfig,
) *networkingv1alpha3.TrafficPolicy {
	d := mesh.GetDefaultTrafficPolicy()
	pool := d.GetConnectionPool() != nil && p.GetConnectionPool() == nil
	outlier := d.GetOutlierDetection() != nil && p.GetOutlierDetection() == nil
	if !pool && !outlier {
		return p
	}
	p = copyPolicy(p)
	if pool {
		p.ConnectionPool = d.ConnectionPool
	}
	if outlier {
		p.OutlierDetection = d.OutlierDetection
	}
	return p
}
