package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// What Envoy answers to tokens is compared in meshcore/proxy/probe (TestSecurity); here are the
// parts, and what must hold for every text.

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestDecode(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "QQ": "A", "QQ==": "A", "QUI": "AB", "QUI=": "AB", "QUJD": "ABC", " Q\tQ\r\n": "A",
		"QR": "A", "_-A": "\xff\xe0",
	} {
		if got, ok := decode(in); !ok || string(got) != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"Q", "QQ=", "QUI==", "QUJD=", "Q=Q", "Q+", "Q/", "é", "QQ=A"} {
		if got, ok := decode(in); ok {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// FuzzDecode compares with the standard library where that is as strict as it can be.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "QQ==", "QUI", "a b", "_-", "Q=", "=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := decode(s)
		plain := strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\n\v\f\r", r) {
				return -1
			}
			return r
		}, s)
		body := strings.TrimRight(plain, "=")
		pads := len(plain) - len(body)
		want, err := base64.RawURLEncoding.DecodeString(body)
		good := err == nil && (pads == 0 || pads == -len(body)&3) && len(body)%4 != 1
		if good != ok || ok && string(got) != string(want) {
			t.Fatalf("%q: %q %v, want %q %v", s, got, ok, want, good)
		}
	})
}

// strictJSON says whether encoding/json takes a text and no name stands twice in an object.
func strictJSON(text []byte) (*structpb.Struct, bool) {
	var m map[string]any
	if json.Unmarshal(text, &m) != nil || m == nil {
		return nil, false
	}
	s := &structpb.Struct{}
	return s, protojson.Unmarshal(text, s) == nil
}

// FuzzJSON compares with protobuf's own reader: what that takes is taken, with the same values;
// what is taken beyond it has the old syntax.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,null,true,"x\n\u00e9"],"b":{}}`, `{'a':1,}`, `{a:"b"}`,
		`[[[`, `{"a":1,"a":2}`, `{"a":"\ud83d\ude00"}`, `null`, `{"a":-0}`, `{"a":01}`} {
		f.Add(s)
	}
	old := regexp.MustCompile(`'|,\s*[\]}]|[{,]\s*[A-Za-z_]|[\x00-\x1f\x7f]|^\s*null\s*$|\\'`)
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseStruct([]byte(text))
		want, good := strictJSON([]byte(text))
		switch {
		case good && strings.Count(text, "[")+strings.Count(text, "{") < maxDepth && !ok:
			t.Fatalf("%q is refused", text)
		case ok && good && protojson.Format(got) != protojson.Format(want):
			t.Fatalf("%q: %v, want %v", text, got, want)
		case ok && !good && !old.MatchString(text):
			t.Fatalf("%q is taken: %v", text, got)
		}
	})
}

// slowClaims reads a token by the book: three sections, JSON, and claims of the right types.
func slowClaims(text string) (m map[string]any, ok bool) {
	var part []string
	for _, p := range strings.Split(text, ".") {
		if p != "" {
			part = append(part, p)
		}
	}
	if len(part) != 3 {
		return nil, false
	}
	section := func(s string) (m map[string]any, ok bool) {
		raw, ok := decode(s)
		if !ok {
			return nil, false
		}
		v, ok := parseStruct(raw)
		return v.AsMap(), ok
	}
	head, ok1 := section(part[0])
	m, ok2 := section(part[1])
	_, ok3 := decode(part[2])
	alg, _ := head["alg"].(string)
	if !ok1 || !ok2 || !ok3 || !regexp.MustCompile(`^((RS|ES|HS|PS)(256|384|512)|EdDSA)$`).MatchString(alg) {
		return nil, false
	}
	isText := func(m map[string]any, names ...string) bool {
		for _, n := range names {
			if v, has := m[n]; has {
				if _, text := v.(string); !text {
					return false
				}
			}
		}
		return true
	}
	if !isText(head, "kid") || !isText(m, "iss", "sub", "jti") {
		return nil, false
	}
	for _, n := range []string{"iat", "nbf", "exp"} {
		if v, has := m[n]; has {
			f, number := v.(float64)
			if !number || f < 0 || f >= 1<<64 {
				return nil, false
			}
		}
	}
	switch a := m["aud"].(type) {
	case string:
	case []any:
		for _, e := range a {
			if _, text := e.(string); !text {
				return nil, false
			}
		}
	default:
		if _, has := m["aud"]; has {
			return nil, false
		}
	}
	return m, true
}

