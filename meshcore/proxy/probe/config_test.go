package probe

import (
	"fmt"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// listenerAddr is the logical address of a case's listener.
func listenerAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(1 + i/200), byte(1 + i%200)}), 80)
}

func typed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func socket(addr string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// snapshot is what a sidecar would be given: a listener, routes and a cluster for each case.
func snapshot(probes []probe, ups []*upstream) *xds.Snapshot {
	s := xds.NewSnapshot()
	for i := range probes {
		name := fmt.Sprintf("case-%d", i)
		at := listenerAddr(i)
		s.Listeners[name] = listener(name, socket(at.Addr().String(), uint32(at.Port())), &probes[i])
		s.Clusters[name] = cluster(name)
		s.Endpoints[name] = endpoints(name, ups[i].port())
	}
	return s
}

// listener is an outbound HTTP listener as istiod makes it, with its routes inside.
func listener(name string, at *corev3.Address, p *probe) *listenerv3.Listener {
	filter := func(name string, m proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: typed(m)}}
	}
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes(name)},
		HttpFilters: []*hcmv3.HttpFilter{
			filter("envoy.filters.http.grpc_stats", &grpcstatsv3.FilterConfig{EmitFilterState: true}),
			filter("envoy.filters.http.fault", &faultv3.HTTPFault{}),
			filter("envoy.filters.http.cors", &corsv3.Cors{}),
			filter("envoy.filters.http.router", &routerv3.Router{}),
		},
		NormalizePath:                wrapperspb.Bool(true),
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
		Proxy_100Continue:            true,
		RequestIdExtension: &hcmv3.RequestIDExtension{TypedConfig: typed(&uuidv3.UuidRequestIdConfig{
			UseRequestIdForTraceSampling: wrapperspb.Bool(true),
		})},
		StreamIdleTimeout: durationpb.New(0),
		UseRemoteAddress:  wrapperspb.Bool(false),
		UpgradeConfigs:    []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if p.tune != nil {
		p.tune(hcm)
	}
	return &listenerv3.Listener{
		Name: name, Address: at, TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(hcm)},
		}}}},
	}
}

// routes: two services by name and one for every other host; time-outs for paths under /timeout. The longer
// one is for what must come before it on a busy machine.
func routes(cluster string) *routev3.RouteConfiguration {
	r := &routev3.RouteConfiguration{Name: "80", ValidateClusters: wrapperspb.Bool(false),
		IgnorePortInHostMatching: true}
	for _, host := range []string{"svc3", "svc4", "*"} {
		r.VirtualHosts = append(r.VirtualHosts, &routev3.VirtualHost{
			Name: "vhost " + host, Domains: []string{host}, IncludeRequestAttemptCount: true,
			RequestHeadersToAdd: []*corev3.HeaderValueOption{{
				Header:       &corev3.HeaderValue{Key: "x-vhost", Value: host},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
			Routes: []*routev3.Route{
				route("timeout", "/timeout/soon", cluster, time.Second),
				route("timeout", "/timeout", cluster, 3*time.Second),
				route("default", "/", cluster, 0),
			},
		})
	}
	return r
}

func route(name, prefix, cluster string, timeout time.Duration) *routev3.Route {
	return &routev3.Route{
		Name:  name,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			Timeout:          durationpb.New(timeout),
			RetryPolicy: &routev3.RetryPolicy{
				RetryOn:    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
				NumRetries: wrapperspb.UInt32(2),
				RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
					Name: "envoy.retry_host_predicates.previous_hosts",
					ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
						TypedConfig: typed(&previoushostsv3.PreviousHostsPredicate{})},
				}},
				HostSelectionRetryMaxAttempts: 5,
			},
		}},
	}
}

func cluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
		}},
		ConnectTimeout: durationpb.New(10 * time.Second),
		LbPolicy:       clusterv3.Cluster_LEAST_REQUEST,
	}
}

func endpoints(name string, port uint32) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: socket("127.0.0.1", port)}},
		}}}},
	}
}

// acceptHTTP10 is what a gateway may be told.
var acceptHTTP10 = &corev3.Http1ProtocolOptions{AcceptHttp_10: true}
