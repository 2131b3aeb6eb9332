package probe

import (
	"context"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type (
	checkRequest  = authv3.CheckRequest
	checkResponse = authv3.CheckResponse
	option        = corev3.HeaderValueOption
)

func says(m *checkResponse) func(context.Context, *checkRequest) (*checkResponse, error) {
	return func(context.Context, *checkRequest) (*checkResponse, error) { return m, nil }
}

func allows(m *authv3.OkHttpResponse) func(context.Context, *checkRequest) (*checkResponse, error) {
	return says(&checkResponse{Status: &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: m}})
}

func denies(m *authv3.DeniedHttpResponse) func(context.Context, *checkRequest) (*checkResponse, error) {
	return says(&checkResponse{Status: &status.Status{Code: 7},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: m}})
}

func line(k, v string) *option { return &option{Header: &corev3.HeaderValue{Key: k, Value: v}} }

func appends(k, v string, on bool) *option {
	o := line(k, v)
	o.Append = wrapperspb.Bool(on) //nolint:staticcheck // the deprecated field
	return o
}

func acts(k, v string, a corev3.HeaderValueOption_HeaderAppendAction) *option {
	o := line(k, v)
	o.AppendAction = a
	return o
}

// everyWay changes two headers, one that is there and one that is not, in every way.
func everyWay(there, absent string) []*option {
	var out []*option
	for i, k := range []string{there, absent} {
		n := []string{"t", "n"}[i]
		out = append(out, line(k+"-plain", n+"1"), appends(k+"-true", n+"2", true), appends(k+"-false", n+"3", false),
			acts(k+"-add", n+"4", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD),
			acts(k+"-absent", n+"5", corev3.HeaderValueOption_ADD_IF_ABSENT),
			acts(k+"-set", n+"6", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
			acts(k+"-replace", n+"7", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS))
	}
	return out
}

const ways = "\r\nx-t-plain: 0\r\nx-t-true: 0\r\nx-t-false: 0\r\nx-t-add: 0\r\nx-t-absent: 0\r\nx-t-set: 0\r\nx-t-replace: 0\r\n\r\n"

func body2(max uint32, partial, bytes bool) func(*extauthzv3.ExtAuthz, *corev3.GrpcService) {
	return func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
		e.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: max,
			AllowPartialMessage: partial, PackAsBytes: bytes}
	}
}

