package translate

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

const grpcStats = "envoy.filters.http.grpc_stats"

// serverName is what proxies put into the server header.
const serverName = "istio-envoy"

// class is the kind of a listener.
type class int

const (
	outboundClass class = iota
	inboundClass
	gatewayClass
)

// managers makes the HTTP connection managers of one proxy. What they have in common is made once.
type managers struct {
	mesh      *meshconfig.MeshConfig
	tracing   *hcmv3.HttpConnectionManager_Tracing
	filters   []*hcmv3.HttpFilter
	guard     *guard // of what enters at the proxy
	requestID *hcmv3.RequestIDExtension
	logs      accessLogs
	// inboundTLS ends mutual TLS at sidecars.
	inboundTLS *corev3.TransportSocket
}

func newManagers(mesh *meshconfig.MeshConfig, p *Pod, g *guard) *managers {
	quiet := proxyHeaders(mesh).GetEnvoyDebugHeaders().GetDisabled().GetValue()
	return &managers{
		mesh:    mesh,
		tracing: tracing(mesh, p),
		guard:   g,
		logs:    newAccessLogs(mesh),

		inboundTLS: tlsSocket(inboundTLS(mesh)),
		filters: []*hcmv3.HttpFilter{
			httpFilter(grpcStats, &grpcstatsv3.FilterConfig{
				EmitFilterState: true,
				PerMethodStatSpecifier: &grpcstatsv3.FilterConfig_StatsForAllMethods{
					StatsForAllMethods: wrapperspb.Bool(false),
				},
			}),
			httpFilter("envoy.filters.http.fault", &faultv3.HTTPFault{}),
			httpFilter("envoy.filters.http.cors", &corsv3.Cors{}),
			httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: quiet}),
		},
		requestID: &hcmv3.RequestIDExtension{TypedConfig: typed(&uuidv3.UuidRequestIdConfig{
			UseRequestIdForTraceSampling: wrapperspb.Bool(true),
		})},
	}
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: typed(config)},
	}
}

// manager makes a connection manager; its routes are to be set.
func (m *managers) manager(c class, name string) *hcmv3.HttpConnectionManager {
	out := &hcmv3.HttpConnectionManager{
		StatPrefix:         name + ";",
		HttpFilters:        m.httpFilters(c),
		RequestIdExtension: m.requestID,
		Tracing:            m.tracing,
		AccessLog:          m.logs.traffic,
		// Gateways append the client's address to x-forwarded-for; sidecars leave the header alone.
		UseRemoteAddress:     wrapperspb.Bool(c == gatewayClass),
		StreamIdleTimeout:    durationpb.New(0),
		Proxy_100Continue:    true,
		AppendXForwardedPort: proxyHeaders(m.mesh).GetXForwardedPort().GetEnabled().GetValue(),
		UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{
			{UpgradeType: "websocket"},
		},
	}
	m.serverHeader(out, c)
	m.normalizePath(out)
	if proxyHeaders(m.mesh).GetRequestId().GetDisabled().GetValue() {
		out.GenerateRequestId = wrapperspb.Bool(false)
	}
	if c == gatewayClass {
		out.HttpProtocolOptions = &corev3.Http1ProtocolOptions{}
		topology := m.mesh.GetDefaultConfig().GetGatewayTopology()
		out.XffNumTrustedHops = topology.GetNumTrustedProxies()
	}
	if c != outboundClass {
		clientCertificate(out, c, m.mesh)
	}
	return out
}

// httpFilters: policies hold for what enters at the proxy, not for what its application sends.
func (m *managers) httpFilters(c class) []*hcmv3.HttpFilter {
	if c == outboundClass {
		return m.filters
	}
	return slices.Concat(m.guard.http, m.filters)
}

// serverHeader: a sidecar hides the server from its own application only if told to; inbound and at
// gateways the header names Istio. Istio pilot/pkg/networking/util/util.go
// GetProxyHeadersFromProxyConfig.
func (m *managers) serverHeader(out *hcmv3.HttpConnectionManager, c class) {
	if c != outboundClass {
		out.ServerName = serverName
	}
	server := proxyHeaders(m.mesh).GetServer()
	if server.GetDisabled().GetValue() {
		out.ServerName = ""
		out.ServerHeaderTransformation = hcmv3.HttpConnectionManager_PASS_THROUGH
	} else if server.GetValue() != "" {
		out.ServerName = server.Value
	}
}

