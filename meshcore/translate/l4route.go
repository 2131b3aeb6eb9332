package translate

import (
	"fmt"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// l4Site is where the rules of VirtualServices for connections become filter chains: a proxy and a
// port, the Service's in a sidecar, the server's in a gateway.
type l4Site struct {
	ix   *index
	sc   *scope
	pod  *Pod
	logs accessLogs
	port uint32
}

func (ix *index) l4Site(p *Pod, m *managers, port uint32) *l4Site {
	return &l4Site{ix: ix, sc: ix.scope(p.Namespace), pod: p, logs: m.logs, port: port}
}

// l4Match is what the matches of tls and tcp rules share.
type l4Match interface {
	GetDestinationSubnets() []string
	GetPort() uint32
	GetSourceLabels() map[string]string
	GetGateways() []string
	GetSourceNamespace() string
}

// admits reports whether a match can hold in a sidecar at all. Istio
// pilot/pkg/networking/core/tls.go matchTLS, matchTCP.
func (s *l4Site) admits(m l4Match) bool {
	return (len(m.GetGateways()) == 0 || slices.Contains(m.GetGateways(), meshGateway)) &&
		Selects(m.GetSourceLabels(), s.ix.podLabels[s.pod]) &&
		(m.GetPort() == 0 || m.GetPort() == s.port) &&
		(m.GetSourceNamespace() == "" || m.GetSourceNamespace() == s.pod.Namespace)
}

// chains makes a sidecar's chains for a port that is not HTTP by declaration.
func (s *l4Site) chains(svc *service, sp *port) []*chain {
	var rules []*virtualService
	for _, vs := range s.sc.l4 {
		matches := func(h string) bool { return hostMatches(h, svc.Host) }
		if slices.ContainsFunc(vs.spec.Hosts, matches) {
			rules = append(rules, vs)
		}
	}
	if sp.protocol.isTLS() {
		return s.tlsChains(svc, rules)
	}
	return s.tcpChains(svc, rules)
}

// tlsChains makes one chain for each match of a tls rule; without any, one that passes everything
// on to the service. Istio pilot/pkg/networking/core/tls.go buildSidecarOutboundTLSFilterChainOpts.
func (s *l4Site) tlsChains(svc *service, rules []*virtualService) []*chain {
	var out []*chain
	cidrs := svc.networks() // then of the last match that has some: istiod keeps them on
	seen := map[string]bool{}
	for _, vs := range rules {
		for i, rule := range vs.spec.Tls {
			for j, m := range rule.Match {
				if !s.admits(m) {
					continue
				}
				if len(m.DestinationSubnets) > 0 {
					cidrs = m.DestinationSubnets
				}
				key := strings.Join(m.SniHosts, ",") + "|" + strings.Join(m.DestinationSubnets, ",")
				if seen[key] {
					continue // a match before takes all that this one would
				}
				seen[key] = true
				out = append(out, &chain{
					sni: m.SniHosts, cidrs: cidrs, metadata: vs.metadata,
					filters: only(s.filter(vs, rule.Route)),
					from:    ruleRef{vs.object, fmt.Sprintf("spec.tls[%d].match[%d]", i, j)},
				})
			}
		}
	}
	if len(out) == 0 {
		c := s.defaultChain(svc)
		if svc.entry.unbound() && !svc.VIP.IsValid() {
			c.sni = []string{svc.Host} // nothing else tells its connections apart
		}
		out = append(out, c)
	}
	return out
}

// defaultChain passes everything on to the service.
func (s *l4Site) defaultChain(svc *service) *chain {
	cluster := clusterName("outbound", s.port, "", svc.Host)
	return &chain{
		cidrs:   svc.networks(),
		filters: only(s.tcpProxyTo(cluster, "", s.sc.destinationRule(s.pod, svc.Host))),
	}
}

// tcpChains makes a chain of the first tcp rule that takes every address, and of those before it
// that take some; without the former, the rest goes to the service. Istio
// pilot/pkg/networking/core/tls.go buildSidecarOutboundTCPFilterChainOpts.
func (s *l4Site) tcpChains(svc *service, rules []*virtualService) []*chain {
	var out []*chain
	for _, vs := range rules {
		for i, rule := range vs.spec.Tcp {
			from := ruleRef{vs.object, fmt.Sprintf("spec.tcp[%d]", i)}
			any := len(rule.Match) == 0
			var cidrs []string
			for _, m := range rule.Match {
				if s.admits(m) {
					any = any || len(m.DestinationSubnets) == 0
					cidrs = append(cidrs, m.DestinationSubnets...)
				}
			}
			switch {
			case any:
				return append(out, &chain{
					metadata: vs.metadata, cidrs: svc.networks(),
					filters: only(s.filter(vs, rule.Route)), from: from,
				})
			case len(cidrs) > 0:
				out = append(out, &chain{
					cidrs: cidrs, filters: only(s.filter(vs, rule.Route)), from: from,
				})
			}
		}
	}
	return append(out, s.defaultChain(svc))
}

func only(f *listenerv3.Filter) []*listenerv3.Filter { return []*listenerv3.Filter{f} }

// filter makes the network filter of a rule: one cluster, or several with weights. Istio
// pilot/pkg/networking/core/networkfilter.go buildOutboundNetworkFilters.
func (s *l4Site) filter(
	vs *virtualService, routes []*networkingv1alpha3.RouteDestination,
) *listenerv3.Filter {
	first := routes[0].Destination
	var dr *destinationRule
	if svc := s.sc.byHost[first.Host]; svc != nil {
		dr = s.sc.destinationRule(s.pod, svc.Host)
	}
	if len(routes) == 1 {
		return s.tcpProxyTo(s.cluster(first), first.Subset, dr)
	}
	weighted := &tcpv3.TcpProxy_WeightedCluster{}
	for _, r := range routes {
		if r.Weight > 0 {
			weighted.Clusters = append(weighted.Clusters,
				&tcpv3.TcpProxy_WeightedCluster_ClusterWeight{
					Name: s.cluster(r.Destination), Weight: uint32(r.Weight),
				})
		}
	}
	out := &tcpv3.TcpProxy{
		StatPrefix:       vs.object.Name + "." + vs.object.Namespace,
		AccessLog:        s.logs.traffic,
		ClusterSpecifier: &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: weighted},
	}
	applyRule(out, dr, "")
	return networkFilter(tcpProxyName, out)
}

