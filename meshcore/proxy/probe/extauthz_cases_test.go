package probe

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// asked is one case of external authorization: what the client sends, what the authorizer and the
// upstream answer, and how the filter is set.
type asked struct {
	probe
	authorizer probe
	// set changes the filter that every case begins with.
	set func(*extauthzv3.ExtAuthz, *extauthzv3.HttpService)
	// check answers in the place of the authorizer, by gRPC; setCall changes the filter.
	check   func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)
	setCall func(*extauthzv3.ExtAuthz, *corev3.GrpcService)
	routes  func(*routev3.RouteConfiguration)
	// rules are shadow rules of an RBAC filter in front, as istiod has them, by policy.
	rules map[string]*rbacv3.Policy
	// server secures the listener, and down the client; toward the authorizer's cluster, and
	// checkTLS the authorizer.
	server         *tlsv3.DownstreamTlsContext
	toward         *tlsv3.UpstreamTlsContext
	down, checkTLS *tls.Config
}

func heads(patterns ...string) *matcherv3.ListStringMatcher {
	l := &matcherv3.ListStringMatcher{}
	for _, p := range patterns {
		m := &matcherv3.StringMatcher{IgnoreCase: p != "*"}
		if bare, prefix := strings.CutSuffix(p, "*"); p == "*" {
			m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{
				SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}}
		} else if prefix {
			m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: bare}
		} else {
			m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: p}
		}
		l.Patterns = append(l.Patterns, m)
	}
	return l
}

const (
	askGet  = "GET /a?b=c HTTP/1.1\r\nHost: svc3\r\nX-A: 1\r\nx-a: 2\r\nX-B: 3\r\nAuthorization: me\r\nCookie: a=b\r\ncookie: c=d\r\n\r\n"
	askPost = "POST /a HTTP/1.1\r\nHost: svc3\r\ncontent-type: text/x\r\nContent-Length: 5\r\n\r\nhello"
	yes     = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-r: 1\r\nx-s: 2\r\nx-s: 3\r\nX-Ext-Z: z\r\nset-cookie: p=q\r\nset-cookie: r=s\r\n\r\nyes"
	no      = "HTTP/1.1 403 No\r\ncontent-length: 2\r\ncontent-type: text/special\r\nx-r: 1\r\nx-s: 2\r\nx-s: 3\r\nset-cookie: p=q\r\nset-cookie: r=s\r\nserver: me\r\ndate: never\r\nlocation: /there\r\nwww-authenticate: Basic\r\n\r\nno"
)

func answers(s string) probe { return probe{resp: s} }

// tellMetadata has responses tell what the authorizer has put into dynamic metadata.
func tellMetadata(r *routev3.RouteConfiguration) {
	for _, key := range []string{"x-r", "x-s", "set-cookie", "fact", "ext_authz_duration"} {
		r.VirtualHosts[0].ResponseHeadersToAdd = append(r.VirtualHosts[0].ResponseHeadersToAdd,
			&corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-m-" + key,
				Value: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:" + key + ")%"}})
	}
}

// shadowed is how istiod has the filter enabled.
var shadowed = &matcherv3.MetadataMatcher{Filter: "envoy.filters.http.rbac",
	Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{
		Key: "istio_ext_authz_shadow_effective_policy_id"}}},
	Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{
			Prefix: "istio-ext-authz-checker"}}}}}

func response(f func(*extauthzv3.AuthorizationResponse)) func(*extauthzv3.ExtAuthz, *extauthzv3.HttpService) {
	return func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
		h.AuthorizationResponse = &extauthzv3.AuthorizationResponse{}
		f(h.AuthorizationResponse)
	}
}

func bodySettings(max uint32, partial bool) func(*extauthzv3.ExtAuthz, *extauthzv3.HttpService) {
	return func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
		e.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: max, AllowPartialMessage: partial}
	}
}

