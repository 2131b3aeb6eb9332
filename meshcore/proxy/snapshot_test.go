package proxy

import (
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

func newEngine(_ testing.TB, c *clock.Real) *engine.Engine {
	return engine.New(engine.Options{Node: "a.default", Seed: 1, Removed: Removed, Wall: c.Wall})
}

func typed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func socket(a engine.Address) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{
			PortValue: uint32(a.Port()),
		},
	}}}
}

// snapshot makes the resources of a bed.
func snapshot(s settings) *xds.Snapshot {
	out := xds.NewSnapshot()
	filter := &listenerv3.Filter{Name: "envoy.filters.network.http_connection_manager"}
	filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: typed(manager(s))}
	if s.tcp {
		filter.Name = "envoy.filters.network.tcp_proxy"
		filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: typed(&tcpproxyv3.TcpProxy{
			StatPrefix: "t", ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: "up"},
		})}
	}
	out.Listeners["l"] = &listenerv3.Listener{
		Name: "l", Address: socket(bedBind), TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{filter}}},
	}
	for name, at := range map[string]engine.Address{"up": bedUp, "mirror": bedMirror} {
		out.Clusters[name] = cluster(name, s.breaker)
		out.Endpoints[name] = &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
						Endpoint: &endpointv3.Endpoint{Address: socket(at)}},
				}},
				LoadBalancingWeight: wrapperspb.UInt32(1),
			}},
		}
	}
	return out
}

func manager(s settings) *hcmv3.HttpConnectionManager {
	m := &hcmv3.HttpConnectionManager{
		AccessLog:           logs(s),
		StatPrefix:          "m",
		RouteSpecifier:      &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes(s)},
		NormalizePath:       wrapperspb.Bool(true),
		UpgradeConfigs:      []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		UseRemoteAddress:    wrapperspb.Bool(false),
		Proxy_100Continue:   s.proxy100,
		StreamIdleTimeout:   durationpb.New(s.idle),
		DelayedCloseTimeout: durationpb.New(100 * time.Millisecond),
	}
	if s.delay > 0 {
		m.HttpFilters = append(m.HttpFilters, httpFilter("envoy.filters.http.fault", &faultv3.HTTPFault{
			Delay: &commonfaultv3.FaultDelay{
				FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{
					FixedDelay: durationpb.New(s.delay)},
				Percentage: &typev3.FractionalPercent{Numerator: 100},
			},
		}))
	}
	m.HttpFilters = append(m.HttpFilters, httpFilter("envoy.filters.http.router", &routerv3.Router{}))
	return m
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: typed(m)}}
}

func routes(s settings) *routev3.RouteConfiguration {
	a := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "up"},
		Timeout:          durationpb.New(s.timeout),
	}
	if s.retries > 0 {
		a.RetryPolicy = &routev3.RetryPolicy{
			RetryOn: "reset,retriable-status-codes", NumRetries: wrapperspb.UInt32(uint32(s.retries)),
			RetriableStatusCodes: []uint32{503},
			RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
				BaseInterval: durationpb.New(time.Millisecond)},
		}
	}
	if s.mirror {
		a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "mirror"}}
	}
	return &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Name:   "default",
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: a},
		}},
	}}}
}

func cluster(name string, b *limits) *clusterv3.Cluster {
	if b == nil {
		b = &limits{1 << 30, 1 << 30, 1 << 30}
	}
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{
			EdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
			ServiceName: name,
		},
		ConnectTimeout: durationpb.New(10 * time.Second),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(b.connections),
			MaxPendingRequests: wrapperspb.UInt32(b.pending),
			MaxRequests:        wrapperspb.UInt32(b.requests),
			MaxRetries:         wrapperspb.UInt32(1 << 30),
		}}},
	}
}

// logs is Envoy's default log, if one is asked for.
func logs(s settings) []*accesslogv3.AccessLog {
	if !s.logged {
		return nil
	}
	file := &filelogv3.FileAccessLog{Path: "/dev/null"}
	if s.format != "" {
		file.AccessLogFormat = &filelogv3.FileAccessLog_LogFormat{
			LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{
					TextFormatSource: &corev3.DataSource{
						Specifier: &corev3.DataSource_InlineString{InlineString: s.format}}}}}
	}
	return []*accesslogv3.AccessLog{{ConfigType: &accesslogv3.AccessLog_TypedConfig{
		TypedConfig: typed(file)}}}
}