func (s *l4Site) cluster(d *networkingv1alpha3.Destination) string {
	return destinationCluster(d, s.sc.byHost[d.Host], s.port)
}

// tcpProxyTo passes bytes on to a cluster.
func (s *l4Site) tcpProxyTo(cluster, subset string, dr *destinationRule) *listenerv3.Filter {
	out := s.logs.newTCPProxy(cluster)
	applyRule(out, dr, subset)
	return networkFilter(tcpProxyName, out)
}

// applyRule: of a rule only the settings for all ports count, and of hashes only that of the
// source, of which a subset may think otherwise. Istio pilot/pkg/networking/core/networkfilter.go
// buildOutboundNetworkFiltersWithSingleDestination, maybeSetHashPolicy.
func applyRule(out *tcpv3.TcpProxy, dr *destinationRule, subset string) {
	if dr == nil {
		return
	}
	policy := dr.spec.GetTrafficPolicy()
	tcp := policy.GetConnectionPool().GetTcp()
	out.IdleTimeout = tcp.GetIdleTimeout()
	out.MaxDownstreamConnectionDuration = tcp.GetMaxConnectionDuration()
	bySource := policy.GetLoadBalancer().GetConsistentHash().GetUseSourceIp()
	if own := dr.subset(subset).GetTrafficPolicy().GetLoadBalancer(); own != nil {
		bySource = own.GetConsistentHash().GetUseSourceIp()
	}
	if bySource {
		ip := &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}
		out.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: ip}}
	}
}