func askedGRPC() []asked {
	fine := allows(nil)
	waysReq := strings.Replace(askGet, "\r\n\r\n", ways, 1)
	return []asked{
		{probe: probe{name: "allowed", req: askGet}, check: fine},
		{probe: probe{name: "allowed without a word", req: askGet}, check: says(&checkResponse{})},
		{probe: probe{name: "attributes", req: "PUT /a?b=c HTTP/1.1\r\nHost: svc3:80\r\nx-envoy-downstream-service-cluster: them\r\n" +
			"x-bytes: \xff\xc3\xa9\xe2\r\ncontent-length: 5\r\nx-forwarded-for: 1.2.3.4\r\nx-envoy-auth-partial-body: yes\r\n\r\nhello"}, check: fine},
		{probe: probe{name: "old protocol", req: "GET /a HTTP/1.1\r\nHost: svc3\r\nx-forwarded-proto: https\r\n\r\n"}, check: fine},
		{probe: probe{name: "denied", req: askGet}, check: denies(nil)},
		{probe: probe{name: "denied without a word", req: askGet}, check: says(&checkResponse{Status: &status.Status{Code: 16, Message: "hm"}})},
		{probe: probe{name: "denied with a status", req: askGet}, check: denies(&authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 418}, Body: "a teapot"})},
		{probe: probe{name: "denied with headers", req: askGet}, check: denies(&authv3.DeniedHttpResponse{
			Body: "no", Headers: []*option{line("X-A", "1"), line("x-a", "2"), line("content-type", "text/special"),
				line("set-cookie", "a"), line("set-cookie", "b"), line("server", "me"), line("x-r", "mine")}})},
		{probe: probe{name: "denied with headers every way", req: askGet}, check: denies(&authv3.DeniedHttpResponse{
			Headers: everyWay("x-t", "x-n")}),
			routes: func(r *routev3.RouteConfiguration) {
				for _, n := range strings.Fields("plain true false add absent set replace") {
					r.VirtualHosts[0].ResponseHeadersToAdd = append(r.VirtualHosts[0].ResponseHeadersToAdd,
						acts("x-t-"+n, "0", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
				}
			}},
		{probe: probe{name: "denied gRPC", req: "POST /a HTTP/1.1\r\nHost: svc3\r\n" +
			"content-type: application/grpc\r\nContent-Length: 0\r\n\r\n"}, check: denies(&authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 401}, Body: "no", Headers: []*option{line("x-a", "1")}})},
		{probe: probe{name: "headers of the request every way", req: waysReq}, check: allows(&authv3.OkHttpResponse{
			Headers: everyWay("x-t", "x-n")})},
		{probe: probe{name: "headers of the request, in order", req: askGet}, check: allows(&authv3.OkHttpResponse{
			Headers: []*option{line("x-q", "1"), appends("x-q", "2", true), line("x-q", "3"), appends("x-q", "4", true),
				appends("authorization", "you", true), line("x-b", ""), acts("x-p", "1", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD),
				acts("x-p", "2", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD),
				acts("x-p", "3", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)},
			HeadersToRemove: []string{"X-A", ":path", "host", "x-gone"}})},
		{probe: probe{name: "raw values", req: askGet}, check: allows(&authv3.OkHttpResponse{
			Headers: []*option{{Header: &corev3.HeaderValue{Key: "x-raw", RawValue: []byte("raw")}}}})},
		{probe: probe{name: "pseudo-headers", req: askGet}, check: allows(&authv3.OkHttpResponse{
			Headers: []*option{line(":path", "/other"), line(":method", "POST"), line("Host", "elsewhere")}})},
		{probe: probe{name: "authority", req: askGet}, check: allows(&authv3.OkHttpResponse{
			Headers: []*option{line(":authority", "elsewhere")}})},
		{probe: probe{name: "headers of the response every way", req: askGet, resp: "HTTP/1.1 200 OK\r\ncontent-length: 2" + ways + "ok"},
			check: allows(&authv3.OkHttpResponse{ResponseHeadersToAdd: everyWay("x-t", "x-n")})},
		{probe: probe{name: "headers of the response, in order", req: askGet}, check: allows(&authv3.OkHttpResponse{
			ResponseHeadersToAdd: []*option{line("x-q", "1"), appends("x-q", "2", true), line("x-q", "3"), line("Server", "me"),
				acts("x-p", "1", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD), line("x-p", "2")}})},
		{probe: probe{name: "query", req: "GET /a?x=1&y=2&x=3&z&w=%20 HTTP/1.1\r\nHost: svc3\r\n\r\n"}, check: allows(&authv3.OkHttpResponse{
			QueryParametersToSet: []*corev3.QueryParameter{{Key: "x", Value: "9"}, {Key: "n", Value: "a b"}}, QueryParametersToRemove: []string{"y", "none"}})},
		{probe: probe{name: "query, the last one removed", req: "GET /a?x=1#f HTTP/1.1\r\nHost: svc3\r\n\r\n"}, check: allows(&authv3.OkHttpResponse{
			QueryParametersToRemove: []string{"x"}})},
		{probe: probe{name: "query from nothing", req: "GET /a HTTP/1.1\r\nHost: svc3\r\n\r\n"}, check: allows(&authv3.OkHttpResponse{
			QueryParametersToSet: []*corev3.QueryParameter{{Key: "x", Value: "9"}}})},
		{probe: probe{name: "query removed", req: "GET /a?x=1&y HTTP/1.1\r\nHost: svc3\r\n\r\n"}, check: allows(&authv3.OkHttpResponse{
			QueryParametersToRemove: []string{"x", "y"}})},
		{probe: probe{name: "clears the route", req: askGet}, check: allows(&authv3.OkHttpResponse{Headers: []*option{line("x-redirect", "yes")}}),
			setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) { e.ClearRouteCache = true }},
		{probe: probe{name: "clears the route by an action", req: askGet}, check: allows(&authv3.OkHttpResponse{Headers: []*option{
			acts("x-redirect", "yes", corev3.HeaderValueOption_ADD_IF_ABSENT)}}),
			setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) { e.ClearRouteCache = true }},
		{probe: probe{name: "an error response", req: askGet}, check: says(&checkResponse{Status: &status.Status{Code: 13},
			HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: 503}, Body: "broken", Headers: []*option{line("x-a", "1")}}}})},
		{probe: probe{name: "an error response without a status", req: askGet}, check: says(&checkResponse{Status: &status.Status{Code: 13},
			HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{Body: "broken"}}})},
		{probe: probe{name: "error", req: askGet}, check: func(context.Context, *checkRequest) (*checkResponse, error) {
			return nil, grpcstatus.Error(codes.Unavailable, "not now")
		}},
		{probe: probe{name: "permission denied as the call's status", req: askGet}, check: func(context.Context, *checkRequest) (*checkResponse, error) {
			return nil, grpcstatus.Error(codes.PermissionDenied, "no")
		}},
		{probe: probe{name: "error, allowed", req: askGet}, check: func(context.Context, *checkRequest) (*checkResponse, error) {
			return nil, grpcstatus.Error(codes.Internal, "oh")
		}, setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
			e.FailureModeAllow, e.FailureModeAllowHeaderAdd = true, true
		}},
		{probe: probe{name: "slow", client: []step{send(askGet), recv}}, check: func(ctx context.Context, _ *checkRequest) (*checkResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, setCall: func(_ *extauthzv3.ExtAuthz, g *corev3.GrpcService) { g.Timeout = durationpb.New(3 * time.Second) }},
		{probe: probe{name: "unreachable", req: askGet}, check: fine, setCall: func(_ *extauthzv3.ExtAuthz, g *corev3.GrpcService) {
			g.GetEnvoyGrpc().ClusterName = "refused"
		}},
		{probe: probe{name: "authority of the call", req: askGet}, check: fine, setCall: func(_ *extauthzv3.ExtAuthz, g *corev3.GrpcService) {
			g.GetEnvoyGrpc().Authority = "check.example.com"
		}},
		{probe: probe{name: "twice", client: []step{send(askGet), recv, send(askGet), recv}}, check: fine},
		{probe: probe{name: "allowed headers", req: askGet}, check: fine, setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
			e.AllowedHeaders = heads("x-a", ":path")
		}},
		{probe: probe{name: "disallowed headers", req: askGet}, check: fine, setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
			e.DisallowedHeaders = heads("x-a", "cookie")
		}},
		{probe: probe{name: "session and certificate without TLS", req: askGet}, check: fine, setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
			e.IncludePeerCertificate, e.IncludeTlsSession = true, true
		}},
		{probe: probe{name: "body", req: askPost}, check: fine, setCall: body2(100, false, false)},
		{probe: probe{name: "body as bytes", req: askPost}, check: fine, setCall: body2(100, false, true)},
		{probe: probe{name: "body that is no text", req: "POST /a HTTP/1.1\r\nHost: svc3\r\nContent-Length: 5\r\n\r\na\xff\xfeb\xc3"},
			check: fine, setCall: body2(100, false, false)},
		{probe: probe{name: "partial body", req: askPost}, check: fine, setCall: body2(4, true, false)},
		{probe: probe{name: "empty body", req: "POST /a HTTP/1.1\r\nHost: svc3\r\nContent-Length: 0\r\n\r\n"}, check: fine, setCall: body2(100, false, false)},
		{probe: probe{name: "body not told", req: askPost}, check: fine},
		{probe: probe{name: "route without body", req: askPost}, check: fine, setCall: body2(100, false, false),
			routes: func(r *routev3.RouteConfiguration) {
				perRoute(r, &extauthzv3.CheckSettings{DisableRequestBodyBuffering: true}, nil)
			}},
		{probe: probe{name: "route with another body", req: askPost}, check: fine,
			routes: func(r *routev3.RouteConfiguration) {
				perRoute(r, &extauthzv3.CheckSettings{WithRequestBody: &extauthzv3.BufferSettings{
					MaxRequestBytes: 3, AllowPartialMessage: true, PackAsBytes: true}}, nil)
			}},
		{probe: probe{name: "metadata", req: askGet}, routes: tellMetadata, check: says(&checkResponse{
			DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"fact": structpb.NewStringValue("outer")}},
			HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}})},
		{probe: probe{name: "metadata of old", req: askGet}, routes: tellMetadata, check: says(&checkResponse{
			DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"fact": structpb.NewStringValue("outer")}},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{ //nolint:staticcheck // likewise
				DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"x-r": structpb.NewStringValue("inner")}}}}})},
		{probe: probe{name: "metadata, denied", req: askGet}, routes: tellMetadata, check: says(&checkResponse{
			Status:          &status.Status{Code: 7},
			DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"fact": structpb.NewStringValue("outer")}}})},
		{probe: probe{name: "metadata holds", req: askGet}, check: fine, rules: shadowRules("istio-ext-authz-checker-ns[a]"),
			setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) { e.FilterEnabledMetadata = shadowed }},
		{probe: probe{name: "metadata of another policy", req: askGet}, check: fine, rules: shadowRules("istio-ext-authz-other-ns[a]"),
			setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) { e.FilterEnabledMetadata = shadowed }},
		{probe: probe{name: "metadata context", req: askGet}, check: fine, rules: shadowRules("policy"),
			setCall: func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
				e.MetadataContextNamespaces = []string{"envoy.filters.http.rbac", "none"}
				e.RouteMetadataContextNamespaces = []string{"facts", "none"}
			}, routes: func(r *routev3.RouteConfiguration) {
				for _, route := range r.VirtualHosts[0].Routes {
					route.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
						"facts":  {Fields: map[string]*structpb.Value{"a": structpb.NewNumberValue(1)}},
						"others": {Fields: map[string]*structpb.Value{"a": structpb.NewNumberValue(2)}}}}
				}
			}},
		{probe: probe{name: "context", req: askGet}, check: fine, routes: func(r *routev3.RouteConfiguration) {
			perRoute(r, &extauthzv3.CheckSettings{ContextExtensions: map[string]string{"a": "route", "b": "route"}},
				&extauthzv3.CheckSettings{ContextExtensions: map[string]string{"b": "vhost", "c": "vhost"}})
		}},
		{probe: probe{name: "big answer", req: askGet}, check: denies(&authv3.DeniedHttpResponse{Body: strings.Repeat("x", 100000)})},
		{probe: probe{name: "too many headers", req: askGet}, check: allows(&authv3.OkHttpResponse{Headers: manyLines(96)})},
	}
}

// shadowRules are rules whose one policy always holds.
func shadowRules(policy string) map[string]*rbacv3.Policy {
	return map[string]*rbacv3.Policy{policy: {
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
		Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}}}
}

func manyLines(n int) (out []*option) {
	for range n {
		out = append(out, acts("x-many-"+string(rune('a'+len(out)%26))+string(rune('a'+len(out)/26)), "1",
			corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	}
	return out
}

// perRoute sets the filter for all routes of the first virtual host, and for it.
func perRoute(r *routev3.RouteConfiguration, route, vhost *extauthzv3.CheckSettings) {
	set := func(s *extauthzv3.CheckSettings) map[string]*anypb.Any {
		return map[string]*anypb.Any{extAuthz: typed(&extauthzv3.ExtAuthzPerRoute{
			Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: s}})}
	}
	v := r.VirtualHosts[0]
	if vhost != nil {
		v.TypedPerFilterConfig = set(vhost)
	}
	for _, route2 := range v.Routes[1:] {
		route2.TypedPerFilterConfig = set(route)
	}
}
