package cases

import (
	"net"
	"strconv"
	"strings"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// authority writes host and port as a Host header.
func authority(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// hosts tries the forms in which a Service can be named, and names that are no Service's.
func (m *maker) hosts(d draft, name, namespace string) {
	forms := []string{
		name, name + "." + namespace, name + "." + namespace + ".svc",
		name + "." + namespace + ".svc." + clusterDomain,
		name + "." + namespace + ".svc." + clusterDomain + ".", strings.ToUpper(name),
		"no-such-host.example.com", name + ".other", "127.0.0.1", "x." + name, "",
	}
	for _, f := range forms {
		m.variant(d, func(d *draft) { d.authority = authority(f, d.port) })
		if f == "" {
			continue
		}
		m.variant(d, func(d *draft) { d.authority = f })
		m.variant(d, func(d *draft) { d.authority = authority(f, d.port+1) })
	}
	for _, s := range m.reg.Services {
		if s.Name == name && s.Namespace == namespace && s.VIP.IsValid() {
			m.variant(d, func(d *draft) { d.authority = authority(s.VIP.String(), d.port) })
			m.variant(d, func(d *draft) { d.authority = s.VIP.String() })
		}
	}
	m.variant(d, func(d *draft) { d.authority = authority(d.host, d.port) + "." })
	m.variant(d, func(d *draft) { d.authority = d.host + ":" })
	m.variant(d, func(d *draft) { d.authority = d.host + ":port" })
}

// odd are paths that proxies may read differently.
var odd = []string{
	"//", "/a//b", "/a/./b", "/a/../b", "/../a", "/a/..", "/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb",
	"/%2e%2e/a", "/a/%2E/b", "/a%00b", "/a%zz", "/a%", "/a%2", "/%61", "/A", "/a;x=1", "/a;x/b",
	"/a?", "/a?b?c", "/a?b=/../c", "/a??", "/a&b", "/a#frag", "/a%23b", "/a%3Fb", "/a\\b", "/a|b",
	"/a\"b", "/a<b>", "/a{b}", "/a^b", "/a`b", "/~a", "/a+b", "/a%20b", "/a:b", "/a@b", "*",
	"/%C3%A9", "/a*b", "/...", "/a...", "/.a", "/a,b", "/a=b", "/a//", "///a", "/a/%2e%2e%2fb",
}

// long is how long a very long path is.
const long = 4000

// paths tries odd paths below the one that a route is met by.
func (m *maker) paths(d draft) {
	prefix := strings.TrimSuffix(d.path, "/")
	for _, p := range odd {
		m.variant(d, func(d *draft) { d.path = prefix + p })
		m.variant(d, func(d *draft) { d.path = p })
	}
	m.variant(d, func(d *draft) { d.path = prefix + "/" + strings.Repeat("a", long) })
	m.variant(d, func(d *draft) { d.query = append(d.query, strings.Repeat("q", long)) })
}

// bodies tries methods and ways to frame a body.
func (m *maker) bodies(d draft) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
		"TRACE", "get", "BREW"} {
		m.variant(d, func(d *draft) { d.method = method })
	}
	for _, method := range []string{"POST", "GET", "HEAD"} {
		m.variant(d, func(d *draft) { d.method, d.body = method, "some text" })
		m.variant(d, func(d *draft) {
			d.method, d.body = method, "4\r\nsome\r\n5\r\n text\r\n0\r\n\r\n"
			d.set("transfer-encoding", "chunked")
		})
	}
	m.variant(d, func(d *draft) { d.method = "POST"; d.set("content-length", "0") })
	m.variant(d, func(d *draft) { d.method, d.body = "POST", strings.Repeat("body ", 40<<10/5) })
	m.variant(d, func(d *draft) { d.set("connection", "close") })
	m.variant(d, func(d *draft) { d.set("expect", "100-continue") })
	m.variant(d, func(d *draft) {
		d.headers = append(d.headers, "connection: upgrade", "upgrade: mine")
	})
	for _, h := range []string{
		"te: trailers", "x-envoy-upstream-rq-timeout-ms: 1000", "x-envoy-max-retries: 2",
		"x-forwarded-for: 1.2.3.4", "x-envoy-internal: true", "x-forwarded-host: other",
		"x-envoy-original-path: /other", "forwarded: for=1.2.3.4", "accept-encoding: gzip",
		"x-envoy-retry-on: 5xx", "x-forwarded-client-cert: By=x", "keep-alive: 5", "x-empty:",
		"x-envoy-attempt-count: 7", "x-envoy-decorator-operation: op", "proxy-connection: close",
		"x_under_score: 1", "x-envoy-expected-rq-timeout-ms: 5", "cookie: a=1; b=2", "server: mine",
		"x-request-id: not-a-uuid",
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		m.variant(d, func(d *draft) { d.headers = append(d.headers, h) })
	}
	m.variant(d, func(d *draft) { d.headers = append(d.headers, "cookie: a=1", "cookie: b=2") })
	m.variant(d, func(d *draft) { d.headers = append(d.headers, "x-two: 1", "x-two: 2") })
	for _, line := range []string{
		"server: theirs", "x-two: 1", "content-type: text/plain", "set-cookie: a=1",
		"x-envoy-overloaded: true", "connection: close", "x-envoy-upstream-service-time: 5",
	} {
		m.variant(d, func(d *draft) { d.set("x-echo-response-header", line) })
	}
}