// normalizePath follows meshConfig.pathNormalization.
func (m *managers) normalizePath(out *hcmv3.HttpConnectionManager) {
	how := m.mesh.GetPathNormalization().GetNormalization()
	out.NormalizePath = wrapperspb.Bool(how != meshconfig.MeshConfig_ProxyPathNormalization_NONE)
	out.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	switch how {
	case meshconfig.MeshConfig_ProxyPathNormalization_MERGE_SLASHES:
		out.MergeSlashes = true
	case meshconfig.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES:
		out.MergeSlashes = true
		out.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
}

// withRDS makes the filter of a connection manager that fetches its routes by name.
func withRDS(m *hcmv3.HttpConnectionManager, routes string) *listenerv3.Filter {
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{
		Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: routes},
	}
	return networkFilter("envoy.filters.network.http_connection_manager", m)
}

// withRoutes makes the filter of a connection manager that has its routes.
func withRoutes(
	m *hcmv3.HttpConnectionManager, routes *routev3.RouteConfiguration,
) *listenerv3.Filter {
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	return networkFilter("envoy.filters.network.http_connection_manager", m)
}

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{
		Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(config)},
	}
}

// grpcWeb puts the filter that translates gRPC-Web behind the policies.
func grpcWeb(m *hcmv3.HttpConnectionManager) {
	filter := httpFilter("envoy.filters.http.grpc_web", &grpcwebv3.GrpcWeb{})
	at := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		return f.Name == grpcStats
	})
	m.HttpFilters = slices.Insert(slices.Clone(m.HttpFilters), at, filter)
}

// tcpProxy makes the filter that passes bytes on to a cluster.
func (l accessLogs) tcpProxy(cluster string) *listenerv3.Filter {
	return networkFilter(tcpProxyName, l.newTCPProxy(cluster))
}

// blackHole makes the filter that takes connections to the listener itself, which no log tells of.
func blackHole() *listenerv3.Filter { return accessLogs{}.tcpProxy(blackHoleCluster) }

func (l accessLogs) newTCPProxy(cluster string) *tcpv3.TcpProxy {
	return &tcpv3.TcpProxy{
		StatPrefix:       cluster,
		AccessLog:        l.traffic,
		ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster},
	}
}

const tcpProxyName = "envoy.filters.network.tcp_proxy"

// tracing says which requests are traced and what spans are told of the proxy; the lab has no
// collector, so only the sampling decision in x-request-id is seen. Istio
// pilot/pkg/networking/core/tracing.go.
func tracing(mesh *meshconfig.MeshConfig, p *Pod) *hcmv3.HttpConnectionManager_Tracing {
	if !mesh.GetEnableTracing() {
		return nil
	}
	config := mesh.GetDefaultConfig().GetTracing()
	sampling := 1.0
	if s := config.GetSampling(); s != 0 && s <= 100 {
		sampling = s
	}
	out := &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling:  &typev3.Percent{Value: 100},
		RandomSampling:  &typev3.Percent{Value: sampling},
		OverallSampling: &typev3.Percent{Value: 100},
	}
	if n := config.GetMaxPathTagLength(); n != 0 {
		out.MaxPathTagLength = wrapperspb.UInt32(n)
	}
	if tags := config.GetEnableIstioTags(); tags == nil || tags.Value {
		out.CustomTags = tracingTags(mesh, p)
	}
	return out
}

// tracingTags are Istio's own, sorted by name.
func tracingTags(mesh *meshconfig.MeshConfig, p *Pod) []*tracingv3.CustomTag {
	label := func(name, otherwise string) string {
		if v := p.Labels[name]; v != "" {
			return v
		}
		return otherwise
	}
	const shadow = "istio_dry_run_"
	domain := mesh.GetTrustDomain()
	if domain == "" {
		domain = clusterDomain
	}
	const dry = "istio.authorization.dry_run."
	return []*tracingv3.CustomTag{
		shadowTag(dry+"allow_policy.name", shadow+"allow_shadow_effective_policy_id"),
		shadowTag(dry+"allow_policy.result", shadow+"allow_shadow_engine_result"),
		shadowTag(dry+"deny_policy.name", shadow+"deny_shadow_effective_policy_id"),
		shadowTag(dry+"deny_policy.result", shadow+"deny_shadow_engine_result"),
		literalTag("istio.canonical_revision", label(canonicalRevisionLabel, "latest")),
		literalTag("istio.canonical_service", label(canonicalNameLabel, "unknown")),
		literalTag("istio.cluster_id", clusterID),
		literalTag("istio.mesh_id", domain),
		literalTag("istio.namespace", p.Namespace),
	}
}
