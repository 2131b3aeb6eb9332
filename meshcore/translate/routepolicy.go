package translate

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

const (
	faultFilter = "envoy.filters.http.fault"
	corsFilter  = "envoy.filters.http.cors"

	defaultRetryOn = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
)

type consistentHash = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB

// hashPolicies appends what a consistent hash is computed from; a nil hash adds nothing.
func hashPolicies(
	out []*routev3.RouteAction_HashPolicy, in *consistentHash,
) []*routev3.RouteAction_HashPolicy {
	switch key := in.GetHashKey().(type) {
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		out = append(out, &routev3.RouteAction_HashPolicy{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
				Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: key.HttpHeaderName},
			},
		})
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		out = append(out, &routev3.RouteAction_HashPolicy{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{
				Cookie: cookiePolicy(key.HttpCookie),
			},
		})
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		out = append(out, &routev3.RouteAction_HashPolicy{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
				ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{
					SourceIp: key.UseSourceIp,
				},
			},
		})
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		out = append(out, &routev3.RouteAction_HashPolicy{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{
					Name: key.HttpQueryParameterName,
				},
			},
		})
	}
	return out
}

func cookiePolicy(
	in *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HTTPCookie,
) *routev3.RouteAction_HashPolicy_Cookie {
	out := &routev3.RouteAction_HashPolicy_Cookie{Name: in.Name, Path: in.Path, Ttl: in.Ttl}
	for _, a := range in.Attributes {
		out.Attributes = append(out.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{
			Name: a.Name, Value: a.Value,
		})
	}
	return out
}

// retryPolicy translates retries; nil is Istio's default of two retries on another host. Without
// attempts nothing is retried. (istio route/retry/retry.go ConvertPolicy)
func retryPolicy(in *networkingv1alpha3.HTTPRetry, hashed bool) *routev3.RetryPolicy {
	out := &routev3.RetryPolicy{
		RetryOn:                       defaultRetryOn,
		NumRetries:                    wrapperspb.UInt32(2),
		HostSelectionRetryMaxAttempts: 5,
	}
	if in == nil {
		if !hashed {
			out.RetryHostPredicate = avoidPreviousHosts
		}
		return out
	}
	if in.Attempts <= 0 {
		return nil
	}
	out.NumRetries = wrapperspb.UInt32(uint32(in.Attempts))
	if in.RetryOn != "" {
		out.RetryOn, out.RetriableStatusCodes = retryConditions(in.RetryOn)
	}
	out.PerTryTimeout = in.PerTryTimeout
	avoid := !hashed
	if in.RetryIgnorePreviousHosts != nil {
		avoid = in.RetryIgnorePreviousHosts.Value
	}
	if avoid {
		out.RetryHostPredicate = avoidPreviousHosts
	}
	if in.RetryRemoteLocalities.GetValue() {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: typed(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
			},
		}
	}
	if in.Backoff != nil {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: in.Backoff}
	}
	return out
}

// avoidPreviousHosts is shared by all routes.
var avoidPreviousHosts = []*routev3.RetryPolicy_RetryHostPredicate{{
	Name: "envoy.retry_host_predicates.previous_hosts",
	ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
		TypedConfig: typed(&previoushostsv3.PreviousHostsPredicate{}),
	},
}}

// retryConditions splits retryOn into Envoy's conditions and the status codes among them, which
// need a condition of their own.
func retryConditions(retryOn string) (string, []uint32) {
	var conditions []string
	var statuses []uint32
	for part := range strings.SplitSeq(retryOn, ",") {
		part = strings.TrimSpace(part)
		if n, err := strconv.Atoi(part); err == nil && registeredStatus(n) {
			statuses = append(statuses, uint32(n))
		} else if part != "" {
			conditions = append(conditions, part)
		}
	}
	joined := strings.Join(conditions, ",")
	if len(statuses) > 0 && !strings.Contains(joined, "retriable-status-codes") {
		// A list of codes alone begins with a comma, in istiod too.
		joined += ",retriable-status-codes"
	}
	return joined, statuses
}

// registeredStatus reports whether a number is an HTTP status code with a name (RFC 9110 and its
// extensions), as istiod asks net/http.
func registeredStatus(n int) bool {
	return n >= 100 && n <= 103 || n >= 200 && n <= 208 || n == 226 ||
		n >= 300 && n <= 308 && n != 306 || n >= 400 && n <= 431 && !unnamedClientErrors[n] ||
		n == 451 || n >= 500 && n <= 511 && n != 509
}

var unnamedClientErrors = map[int]bool{419: true, 420: true, 427: true, 430: true}

// perRouteFilters configures the HTTP filters that a rule needs.
func perRouteFilters(rule *networkingv1alpha3.HTTPRoute) map[string]*anypb.Any {
	if rule.Fault == nil && rule.CorsPolicy == nil {
		return nil
	}
	out := map[string]*anypb.Any{}
	if rule.Fault != nil {
		out[faultFilter] = typed(fault(rule.Fault))
	}
	if rule.CorsPolicy != nil {
		out[corsFilter] = typed(corsPolicy(rule.CorsPolicy))
	}
	return out
}

// fault translates delays and aborts. An abort without percentage never happens, and one without
// status is dropped; both are valid. (istio route.go TranslateFault)
func fault(in *networkingv1alpha3.HTTPFaultInjection) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if d := in.Delay; d.GetFixedDelay() != nil {
		//nolint:staticcheck // percent is deprecated but still read.
		share := hundredths(uint32(d.Percent))
		if d.Percentage != nil {
			share = millionths(d.Percentage)
		}
		out.Delay = &commonfaultv3.FaultDelay{
			Percentage: share,
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{
				FixedDelay: d.GetFixedDelay(),
			},
		}
	}
	abort := &faultv3.FaultAbort{}
	if in.Abort.GetPercentage() != nil {
		abort.Percentage = millionths(in.Abort.Percentage)
	}
	switch e := in.Abort.GetErrorType().(type) {
	case *networkingv1alpha3.HTTPFaultInjection_Abort_HttpStatus:
		abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(e.HttpStatus)}
		out.Abort = abort
	case *networkingv1alpha3.HTTPFaultInjection_Abort_GrpcStatus:
		abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: grpcCode(e.GrpcStatus)}
		out.Abort = abort
	}
	return out
}

// grpcCode returns the number of a gRPC status name ("UNAVAILABLE"), 0 for an unknown one.
func grpcCode(name string) uint32 {
	var c codes.Code
	if err := c.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil {
		return 0
	}
	return uint32(c)
}

func corsPolicy(in *networkingv1alpha3.CorsPolicy) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		FilterEnabled:    &corev3.RuntimeFractionalPercent{DefaultValue: hundredths(100)},
		AllowCredentials: in.AllowCredentials,
		AllowHeaders:     strings.Join(in.AllowHeaders, ","),
		AllowMethods:     strings.Join(in.AllowMethods, ","),
		ExposeHeaders:    strings.Join(in.ExposeHeaders, ","),
		ForwardNotMatchingPreflights: wrapperspb.Bool(
			in.UnmatchedPreflights != networkingv1alpha3.CorsPolicy_IGNORE),
	}
	for _, m := range in.AllowOrigins {
		if m.GetMatchType() != nil {
			out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, stringMatch(m))
		}
	}
	if in.AllowOrigins == nil {
		//nolint:staticcheck // allowOrigin is deprecated but still read.
		for _, origin := range in.AllowOrigin {
			out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, exactMatch(origin))
		}
	}
	if in.MaxAge != nil {
		out.MaxAge = strconv.FormatInt(in.MaxAge.Seconds, 10)
	}
	return out
}
