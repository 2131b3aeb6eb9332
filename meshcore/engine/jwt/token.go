// Package jwt verifies JSON Web Tokens exactly as Envoy's jwt_authn filter does, down to which
// malformed token is refused with which words: where tokens are looked for, what is wrong with one,
// which key of a set fits, which requirement holds, and what is told of a good token.
//
//	JwtAuthentication ──Compile──▶ Filter ──Verify(Request)──▶ Status, headers changed, metadata
//
// It asks for no time and fetches no keys: both are given.
package jwt

import (
	"math"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// Token is a token whose form is good; nothing says yet that it may be believed.
type Token struct {
	Alg, Kid, Iss, Sub string
	Audiences          []string
	Nbf, Exp           uint64 // seconds; 0 without
	Header, Payload    *structpb.Struct
	// PayloadText is the payload as it stands in the token, in base64url.
	PayloadText string

	signed    string
	signature []byte
}

var algorithms = map[string]bool{"ES256": true, "ES384": true, "ES512": true, "HS256": true,
	"HS384": true, "HS512": true, "RS256": true, "RS384": true, "RS512": true, "PS256": true,
	"PS384": true, "PS512": true, "EdDSA": true}

// Parse reads a token (source/common/jwt/jwt.cc parseFromString). Empty sections do not count.
func Parse(text string) (*Token, Status) {
	part := strings.FieldsFunc(text, func(r rune) bool { return r == '.' })
	if len(part) != 3 {
		return nil, BadFormat
	}
	t := &Token{PayloadText: part[1], signed: part[0] + "." + part[1]}
	raw, ok := decode(part[0])
	if !ok {
		return nil, HeaderBadBase64
	}
	if t.Header, ok = parseStruct(raw); !ok {
		return nil, HeaderBadJSON
	}
	header, payload := claims{t.Header}, claims{}
	if header.text("alg", &t.Alg) != found {
		return nil, HeaderBadAlg
	}
	if !algorithms[t.Alg] {
		return nil, HeaderNotImplemented
	}
	if header.text("kid", &t.Kid) == wrong {
		return nil, HeaderBadKid
	}
	if raw, ok = decode(part[1]); !ok {
		return nil, PayloadBadBase64
	}
	if t.Payload, ok = parseStruct(raw); !ok {
		return nil, PayloadBadJSON
	}
	payload.of = t.Payload
	if s := t.claims(payload); s != OK {
		return nil, s
	}
	if t.signature, ok = decode(part[2]); !ok {
		return nil, SignatureBadBase64
	}
	return t, OK
}

func (t *Token) claims(of claims) Status {
	if of.text("iss", &t.Iss) == wrong {
		return IssNotString
	}
	if of.text("sub", &t.Sub) == wrong {
		return SubNotString
	}
	var iat uint64
	for _, c := range []struct {
		name string
		to   *uint64
		not  Status // the next one: out of range
	}{{"iat", &iat, IatNotInteger}, {"nbf", &t.Nbf, NbfNotInteger},
		{"exp", &t.Exp, ExpNotInteger}} {
		switch of.seconds(c.name, c.to) {
		case wrong:
			return c.not
		case tooLarge:
			return c.not + 1
		}
	}
	var jti string
	if of.text("jti", &jti) == wrong {
		return JtiNotString
	}
	if of.texts("aud", &t.Audiences) == wrong {
		return AudNotString
	}
	return OK
}

// timely says whether the token is valid at a time (Jwt::verifyTimeConstraint): nbf and exp are
// taken with some skew, in seconds. Sums wrap around, as Envoy's do.
func (t *Token) timely(now, skew uint64) Status {
	switch {
	case now+skew < t.Nbf:
		return NotYetValid
	case t.Exp != 0 && now > t.Exp+skew:
		return Expired
	}
	return OK
}

// claims reads values as source/common/jwt/struct_utils.cc does.
type claims struct{ of *structpb.Struct }

type result uint8

const (
	found result = iota
	missing
	wrong
	tooLarge
)

func (c claims) text(name string, to *string) result {
	v := c.of.GetFields()[name]
	if v == nil {
		return missing
	}
	s, ok := v.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return wrong
	}
	*to = s.StringValue
	return found
}

func (c claims) seconds(name string, to *uint64) result {
	v := c.of.GetFields()[name]
	if v == nil {
		return missing
	}
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	switch {
	case !ok:
		return wrong
	case n.NumberValue < 0 || n.NumberValue >= math.MaxUint64:
		return tooLarge
	}
	*to = uint64(n.NumberValue)
	return found
}

// texts reads a string or a list of strings.
func (c claims) texts(name string, to *[]string) result {
	v := c.of.GetFields()[name]
	switch k := v.GetKind().(type) {
	case nil:
		return missing
	case *structpb.Value_StringValue:
		*to = []string{k.StringValue}
		return found
	case *structpb.Value_ListValue:
		for _, e := range k.ListValue.GetValues() {
			s, ok := e.GetKind().(*structpb.Value_StringValue)
			if !ok {
				return wrong
			}
			*to = append(*to, s.StringValue)
		}
		return found
	}
	return wrong
}

// decode reads base64url as absl::WebSafeBase64Unescape does: blanks count for nothing, padding
// may be there if it is right, and superfluous bits are not looked at.
func decode(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s)*3/4)
	bits, n, pads := uint32(0), 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			continue
		case c == '=':
			pads++
			continue
		}
		v := strings.IndexByte(alphabet, c)
		if v < 0 || pads > 0 {
			return nil, false
		}
		bits, n = bits<<6|uint32(v), n+1
		if n%4 == 0 {
			out = append(out, byte(bits>>16), byte(bits>>8), byte(bits))
		}
	}
	switch n % 4 {
	case 0:
		return out, pads == 0
	case 1:
		return nil, false
	case 2:
		return append(out, byte(bits>>4)), pads == 0 || pads == 2
	}
	return append(out, byte(bits>>10), byte(bits>>2)), pads == 0 || pads == 1
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
