package translate

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
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

// tlsInspector finds TLS handshakes and what they ask for. Istio pilot/pkg/xds/filters/filters.go.
func tlsInspector(
	off *listenerv3.ListenerFilterChainMatchPredicate,
) *listenerv3.ListenerFilter {
	const name = "envoy.filters.listener.tls_inspector"
	const firstRead = 512
	return listenerFilter(name, &tlsinspectorv3.TlsInspector{
		InitialReadBufferSize: wrapperspb.UInt32(firstRead),
	}, off)
}