// FuzzParse has no text break the parser, and every text judged as the slow reader does.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a.b.c", "..", "", b64(`{"alg":"RS256"}`) + "." + b64(`{"iss":"x"}`) + ".AA",
		b64(`{"alg":"none"}`) + "." + b64(`{}`) + ".", b64(`{"alg":"ES256","kid":1}`) + ".e30.AA",
		b64(`{"alg":"EdDSA"}`) + "." + b64(`{"aud":["a",1],"exp":1e400}`) + ".AA"} {
		f.Add(s)
	}
	keys := &Keys{list: []key{{secret: []byte("k")}, {ed: make(ed25519.PublicKey, 32)},
		{rsa: &rsa.PublicKey{N: big.NewInt(15), E: 3}}}}
	f.Fuzz(func(t *testing.T, text string) {
		tok, status := Parse(text)
		m, ok := slowClaims(text)
		if (status == OK) != ok {
			t.Fatalf("%q: %v, want %v", text, status, ok)
		}
		if !ok {
			if status.String() == "" {
				t.Fatalf("status %d has no text", status)
			}
			return
		}
		if iss, _ := m["iss"].(string); iss != tok.Iss {
			t.Fatalf("%q: issuer %q, want %q", text, tok.Iss, iss)
		}
		if s := keys.Verify(tok); s == OK && !strings.HasPrefix(tok.Alg, "HS") {
			h := hmac.New(crypto.SHA256.New, []byte("k"))
			h.Write([]byte(tok.signed))
			if !hmac.Equal(h.Sum(nil), tok.signature) {
				t.Fatalf("%q is believed", text)
			}
		}
	})
}

// TestKeys has what is wrong with keys.
func TestKeys(t *testing.T) {
	for text, want := range map[string]Status{
		"x": KeysNotParsed, "{}": KeysMissing, `{"keys":1}`: KeysNotArray, `{"keys":[]}`: NoValidKeys,
		`{"keys":[1]}`: NoValidKeys, `{"a":"b"}`: KeysMissing, `{"keys":[{}]}`: ktyMissing,
		`{"keys":[{"kty":1}]}`: ktyBad, `{"keys":[{"kty":"x"}]}`: ktyNotImplemented,
		`{"keys":[{"kty":"RSA"}]}`:                                            rsaNoN,
		`{"keys":[{"kty":"RSA","n":1}]}`:                                      rsaNoN + 1,
		`{"keys":[{"kty":"RSA","n":"AQ"}]}`:                                   rsaNoE,
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AA"}]}`:                          rsaParse,
		`{"keys":[{"kty":"RSA","alg":"HS256"}]}`:                              rsaBadAlg,
		`{"keys":[{"kty":"EC","alg":"RS256"}]}`:                               ecBadAlg,
		`{"keys":[{"kty":"EC","alg":"ES256","crv":"P-384"}]}`:                 ecIncompatible,
		`{"keys":[{"kty":"EC","crv":"P-192"}]}`:                               ecUnsupported,
		`{"keys":[{"kty":"EC"}]}`:                                             ecNoX,
		`{"keys":[{"kty":"EC","x":"AQ"}]}`:                                    ecNoY,
		`{"keys":[{"kty":"EC","x":"AQ","y":"AQ"}]}`:                           ecParse,
		`{"keys":[{"kty":"oct"}]}`:                                            hmacNoK,
		`{"keys":[{"kty":"oct","k":""}]}`:                                     octBadBase64,
		`{"keys":[{"kty":"oct","k":"AQ","alg":"RS256"}]}`:                     hmacBadAlg,
		`{"keys":[{"kty":"OKP"}]}`:                                            okpNoCrv,
		`{"keys":[{"kty":"OKP","crv":"X25519"}]}`:                             okpCrvUnsupported,
		`{"keys":[{"kty":"OKP","crv":"Ed25519"}]}`:                            okpNoX,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQ"}]}`:                   okpWrongLength,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A"}]}`:                    okpBadBase64,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A","alg":"RS256"}]}`:      okpBadAlg,
		`{"keys":[{"kty":"x"},{"kty":"oct","k":"AQ"}]}`:                       OK,
		`{"k":"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"}`: x509NotParsed,
	} {
		if _, got := ParseKeys(text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for s := range maps.Keys(statusTexts) {
		if s.String() == "" {
			t.Errorf("status %d has no text", s)
		}
	}
}

// plainCompiler compiles for tests.
type plainCompiler struct{ said *[]string }

func (plainCompiler) In(string) func()                                        { return func() {} }
func (c plainCompiler) Fail(field, reason string)                             { *c.said = append(*c.said, field+": "+reason) }
func (plainCompiler) Duration(_ string, d *durationpb.Duration) time.Duration { return d.AsDuration() }
func (plainCompiler) String(_ string, m *matcherv3.StringMatcher) match.String {
	return match.NewString(match.Exact, m.GetExact(), false)
}

func compile(t testing.TB, text string) (*Filter, []string) {
	t.Helper()
	m := &jwtv3.JwtAuthentication{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	var said []string
	return Compile(plainCompiler{&said}, m), said
}

func TestRefusals(t *testing.T) {
	const keys = `"localJwks":{"inlineString":"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQ\"}]}"}`
	for text, want := range map[string]string{
		`{"providers":{"a":{` + keys + `}}}`:    "",
		`{"providers":{"a":{"remoteJwks":{}}}}`: "remote_jwks: is not carried out yet",
		`{"providers":{"a":{}}}`:                "jwks_source_specifier: value is required",
		`{"providers":{"a":{"localJwks":{"inlineString":"x"}}}}`: "local_jwks: Provider 'a' in jwt_authn " +
			"config has invalid local jwks: Jwks is an invalid JSON",
		`{"providers":{"a":{` + keys + `,"claimToHeaders":[{"headerName":"x"}]}}}`: ": exactly one of " +
			"claim_name and claim_path must be set",
		`{"requirementMap":{"r":{"providerName":"b"}}}`: "provider_name: Required provider ['b'] " +
			"is not configured.",
		`{"requirementMap":{"r":{"extractOnlyWithoutValidation":{}}}}`: "requires_type: " +
			"*jwt_authnv3.JwtRequirement_ExtractOnlyWithoutValidation is not carried out yet",
	} {
		if _, said := compile(t, text); strings.Join(said, "\n") != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, said, want)
		}
	}
}

