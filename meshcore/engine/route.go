package engine

import (
	"regexp"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// route is a compiled Route.
type route struct {
	name      string
	metadata  *corev3.Metadata
	config    string // the Istio object it came from: metadata istio.config
	vhost     *vhost
	path      match.Path
	headers   []match.Header
	queries   []match.Query
	fraction  *fraction
	grpc      bool
	dynamic   []match.Metadata
	operation []byte // decorator's, for propagation; nil without
	filters   perFilter
	own       chainOfMutations  // of a route without cluster
	exact     *exact.Enumerator // of what is drawn; nil: at random
	tls       *tlsMatch         // nil: any

	action   *action
	redirect *redirect
	direct   *direct
}

type direct struct {
	status int
	body   []byte
}

func (c *compiler) route(v *vhost, m *routev3.Route, s scope) *route {
	r := &route{name: m.GetName(), vhost: v, filters: c.perFilter(m.GetTypedPerFilterConfig()),
		config: istioConfig(m.GetMetadata()), metadata: m.GetMetadata(),
		exact: c.enumerator(v, m, s)}
	c.match(r, m.GetMatch())
	if d := m.GetDecorator(); d != nil {
		if d.GetOperation() == "" {
			c.fail("decorator.operation", "value length must be at least 1 characters")
		}
		if d.GetPropagate() == nil || d.GetPropagate().GetValue() {
			r.operation = []byte(d.GetOperation())
		}
	}
	own := c.mutations(m)
	r.own = s.order(nil, own)
	switch a := m.GetAction().(type) {
	case *routev3.Route_Route:
		leave := c.in("route")
		r.action = c.action(r, a.Route, s, own)
		leave()
	case *routev3.Route_Redirect:
		leave := c.in("redirect")
		r.redirect = c.redirect(r, a.Redirect)
		leave()
	case *routev3.Route_DirectResponse:
		leave := c.in("direct_response")
		r.direct = c.direct(a.DirectResponse, s.limit)
		leave()
	default:
		c.fail("action", "value is required")
	}
	return r
}

func istioConfig(m *corev3.Metadata) string {
	return m.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
}

func (c *compiler) match(r *route, m *routev3.RouteMatch) {
	defer c.in("match")()
	r.path.Fold = m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		r.path.Kind, r.path.Want = match.PathPrefix, []byte(p.Prefix)
	case *routev3.RouteMatch_Path:
		r.path.Kind, r.path.Want = match.PathExact, []byte(p.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		r.path.Kind, r.path.Want = match.PathSeparated, []byte(p.PathSeparatedPrefix)
		if !regexp.MustCompile(`^[^?#]+[^?#/]$`).MatchString(p.PathSeparatedPrefix) {
			c.fail("path_separated_prefix", `value does not match regex pattern "^[^?#]+[^?#/]$"`)
		}
	case *routev3.RouteMatch_SafeRegex:
		r.path.Kind, r.path.Regexp = match.PathRegex, c.regex("safe_regex", p.SafeRegex)
	default:
		c.fail("path_specifier", "value is required")
	}
	r.headers = c.headers("headers", m.GetHeaders())
	for i, q := range m.GetQueryParameters() {
		leave := c.at("query_parameters", i)
		r.queries = append(r.queries, c.query(q))
		leave()
	}
	if f := m.GetRuntimeFraction(); f != nil {
		fr := runtimeFraction(f)
		r.fraction = &fr
	}
	r.grpc, r.tls = m.GetGrpc() != nil, m.GetTlsContext()
	for i, d := range m.GetDynamicMetadata() {
		leave := c.at("dynamic_metadata", i)
		r.dynamic = append(r.dynamic, c.metadataMatch(d))
		leave()
	}
}

func (c *compiler) query(m *routev3.QueryParameterMatcher) match.Query {
	q := match.Query{Name: m.GetName()}
	if q.Name == "" {
		c.fail("name", "value length must be at least 1 characters")
	}
	switch s := m.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_StringMatch:
		q.Value = c.stringMatch("string_match", s.StringMatch)
	case *routev3.QueryParameterMatcher_PresentMatch:
		q.Present, q.Want = true, s.PresentMatch
	default:
		q.Present, q.Want = true, true
	}
	return q
}

