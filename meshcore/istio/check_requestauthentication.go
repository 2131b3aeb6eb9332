package istio

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	securityv1 "istio.io/api/security/v1"
)

// requestAuthentication checks what istiod's webhook and the CRD check
// (pkg/config/validation/validation.go ValidateRequestAuthentication).
func (c *checker) requestAuthentication() {
	p := c.object.Body.(*securityv1.RequestAuthentication)
	c.attachment(p)
	c.atMost("spec.jwtRules", len(p.JwtRules), 4096)
	for i, r := range p.JwtRules {
		c.jwtRule(at("spec.jwtRules", i), r)
	}
}

var strictHeaderName = regexp.MustCompile(`^[-_A-Za-z0-9]+$`)

func (c *checker) jwtRule(field string, r *securityv1.JWTRule) {
	if r.Issuer == "" && r.JwksUri == "" {
		c.errorf(field, "issuer or jwksUri must be non-empty string")
	}
	if r.JwksUri != "" && r.Jwks != "" {
		c.errorf(field, "only one of jwks or jwksUri can be set")
	}
	if msg := badURI(r.JwksUri); msg != "" {
		c.errorf(field+".jwksUri", "%s", msg)
	}
	c.issuerWithoutKeys(field, r)
	c.jwks(field+".jwks", r.Jwks)
	c.filled(field+".audiences", "audience", r.Audiences)
	c.filled(field+".fromParams", "location query", r.FromParams)
	c.filled(field+".fromCookies", "cookie name", r.FromCookies)
	c.filled(field+".spaceDelimitedClaims", "claim", r.SpaceDelimitedClaims)
	c.atMost(field+".spaceDelimitedClaims", len(r.SpaceDelimitedClaims), 64)
	for i, h := range r.FromHeaders {
		if h.Name == "" {
			c.errorf(at(field+".fromHeaders", i)+".name",
				"location header name must be non-empty string")
		}
	}
	for i, o := range r.OutputClaimToHeaders {
		f := at(field+".outputClaimToHeaders", i)
		if o.Claim == "" || o.Header == "" {
			c.errorf(f, "outputClaimToHeaders header and claim value must be non-empty string")
		} else if !strictHeaderName.MatchString(o.Header) {
			c.errorf(f+".header", "header name %s is not a valid header name", clip(o.Header))
		}
	}
	if d := r.Timeout; d != nil && d.AsDuration() < time.Millisecond {
		c.errorf(field+".timeout", "must be a valid duration greater than 1ms")
	}
}

func (c *checker) filled(field, what string, values []string) {
	for i, v := range values {
		if v == "" {
			c.errorf(at(field, i), "%s must be non-empty string", what)
		}
	}
}

// badURI checks a URI that keys are fetched from.
func badURI(uri string) string {
	if uri == "" {
		return ""
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is no URL", clip(uri))
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("URI scheme %q is not supported; must be http or https", u.Scheme)
	case len(uri) > 2048:
		return "has more than 2048 characters"
	}
	return ""
}

// issuerWithoutKeys: istiod asks the issuer for its OpenID configuration, which needs a URL.
func (c *checker) issuerWithoutKeys(field string, r *securityv1.JWTRule) {
	if r.Issuer == "" || r.Jwks != "" || r.JwksUri != "" {
		return
	}
	if u, err := url.Parse(r.Issuer); err != nil || u.Host == "" || badURI(r.Issuer) != "" {
		c.warnf(field+".issuer", "is no URL, so its keys can not be found at "+
			"ISSUER/.well-known/openid-configuration: every token is refused; "+
			"write jwks or jwksUri")
	}
}

// jwks checks a JSON Web Key Set (RFC 7517) as far as istiod does: it is a set, or one key.
func (c *checker) jwks(field, text string) {
	if text == "" {
		return
	}
	type key map[string]any
	var set struct {
		Keys []key  `json:"keys"`
		Type string `json:"kty"`
	}
	err := json.Unmarshal([]byte(text), &set)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		c.errorf(field, "jwks parse error: %v", err)
		return
	case err != nil, set.Keys == nil && set.Type == "":
		c.errorf(field, `jwks parse error: must be a JSON object with the list "keys"`)
		return
	}
	if set.Keys != nil && len(set.Keys) == 0 {
		c.errorf(field, "has no key: istiod takes it, but then Envoy refuses the whole listener")
	}
	for i, k := range set.Keys {
		switch kind, _ := k["kty"].(string); kind {
		case "RSA", "EC", "OKP":
			if k["d"] != nil {
				c.warnf(field, "jwks key at index %d contains private key material; only public "+
					"keys are used for verification", i)
			}
		case "oct":
			c.warnf(field, "jwks key at index %d contains private key material; only public "+
				"keys are used for verification", i)
		default:
			c.errorf(field, `jwks parse error: keys[%d]: "kty" must be one of RSA, EC, OKP, oct`,
				i)
		}
	}
}