// allKeys signs with every kind of key, and is the set that verifies it.
type allKeys struct {
	set  string
	sign map[string]func(signed string) []byte // by algorithm
}

func newKeys(t testing.TB) *allKeys {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	url := base64.RawURLEncoding.EncodeToString
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	public, edKey, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	k := &allKeys{sign: map[string]func(string) []byte{
		"EdDSA": func(s string) []byte { return ed25519.Sign(edKey, []byte(s)) }}}
	list := []map[string]string{{"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": url(public)}}
	for bits, hash := range map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384,
		"512": crypto.SHA512} {
		digest := func(s string) []byte {
			h := hash.New()
			h.Write([]byte(s))
			return h.Sum(nil)
		}
		k.sign["RS"+bits] = func(s string) []byte {
			out, err := rsa.SignPKCS1v15(nil, private, hash, digest(s))
			must(err)
			return out
		}
		k.sign["PS"+bits] = func(s string) []byte {
			out, err := rsa.SignPSS(rand.Reader, private, hash, digest(s),
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			must(err)
			return out
		}
		k.sign["HS"+bits] = func(s string) []byte {
			h := hmac.New(hash.New, []byte("secret"))
			h.Write([]byte(s))
			return h.Sum(nil)
		}
		curve := map[string]elliptic.Curve{"256": elliptic.P256(), "384": elliptic.P384(),
			"512": elliptic.P521()}[bits]
		ec, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
		size := (curve.Params().BitSize + 7) / 8
		k.sign["ES"+bits] = func(s string) []byte {
			r, v, err := ecdsa.Sign(rand.Reader, ec, digest(s))
			must(err)
			return append(r.FillBytes(make([]byte, size)), v.FillBytes(make([]byte, size))...)
		}
		point, err := ec.PublicKey.Bytes()
		must(err)
		list = append(list, map[string]string{"kty": "EC", "kid": "ES" + bits, "alg": "ES" + bits,
			"x": url(point[1 : 1+size]), "y": url(point[1+size:])},
			map[string]string{"kty": "RSA", "kid": "RS" + bits, "alg": "RS" + bits,
				"n": url(private.N.Bytes()), "e": "AQAB"},
			map[string]string{"kty": "RSA", "kid": "PS" + bits, "alg": "PS" + bits,
				"n": url(private.N.Bytes()), "e": "AQAB"},
			map[string]string{"kty": "oct", "kid": "HS" + bits, "alg": "HS" + bits, "k": url([]byte("secret"))})
	}
	text, err := json.Marshal(map[string]any{"keys": list})
	must(err)
	k.set = string(text)
	return k
}

