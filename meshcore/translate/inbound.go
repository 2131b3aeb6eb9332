package translate

import (
	"maps"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// inboundPort is a port of a pod that Services lead to; the oldest Service's port decides the
// protocol.
type inboundPort struct {
	target uint32
	uses   []inboundUse // oldest Service first
}

// inboundUse is one Service's port that leads to a port of the pod.
type inboundUse struct {
	service *service
	port    *port
}

// inboundPorts returns the ports of a pod that Services lead to, sorted. UDP ports are among them:
// istiod makes TCP chains of them.
func (ix *index) inboundPorts(p *Pod) []*inboundPort {
	var out []*inboundPort
	for _, s := range ix.onPod[p] {
		for _, sp := range s.allPorts {
			target, ok := sp.target(p)
			if !ok {
				continue
			}
			i := slices.IndexFunc(out, func(ip *inboundPort) bool { return ip.target == target })
			if i < 0 {
				i = len(out)
				out = append(out, &inboundPort{target: target})
			}
			out[i].uses = append(out[i].uses, inboundUse{s, sp})
		}
	}
	slices.SortFunc(out, func(a, b *inboundPort) int { return int(a.target) - int(b.target) })
	return out
}

// services lists the Services behind the port, one for each of their ports.
func (ip *inboundPort) services() []*service {
	var out []*service
	for _, u := range ip.uses {
		out = append(out, u.service)
	}
	return out
}

// virtualInbound takes every captured connection to the pod: by port to the application's chains,
// else to the pod unseen.
func (ix *index) virtualInbound(
	ports []*inboundPort, peer workloadTLS, m *managers,
) *listenerv3.Listener {
	own := ix.inboundPort()
	l := &listenerv3.Listener{
		Name:    "virtualInbound",
		Address: socketAddress(wildcard, own),
		FilterChains: []*listenerv3.FilterChain{{
			Name: "virtualInbound-blackhole",
			// A connection to the listener itself would come back for ever.
			FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(own)},
			Filters:          []*listenerv3.Filter{blackHole()},
		}},
		TrafficDirection:                     corev3.TrafficDirection_INBOUND,
		ContinueOnListenerFiltersTimeout:     true,
		ListenerFiltersTimeout:               ix.mesh.GetProtocolDetectionTimeout(),
		MaxConnectionsToAcceptPerSocketEvent: wrapperspb.UInt32(1),
		AccessLog:                            m.logs.listener,
	}
	if l.ListenerFiltersTimeout == nil {
		l.ListenerFiltersTimeout = durationpb.New(0)
	}
	for _, c := range append(unservedChains(ports, peer), servedChains(ports)...) {
		l.FilterChains = append(l.FilterChains, c.chains(m, peer.port(c.target))...)
	}
	l.ListenerFilters = append([]*listenerv3.ListenerFilter{originalDst()},
		inspectors(l.FilterChains)...)
	return l
}

// unservedChains take what no Service leads to: on any port, and on those with a policy of their
// own.
func unservedChains(ports []*inboundPort, peer workloadTLS) []*inboundChain {
	unserved := []uint32{0}
	for _, number := range slices.Sorted(maps.Keys(peer.ports)) {
		if !slices.ContainsFunc(ports, func(ip *inboundPort) bool { return ip.target == number }) {
			unserved = append(unserved, number)
		}
	}
	var out []*inboundChain
	for _, number := range unserved {
		out = append(out, &inboundChain{
			httpName: "virtualInbound-catchall-http", tcpName: "virtualInbound", target: number,
			cluster: inboundPassthroughCluster, stat: inboundPassthroughCluster, operation: ":0/*",
		})
	}
	return out
}

// servedChains take what Services lead to.
func servedChains(ports []*inboundPort) []*inboundChain {
	var out []*inboundChain
	for _, ip := range ports {
		first := ip.uses[0]
		name := listenerName(wildcard, ip.target)
		out = append(out, &inboundChain{
			httpName: name, tcpName: name, target: ip.target, protocol: first.port.protocol,
			cluster: inboundClusterName(ip.target), stat: "inbound_" + name,
			port:      first.port.number,
			operation: first.service.Host + ":" + strconv.Itoa(int(first.port.number)) + "/*",
		})
	}
	return out
}

// inboundChain is what a port of the pod, or any port, is served by.
type inboundChain struct {
	httpName, tcpName string
	target            uint32 // 0: any
	port              uint32 // of the Service
	protocol          protocol
	cluster           string
	stat, operation   string
}

// chains makes a filter chain for each kind of connection.
func (c *inboundChain) chains(m *managers, mode mutualTLS) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for _, kind := range inboundMatches(c.protocol, mode) {
		chain := &listenerv3.FilterChain{
			Name: c.tcpName,
			FilterChainMatch: &listenerv3.FilterChainMatch{
				TransportProtocol: kind.transport, ApplicationProtocols: kind.alpn,
			},
		}
		if c.target != 0 {
			chain.FilterChainMatch.DestinationPort = wrapperspb.UInt32(c.target)
		}
		if kind.http {
			chain.Name = c.httpName
			chain.Filters = []*listenerv3.Filter{c.manager(m)}
		} else {
			chain.Filters = m.guard.passOn(m.logs.tcpProxy(c.cluster))
		}
		if kind.terminate {
			chain.TransportSocket = m.inboundTLS
		}
		out = append(out, chain)
	}
	return out
}

func (c *inboundChain) manager(m *managers) *listenerv3.Filter {
	hcm := m.manager(inboundClass, c.stat)
	if c.protocol.isHTTP2() {
		hcm.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{}
	}
	if c.protocol == protoGRPCWeb {
		grpcWeb(hcm)
	}
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c.cluster},
		Timeout:          durationpb.New(0),
		MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{
			MaxStreamDuration: durationpb.New(0), GrpcTimeoutHeaderMax: durationpb.New(0),
		},
	}
	// A gRPC stream would be torn by a retry of its connection.
	if c.protocol != protoGRPC && c.protocol != protoGRPCWeb {
		action.RetryPolicy = inboundRetryPolicy()
	}
	return withRoutes(hcm, &routev3.RouteConfiguration{
		Name: c.cluster,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    "inbound|http|" + strconv.Itoa(int(c.port)),
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Name:      "default",
				Match:     routeMatch(nil),
				Decorator: &routev3.Decorator{Operation: c.operation},
				Action:    &routev3.Route_Route{Route: action},
			}},
		}},
		ValidateClusters: wrapperspb.Bool(false),
	})
}

// inboundRetryPolicy retries what the application's socket refused before it saw the request.
func inboundRetryPolicy() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{RetryOn: "reset-before-request", NumRetries: wrapperspb.UInt32(2)}
}

// toPorts matches connections to these ports.
func toPorts(ports []uint32) *listenerv3.ListenerFilterChainMatchPredicate {
	slices.Sort(ports)
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, p := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(p), End: int32(p) + 1},
			},
		})
	}
	if len(rules) == 1 {
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{
		Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
			OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
		},
	}
}
