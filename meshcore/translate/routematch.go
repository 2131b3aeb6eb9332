package translate

import (
	"cmp"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// routeMatch translates one match of a rule; nil matches everything.
func routeMatch(in *networkingv1alpha3.HTTPMatchRequest) *routev3.RouteMatch {
	if in == nil {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	}
	out := &routev3.RouteMatch{
		CaseSensitive:   wrapperspb.Bool(!in.IgnoreUriCase),
		Headers:         headerMatches(in.Headers, in.WithoutHeaders),
		QueryParameters: queryMatches(in.QueryParams),
	}
	out.DynamicMetadata = claimMatches(in.Headers, in.WithoutHeaders)
	pathMatch(out, in.Uri)
	pseudo := []struct {
		name  string
		match *networkingv1alpha3.StringMatch
	}{{":method", in.Method}, {":authority", in.Authority}, {":scheme", in.Scheme}}
	for _, p := range pseudo {
		if p.match != nil {
			out.Headers = append(out.Headers, headerMatch(p.name, p.match))
		}
	}
	return out
}

func pathMatch(out *routev3.RouteMatch, uri *networkingv1alpha3.StringMatch) {
	switch m := uri.GetMatchType().(type) {
	case *networkingv1alpha3.StringMatch_Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Exact}
	case *networkingv1alpha3.StringMatch_Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.Prefix}
	case *networkingv1alpha3.StringMatch_Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: m.Regex},
		}
	default:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	}
}

// headerMatches returns the matchers of headers and withoutHeaders, in the order of their names.
func headerMatches(
	with, without map[string]*networkingv1alpha3.StringMatch,
) []*routev3.HeaderMatcher {
	var out []*routev3.HeaderMatcher
	for _, name := range slices.Sorted(maps.Keys(with)) {
		if istio.RoutingClaim(name) != nil {
			continue
		}
		out = append(out, headerMatch(name, with[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(without)) {
		if istio.RoutingClaim(name) != nil {
			continue
		}
		m := headerMatch(name, without[name])
		m.InvertMatch = true
		// So that "not this value" holds for a request without the header; Envoy refuses the flag
		// beside present_match. (istio route.go TranslateRouteMatch)
		m.TreatMissingHeaderAsEmpty = !matchesAnyValue(without[name])
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b *routev3.HeaderMatcher) int {
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// claimMatches returns the matchers of claims of the request's token, which stand among headers and
// withoutHeaders as "@request.auth.claims...", in the order of their names.
func claimMatches(
	with, without map[string]*networkingv1alpha3.StringMatch,
) []*matcherv3.MetadataMatcher {
	var out []*matcherv3.MetadataMatcher
	add := func(from map[string]*networkingv1alpha3.StringMatch, invert bool) {
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if claims := istio.RoutingClaim(name); claims != nil {
				m := claimListMatch(claims, stringValue(stringMatch(from[name])))
				m.Invert = invert
				out = append(out, m)
			}
		}
	}
	add(with, false)
	add(without, true)
	return out
}

func headerMatch(name string, in *networkingv1alpha3.StringMatch) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: name}
	if matchesAnyValue(in) {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(in)}
	return out
}

func queryMatches(in map[string]*networkingv1alpha3.StringMatch) []*routev3.QueryParameterMatcher {
	var out []*routev3.QueryParameterMatcher
	for _, name := range slices.Sorted(maps.Keys(in)) {
		m := &routev3.QueryParameterMatcher{Name: name}
		if matchesAnyValue(in[name]) {
			m.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{
				PresentMatch: true,
			}
		} else {
			m.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{
				StringMatch: stringMatch(in[name]),
			}
		}
		out = append(out, m)
	}
	return out
}

// matchesAnyValue reports whether a match only asks for presence, being empty.
func matchesAnyValue(in *networkingv1alpha3.StringMatch) bool { return in.GetMatchType() == nil }

// stringMatch translates a match that has a value.
func stringMatch(in *networkingv1alpha3.StringMatch) *matcherv3.StringMatcher {
	switch m := in.GetMatchType().(type) {
	case *networkingv1alpha3.StringMatch_Exact:
		return exactMatch(m.Exact)
	case *networkingv1alpha3.StringMatch_Prefix:
		return &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Prefix},
		}
	case *networkingv1alpha3.StringMatch_Regex:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: m.Regex},
		}}
	}
	return nil
}

func exactMatch(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
}

// matchesEverything reports whether no later route of the same list can be reached.
func matchesEverything(m *routev3.RouteMatch) bool {
	if len(m.Headers) > 0 || len(m.QueryParameters) > 0 || len(m.DynamicMetadata) > 0 {
		return false
	}
	return m.GetPrefix() == "/" || m.GetSafeRegex().GetRegex() == ".*"
}