func (k *allKeys) token(alg, payload string) string {
	signed := b64(`{"alg":"`+alg+`","kid":"`+alg+`"}`) + "." + b64(payload)
	return signed + "." + base64.RawURLEncoding.EncodeToString(k.sign[alg](signed))
}

// TestTampering signs with every algorithm and then changes one character anywhere: only what
// stands for the same bits is still believed.
func TestTampering(t *testing.T) {
	k := newKeys(t)
	set, status := ParseKeys(k.set)
	if status != OK {
		t.Fatal(status)
	}
	algs := slices.Sorted(maps.Keys(k.sign))
	rapid.Check(t, func(t *rapid.T) {
		alg := rapid.SampledFrom(algs).Draw(t, "alg")
		text := k.token(alg, `{"iss":"a","sub":"b","exp":99}`)
		tok, s := Parse(text)
		if s != OK || set.Verify(tok) != OK {
			t.Fatalf("%s: %v %v", alg, s, set.Verify(tok))
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		c := alphabet[rapid.IntRange(0, 63).Draw(t, "character")]
		other, s := Parse(text[:at] + string(c) + text[at+1:])
		if s != OK || set.Verify(other) != OK {
			return
		}
		if other.signed != tok.signed || string(other.signature) != string(tok.signature) {
			t.Fatalf("%s: a token with %q at %d is believed", alg, c, at)
		}
	})
}

// TestTimes has the edges of nbf, exp and max_lifetime, for every second around them.
func TestTimes(t *testing.T) {
	k := newKeys(t)
	set, err := json.Marshal(k.set)
	if err != nil {
		t.Fatal(err)
	}
	f, said := compile(t, fmt.Sprintf(`{"providers":{"a":{"issuer":"i","clockSkewSeconds":5,
		"maxLifetime":"20s","localJwks":{"inlineString":%s}}},
		"requirementMap":{"r":{"providerName":"a"}}}`, set))
	if len(said) > 0 {
		t.Fatal(said)
	}
	token := k.token("HS256", `{"iss":"i","nbf":1000,"exp":1030}`)
	for now := int64(990); now < 1045; now++ {
		h := &wire.Head{Target: []byte("/")}
		h.Add("authorization", "Bearer "+token)
		want := OK
		switch {
		case now+5 < 1000:
			want = NotYetValid
		case now > 1035:
			want = Expired
		case 1030-now >= 20:
			want = VerificationFails
		}
		if got := f.Named["r"].Verify(&Request{Head: h, Now: now}); got != want {
			t.Errorf("at %d: %v, want %v", now, got, want)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	k := newKeys(b)
	set, err := json.Marshal(k.set)
	if err != nil {
		b.Fatal(err)
	}
	f, said := compile(b, fmt.Sprintf(`{"providers":{"a":{"issuer":"i","forward":true,
		"payloadInMetadata":"payload","localJwks":{"inlineString":%s}}},
		"requirementMap":{"r":{"requiresAny":{"requirements":[{"providerName":"a"},
		{"allowMissing":{}}]}}}}`, set))
	if len(said) > 0 {
		b.Fatal(said)
	}
	for _, alg := range []string{"", "RS256", "ES256", "HS256"} {
		b.Run("alg="+alg, func(b *testing.B) {
			h := &wire.Head{Target: []byte("/")}
			if alg != "" {
				h.Add("authorization", "Bearer "+k.token(alg, `{"iss":"i","sub":"joe"}`))
			}
			b.ReportAllocs()
			for b.Loop() {
				if s := f.Named["r"].Verify(&Request{Head: h, Now: 1}); s != OK {
					b.Fatal(s)
				}
			}
		})
	}
}
