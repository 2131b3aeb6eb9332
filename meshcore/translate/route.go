package translate

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// meshGateway is the reserved gateway name that stands for every sidecar.
const meshGateway = "mesh"

// routeSite is where the rules of VirtualServices become routes: the proxy, the gateway it acts
// for, the port, and how the place looks up what destinations refer to.
type routeSite struct {
	namespace string            // the proxy's
	labels    map[string]string // the proxy's
	gateway   string            // meshGateway or "NAMESPACE/NAME"
	port      int               // the Service's in a sidecar, the server's in a gateway
	tls       bool              // the listener terminates TLS

	retries       *networkingv1alpha3.HTTPRetry // the mesh's default; nil for Istio's
	forwardedHost bool                          // append x-forwarded-host on rewriting the host

	cluster func(*networkingv1alpha3.Destination) string
	hash    func(*networkingv1alpha3.Destination) *consistentHash // nil: no consistent hashing
}

// admits reports whether a match of a rule applies at the site at all. Source labels and namespace
// count only without gateways. (istio route.go sourceMatchHTTP)
func (s *routeSite) admits(m *networkingv1alpha3.HTTPMatchRequest) bool {
	if m.Port != 0 && int(m.Port) != s.port {
		return false
	}
	if len(m.Gateways) > 0 {
		return slices.Contains(m.Gateways, s.gateway)
	}
	if m.SourceNamespace != "" && m.SourceNamespace != s.namespace {
		return false
	}
	return Selects(m.SourceLabels, s.labels)
}

// Selects reports whether every label of the selector is among the labels.
func Selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// routes returns the routes of a VirtualService at a site: one for each match of each rule, up to
// the first that matches everything. None means that the VirtualService has no say there.
func (vs *virtualService) routes(s *routeSite) []*routev3.Route {
	var out []*routev3.Route
	for i, rule := range vs.spec.Http {
		if len(rule.Match) == 0 {
			return append(out, vs.written(i, -1, vs.route(rule, nil, s)))
		}
		for j, match := range rule.Match {
			if !s.admits(match) {
				continue
			}
			r := vs.written(i, j, vs.route(rule, match, s))
			out = append(out, r)
			if matchesEverything(r.Match) {
				return out
			}
		}
	}
	return out
}

// route translates one match (nil: all) of one rule.
func (vs *virtualService) route(
	rule *networkingv1alpha3.HTTPRoute, match *networkingv1alpha3.HTTPMatchRequest, s *routeSite,
) *routev3.Route {
	out := &routev3.Route{
		Name:       rule.Name,
		Match:      routeMatch(match),
		Metadata:   vs.metadata,
		StatPrefix: match.GetStatPrefix(),
	}
	if match.GetName() != "" {
		// With an unnamed rule the name begins with the dot. (istio route.go TranslateRoute)
		out.Name += "." + match.Name
	}
	ops := headerOperationsOf(rule.Headers)
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = ops.requestAdd, ops.requestRemove
	out.ResponseHeadersToAdd, out.ResponseHeadersToRemove = ops.responseAdd, ops.responseRemove
	switch {
	case rule.Redirect != nil:
		out.Action = &routev3.Route_Redirect{Redirect: redirectAction(rule.Redirect, s)}
	case rule.DirectResponse != nil:
		out.Action = &routev3.Route_DirectResponse{
			DirectResponse: directResponseAction(rule.DirectResponse),
		}
	default:
		out.Action = &routev3.Route_Route{Route: forwardAction(out, rule, ops.authority, s)}
	}
	out.Decorator = &routev3.Decorator{Operation: vs.operation(out, s.port)}
	out.TypedPerFilterConfig = perRouteFilters(rule)
	return out
}

// operation names what a route does, for traces and for x-envoy-decorator-operation: the single
// destination where there is one, else the VirtualService. (istio route.go GetRouteOperation)
func (vs *virtualService) operation(r *routev3.Route, port int) string {
	path := "/*"
	switch p := r.Match.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		path = p.Prefix + "*"
	case *routev3.RouteMatch_Path:
		path = p.Path
	case *routev3.RouteMatch_SafeRegex:
		path = p.SafeRegex.Regex
	}
	if host, port, ok := parseClusterName(r.GetRoute().GetCluster()); ok {
		return host + ":" + port + path
	}
	return vs.object.Name + ":" + strconv.Itoa(port) + path
}

// RuleMetadata is the namespace of a route's metadata in which it says what rule it is of: "rule"
// is "Kind NAMESPACE/NAME FIELD", "VirtualService default/reviews spec.http[2].match[0]". Istio has
// no such thing; it is for who explains a request, and no proxy looks at it.
const RuleMetadata = "mesh-lab"

// written notes which rule of the VirtualService, or of its delegate, a route is of, and which of
// its matches (-1: it has none).
func (vs *virtualService) written(rule, match int, r *routev3.Route) *routev3.Route {
	from := vs.from[rule]
	text := from.object.Ref() + " spec.http[" + strconv.Itoa(from.rule) + "]"
	if match >= 0 && !from.merged {
		text += ".match[" + strconv.Itoa(match) + "]"
	}
	r.Metadata = proto.CloneOf(r.Metadata)
	r.Metadata.FilterMetadata[RuleMetadata] = &structpb.Struct{
		Fields: map[string]*structpb.Value{"rule": structpb.NewStringValue(text)},
	}
	return r
}

// configMetadata names the object that a resource comes from, as Istio's telemetry expects it.
func configMetadata(path string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"istio": {Fields: map[string]*structpb.Value{"config": structpb.NewStringValue(path)}},
	}}
}

// typed wraps a message, always with the same bytes for the same message.
func typed(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("translate: " + err.Error()) // only invalid UTF-8, which configuration cannot hold
	}
	return out
}