var askedHTTP = []asked{
	{probe: probe{name: "allowed", req: askGet}, authorizer: answers(yes)},
	{probe: probe{name: "denied", req: askGet}, authorizer: answers(no)},
	{probe: probe{name: "denied without body", req: askGet}, authorizer: answers(
		"HTTP/1.1 401 No\r\ncontent-length: 0\r\ncontent-type: text/special\r\n\r\n")},
	{probe: probe{name: "denied with chunks", req: askGet}, authorizer: answers(
		"HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")},
	{probe: probe{name: "denied until close", req: askGet}, authorizer: probe{server: [][]step{{whole,
		send("HTTP/1.1 403 No\r\nx-r: 1\r\nconnection: close\r\n\r\nno"), closing}}}},
	{probe: probe{name: "denied HEAD", req: "HEAD /a HTTP/1.1\r\nHost: svc3\r\n\r\n"},
		authorizer: answers("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\n")},
	{probe: probe{name: "denied gRPC", req: "POST /a HTTP/1.1\r\nHost: svc3\r\n" +
		"content-type: application/grpc\r\nContent-Length: 0\r\n\r\n"}, authorizer: answers(no)},
	{probe: probe{name: "302", req: askGet}, authorizer: answers(
		"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: /login\r\n\r\n")},
	{probe: probe{name: "204", req: askGet}, authorizer: answers("HTTP/1.1 204 OK\r\nx-r: 1\r\n\r\n")},
	{probe: probe{name: "201", req: askGet}, authorizer: answers(
		"HTTP/1.1 201 OK\r\ncontent-length: 0\r\nx-r: 1\r\n\r\n")},
	{probe: probe{name: "429", req: askGet}, authorizer: answers(
		"HTTP/1.1 429 OK\r\ncontent-length: 0\r\nx-r: 1\r\n\r\n")},
	{probe: probe{name: "500", req: askGet}, authorizer: answers(
		"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\noh")},
	{probe: probe{name: "503", req: askGet}, authorizer: answers(
		"HTTP/1.1 503 Oh\r\ncontent-length: 2\r\n\r\noh")},
	{probe: probe{name: "500 allowed", req: askGet}, authorizer: answers(
		"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\nx-r: 1\r\n\r\noh"),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
			e.FailureModeAllow, e.FailureModeAllowHeaderAdd = true, true
		}},
	{probe: probe{name: "500 with a status of its own", req: askGet}, authorizer: answers(
		"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\noh"),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
			e.StatusOnError = &typev3.HttpStatus{Code: 504}
		}},
	{probe: probe{name: "unreachable", req: askGet}, authorizer: probe{refuse: true}},
	{probe: probe{name: "unreachable, allowed", req: askGet}, authorizer: probe{refuse: true},
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
			e.FailureModeAllow = true
		}},
	{probe: probe{name: "no such cluster", req: askGet},
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			h.ServerUri.HttpUpstreamType = &corev3.HttpUri_Cluster{Cluster: "nobody"}
		}},
	{probe: probe{name: "slow", client: []step{send(askGet), recv}}, authorizer: probe{server: [][]step{{whole, gone}}},
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			h.ServerUri.Timeout = durationpb.New(3 * time.Second)
		}},
	{probe: probe{name: "slow body", client: []step{send(askGet), recv}}, authorizer: probe{server: [][]step{{whole,
		send("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nn"), gone}}},
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			h.ServerUri.Timeout = durationpb.New(3 * time.Second)
		}},
	{probe: probe{name: "authorizer resets", req: askGet}, authorizer: probe{server: [][]step{{whole, reset}}}},
	{probe: probe{name: "authorizer closes", req: askGet}, authorizer: probe{server: [][]step{{whole, closing}}}},
	{probe: probe{name: "authorizer cuts its body", req: askGet}, authorizer: probe{server: [][]step{{whole,
		send("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nn"), closing}}}},
	{probe: probe{name: "authorizer speaks nonsense", req: askGet}, authorizer: probe{server: [][]step{{whole,
		send("nonsense\r\n\r\n"), closing}}}},
	{probe: probe{name: "authorizer says continue first", req: askGet}, authorizer: answers(
		"HTTP/1.1 100 Continue\r\n\r\n" + yes)},
	{probe: probe{name: "client leaves", client: []step{send(askGet), await("asked"), closing}},
		authorizer: probe{server: [][]step{{whole, mark("asked"), gone}}}},
	{probe: probe{name: "twice on one connection", client: []step{send(askGet), recv, send(askGet), recv}},
		authorizer: answers(yes)},
	{probe: probe{name: "allowed headers", req: askGet}, authorizer: answers(yes),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
			e.AllowedHeaders = heads("X-A", "cook*", "content-*", "x-envoy*", "x-forwarded*", "x-request-id", ":scheme", "host")
		}},
	{probe: probe{name: "allowed headers of old", req: askGet}, authorizer: answers(yes),
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			h.AuthorizationRequest = &extauthzv3.AuthorizationRequest{AllowedHeaders: heads("x-b")}
		}},
	{probe: probe{name: "disallowed headers", req: askGet}, authorizer: answers(yes),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
			e.AllowedHeaders, e.DisallowedHeaders = heads("*"), heads("x-a", "authorization", "x-vhost")
		}},
	{probe: probe{name: "headers to add", req: askGet}, authorizer: answers(yes),
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			h.AuthorizationRequest = &extauthzv3.AuthorizationRequest{HeadersToAdd: []*corev3.HeaderValue{
				{Key: "X-New", Value: "%REQ(x-a)% %PROTOCOL% %%"}, {Key: "authorization", Value: "you"},
				{Key: "x-empty", Value: ""}, {Key: "x-new", Value: "again"}}}
		}},
	{probe: probe{name: "headers to add, from the request", req: askGet}, authorizer: answers(yes),
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			h.AuthorizationRequest = &extauthzv3.AuthorizationRequest{HeadersToAdd: []*corev3.HeaderValue{
				{Key: "X-New", Value: "%REQ(x-b)% %PROTOCOL% %%"}, {Key: "x-path", Value: "%REQ(:path)%"},
				{Key: "x-method", Value: "%REQ(:METHOD)%"}, {Key: "x-none", Value: "%REQ(x-none)%"}}}
		}},
	{probe: probe{name: "inline headers upstream", req: strings.Replace(askGet, "\r\n\r\n",
		"\r\naccept: a\r\n\r\n", 1)}, authorizer: answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" +
		"authorization: you\r\nauthorization: they\r\naccept: b\r\nuser-agent: c\r\n\r\n"),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("authorization", "user-agent")
			a.AllowedUpstreamHeadersToAppend = heads("accept", "user-agent")
		})},
	{probe: probe{name: "path prefix", req: askGet}, authorizer: answers(yes),
		set: func(_ *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) { h.PathPrefix = "/check/" }},
	{probe: probe{name: "upstream headers", req: askGet}, authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-a", "x-r", "x-s", "x-ext-*", "set-cookie", "date", "server", "x-envoy*")
		})},
	{probe: probe{name: "upstream headers, overwriting", req: strings.Replace(askGet, "\r\n\r\n", "\r\nx-s: old\r\nx-s: older\r\n\r\n", 1)},
		authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-r", "x-s")
		})},
	{probe: probe{name: "upstream headers to append", req: strings.Replace(askGet, "\r\n\r\n", "\r\nx-s: old\r\n\r\n", 1)},
		authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeadersToAppend = heads("x-r", "x-s")
		})},
	{probe: probe{name: "both", req: askGet}, authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-s")
			a.AllowedUpstreamHeadersToAppend = heads("x-s")
		})},
	{probe: probe{name: "hop by hop from the authorizer", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-envoy-original-path: /x\r\nte: trailers\r\nx-q: 1\r\n\r\n"),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-*", "te", "date")
		})},
	{probe: probe{name: "everything upstream", req: askPost}, authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-*", "set-cookie")
		})},
	{probe: probe{name: "headers to remove", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-envoy-auth-headers-to-remove: X-B , cookie,,:path,host\r\n" +
			"x-envoy-auth-headers-to-remove: authorization\r\n\r\n")},
	{probe: probe{name: "client headers on success", req: askGet}, authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedClientHeadersOnSuccess = heads("x-r", "x-s", "x-ext-*", "set-cookie", "server")
		})},
	{probe: probe{name: "client headers on success, and the upstream's", req: askGet,
		resp: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-r: upstream\r\nset-cookie: u=v\r\n\r\nok"},
		authorizer: answers(yes),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedClientHeadersOnSuccess = heads("x-r", "x-s", "set-cookie")
		})},
	{probe: probe{name: "client headers", req: askGet}, authorizer: answers(no),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedClientHeaders = heads("x-s", "set-cookie")
		})},
	{probe: probe{name: "client headers, remove", req: askGet}, authorizer: answers(strings.Replace(no, "\r\n\r\n",
		"\r\nx-envoy-auth-headers-to-remove: x-r\r\n\r\n", 1))},
	{probe: probe{name: "body ignored", req: askPost}, authorizer: answers(yes)},
	{probe: probe{name: "body ignored, denied", req: askPost}, authorizer: answers(no)},
	{probe: probe{name: "body", req: askPost}, authorizer: answers(yes), set: bodySettings(100, false)},
	{probe: probe{name: "body in chunks", req: "POST /a HTTP/1.1\r\nHost: svc3\r\ntransfer-encoding: chunked\r\n\r\n" +
		"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"}, authorizer: answers(yes), set: bodySettings(100, false)},
	{probe: probe{name: "no body", req: askGet}, authorizer: answers(yes), set: bodySettings(100, false)},
	{probe: probe{name: "empty body", req: "POST /a HTTP/1.1\r\nHost: svc3\r\nContent-Length: 0\r\n\r\n"},
		authorizer: answers(yes), set: bodySettings(100, false)},
	{probe: probe{name: "body too long", req: askPost}, authorizer: answers(yes), set: bodySettings(4, false)},
	{probe: probe{name: "body of the limit", req: askPost}, authorizer: answers(yes), set: bodySettings(5, false)},
	{probe: probe{name: "partial body", req: askPost}, authorizer: answers(yes), set: bodySettings(4, true)},
	{probe: probe{name: "partial body, denied", req: askPost}, authorizer: answers(no), set: bodySettings(4, true)},
	{probe: probe{name: "partial body of the limit", req: askPost}, authorizer: answers(yes), set: bodySettings(5, true)},
	{probe: probe{name: "partial header forged", req: strings.Replace(askPost, "\r\n\r\n",
		"\r\nx-envoy-auth-partial-body: true\r\n\r\n", 1)}, authorizer: answers(yes),
		set: func(e *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			bodySettings(100, false)(e, h)
			e.AllowedHeaders = heads("x-envoy-*", "content-*")
		}},
	{probe: probe{name: "body in two parts", client: []step{send(askPost[:len(askPost)-2]), await("asked"),
		send("lo"), recv}}, authorizer: probe{server: [][]step{{whole, mark("asked"), send(yes)}}},
		set: bodySettings(3, true)},
	{probe: probe{name: "big body", req: "POST /a HTTP/1.1\r\nHost: svc3\r\nContent-Length: 200000\r\n\r\n" +
		strings.Repeat("x", 200000)}, authorizer: answers(yes), set: bodySettings(300000, false)},
	{probe: probe{name: "big body in part", req: "POST /a HTTP/1.1\r\nHost: svc3\r\nContent-Length: 200000\r\n\r\n" +
		strings.Repeat("x", 200000)}, authorizer: answers(yes), set: bodySettings(1000, true)},
	{probe: probe{name: "big body, too long", req: "POST /a HTTP/1.1\r\nHost: svc3\r\nContent-Length: 200000\r\n\r\n" +
		strings.Repeat("x", 200000)}, authorizer: answers(yes), set: bodySettings(100000, false)},
	{probe: probe{name: "websocket", req: "GET /ws HTTP/1.1\r\nHost: svc3\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
		authorizer: answers(no), set: bodySettings(100, false)},
	{probe: probe{name: "big denial", req: askGet}, authorizer: answers(
		"HTTP/1.1 403 No\r\ncontent-length: 100000\r\n\r\n" + strings.Repeat("x", 100000))},
	{probe: probe{name: "big denial, cut", req: askGet}, authorizer: answers(
		"HTTP/1.1 403 No\r\ncontent-length: 10\r\n\r\n0123456789"),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) { e.MaxDeniedResponseBodyBytes = 4 }},
	{probe: probe{name: "big headers upstream", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-big: " + strings.Repeat("x", 40000) + "\r\nx-big2: " +
			strings.Repeat("y", 19000) + "\r\n\r\n"),
		set: response(func(a *extauthzv3.AuthorizationResponse) { a.AllowedUpstreamHeaders = heads("x-big*") })},
	{probe: probe{name: "too big headers upstream", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-big: " + strings.Repeat("x", 40000) + "\r\nx-big2: " +
			strings.Repeat("y", 21500) + "\r\n\r\n"),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-big*")
			a.AllowedUpstreamHeadersToAppend = heads("x-big*")
		})},
	{probe: probe{name: "too many headers upstream", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + strings.Repeat("x-many: 1\r\n", 96) + "\r\n"),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeadersToAppend = heads("x-many")
		})},
	{probe: probe{name: "too big an answer", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-big: " + strings.Repeat("x", 70000) + "\r\n\r\n")},
	{probe: probe{name: "no route", req: "GET /none HTTP/1.1\r\nHost: nowhere\r\n\r\n"}, authorizer: answers(no)},
	{probe: probe{name: "disabled by the route", req: "GET /disabled HTTP/1.1\r\nHost: svc3\r\n\r\n"}, authorizer: answers(no)},
	{probe: probe{name: "clears the route", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-redirect: yes\r\n\r\n"),
		set: func(e *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			e.ClearRouteCache = true
			response(func(a *extauthzv3.AuthorizationResponse) {
				a.AllowedUpstreamHeaders = heads("x-redirect")
			})(e, h)
		}},
	{probe: probe{name: "clears the route by an appended header", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-redirect: yes\r\n\r\n"),
		set: func(e *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) {
			e.ClearRouteCache = true
			response(func(a *extauthzv3.AuthorizationResponse) {
				a.AllowedUpstreamHeadersToAppend = heads("x-redirect")
			})(e, h)
		}},
	{probe: probe{name: "clears the route by a removal", req: strings.Replace(askGet, "\r\n\r\n",
		"\r\nx-redirect: yes\r\n\r\n", 1)}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-envoy-auth-headers-to-remove: x-redirect\r\n\r\n"),
		set: func(e *extauthzv3.ExtAuthz, h *extauthzv3.HttpService) { e.ClearRouteCache = true }},
	{probe: probe{name: "keeps the route", req: askGet}, authorizer: answers(
		"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-redirect: yes\r\n\r\n"),
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.AllowedUpstreamHeaders = heads("x-redirect")
		})},
	{probe: probe{name: "metadata from headers", req: askGet}, authorizer: answers(yes), routes: tellMetadata,
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.DynamicMetadataFromHeaders = heads("x-*", "set-cookie")
		})},
	{probe: probe{name: "metadata from headers, denied", req: askGet}, authorizer: answers(no), routes: tellMetadata,
		set: response(func(a *extauthzv3.AuthorizationResponse) {
			a.DynamicMetadataFromHeaders = heads("x-*", "set-cookie")
		})},
	{probe: probe{name: "metadata does not hold", req: askGet}, authorizer: answers(no),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) { e.FilterEnabledMetadata = shadowed }},
	{probe: probe{name: "metadata does not hold, denied then", req: askGet}, authorizer: answers(no),
		set: func(e *extauthzv3.ExtAuthz, _ *extauthzv3.HttpService) {
			e.FilterEnabledMetadata = shadowed
			e.DenyAtDisable = &corev3.RuntimeFeatureFlag{RuntimeKey: "x", DefaultValue: &wrapperspb.BoolValue{Value: true}}
		}},
}
