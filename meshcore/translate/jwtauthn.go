package translate

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/emptypb"
	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// KeySource says where the keys come from that an issuer signs its tokens with: from URI, or, where
// that is empty, from the URI that the issuer's OpenID configuration names.
type KeySource struct{ Issuer, URI string }

// Keys are JSON Web Key Sets as they were fetched, by where they come from.
type Keys map[KeySource]string

// KeyRequest is a set of keys that a configuration needs, and how long its fetching may take.
type KeyRequest struct {
	KeySource
	Timeout time.Duration
	Object  *istio.Object // the oldest RequestAuthentication that needs it
	Field   string        // the rule in it
}

// KeyRequests lists what of a configuration's keys is not in it, each source once. Istio
// pilot/pkg/model/jwks_resolver.go BuildLocalJwks.
func KeyRequests(c *istio.Config) []KeyRequest {
	var out []KeyRequest
	for _, o := range slices.SortedStableFunc(
		slices.Values(c.Kind("RequestAuthentication")), compareAge) {
		for i, r := range o.Body.(*securityv1.RequestAuthentication).JwtRules {
			source := KeySource{r.Issuer, r.JwksUri}
			known := func(k KeyRequest) bool { return k.KeySource == source }
			if r.Jwks != "" || slices.ContainsFunc(out, known) {
				continue
			}
			timeout := 5 * time.Second
			if r.Timeout != nil {
				timeout = r.Timeout.AsDuration()
			}
			out = append(out, KeyRequest{
				source, timeout, o, "spec.jwtRules[" + strconv.Itoa(i) + "]",
			})
		}
	}
	return out
}

// nobodysKey is a public key whose private one exists nowhere: istiod gives it to proxies in place
// of keys that could not be fetched, so that every token is refused. Istio
// pilot/pkg/model/jwks_resolver.go PublicOnlyJwks.
const nobodysKey = "" +
	"0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3" +
	"viIbH-3EN3TxSlPNviHxeOdyiBVfumN8dMxbLvVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyv" +
	"KtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRflkBcY3_HKpBxJl9wk2GyO" +
	"ShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR" +
	"74ShspL3BxPZitDL574T1w"

func nobodysKeys() string {
	type key struct {
		Type     string `json:"kty"`
		Exponent string `json:"e"`
		Modulus  string `json:"n"`
	}
	set := struct {
		Keys []key `json:"keys"`
	}{[]key{{"RSA", "AQAB", nobodysKey}}}
	text, _ := json.MarshalIndent(set, "", "  ") // strings always can be marshalled
	return string(text)
}

// jwtFilter makes the filter that checks tokens; nil without a rule. Istio
// pilot/pkg/security/authn/policy_applier.go convertToEnvoyJwtConfig.
func (ix *index) jwtFilter(s policySet) *hcmv3.HttpFilter {
	var rules []*securityv1.JWTRule
	for _, o := range s.requests {
		rules = append(rules, o.Body.(*securityv1.RequestAuthentication).JwtRules...)
	}
	if len(rules) == 0 {
		return nil
	}
	slices.SortStableFunc(rules, func(a, b *securityv1.JWTRule) int {
		return cmp.Compare(a.Issuer, b.Issuer)
	})
	config := &jwtv3.JwtAuthentication{
		Providers: map[string]*jwtv3.JwtProvider{}, BypassCorsPreflight: true,
	}
	var names []string
	for i, r := range rules {
		name := "origins-" + strconv.Itoa(i)
		config.Providers[name] = ix.jwtProvider(r, s.gateway)
		names = append(names, name)
	}
	config.Rules = []*jwtv3.RequirementRule{{
		Match:           routeMatch(nil),
		RequirementType: &jwtv3.RequirementRule_Requires{Requires: tokenRequirement(names)},
	}}
	return httpFilter(jwtAuthn, config)
}

// jwtProvider translates one rule. At a gateway the route is chosen again once the claims are
// known.
func (ix *index) jwtProvider(r *securityv1.JWTRule, gateway bool) *jwtv3.JwtProvider {
	keys := r.Jwks
	if keys == "" {
		keys = ix.policyIndex.keys[KeySource{r.Issuer, r.JwksUri}]
	}
	if keys == "" {
		keys = nobodysKeys()
	}
	delimited := slices.Concat(r.SpaceDelimitedClaims, []string{"permission", "scope"})
	slices.Sort(delimited)
	out := &jwtv3.JwtProvider{
		Issuer:               r.Issuer,
		Audiences:            r.Audiences,
		Forward:              r.ForwardOriginalToken,
		ForwardPayloadHeader: r.OutputPayloadToHeader,
		FromParams:           r.FromParams,
		FromCookies:          r.FromCookies,
		PayloadInMetadata:    jwtPayload,
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{
			SpaceDelimitedClaims: slices.Compact(delimited),
		},
		ClearRouteCache: gateway,
		JwksSourceSpecifier: &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: keys},
		}},
	}
	for _, c := range r.OutputClaimToHeaders {
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtv3.JwtClaimToHeader{
			HeaderName: c.Header, ClaimName: c.Claim,
		})
	}
	for _, h := range r.FromHeaders {
		out.FromHeaders = append(out.FromHeaders, &jwtv3.JwtHeader{
			Name: h.Name, ValuePrefix: h.Prefix,
		})
	}
	return out
}

type requirement = jwtv3.JwtRequirement

// tokenRequirement lets requests without a token pass, and refuses a token that no provider takes.
// Several providers may look in the same place, where each refuses the other's tokens: so one that
// takes its token is enough.
func tokenRequirement(providers []string) *requirement {
	var taken, optional []*requirement
	for _, name := range providers {
		one := &requirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: name}}
		taken = append(taken, one)
		optional = append(optional, oneOf([]*requirement{one, {
			RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}},
		}}))
	}
	if len(optional) == 1 {
		return optional[0]
	}
	return oneOf(append(taken, &requirement{
		RequiresType: &jwtv3.JwtRequirement_RequiresAll{
			RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: optional},
		},
	}))
}

func oneOf(list []*requirement) *requirement {
	return &requirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{
		RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: list},
	}}
}
