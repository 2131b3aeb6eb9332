package translate

import (
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
func (ix *index) virtualInbound(ports []*inboundPort, m *managers) *listenerv3.Listener {
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
	catchAll := inboundChain{
		httpName: "virtualInbound-catchall-http", tcpName: "virtualInbound",
		cluster: inboundPassthroughCluster, stat: inboundPassthroughCluster, operation: ":0/*",
	}
	l.FilterChains = append(l.FilterChains, catchAll.chains(m)...)
	declared := []uint32{own} // ports that need no look
	for _, ip := range ports {
		first := ip.uses[0]
		name := listenerName(wildcard, ip.target)
		c := inboundChain{
			httpName: name, tcpName: name, target: ip.target, protocol: first.port.protocol,
			cluster: inboundClusterName(ip.target), stat: "inbound_" + name,
			port:      first.port.number,
			operation: first.service.Host + ":" + strconv.Itoa(int(first.port.number)) + "/*",
		}
		l.FilterChains = append(l.FilterChains, c.chains(m)...)
		if c.protocol != protoDetect {
			declared = append(declared, ip.target)
		}
	}
	l.ListenerFilters = slices.Concat([]*listenerv3.ListenerFilter{originalDst()}, inspectTLS(),
		[]*listenerv3.ListenerFilter{httpInspector(toPorts(declared))})
	return l
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

func (c *inboundChain) chains(m *managers) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	if c.protocol.maybeHTTP() {
		chain := &listenerv3.FilterChain{
			Name: c.httpName, FilterChainMatch: c.match(),
			Filters: []*listenerv3.Filter{c.manager(m)},
		}
		if c.protocol == protoDetect {
			chain.FilterChainMatch.ApplicationProtocols = httpALPNs
		}
		out = append(append(out, inboundTransport(chain)...), chain)
	}
	if !c.protocol.isHTTP() {
		chain := &listenerv3.FilterChain{
			Name: c.tcpName, FilterChainMatch: c.match(),
			Filters: m.guard.passOn(m.logs.tcpProxy(c.cluster)),
		}
		out = append(append(out, inboundTransport(chain)...), chain)
	}
	return out
}

func (c *inboundChain) match() *listenerv3.FilterChainMatch {
	out := &listenerv3.FilterChainMatch{TransportProtocol: rawBuffer}
	if c.target != 0 {
		out.DestinationPort = wrapperspb.UInt32(c.target)
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
