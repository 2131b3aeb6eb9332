package translate

import (
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

const autoPassThrough = networkingv1alpha3.ServerTLSSettings_AUTO_PASSTHROUGH

// autoPasses: some server of the gateway passes the mesh's own TLS on by the cluster that its SNI
// names.
func (v *gatewayView) autoPasses() bool {
	return slices.ContainsFunc(v.ports, func(p *gatewayPort) bool {
		return slices.ContainsFunc(p.servers, func(s *gatewayServer) bool {
			return s.spec.GetTls().GetMode() == autoPassThrough
		})
	})
}

// eachSubset visits the ports of the services that are in the mesh, each as a whole and by subset.
func (sc *scope) eachSubset(p *Pod, visit func(subsetOf)) {
	for _, s := range sc.services {
		if s.external != "" || s.meshExternal() {
			continue
		}
		dr := sc.destinationRule(p, s.Host)
		for _, sp := range s.ports {
			visit(subsetOf{service: s, port: sp, rule: dr})
			if dr == nil {
				continue
			}
			for _, subset := range dr.spec.Subsets {
				visit(subsetOf{s, sp, dr, subset})
			}
		}
	}
}

// sniClusters adds the clusters of a gateway that are called by SNI: as those called by routes, but
// TLS is the client's, and only endpoints that take mutual TLS are in them. Istio
// pilot/pkg/networking/core/cluster.go buildOutboundSniDnatClusters,
// pilot/pkg/xds/endpoints/ep_filters.go EndpointsWithMTLSFilter.
func (ix *index) sniClusters(
	p *Pod, clusters map[string]*clusterv3.Cluster,
	endpoints map[string]*endpointv3.ClusterLoadAssignment,
) map[string]*endpointv3.ClusterLoadAssignment {
	endpoints = maps.Clone(endpoints)
	ix.scope(p.Namespace).eachSubset(p, func(of subsetOf) {
		subset := of.subset.GetName()
		from := clusters[clusterName("outbound", of.port.number, subset, of.service.Host)]
		if from == nil {
			return
		}
		c := proto.CloneOf(from)
		c.Name = sniOf(of.port.number, subset, of.service.Host)
		c.AltStatName = c.Name + ";"
		c.TransportSocket, c.TransportSocketMatches = nil, nil
		clusters[c.Name] = c
		if c.GetType() == clusterv3.Cluster_EDS {
			c.EdsClusterConfig.ServiceName = c.Name
			endpoints[c.Name] = ix.mutualOnly(p, c.Name, of)
		}
	})
	return endpoints
}

// mutualOnly lists those endpoints that take mutual TLS.
func (ix *index) mutualOnly(p *Pod, name string, of subsetOf) *endpointv3.ClusterLoadAssignment {
	mode, fixed := of.endpointTLS()
	own := *of.service
	own.instances = map[uint32][]instance{
		of.port.number: slices.DeleteFunc(slices.Clone(of.service.instances[of.port.number]),
			func(in instance) bool {
				e := ix.lbEndpoints[in]
				return e.mutual == nil || e.seen(fixed, mode) != e.mutual
			}),
	}
	of.service = &own
	return ix.assignment(name, p, of)
}

// sniChains make a chain for each cluster of services within the server's hosts: who speaks the
// mesh's mutual TLS and names the cluster by SNI is led there. No policy of the gateway is asked.
// Istio pilot/pkg/networking/core/gateway.go builtAutoPassthroughFilterChains.
func (b *gatewayBuilder) sniChains(s *gatewayServer) []*chain {
	site := b.site(s)
	var out []*chain
	site.sc.eachSubset(b.pod, func(of subsetOf) {
		within := func(h string) bool { return hostSubset(of.service.Host, h) }
		if !slices.ContainsFunc(s.sniHosts(), within) {
			return
		}
		name := sniOf(of.port.number, of.subset.GetName(), of.service.Host)
		out = append(out, &chain{
			sni: []string{name}, alpn: meshALPNs,
			filters: []*listenerv3.Filter{site.tcpProxyTo(name, of.subset.GetName(), of.rule)},
		})
	})
	return out
}
