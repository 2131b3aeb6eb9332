package jwt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// Requirement is what tokens a request must bring; nil asks for nothing (verifier.cc).
type Requirement interface{ Verify(r *Request) Status }

// Verify is one provider's, or the allowance for missing or failed tokens.
func (a *authenticator) Verify(r *Request) Status { return a.verify(r) }

type (
	nothing struct{}
	anyOf   []Requirement
	allOf   []Requirement
)

// Verify holds for every request.
func (nothing) Verify(*Request) Status { return OK }

// Verify holds when one does. Else it tells what is wrong with a token that was found and meant
// for one of them, if there is any.
func (l anyOf) Verify(r *Request) Status {
	status := Missing
	for _, e := range l {
		switch s := e.Verify(r); {
		case s == OK:
			return OK
		case s != Missing && (s != UnknownIssuer || status == Missing):
			status = s
		}
	}
	return status
}

// Verify holds when all do.
func (l allOf) Verify(r *Request) Status {
	for _, e := range l {
		if s := e.Verify(r); s != OK {
			return s
		}
	}
	return OK
}

// Filter is a compiled JwtAuthentication, without its rules' matches.
type Filter struct {
	// Named are the requirement_map's.
	Named map[string]Requirement
	// Names are their names as messages list them.
	Names string
	// BypassPreflight lets CORS preflights pass, Strip answers without a reason.
	BypassPreflight, Strip bool

	providers []*provider // by name
}

// byIssuer is the first provider of an issuer, else the first for any issuer. Envoy's order is
// that of a hash table.
func (f *Filter) byIssuer(issuer string) *provider {
	for _, want := range []string{issuer, ""} {
		for _, p := range f.providers {
			if p.issuer == want {
				return p
			}
		}
	}
	return nil
}

