package envoy

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Clusters of the bootstrap.
const (
	ControlCluster = "xds"     // that ADS is reached through
	ReportsCluster = "reports" // that the access log service is reached through
)

// eventsPath names descriptor 3: the first that a child is given beside the standard three.
const eventsPath = "/dev/fd/3"

// bootstrap is the file that Envoy starts with, as JSON.
func bootstrap(o Options, admin string) ([]byte, error) {
	b, err := common(o.Node, o.Control)
	if err != nil {
		return nil, err
	}
	b.Admin = &bootstrapv3.Admin{Address: pipe(admin)}
	b.DynamicResources = dynamic(o.Delta)
	if o.Reports != "" {
		c, err := serviceCluster(ReportsCluster, o.Reports)
		if err != nil {
			return nil, fmt.Errorf("bootstrap: cluster %s: %w", ReportsCluster, err)
		}
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	}
	b.ClusterManager = &bootstrapv3.ClusterManager{UpstreamBindConfig: from(o.Source)}
	if o.Ejections != nil {
		b.ClusterManager.OutlierDetection =
			&bootstrapv3.ClusterManager_OutlierDetection{EventLogPath: eventsPath}
	}
	return protojson.Marshal(b)
}

// from binds the proxy's end of upstream connections; nil where the system chooses.
func from(source netip.Addr) *corev3.BindConfig {
	if !source.IsValid() {
		return nil
	}
	return &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address: source.String(), PortSpecifier: &corev3.SocketAddress_PortValue{},
	}}
}

// common is what serving and validating share: what changes what a request experiences is as in
// Istio's tools/packaging/common/envoy_bootstrap.json.
func common(node *corev3.Node, control string) (*bootstrapv3.Bootstrap, error) {
	cluster, err := serviceCluster(ControlCluster, control)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: cluster %s: %w", ControlCluster, err)
	}
	overload, err := unlimited()
	if err != nil {
		return nil, fmt.Errorf("bootstrap: overload manager: %w", err)
	}
	layers, err := runtimeLayers()
	if err != nil {
		return nil, fmt.Errorf("bootstrap: runtime: %w", err)
	}
	return &bootstrapv3.Bootstrap{
		Node: node,
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters: []*clusterv3.Cluster{cluster}},
		LayeredRuntime:  layers,
		OverloadManager: overload,
		StatsConfig:     stats(),
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{
			EnableDeferredCreationStats: true},
	}, nil
}

// runtimeLayers are Istio's flags (pkg/bootstrap/config.go extractRuntimeFlags), beneath the layer
// that /runtime_modify writes.
func runtimeLayers() (*bootstrapv3.LayeredRuntime, error) {
	flags, err := structpb.NewStruct(map[string]any{
		"re2.max_program_size.error_level": "32768",
		"envoy.deprecated_features:envoy.config.listener.v3.Listener." +
			"hidden_envoy_deprecated_use_original_dst": true,
		"envoy.reloadable_features.http_reject_path_with_fragment":       false,
		"envoy.reloadable_features.fixed_heap_use_allocated":             true,
		"envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": false,
	})
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		{Name: "global config", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{
			StaticLayer: flags}},
		{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{
			AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
	}}, nil
}

// unlimited allows as many connections as Istio does when nobody limits them.
func unlimited() (*overloadv3.OverloadManager, error) {
	a, err := anypb.New(&connectionsv3.DownstreamConnectionsConfig{
		MaxActiveDownstreamConnections: math.MaxInt32})
	if err != nil {
		return nil, err
	}
	return &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
		Name:       "envoy.resource_monitors.global_downstream_max_connections",
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: a},
	}}}, nil
}

// stats keeps what tells whether a proxy is ready and at rest. What counts by cluster and by route
// is most of Envoy's memory and nobody reads it: records say it all. /clusters has its own
// counters.
func stats() *metricsv3.StatsConfig {
	var patterns []*matcherv3.StringMatcher
	for _, p := range []string{
		"access_logs.", "cluster_manager.", "listener_manager.", "server.", "runtime.",
		"control_plane.", "filesystem.", "cluster." + ControlCluster + ".",
	} {
		patterns = append(patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	for _, s := range []string{
		".downstream_rq_active", ".downstream_cx_active", ".no_filter_chain_match",
		".rds.update_rejected",
	} {
		patterns = append(patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}})
	}
	return &metricsv3.StatsConfig{
		UseAllDefaultTags: wrapperspb.Bool(false),
		StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{
			InclusionList: &matcherv3.ListStringMatcher{Patterns: patterns}}},
	}
}

// serviceCluster is where a server of ours listens. Each stream has a connection of its own, as
// in Istio: access logs that queue up do not hold an ACK back.
func serviceCluster(name, socket string) (*clusterv3.Cluster, error) {
	type http2Config = upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions
	http2, err := anypb.New(&upstreamsv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &http2Config{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}}}},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			MaxRequestsPerConnection: wrapperspb.UInt32(1)},
	})
	if err != nil {
		return nil, err
	}
	most := wrapperspb.UInt32(100000)
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
					Endpoint: &endpointv3.Endpoint{Address: pipe(socket)}}}}}},
		},
		CircuitBreakers: &clusterv3.CircuitBreakers{
			Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
				MaxConnections: most, MaxPendingRequests: proto.CloneOf(most),
				MaxRequests: proto.CloneOf(most)}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
	}, nil
}

// dynamic has everything come over one ADS stream.
func dynamic(delta bool) *bootstrapv3.Bootstrap_DynamicResources {
	api := corev3.ApiConfigSource_GRPC
	if delta {
		api = corev3.ApiConfigSource_DELTA_GRPC
	}
	ads := func() *corev3.ConfigSource {
		return &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
			InitialFetchTimeout:   durationpb.New(0), // wait for as long as it takes
		}
	}
	return &bootstrapv3.Bootstrap_DynamicResources{
		AdsConfig: &corev3.ApiConfigSource{
			ApiType: api, TransportApiVersion: corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ControlCluster}},
				RetryPolicy: soon()}},
		},
		CdsConfig: ads(), LdsConfig: ads(),
	}
}

// soon has an Envoy whose control plane was away come back within a second: by default it may take
// 30 s (api/envoy/config/core/v3/grpc_service.proto).
func soon() *corev3.RetryPolicy {
	return &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
		BaseInterval: durationpb.New(100 * time.Millisecond),
		MaxInterval:  durationpb.New(time.Second),
	}}
}

// pipe is the address of a service: a unix socket's path, or of one elsewhere IP:PORT.
func pipe(path string) *corev3.Address {
	if at, err := netip.ParseAddrPort(path); err == nil {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{
				Address:       at.Addr().String(),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
			}}}
	}
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}
