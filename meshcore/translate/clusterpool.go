package translate

import (
	"math"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// upstreamProtocol chooses the HTTP version of a cluster: by the declaration of the port, or as the
// client speaks where nothing is declared. Gateways do not look into streams.
func (b *clusterBuilder) upstreamProtocol(p *port, gateway bool) {
	switch {
	case p.protocol.isHTTP2():
		b.useHTTP2()
	case p.protocol == protoDetect && !gateway:
		b.useDownstreamProtocol()
	}
}

// useHTTP2 does not change a choice that was made before.
func (b *clusterBuilder) useHTTP2() {
	if b.options != nil && b.options.UpstreamProtocolOptions != nil {
		return
	}
	b.httpOptions().UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		},
	}
}

func explicitHTTP1() *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
		},
	}
}

func (b *clusterBuilder) useDownstreamProtocol() {
	o := b.httpOptions()
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
		UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
			HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		},
	}
}

// h2Upgrade speaks HTTP/2 to HTTP ports where the rule, or the mesh, asks for it.
func (b *clusterBuilder) h2Upgrade(p *port, pool *networkingv1alpha3.ConnectionPoolSettings) {
	if pool.GetHttp().GetUseClientProtocol() {
		return
	}
	switch pool.GetHttp().GetH2UpgradePolicy() {
	case networkingv1alpha3.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		b.useHTTP2()
	case networkingv1alpha3.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
	default:
		mesh := b.ix.mesh.GetH2UpgradePolicy() == meshconfig.MeshConfig_UPGRADE
		if mesh && p.protocol.isHTTP() {
			b.useHTTP2()
		}
	}
}

// connectionPool sets the circuit breaker: what is not given is unlimited, and 0 counts as not
// given. Istio pilot/pkg/networking/core/cluster_traffic_policy.go applyConnectionPool.
func (b *clusterBuilder) connectionPool(
	pool *networkingv1alpha3.ConnectionPoolSettings,
	budget *networkingv1alpha3.TrafficPolicy_RetryBudget,
) {
	http, tcp := pool.GetHttp(), pool.GetTcp()
	b.out.CircuitBreakers = &clusterv3.CircuitBreakers{
		Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     limit(tcp.GetMaxConnections()),
			MaxPendingRequests: limit(http.GetHttp1MaxPendingRequests()),
			MaxRequests:        limit(http.GetHttp2MaxRequests()),
			MaxRetries:         limit(http.GetMaxRetries()),
			RetryBudget:        retryBudget(budget),
		}},
	}
	b.out.ConnectTimeout = b.ix.mesh.GetConnectTimeout()
	if t := tcp.GetConnectTimeout(); t != nil {
		b.out.ConnectTimeout = t
	}
	b.keepalive(b.ix.mesh.GetTcpKeepalive())
	b.keepalive(tcp.GetTcpKeepalive())
	b.commonOptions(http, tcp)
	if http.GetUseClientProtocol() {
		b.useDownstreamProtocol()
	}
}

func limit(n int32) *wrapperspb.UInt32Value {
	if n > 0 {
		return wrapperspb.UInt32(uint32(n))
	}
	return wrapperspb.UInt32(math.MaxUint32)
}

func retryBudget(
	b *networkingv1alpha3.TrafficPolicy_RetryBudget,
) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	if b == nil {
		return nil
	}
	out := &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent:       &typev3.Percent{Value: 20},
		BudgetInterval:      b.BudgetInterval,
		MinRetryConcurrency: wrapperspb.UInt32(3),
	}
	if b.Percent != nil {
		out.BudgetPercent.Value = b.Percent.Value
	}
	if b.MinRetryConcurrency > 0 {
		out.MinRetryConcurrency.Value = b.MinRetryConcurrency
	}
	return out
}

// keepalive overlays TCP keep-alive settings.
func (b *clusterBuilder) keepalive(
	k *networkingv1alpha3.ConnectionPoolSettings_TCPSettings_TcpKeepalive,
) {
	if k == nil {
		return
	}
	if b.out.UpstreamConnectionOptions == nil {
		b.out.UpstreamConnectionOptions =
			&clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{}}
	}
	out := b.out.UpstreamConnectionOptions.TcpKeepalive
	if k.Probes > 0 {
		out.KeepaliveProbes = wrapperspb.UInt32(k.Probes)
	}
	if k.Time != nil {
		out.KeepaliveTime = wrapperspb.UInt32(uint32(k.Time.Seconds))
	}
	if k.Interval != nil {
		out.KeepaliveInterval = wrapperspb.UInt32(uint32(k.Interval.Seconds))
	}
}

