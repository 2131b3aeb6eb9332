package jwtissuer_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/jwtissuer"
)

func start(t *testing.T, vars map[string]string) http.Handler {
	t.Helper()
	h, err := jwtissuer.Handler(app.Env{Workload: "jwt-issuer", Namespace: "id", Vars: vars})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, h http.Handler, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "jwt-issuer.id:8080"
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check verifies a token with the published keys, as another program would, and returns its claims.
func check(t *testing.T, h http.Handler, token string) (claims map[string]any, good bool) {
	t.Helper()
	part := strings.Split(token, ".")
	if len(part) != 3 {
		t.Fatalf("%q", token)
	}
	var header struct{ Alg, Kid string }
	if json.Unmarshal(decode(t, part[0]), &header) != nil ||
		json.Unmarshal(decode(t, part[1]), &claims) != nil {
		return nil, false
	}
	_, text := get(t, h, "/jwks.json")
	var set struct {
		Keys []struct{ Kty, Alg, Kid, N, E, X, Y string }
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		t.Fatal(err)
	}
	number := func(s string) *big.Int { return new(big.Int).SetBytes(decode(t, s)) }
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	signature := decode(t, part[2])
	for _, k := range set.Keys {
		switch {
		case k.Kid != header.Kid || k.Alg != header.Alg:
		case k.Kty == "RSA":
			key := &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
			good = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
		case len(signature) == 64:
			key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(),
				append(append([]byte{4}, decode(t, k.X)...), decode(t, k.Y)...))
			good = err == nil && ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]),
				new(big.Int).SetBytes(signature[32:]))
		}
	}
	return claims, good
}

func TestToken(t *testing.T) {
	h := start(t, map[string]string{"AUDIENCE": "shop"})
	for _, alg := range []string{"RS256", "ES256"} {
		_, token := get(t, h, "/token?sub=ann&ttl=5m&claim.role=admin&claim.group=a&claim.group=b&"+
			"claims={\"n\":{\"m\":1}}&alg="+alg)
		claims, good := check(t, h, token)
		iat, _ := claims["iat"].(float64)
		exp, _ := claims["exp"].(float64)
		groups, _ := claims["group"].([]any)
		nested, _ := claims["n"].(map[string]any)
		if !good || claims["iss"] != "http://jwt-issuer.id:8080" || claims["sub"] != "ann" ||
			claims["aud"] != "shop" || claims["role"] != "admin" || exp-iat != 300 ||
			len(groups) != 2 || nested["m"] != 1.0 {
			t.Errorf("%s: good %v, %v", alg, good, claims)
		}
	}
}

func TestBadTokens(t *testing.T) {
	h := start(t, nil)
	now := float64(time.Now().Unix())
	for bad, want := range map[string]func(claims map[string]any, good bool) bool{
		"signature":   func(_ map[string]any, good bool) bool { return !good },
		"alg-none":    func(c map[string]any, good bool) bool { return !good && c["iss"] != nil },
		"unknown-key": func(_ map[string]any, good bool) bool { return !good },
		"malformed":   func(c map[string]any, good bool) bool { return c == nil && !good },
		"expired": func(c map[string]any, good bool) bool {
			return good && c["exp"].(float64) < now
		},
		"not-yet": func(c map[string]any, good bool) bool {
			return good && c["nbf"].(float64) > now
		},
		"issuer": func(c map[string]any, good bool) bool {
			return good && c["iss"] == "https://somebody.else"
		},
		"audience": func(c map[string]any, good bool) bool {
			return good && c["aud"] == "somebody-else"
		},
	} {
		_, token := get(t, h, "/token?bad="+bad)
		if claims, good := check(t, h, token); !want(claims, good) {
			t.Errorf("%s: good %v, %v", bad, good, claims)
		}
	}
}

func TestRefused(t *testing.T) {
	h := start(t, nil)
	for _, q := range []string{"bad=luck", "alg=HS256", "ttl=soon", "subject=x", "claims=[1"} {
		if status, body := get(t, h, "/token?"+q); status != 400 || body == "" {
			t.Errorf("%s: %d %s", q, status, body)
		}
	}
	if _, err := jwtissuer.Handler(app.Env{Vars: map[string]string{"TTL": "soon"}}); err == nil {
		t.Error("TTL=soon")
	}
}

// TestRotate: tokens of the keys before stay good until they are forgotten.
func TestRotate(t *testing.T) {
	h := start(t, nil)
	_, old := get(t, h, "/token")
	get(t, h, "/rotate")
	_, fresh := get(t, h, "/token")
	for _, token := range []string{old, fresh} {
		if _, good := check(t, h, token); !good {
			t.Error("a token that should be good is not")
		}
	}
	if strings.Split(old, ".")[0] == strings.Split(fresh, ".")[0] {
		t.Error("the same key signs")
	}
	get(t, h, "/rotate?forget=1")
	if _, good := check(t, h, old); good {
		t.Error("a token of a forgotten key is good")
	}
}

// TestSeed: the same seed makes the same keys, another or none others.
func TestSeed(t *testing.T) {
	keys := func(seed string) string {
		_, text := get(t, start(t, map[string]string{"SEED": seed}), "/jwks.json")
		return text
	}
	a, again, b, one, two := keys("a"), keys("a"), keys("b"), keys(""), keys("")
	if a != again || a == b || one == two {
		t.Error("keys do not follow the seed")
	}
	h := start(t, map[string]string{"SEED": "a"})
	for _, alg := range []string{"RS256", "ES256"} {
		_, token := get(t, h, "/token?alg="+alg)
		if _, good := check(t, h, token); !good {
			t.Error(alg)
		}
	}
}

func TestDiscovery(t *testing.T) {
	_, text := get(t, start(t, map[string]string{"ISSUER": "https://me"}),
		"/.well-known/openid-configuration")
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got["issuer"] != "https://me" || got["jwks_uri"] != "http://jwt-issuer.id:8080/jwks.json" {
		t.Error(text)
	}
}