// condition is the part of a route's match that failed: what it looks at, and which of several.
type condition struct {
	kind conditionKind
	i    int
}

type conditionKind uint8

const (
	fits conditionKind = iota // none failed
	failsPath
	failsTLS
	failsGRPC
	failsFraction
	failsHeader
	failsQuery
	failsMetadata
)

func (r *route) matches(x *Exchange, h *wire.Head, path []byte) bool {
	return r.misses(x, h, path).kind == fits
}

// misses returns the first condition that the request does not meet.
func (r *route) misses(x *Exchange, h *wire.Head, path []byte) condition {
	if !r.path.Match(path) {
		return condition{kind: failsPath}
	}
	if r.tls != nil && !tlsMatches(r.tls, x.ci.TLS) {
		return condition{kind: failsTLS}
	}
	if r.grpc && !x.grpc {
		return condition{kind: failsGRPC}
	}
	if r.fraction != nil && !r.fraction.holds(draw(x.rnd, drawStream, 0)) {
		return condition{kind: failsFraction}
	}
	for i := range r.headers {
		if !r.headers[i].Match(h) {
			return condition{failsHeader, i}
		}
	}
	for i := range r.queries {
		if !r.queries[i].Match(h.Target) {
			return condition{failsQuery, i}
		}
	}
	for i := range r.dynamic {
		if !r.dynamic[i].Match(&x.dynamic) {
			return condition{failsMetadata, i}
		}
	}
	return condition{}
}

func (c *compiler) direct(m *routev3.DirectResponseAction, limit int) *direct {
	d := &direct{status: int(m.GetStatus())}
	if d.status < 200 || d.status > 599 {
		c.fail("status", "value must be inside range [200, 600)")
	}
	switch b := m.GetBody().GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		d.body = []byte(b.InlineString)
	case *corev3.DataSource_InlineBytes:
		d.body = b.InlineBytes
	}
	if limit > 0 && len(d.body) > limit { // common/config/datasource.cc: 0 is no limit
		c.fail("body", "response body size is %d bytes; maximum is %d", len(d.body), limit)
	}
	return d
}

// rewrite is how a path is changed on its way upstream.
type rewrite struct {
	prefix    []byte // prefix_rewrite
	hasPrefix bool
	regexp    *regexp.Regexp
	template  []byte // of regexp, in Go's notation
}

func (c *compiler) rewrite(prefix string, m *matcherv3.RegexMatchAndSubstitute) rewrite {
	w := rewrite{prefix: []byte(prefix), hasPrefix: prefix != ""}
	if m == nil {
		return w
	}
	re, err := regexp.Compile(m.GetPattern().GetRegex())
	if err != nil {
		c.fail("regex_rewrite.pattern.regex", "%v", err)
		return w
	}
	w.regexp = re
	w.template = c.substitution(m.GetSubstitution(), re.NumSubexp())
	if w.hasPrefix {
		c.fail("regex_rewrite", "Specify only one of prefix_rewrite, regex_rewrite")
	}
	return w
}

// substitution turns RE2's rewrite notation (\1, \\) into Go's.
func (c *compiler) substitution(s string, groups int) []byte {
	var out []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			out = append(out, "$$"...)
		case s[i] != '\\':
			out = append(out, s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			out, i = append(out, '\\'), i+1
		case i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			i++
			if n := int(s[i] - '0'); n > groups {
				// Envoy takes it and fails to rewrite, request by request.
				c.fail("regex_rewrite.substitution", "requests %d matches, but the regexp only "+
					"has %d; this %s", n, groups, notCarried)
			}
			out = append(out, "${"+s[i:i+1]+"}"...)
		default:
			c.fail("regex_rewrite.substitution",
				`'\' must be followed by a digit or '\'; anything else %s`, notCarried)
		}
	}
	return out
}