// commonOptions sets what Envoy keeps among the HTTP options.
func (b *clusterBuilder) commonOptions(
	http *networkingv1alpha3.ConnectionPoolSettings_HTTPSettings,
	tcp *networkingv1alpha3.ConnectionPoolSettings_TCPSettings,
) {
	idle := http.GetIdleTimeout()
	if idle == nil {
		idle = tcp.GetIdleTimeout()
	}
	h2 := http.GetMaxConcurrentStreams() > 0 || http.GetHttp2KeepAlive() != nil
	perConnection := http.GetMaxRequestsPerConnection()
	if idle == nil && tcp.GetMaxConnectionDuration() == nil && perConnection <= 0 && !h2 {
		return
	}
	options := b.httpOptions()
	if options.CommonHttpProtocolOptions == nil {
		options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
	}
	common := options.CommonHttpProtocolOptions
	if idle != nil {
		common.IdleTimeout = idle
	}
	if perConnection > 0 {
		common.MaxRequestsPerConnection = wrapperspb.UInt32(uint32(perConnection))
	}
	common.MaxConnectionDuration = tcp.GetMaxConnectionDuration()
	if out := options.GetExplicitHttpConfig().GetHttp2ProtocolOptions(); out != nil && h2 {
		if n := http.GetMaxConcurrentStreams(); n > 0 {
			out.MaxConcurrentStreams = wrapperspb.UInt32(uint32(n))
		}
		if k := http.GetHttp2KeepAlive(); k != nil {
			out.ConnectionKeepalive = &corev3.KeepaliveSettings{
				Interval: k.Interval, Timeout: k.Timeout,
			}
		}
	}
}

// outlierDetection: of the counters only those that are given are set; success rates never eject.
// Istio pilot/pkg/networking/core/cluster_traffic_policy.go applyOutlierDetection.
func (b *clusterBuilder) outlierDetection(s *service, in *networkingv1alpha3.OutlierDetection) {
	if in == nil {
		return
	}
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate: wrapperspb.UInt32(0),
		Interval:             in.Interval,
		BaseEjectionTime:     in.BaseEjectionTime,
	}
	if e := in.Consecutive_5XxErrors; e != nil {
		out.Consecutive_5Xx = wrapperspb.UInt32(e.Value)
		out.EnforcingConsecutive_5Xx = enforcing(e.Value)
	}
	if e := in.ConsecutiveGatewayErrors; e != nil {
		out.ConsecutiveGatewayFailure = wrapperspb.UInt32(e.Value)
		out.EnforcingConsecutiveGatewayFailure = enforcing(e.Value)
	}
	if in.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = wrapperspb.UInt32(uint32(in.MaxEjectionPercent))
	}
	if in.SplitExternalLocalOriginErrors {
		out.SplitExternalLocalOriginErrors = true
		if n := in.ConsecutiveLocalOriginFailures.GetValue(); n > 0 {
			out.ConsecutiveLocalOriginFailure = wrapperspb.UInt32(n)
			out.EnforcingConsecutiveLocalOriginFailure = wrapperspb.UInt32(100)
		}
		out.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
	}
	b.out.OutlierDetection = out
	if in.MinHealthPercent >= 0 {
		panic := float64(in.MinHealthPercent)
		if s.distribution != distributeAny { // its unready endpoints must never be tried
			panic = 0
		}
		b.out.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: panic}
	}
	b.errorCodes(in.OutlierDetectionHttpErrorCodes)
}

// enforcing: 0 switches a counter off.
func enforcing(n uint32) *wrapperspb.UInt32Value {
	if n > 0 {
		return wrapperspb.UInt32(100)
	}
	return wrapperspb.UInt32(0)
}

// errorCodes says which statuses count as failures instead of 5xx.
func (b *clusterBuilder) errorCodes(codes []uint32) {
	if len(codes) == 0 {
		return
	}
	var rules []*matcherconfigv3.MatchPredicate
	for _, code := range codes {
		rules = append(rules, &matcherconfigv3.MatchPredicate{
			Rule: &matcherconfigv3.MatchPredicate_HttpResponseHeadersMatch{
				HttpResponseHeadersMatch: &matcherconfigv3.HttpHeadersMatch{
					Headers: []*routev3.HeaderMatcher{statusMatcher(code)},
				},
			},
		})
	}
	predicate := rules[0]
	if len(rules) > 1 {
		predicate = &matcherconfigv3.MatchPredicate{Rule: &matcherconfigv3.MatchPredicate_OrMatch{
			OrMatch: &matcherconfigv3.MatchPredicate_MatchSet{Rules: rules},
		}}
	}
	b.httpOptions().OutlierDetection = &httpv3.HttpProtocolOptions_OutlierDetection{
		ErrorMatcher: predicate,
	}
}

func statusMatcher(code uint32) *routev3.HeaderMatcher {
	exact := &matcherv3.StringMatcher_Exact{Exact: strconv.FormatUint(uint64(code), 10)}
	return &routev3.HeaderMatcher{
		Name: ":status",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: exact},
		},
	}
}
