package translate

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// wildcard is the address of listeners that take connections to any address.
const wildcard = "0.0.0.0"

// Ports of the proxy itself: istiod's agent and Prometheus ask there.
const (
	statusPort     = 15021
	prometheusPort = 15090
)

// httpALPNs are what the HTTP inspector reports of plain HTTP. HTTP/1.0 is left out: a proxy that
// does not accept it had better pass it on as bytes.
var httpALPNs = []string{"http/1.1", "h2c"}

// rawBuffer is the transport protocol of connections without TLS.
const rawBuffer = "raw_buffer"

func listenerName(ip string, number uint32) string {
	return ip + "_" + strconv.FormatUint(uint64(number), 10)
}

// reserved: listeners on every address would clash with the proxy's own.
func (ix *index) reserved(number uint32) bool {
	switch number {
	case statusPort, prometheusPort, ix.outboundPort(), ix.inboundPort():
		return true
	}
	return false
}

func (ix *index) outboundPort() uint32 { return uint32(ix.mesh.GetProxyListenPort()) }

func (ix *index) inboundPort() uint32 { return uint32(ix.mesh.GetProxyInboundListenPort()) }

// egressCluster is where connections go that no listener knows: on to where the client sent them,
// or nowhere.
func (ix *index) egressCluster() string {
	mode := ix.mesh.GetOutboundTrafficPolicy().GetMode()
	if mode == meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY {
		return passthroughCluster
	}
	return blackHoleCluster
}

// virtualOutbound takes every captured connection and hands it to the listener of its original
// destination; what none takes is its own.
func (ix *index) virtualOutbound(m *managers) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:           "virtualOutbound",
		Address:        socketAddress(wildcard, ix.outboundPort()),
		UseOriginalDst: wrapperspb.Bool(true),
		FilterChains: []*listenerv3.FilterChain{
			{
				Name: "virtualOutbound-blackhole",
				// A connection to the listener itself would come back for ever.
				FilterChainMatch: &listenerv3.FilterChainMatch{
					DestinationPort: wrapperspb.UInt32(ix.outboundPort()),
				},
				Filters: []*listenerv3.Filter{blackHole()},
			},
			{
				Name:    "virtualOutbound-catchall-tcp",
				Filters: []*listenerv3.Filter{m.logs.tcpProxy(ix.egressCluster())},
			},
		},
		TrafficDirection:                     corev3.TrafficDirection_OUTBOUND,
		MaxConnectionsToAcceptPerSocketEvent: wrapperspb.UInt32(1),
		AccessLog:                            m.logs.listener,
	}
}

// outboundKey is where an outbound listener stands in.
type outboundKey struct {
	ip     string
	number uint32
}

// outboundEntry is one outbound listener in the making.
type outboundEntry struct {
	key      outboundKey
	protocol protocol // protoDetect as soon as the listener looks into connections
	tcp      *service // the service whose bytes are passed on; nil: none
	http     bool
	routes   string // the RouteConfiguration of the HTTP chain
	grpcWeb  bool
}

// outboundResources are a sidecar's outbound listeners, and the names of their routes.
type outboundResources struct {
	listeners []*listenerv3.Listener
	routes    []string
}

// outbound makes a sidecar's outbound listeners. HTTP services of a port share the listener
// 0.0.0.0_PORT and are told apart by Host; others have one on their own address. Istio
// pilot/pkg/networking/core/listener.go buildSidecarOutboundListener.
func (ix *index) outbound(p *Pod, m *managers) outboundResources {
	var order []*outboundEntry
	made := map[outboundKey]*outboundEntry{}
	for _, s := range ix.scope(p.Namespace).services {
		if s.external != "" {
			continue
		}
		for _, sp := range s.ports {
			for _, ip := range ix.listenOn(p, s, sp) {
				key := outboundKey{ip, sp.number}
				if old := made[key]; old != nil {
					old.join(s, sp)
					continue
				}
				made[key] = newEntry(key, s, sp)
				order = append(order, made[key])
			}
		}
	}
	out := outboundResources{listeners: []*listenerv3.Listener{ix.virtualOutbound(m)}}
	for _, e := range order {
		var bytes *listenerv3.Filter
		if e.tcp != nil {
			bytes = m.logs.tcpProxyTo(e.tcp, e.key.number, ix.destinationRule(p, e.tcp.Host))
		}
		out.listeners = append(out.listeners, ix.outboundListener(e, bytes, m))
		if e.http {
			out.routes = append(out.routes, e.routes)
		}
	}
	return out
}

// listenOn returns the addresses on which a sidecar listens for a port of a service. Clients of a
// headless Service that is not HTTP call pods by their addresses: one listener for each, but for
// the proxy's own pod.
func (ix *index) listenOn(p *Pod, s *service, sp *port) []string {
	switch {
	case sp.protocol.isHTTP():
		if ix.reserved(sp.number) {
			return nil
		}
		return []string{wildcard}
	case s.VIP.IsValid():
		return []string{s.VIP.String()}
	case s.entry.unbound():
		if ix.reserved(sp.number) {
			return nil
		}
		return []string{wildcard}
	}
	var out []string
	for _, in := range s.instances[sp.number] {
		if in.addr != p.IP && !slices.Contains(out, in.addr.String()) {
			out = append(out, in.addr.String())
		}
	}
	return out
}