// apply appends the rewritten target to out; done says whether there was anything to do. The
// query stays.
func (w *rewrite) apply(out []byte, p *match.Path, target []byte) (_ []byte, done bool) {
	path := match.PathOf(target)
	switch {
	case w.hasPrefix:
		matched := len(p.Want)
		if p.Kind == match.PathRegex {
			matched = len(path) // the whole path matched
		}
		out = append(append(out, w.prefix...), path[min(matched, len(path)):]...)
	case w.regexp != nil:
		out = append(out, w.regexp.ReplaceAll(path, w.template)...)
	default:
		return out, false
	}
	return append(out, target[len(path):]...), true
}

// redirect is a compiled RedirectAction.
type redirect struct {
	scheme, host, path string
	port               string // ":8443"
	https              bool
	pathHasQuery       bool
	stripQuery         bool
	rewrite            rewrite
	status             int
}

func (c *compiler) redirect(r *route, m *routev3.RedirectAction) *redirect {
	d := &redirect{scheme: m.GetSchemeRedirect(), host: m.GetHostRedirect(),
		path: m.GetPathRedirect(), https: m.GetHttpsRedirect(), stripQuery: m.GetStripQuery(),
		rewrite: c.rewrite(m.GetPrefixRewrite(), m.GetRegexRewrite())}
	if p := m.GetPortRedirect(); p != 0 {
		d.port = ":" + strconv.Itoa(int(p))
	}
	d.pathHasQuery = strings.Contains(d.path, "?")
	d.status = map[routev3.RedirectAction_RedirectResponseCode]int{
		routev3.RedirectAction_MOVED_PERMANENTLY:  301,
		routev3.RedirectAction_FOUND:              302,
		routev3.RedirectAction_SEE_OTHER:          303,
		routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
		routev3.RedirectAction_PERMANENT_REDIRECT: 308,
	}[m.GetResponseCode()]
	return d
}

// location appends where the redirect leads (config_impl.cc RouteEntryImplBase::newUri).
func (d *redirect) location(out []byte, r *route, h *wire.Head) []byte {
	scheme := string(h.Scheme)
	if d.scheme != "" {
		scheme = d.scheme
	}
	if d.https {
		scheme = "https"
	}
	out = append(append(out, scheme...), "://"...)
	if d.host != "" {
		out = append(out, d.host...)
	} else {
		out = append(out, d.requestHost(h, scheme)...)
	}
	out = append(out, d.port...)
	query := h.Target[len(match.PathOf(h.Target)):]
	if d.stripQuery {
		query = nil
	}
	switch {
	case d.path != "":
		if d.path[0] != '/' {
			out = append(out, '/')
		}
		if out = append(out, d.path...); !d.pathHasQuery {
			out = append(out, query...)
		}
	default:
		base := len(out)
		var done bool
		out, done = d.rewrite.apply(out, &r.path, h.Target)
		if !done {
			out = append(out, h.Target...)
		}
		if d.stripQuery {
			out = out[:base+len(match.PathOf(out[base:]))]
		}
	}
	return out
}

// requestHost is the request's host, without its port when the redirect names one or when it is the
// default port of the scheme that is left (processRequestHost).
func (d *redirect) requestHost(h *wire.Head, scheme string) []byte {
	host := h.Authority
	bare := match.WithoutPort(host)
	port := string(host[len(bare):])
	if port == "" {
		return host
	}
	proto, _ := h.Get("x-forwarded-proto")
	drop := d.port != ""
	if scheme != string(proto) {
		drop = drop || string(proto) == "https" && port == ":443" ||
			string(proto) == "http" && port == ":80"
	}
	if drop {
		return bare
	}
	return host
}