func (f *Filter) provider(name string) *provider {
	for _, p := range f.providers {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Compiler is what compiling needs of whoever reads the resource: it notes what is wrong, by field
// path.
type Compiler interface {
	In(field string) (leave func())
	Fail(field, reason string)
	String(field string, m *matcherv3.StringMatcher) match.String
	Duration(field string, d *durationpb.Duration) time.Duration
}

// Compile makes the filter of its message; the rules are compiled by Require.
func Compile(c Compiler, m *jwtv3.JwtAuthentication) *Filter {
	f := &Filter{Named: map[string]Requirement{}, BypassPreflight: m.GetBypassCorsPreflight(),
		Strip: m.GetStripFailureResponse()}
	for _, name := range slices.Sorted(maps.Keys(m.GetProviders())) {
		leave := c.In(fmt.Sprintf("providers[%q]", name))
		f.providers = append(f.providers, compileProvider(c, name, m.GetProviders()[name]))
		leave()
	}
	names := slices.Sorted(maps.Keys(m.GetRequirementMap()))
	for _, name := range names {
		leave := c.In(fmt.Sprintf("requirement_map[%q]", name))
		f.Named[name] = f.Require(c, m.GetRequirementMap()[name])
		leave()
	}
	f.Names = strings.Join(names, ",")
	return f
}

func compileProvider(c Compiler, name string, m *jwtv3.JwtProvider) *provider {
	p := &provider{name: name, issuer: m.GetIssuer(), needsExpiry: m.GetRequireExpiration(),
		skew:    uint64(m.GetClockSkewSeconds()),
		forward: m.GetForward(), pad: m.GetPadForwardPayloadHeader(),
		payloadHeader: strings.ToLower(m.GetForwardPayloadHeader()),
		payloadField:  m.GetPayloadInMetadata(), headerField: m.GetHeaderInMetadata(),
		failedField: m.GetFailedStatusInMetadata(), clearRoute: m.GetClearRouteCache(),
		split: m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims()}
	if m.GetMaxLifetime() != nil {
		d := c.Duration("max_lifetime", m.GetMaxLifetime())
		p.lifetime = &d
	}
	if p.skew == 0 {
		p.skew = defaultSkew
	}
	for _, a := range m.GetAudiences() {
		p.audiences = append(p.audiences, plainAudience(a))
	}
	if m.GetSubjects() != nil {
		s := c.String("subjects", m.GetSubjects())
		p.subjects = &s
	}
	switch k := m.GetJwksSourceSpecifier().(type) {
	case *jwtv3.JwtProvider_LocalJwks:
		p.keys = compileKeys(c, name, k.LocalJwks)
	case *jwtv3.JwtProvider_RemoteJwks:
		c.Fail("remote_jwks", "is not carried out yet")
	default:
		c.Fail("jwks_source_specifier", "value is required")
	}
	for i, h := range m.GetClaimToHeaders() {
		p.claims = append(p.claims, compileClaim(c, i, h))
	}
	for _, h := range m.GetFromHeaders() {
		p.places = append(p.places, place{kind: inHeader, name: strings.ToLower(h.GetName()),
			prefix: h.GetValuePrefix()})
	}
	for _, n := range m.GetFromParams() {
		p.places = append(p.places, place{kind: inParam, name: n})
	}
	for _, n := range m.GetFromCookies() {
		p.places = append(p.places, place{kind: inCookie, name: n})
	}
	if len(p.places) == 0 {
		p.places = []place{{kind: inHeader, name: "authorization", prefix: "Bearer "},
			{kind: inParam, name: "access_token"}}
	}
	return p
}

func compileKeys(c Compiler, name string, m *corev3.DataSource) *Keys {
	text := m.GetInlineString()
	if b := m.GetInlineBytes(); len(b) > 0 {
		text = string(b)
	}
	if text == "" {
		return nil
	}
	keys, status := ParseKeys(text)
	if status != OK {
		c.Fail("local_jwks", fmt.Sprintf("Provider '%s' in jwt_authn config has invalid local "+
			"jwks: %v", name, status))
	}
	return keys
}

func compileClaim(c Compiler, i int, m *jwtv3.JwtClaimToHeader) claimHeader {
	defer c.In(fmt.Sprintf("claim_to_headers[%d]", i))()
	h := claimHeader{header: strings.ToLower(m.GetHeaderName())}
	for _, s := range m.GetClaimPath() {
		h.path = append(h.path, s.GetKey())
	}
	if (len(h.path) == 0) == (m.GetClaimName() == "") {
		c.Fail("", "exactly one of claim_name and claim_path must be set")
	}
	if len(h.path) == 0 {
		h.path = strings.Split(m.GetClaimName(), ".")
	}
	return h
}

// Require compiles a requirement; its providers are the filter's.
func (f *Filter) Require(c Compiler, m *jwtv3.JwtRequirement) Requirement {
	return f.require(c, m, f.providers)
}

// require compiles a requirement. among are the providers whose tokens are looked for when missing
// or failed ones are allowed.
func (f *Filter) require(c Compiler, m *jwtv3.JwtRequirement, among []*provider) Requirement {
	switch q := m.GetRequiresType().(type) {
	case nil:
		return nothing{}
	case *jwtv3.JwtRequirement_ProviderName:
		return f.required(c, q.ProviderName, nil)
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		var own audiences
		for _, a := range q.ProviderAndAudiences.GetAudiences() {
			own = append(own, plainAudience(a))
		}
		return f.required(c, q.ProviderAndAudiences.GetProviderName(), own)
	case *jwtv3.JwtRequirement_RequiresAny:
		return f.anyOf(c, q.RequiresAny.GetRequirements())
	case *jwtv3.JwtRequirement_RequiresAll:
		var out allOf
		for i, e := range q.RequiresAll.GetRequirements() {
			leave := c.In(fmt.Sprintf("requires_all.requirements[%d]", i))
			out = append(out, f.Require(c, e))
			leave()
		}
		return out
	case *jwtv3.JwtRequirement_AllowMissing:
		return &authenticator{filter: f, from: newExtractor(among), allowMissing: true}
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		return &authenticator{filter: f, from: newExtractor(among), allowMissing: true,
			allowFailed: true}
	}
	c.Fail("requires_type", fmt.Sprintf("%T is not carried out yet", m.GetRequiresType()))
	return nothing{}
}

func (f *Filter) required(c Compiler, name string, own audiences) Requirement {
	p := f.provider(name)
	if p == nil {
		c.Fail("provider_name", fmt.Sprintf("Required provider ['%s'] is not configured.", name))
		return nothing{}
	}
	return &authenticator{filter: f, from: newExtractor([]*provider{p}), provider: p,
		audiences: own}
}

// anyOf compiles a list of which one must hold. The allowance for missing tokens, that for failed
// ones if there are both, comes last, and looks where the providers of the list look.
func (f *Filter) anyOf(c Compiler, list []*jwtv3.JwtRequirement) Requirement {
	var out anyOf
	var among []*provider
	var bypass *jwtv3.JwtRequirement
	for i, e := range list {
		leave := c.In(fmt.Sprintf("requires_any.requirements[%d]", i))
		switch q := e.GetRequiresType().(type) {
		case *jwtv3.JwtRequirement_AllowMissingOrFailed:
			bypass = e
			leave()
			continue
		case *jwtv3.JwtRequirement_AllowMissing:
			if bypass == nil {
				bypass = e
			}
			leave()
			continue
		case *jwtv3.JwtRequirement_ProviderName:
			among = append(among, f.provider(q.ProviderName))
		case *jwtv3.JwtRequirement_ProviderAndAudiences:
			among = append(among, f.provider(q.ProviderAndAudiences.GetProviderName()))
		}
		out = append(out, f.Require(c, e))
		leave()
	}
	if bypass != nil {
		among = slices.DeleteFunc(among, func(p *provider) bool { return p == nil })
		if len(among) == 0 {
			among = f.providers
		}
		out = append(out, f.require(c, bypass, among))
	}
	return out
}
