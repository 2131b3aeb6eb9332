package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// forwardAction translates a rule that forwards. Header operations of a single destination join
// those of the route r; several destinations carry their own.
func forwardAction(
	r *routev3.Route, rule *networkingv1alpha3.HTTPRoute, authority string, s *routeSite,
) *routev3.RouteAction {
	out := &routev3.RouteAction{}
	setTimeout(out, rule.Timeout)
	if rule.Rewrite != nil {
		rewrite(out, rule.Rewrite)
		out.AppendXForwardedHost = s.forwardedHost
		if rule.Rewrite.Authority != "" {
			authority = rule.Rewrite.Authority
		}
	}
	if authority != "" {
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{
			HostRewriteLiteral: authority,
		}
	}
	out.RequestMirrorPolicies = mirrorPolicies(rule, s)
	if len(rule.Route) == 1 {
		forwardToOne(out, r, rule.Route[0], s)
	} else {
		forwardToSeveral(out, rule.Route, s)
	}
	retries := rule.Retries
	if retries == nil {
		retries = s.retries
	}
	// A retry must not avoid the host that the hash chose; but only a single destination's hash is
	// looked at. (istio route.go applyHTTPRouteDestination)
	hashed := len(rule.Route) == 1 && s.hash(rule.Route[0].Destination) != nil
	out.RetryPolicy = retryPolicy(retries, hashed)
	return out
}

// setTimeout sets a route's time-out, none by default, and gives grpc-timeout the same bound.
func setTimeout(out *routev3.RouteAction, timeout *durationpb.Duration) {
	if timeout == nil {
		timeout = &durationpb.Duration{}
	}
	out.Timeout = timeout
	//nolint:staticcheck // istiod sends the deprecated field: max_stream_duration has regressions.
	out.MaxGrpcTimeout = timeout
}

func rewrite(out *routev3.RouteAction, in *networkingv1alpha3.HTTPRewrite) {
	if in.UriRegexRewrite != nil {
		out.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: in.UriRegexRewrite.Match},
			Substitution: in.UriRegexRewrite.Rewrite,
		}
		return
	}
	out.PrefixRewrite = in.Uri
}

// forwardToOne gives a route its only destination, whose weight does not matter.
func forwardToOne(
	out *routev3.RouteAction, r *routev3.Route, to *networkingv1alpha3.HTTPRouteDestination,
	s *routeSite,
) {
	out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: s.cluster(to.Destination)}
	out.HashPolicy = hashPolicies(out.HashPolicy, s.hash(to.Destination))
	ops := headerOperationsOf(to.Headers)
	r.RequestHeadersToAdd = append(r.RequestHeadersToAdd, ops.requestAdd...)
	r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, ops.requestRemove...)
	r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, ops.responseAdd...)
	r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, ops.responseRemove...)
	if ops.authority != "" && out.HostRewriteSpecifier == nil {
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{
			HostRewriteLiteral: ops.authority,
		}
	}
}

// forwardToSeveral splits among the destinations that have a weight.
func forwardToSeveral(
	out *routev3.RouteAction, to []*networkingv1alpha3.HTTPRouteDestination, s *routeSite,
) {
	split := &routev3.WeightedCluster{}
	for _, d := range to {
		if d.Weight == 0 {
			continue
		}
		ops := headerOperationsOf(d.Headers)
		w := &routev3.WeightedCluster_ClusterWeight{
			Name:                    s.cluster(d.Destination),
			Weight:                  wrapperspb.UInt32(uint32(d.Weight)),
			RequestHeadersToAdd:     ops.requestAdd,
			RequestHeadersToRemove:  ops.requestRemove,
			ResponseHeadersToAdd:    ops.responseAdd,
			ResponseHeadersToRemove: ops.responseRemove,
		}
		if ops.authority != "" {
			w.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{
				HostRewriteLiteral: ops.authority,
			}
		}
		split.Clusters = append(split.Clusters, w)
		out.HashPolicy = hashPolicies(out.HashPolicy, s.hash(d.Destination))
	}
	out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
}

// mirrorPolicies returns the copies that a rule asks for; a share of 0 % asks for none.
func mirrorPolicies(
	rule *networkingv1alpha3.HTTPRoute, s *routeSite,
) []*routev3.RouteAction_RequestMirrorPolicy {
	var out []*routev3.RouteAction_RequestMirrorPolicy
	add := func(to *networkingv1alpha3.Destination, share *typev3.FractionalPercent) {
		if to == nil || share.Numerator == 0 {
			return
		}
		out = append(out, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:                       s.cluster(to),
			RuntimeFraction:               &corev3.RuntimeFractionalPercent{DefaultValue: share},
			TraceSampled:                  wrapperspb.Bool(false),
			DisableShadowHostSuffixAppend: true,
		})
	}
	add(rule.Mirror, mirrorShare(rule))
	for _, m := range rule.Mirrors {
		share := hundredths(100)
		if m.Percentage != nil {
			share = millionths(m.Percentage)
		}
		add(m.Destination, share)
	}
	return out
}

func mirrorShare(rule *networkingv1alpha3.HTTPRoute) *typev3.FractionalPercent {
	//nolint:staticcheck // mirrorPercent is deprecated but still read.
	switch old := rule.MirrorPercent; {
	case rule.MirrorPercentage != nil:
		return millionths(rule.MirrorPercentage)
	case old != nil:
		return hundredths(old.Value)
	}
	return hundredths(100)
}

// millionths is a percentage with four decimals; what is finer is cut off.
func millionths(p *networkingv1alpha3.Percent) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator: uint32(p.Value * 10000), Denominator: typev3.FractionalPercent_MILLION,
	}
}

func hundredths(percent uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator: percent, Denominator: typev3.FractionalPercent_HUNDRED,
	}
}

// redirectCodes holds the status codes with which Envoy redirects.
var redirectCodes = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	0:   routev3.RedirectAction_MOVED_PERMANENTLY,
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func redirectAction(in *networkingv1alpha3.HTTPRedirect, s *routeSite) *routev3.RedirectAction {
	out := &routev3.RedirectAction{
		HostRedirect: in.Authority,
		PortRedirect: redirectPort(in, s),
		ResponseCode: redirectCodes[in.RedirectCode],
	}
	if in.PrefixRewrite != "" {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{
			PrefixRewrite: in.PrefixRewrite,
		}
	} else {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: in.Uri}
	}
	if in.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{
			SchemeRedirect: in.Scheme,
		}
	}
	return out
}

// redirectPort returns the port of the new location, 0 for what Envoy does by itself.
// FROM_REQUEST_PORT is the port that the route is made for, since Envoy cannot derive it.
// (istio route.go ApplyRedirect)
func redirectPort(in *networkingv1alpha3.HTTPRedirect, s *routeSite) uint32 {
	port := in.GetPort()
	if in.GetDerivePort() == networkingv1alpha3.HTTPRedirect_FROM_REQUEST_PORT {
		port = uint32(s.port)
	}
	scheme := in.Scheme
	if scheme == "" && s.tls {
		scheme = "https"
	}
	if port == 443 && scheme == "https" || port == 80 && scheme != "https" {
		return 0
	}
	return port
}

func directResponseAction(
	in *networkingv1alpha3.HTTPDirectResponse,
) *routev3.DirectResponseAction {
	out := &routev3.DirectResponseAction{Status: in.Status}
	switch b := in.Body.GetSpecifier().(type) {
	case *networkingv1alpha3.HTTPBody_String_:
		out.Body = &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: b.String_},
		}
	case *networkingv1alpha3.HTTPBody_Bytes:
		out.Body = &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b.Bytes},
		}
	}
	return out
}