// failures makes upstreams fail, so that retries, time-outs and faults show.
func (m *maker) failures(d draft, r *networkingv1alpha3.HTTPRoute) {
	for _, status := range []string{"204", "302", "304", "404", "409", "500", "502", "503", "504"} {
		m.variant(d, func(d *draft) { d.set("x-echo-status", status) })
	}
	counts := []string{"1", "2", "5"}
	if r.Mirror != nil || len(r.Mirrors) > 0 {
		counts = nil // a copy is counted too, and which comes first is a race
	}
	for _, n := range counts {
		for _, status := range []string{"503", "500", "409"} {
			m.variant(d, func(d *draft) {
				d.set("x-echo-fail-first", n)
				d.set("x-echo-status", status)
				d.set("x-echo-key", Unique)
			})
		}
	}
	if counts != nil {
		m.variant(d, func(d *draft) {
			d.method = "POST"
			d.set("x-echo-fail-first", "1")
			d.set("x-echo-key", Unique)
		})
	}
	m.variant(d, func(d *draft) { d.set("x-echo-reset", "true") })
	m.variant(d, func(d *draft) { d.set("x-echo-grpc-status", "14") })
	for _, t := range []time.Duration{
		r.GetTimeout().AsDuration(), r.GetRetries().GetPerTryTimeout().AsDuration(),
	} {
		if t <= 0 || t > 2*time.Second {
			continue
		}
		m.variant(d, func(d *draft) { d.set("x-echo-delay", (t / 3).String()) })
		m.variant(d, func(d *draft) { d.set("x-echo-delay", (2*t + margin).String()) })
	}
}

// margin is what a time-out is missed by, at least, so that a busy machine does not decide.
const margin = 200 * time.Millisecond

// cors asks as browsers do: preflights and plain requests of origins that are allowed and of one
// that is not.
func (m *maker) cors(d draft, c *networkingv1alpha3.CorsPolicy) {
	if c == nil {
		return
	}
	origins := []string{"https://not-allowed.example.com", "null", ""}
	for _, o := range c.AllowOrigins {
		if v, ok := value(o); ok {
			origins = append(origins, near(v)...)
			origins = append(origins, v)
		}
	}
	origins = append(origins, c.AllowOrigin...) //nolint:staticcheck // it is carried out, too
	methods := append([]string{"GET", "DELETE", ""}, c.AllowMethods...)
	for _, o := range origins {
		m.variant(d, func(d *draft) { d.set("origin", o) })
		for _, method := range methods {
			m.variant(d, func(d *draft) {
				d.method = "OPTIONS"
				d.set("origin", o)
				d.set("access-control-request-method", method)
			})
		}
		m.variant(d, func(d *draft) { d.method = "OPTIONS"; d.set("origin", o) })
		m.variant(d, func(d *draft) {
			d.method = "OPTIONS"
			d.set("origin", o)
			d.set("access-control-request-method", "GET")
			d.set("access-control-request-headers", "x-mine, content-type")
		})
	}
}