func newEntry(key outboundKey, s *service, sp *port) *outboundEntry {
	e := &outboundEntry{key: key, protocol: sp.protocol}
	number := strconv.FormatUint(uint64(sp.number), 10)
	switch {
	case sp.protocol.isHTTP():
		// The chain for other bytes makes it a listener that looks.
		e.protocol, e.http, e.routes = protoDetect, true, number
	case sp.protocol == protoDetect:
		e.http, e.routes, e.tcp = true, s.Host+":"+number, s
	default:
		e.tcp = s
	}
	e.grpcWeb = sp.protocol == protoGRPCWeb
	return e
}

// join adds a service to a listener that stands already. Services that share an address (never two
// Services with addresses of their own, but pods of two headless ones) keep the older one's chain
// for each kind of traffic; MySQL and MongoDB servers speak first, so nothing that looks may join
// them.
func (e *outboundEntry) join(s *service, sp *port) {
	firstSpeaks := func(p protocol) bool { return p == protoMySQL || p == protoMongo }
	if sp.protocol.isHTTP() && e.http {
		return
	}
	if (firstSpeaks(sp.protocol) || firstSpeaks(e.protocol)) && sp.protocol != e.protocol {
		return
	}
	in := newEntry(e.key, s, sp)
	if in.http && !e.http {
		e.http, e.routes, e.protocol, e.grpcWeb = true, in.routes, protoDetect, in.grpcWeb
	}
	if in.tcp != nil && e.tcp == nil {
		e.tcp = in.tcp
	}
}

// outboundListener makes a listener; passOn is what takes bytes, nil without a service that does.
func (ix *index) outboundListener(
	e *outboundEntry, passOn *listenerv3.Filter, m *managers,
) *listenerv3.Listener {
	name := listenerName(e.key.ip, e.key.number)
	l := &listenerv3.Listener{
		Name:                             name,
		Address:                          socketAddress(e.key.ip, e.key.number),
		TrafficDirection:                 corev3.TrafficDirection_OUTBOUND,
		BindToPort:                       wrapperspb.Bool(false),
		ContinueOnListenerFiltersTimeout: true,
		ListenerFiltersTimeout:           durationpb.New(0),
	}
	var bytes *listenerv3.FilterChain
	if passOn != nil {
		bytes = &listenerv3.FilterChain{
			Filters:                       []*listenerv3.Filter{passOn},
			TransportSocketConnectTimeout: chainTimeout(),
		}
	}
	if !e.http {
		l.FilterChains = []*listenerv3.FilterChain{bytes}
		return l
	}
	if t := ix.mesh.GetProtocolDetectionTimeout(); t != nil {
		l.ListenerFiltersTimeout = t
	}
	l.ListenerFilters = []*listenerv3.ListenerFilter{httpInspector(nil)}
	hcm := m.manager(outboundClass, "outbound_"+name)
	if e.grpcWeb {
		grpcWeb(hcm)
	}
	l.FilterChains = []*listenerv3.FilterChain{{
		FilterChainMatch: &listenerv3.FilterChainMatch{
			ApplicationProtocols: httpALPNs, TransportProtocol: rawBuffer,
		},
		Filters:                       []*listenerv3.Filter{withRDS(hcm, e.routes)},
		TransportSocketConnectTimeout: chainTimeout(),
	}}
	l.DefaultFilterChain = bytes
	if bytes == nil {
		l.DefaultFilterChain = &listenerv3.FilterChain{
			Name:             "PassthroughFilterChain",
			FilterChainMatch: &listenerv3.FilterChainMatch{},
			Filters:          []*listenerv3.Filter{m.logs.tcpProxy(ix.egressCluster())},
		}
	}
	return l
}

// tcpProxyTo passes bytes on to a service. Of its rule only the settings for all ports count, and
// of hashes only that of the source. Istio pilot/pkg/networking/core/networkfilter.go
// buildOutboundNetworkFiltersWithSingleDestination.
func (l accessLogs) tcpProxyTo(
	s *service, number uint32, dr *destinationRule,
) *listenerv3.Filter {
	out := l.newTCPProxy(clusterName("outbound", number, "", s.Host))
	if dr != nil {
		policy := dr.spec.GetTrafficPolicy()
		tcp := policy.GetConnectionPool().GetTcp()
		out.IdleTimeout = tcp.GetIdleTimeout()
		out.MaxDownstreamConnectionDuration = tcp.GetMaxConnectionDuration()
		if policy.GetLoadBalancer().GetConsistentHash().GetUseSourceIp() {
			ip := &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}
			out.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: ip}}
		}
	}
	return networkFilter(tcpProxyName, out)
}

func chainTimeout() *durationpb.Duration { return &durationpb.Duration{Seconds: 15} }

func listenerFilter(
	name string, config proto.Message, off *listenerv3.ListenerFilterChainMatchPredicate,
) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:           name,
		ConfigType:     &listenerv3.ListenerFilter_TypedConfig{TypedConfig: typed(config)},
		FilterDisabled: off,
	}
}

// httpInspector finds out whether a connection carries HTTP, but where the predicate holds.
func httpInspector(off *listenerv3.ListenerFilterChainMatchPredicate) *listenerv3.ListenerFilter {
	const name = "envoy.filters.listener.http_inspector"
	return listenerFilter(name, &httpinspectorv3.HttpInspector{}, off)
}

// originalDst restores the address that a captured connection was meant for.
func originalDst() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{}, nil)
}
