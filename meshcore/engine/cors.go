package engine

import (
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// corsPolicy is a compiled CorsPolicy.
type corsPolicy struct {
	enabled        fraction
	origins        []match.String
	methods        string
	headers        string
	expose         string
	maxAge         string
	credentials    *bool
	privateNetwork *bool
	forward        *bool // forward_not_matching_preflights
}

func (c *compiler) corsPolicy(m *corsv3.CorsPolicy) *corsPolicy {
	p := &corsPolicy{enabled: fraction{100, 100}, methods: m.GetAllowMethods(),
		headers: m.GetAllowHeaders(), expose: m.GetExposeHeaders(), maxAge: m.GetMaxAge()}
	if f := m.GetFilterEnabled(); f != nil {
		p.enabled = runtimeFraction(f)
	}
	for i, o := range m.GetAllowOriginStringMatch() {
		leave := c.at("allow_origin_string_match", i)
		p.origins = append(p.origins, c.stringMatch("", o))
		leave()
	}
	if v := m.GetAllowCredentials(); v != nil {
		p.credentials = &v.Value
	}
	if v := m.GetAllowPrivateNetworkAccess(); v != nil {
		p.privateNetwork = &v.Value
	}
	if v := m.GetForwardNotMatchingPreflights(); v != nil {
		p.forward = &v.Value
	}
	return p
}

// corsState is what the CORS filter knows of one exchange: the policies, the most specific
// first, and the origin when it is allowed (extensions/filters/http/cors/cors_filter.cc).
type corsState struct {
	policies [3]*corsPolicy
	n        int
	origin   []byte
}

func corsText(s *corsState, of func(*corsPolicy) string) string {
	for _, p := range s.policies[:s.n] {
		if v := of(p); v != "" {
			return v
		}
	}
	return ""
}

func corsBool(s *corsState, of func(*corsPolicy) *bool, or bool) bool {
	for _, p := range s.policies[:s.n] {
		if v := of(p); v != nil {
			return *v
		}
	}
	return or
}

func (s *corsState) allowed(origin []byte) bool {
	for _, p := range s.policies[:s.n] {
		if len(p.origins) == 0 {
			continue
		}
		for i := range p.origins {
			if p.origins[i].Match(bytesOf("*")) || p.origins[i].Match(origin) {
				return true
			}
		}
		return false
	}
	return false
}

// cors runs the CORS filter; done says that it answered a preflight itself.
func (x *Exchange) cors(filter *httpFilter) (d Directive, done bool) {
	r, s := x.route, &x.corsState
	s.n, s.origin = 0, nil
	if r == nil || r.action == nil {
		return d, false
	}
	add := func(f *perFilter) {
		if p := f.cors[filter.name]; p != nil {
			s.policies[s.n] = p
			s.n++
		}
	}
	if x.target != nil && x.target.filters.cors != nil {
		add(&x.target.filters)
	}
	if r.filters.cors != nil {
		add(&r.filters)
	}
	if r.vhost.filters.cors != nil {
		add(&r.vhost.filters)
	}
	if s.n == 0 || !s.policies[0].enabled.holds(draw(x.rnd, drawCors, 0)) {
		s.n = 0
		return d, false
	}
	h := x.head
	origin, _ := h.Get("origin")
	if len(origin) == 0 {
		s.n = 0
		return d, false
	}
	allowed := s.allowed(origin)
	if allowed {
		s.origin = origin
	}
	if x.tr != nil {
		x.did("origin %s: allowed %t", origin, allowed)
	}
	method, _ := h.Get("access-control-request-method")
	if string(h.Method) != "OPTIONS" || len(method) == 0 {
		return d, false
	}
	forward := corsBool(s, func(p *corsPolicy) *bool { return p.forward }, true)
	if !allowed && forward {
		return d, false
	}
	if x.tr != nil {
		x.did("answers the preflight")
	}
	x.preflight(h, origin, method, allowed)
	return Directive{Kind: Reply, Deadline: noDeadline}, true
}

func (x *Exchange) preflight(h *wire.Head, origin, method []byte, allowed bool) {
	s, out := &x.corsState, x.beginReply(200, "cors_response")
	if allowed {
		put(out, "access-control-allow-origin", origin)
	}
	if corsBool(s, func(p *corsPolicy) *bool { return p.credentials }, false) {
		put(out, "access-control-allow-credentials", bytesOf("true"))
	}
	switch v := corsText(s, func(p *corsPolicy) string { return p.methods }); v {
	case "":
	case "*":
		put(out, "access-control-allow-methods", method)
	default:
		put(out, "access-control-allow-methods", bytesOf(v))
	}
	switch v := corsText(s, func(p *corsPolicy) string { return p.headers }); v {
	case "":
	case "*":
		asked, _ := h.Get("access-control-request-headers")
		put(out, "access-control-allow-headers", asked)
	default:
		put(out, "access-control-allow-headers", bytesOf(v))
	}
	if v := corsText(s, func(p *corsPolicy) string { return p.maxAge }); v != "" {
		put(out, "access-control-max-age", bytesOf(v))
	}
	if asked, _ := h.Get("access-control-request-private-network"); string(asked) == "true" &&
		corsBool(s, func(p *corsPolicy) *bool { return p.privateNetwork }, false) {
		put(out, "access-control-allow-private-network", bytesOf("true"))
	}
	x.finishReply(nil)
}

// corsResponse is the filter's way back: it marks any answer to an allowed origin.
func (x *Exchange) corsResponse(h *wire.Head) {
	s := &x.corsState
	if s.n == 0 || len(s.origin) == 0 {
		return
	}
	set(h, "access-control-allow-origin", s.origin)
	if corsBool(s, func(p *corsPolicy) *bool { return p.credentials }, false) {
		set(h, "access-control-allow-credentials", bytesOf("true"))
	}
	if v := corsText(s, func(p *corsPolicy) string { return p.expose }); v != "" {
		set(h, "access-control-expose-headers", bytesOf(v))
	}
}
