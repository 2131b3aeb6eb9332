package engine

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/jwt"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/rbac"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// jwtFilter is a compiled jwt_authn filter.
type jwtFilter struct {
	*jwt.Filter
	rules []jwtRule
}

// jwtRule asks something of the requests that it matches; the first one counts.
type jwtRule struct {
	match    *route
	requires jwt.Requirement // nil: nothing
}

// jwtPerRoute is a compiled PerRouteConfig.
type jwtPerRoute struct {
	disabled bool
	name     string // in the requirement_map
}

func (c *compiler) jwt(m *jwtv3.JwtAuthentication) *jwtFilter {
	p := policyCompiler{c}
	f := &jwtFilter{Filter: jwt.Compile(p, m)}
	for i, r := range m.GetRules() {
		leave := c.at("rules", i)
		out := jwtRule{match: c.jwtMatch(r.GetMatch())}
		switch q := r.GetRequirementType().(type) {
		case *jwtv3.RequirementRule_Requires:
			leaveRequires := c.in("requires")
			out.requires = f.Require(p, q.Requires)
			leaveRequires()
		case *jwtv3.RequirementRule_RequirementName:
			var ok bool
			if out.requires, ok = f.Named[q.RequirementName]; !ok {
				c.fail("requirement_name", "Wrong requirement_name: %s. It should be one of [%s]",
					q.RequirementName, f.Names)
			}
		}
		f.rules = append(f.rules, out)
		leave()
	}
	return f
}

// jwtMatch compiles a rule's match. What Envoy ignores in it is refused
// (source/extensions/filters/http/jwt_authn/matcher.cc).
func (c *compiler) jwtMatch(m *routev3.RouteMatch) *route {
	r := &route{}
	c.match(r, m)
	if m.GetRuntimeFraction() != nil || m.GetGrpc() != nil || len(m.GetDynamicMetadata()) > 0 {
		c.notCarried("match", "a match by fraction, gRPC or metadata")
	}
	return r
}

// jwtAuthn runs the filter (source/extensions/filters/http/jwt_authn/filter.cc decodeHeaders).
func (x *Exchange) jwtAuthn(filter *httpFilter, now clock.Instant) (d Directive, done bool) {
	f, h := filter.jwt, x.head
	if x.passed(filter.name) {
		return d, false
	}
	if f.BypassPreflight && isPreflight(h) {
		return d, false
	}
	requires, known := f.requirement(x, filter.name)
	if !known {
		own := perRouteJWT(x, filter.name)
		why := "Wrong requirement_name: " + own.name + ". It should be one of [" + f.Names + "]"
		return x.refuseToken(f, localReply{status: 403, grpc: -1,
			body: "Failed JWT authentication: " + why}, why), true
	}
	if requires == nil {
		if x.tr != nil {
			x.did("asks for no token here")
		}
		return d, false
	}
	uri := ""
	if !f.Strip {
		uri = x.originalURI()
	}
	r := jwt.Request{Head: h, Now: x.e.opt.Wall(now).Unix()}
	status := requires.Verify(&r)
	if r.Told != nil {
		x.dynamic.set(jwt.Namespace, r.Told)
	}
	switch {
	case x.tr == nil:
	case status == jwt.OK && r.Told == nil:
		x.did("found no token; none has to be there")
	default:
		x.did("token: %s", status)
	}
	if status == jwt.OK {
		if r.ClearRoute {
			x.reroute()
		}
		return d, false
	}
	reply := localReply{status: 401, body: status.String(), grpc: -1}
	if status == jwt.AudienceNotAllowed {
		reply.status = 403
	}
	if !f.Strip {
		value := `Bearer realm="` + uri + `"`
		if status != jwt.Missing {
			value += `, error="invalid_token"`
		}
		reply.change = []mutation{{op: mutateSet, name: "www-authenticate", value: value}}
	}
	return x.refuseToken(f, reply, status.String()), true
}

func (x *Exchange) refuseToken(f *jwtFilter, r localReply, why string) Directive {
	x.Record.Policy = why
	r.details = "jwt_authn_access_denied{" + rbac.Underscores(why) + "}"
	if f.Strip {
		r.body = ""
	}
	return x.reply(r)
}

// requirement is the one of the request: the route's, else that of the first rule that matches.
func (f *jwtFilter) requirement(x *Exchange, name string) (r jwt.Requirement, known bool) {
	if own := perRouteJWT(x, name); own != nil {
		if own.disabled {
			return nil, true
		}
		r, known = f.Named[own.name]
		return r, known
	}
	path := match.PathOf(x.head.Target)
	for i := range f.rules {
		if f.rules[i].match.matches(x, x.head, path) {
			return f.rules[i].requires, true
		}
	}
	return nil, true
}

func perRouteJWT(x *Exchange, name string) *jwtPerRoute {
	return mostSpecific(x, name, func(p *perFilter) map[string]*jwtPerRoute { return p.jwt })
}

// isPreflight says that a browser asks whether it may send a request from elsewhere.
func isPreflight(h *wire.Head) bool {
	origin, _ := h.Get("origin")
	method, _ := h.Get("access-control-request-method")
	return string(h.Method) == "OPTIONS" && len(origin) > 0 && len(method) > 0
}

// originalURI is the request's as the client knows it, cut off (http/utility.cc buildOriginalUri).
func (x *Exchange) originalURI() string {
	const most = 256
	path, ok := x.head.Get("x-envoy-original-path")
	if !ok {
		path = x.head.Target
	}
	return string(x.head.Scheme) + "://" + string(x.head.Authority) +
		string(path[:min(len(path), most)])
}
