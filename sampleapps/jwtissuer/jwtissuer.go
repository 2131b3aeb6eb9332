// Package jwtissuer mints JSON Web Tokens for whoever asks, good ones and bad ones, and publishes
// the keys to check them with: a stand-in for an identity provider that trusts everybody.
package jwtissuer

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// Handler makes the app. Its variables: ISSUER, AUDIENCE and TTL are what tokens say that are asked
// for without; SEED makes the keys the same each time, without it they are new with each pod and
// nowhere but in its memory.
func Handler(env app.Env) (http.Handler, error) {
	ttl, err := time.ParseDuration(env.Var("TTL", "1h"))
	if err != nil {
		return nil, fmt.Errorf("env TTL = %q: want a duration like 1h", env.Vars["TTL"])
	}
	s := &issuer{ttl: ttl, audience: env.Vars["AUDIENCE"], keys: keyRing{seed: env.Vars["SEED"]},
		name: env.Var("ISSUER", "http://"+env.Workload+"."+env.Namespace+":8080")}
	rs := app.Routes{
		"GET /token": s.token, "POST /token": s.token, "GET /jwks.json": s.jwks,
		"GET /.well-known/openid-configuration": s.discovery,
		"GET /rotate":                           s.rotate, "POST /rotate": s.rotate,
	}
	rs.Healthy(app.Up)
	return rs, nil
}

type issuer struct {
	name, audience string
	ttl            time.Duration

	mu   sync.Mutex
	keys keyRing
}

// faults are what can be wrong with a token, by the value of bad.
var faults = map[string]func(*token){
	"signature":   func(t *token) { t.spoil = true },
	"alg-none":    func(t *token) { t.unsigned = true },
	"unknown-key": func(t *token) { t.stranger = true },
	"expired": func(t *token) {
		t.claims["iat"] = t.now.Add(-2 * time.Hour).Unix()
		t.claims["exp"] = t.now.Add(-time.Hour).Unix()
	},
	"not-yet":   func(t *token) { t.claims["nbf"] = t.now.Add(time.Hour).Unix() },
	"issuer":    func(t *token) { t.claims["iss"] = "https://somebody.else" },
	"audience":  func(t *token) { t.claims["aud"] = "somebody-else" },
	"malformed": func(t *token) { t.nonsense = true },
}

// token is one that is being made.
type token struct {
	now                                 time.Time
	claims                              map[string]any
	spoil, unsigned, stranger, nonsense bool
}

// token answers with a token, as text.
func (s *issuer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		app.Text(w, http.StatusBadRequest, err.Error())
		return
	}
	t, err := s.describe(r.Form, time.Now())
	if err != nil {
		app.Text(w, http.StatusBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	text, err := s.keys.sign(t, r.Form.Get("alg"))
	s.mu.Unlock()
	if err != nil {
		app.Text(w, http.StatusBadRequest, err.Error())
		return
	}
	app.Text(w, http.StatusOK, text)
}

// parameters are what a token may be asked with, beside claim.NAME.
var parameters = []string{"alg", "aud", "bad", "claims", "iss", "sub", "ttl"}

// describe reads what is asked for.
func (s *issuer) describe(form url.Values, now time.Time) (*token, error) {
	t := &token{now: now, claims: map[string]any{"iss": s.name, "sub": "somebody",
		"iat": now.Unix()}}
	ttl := s.ttl
	if s.audience != "" {
		t.claims["aud"] = s.audience
	}
	if text := form.Get("claims"); text != "" {
		if err := json.Unmarshal([]byte(text), &t.claims); err != nil {
			return nil, fmt.Errorf("claims: want a JSON object: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		values := form[name]
		claim, isClaim := strings.CutPrefix(name, "claim.")
		switch {
		case isClaim && claim != "":
			t.claims[claim] = oneOrList(values)
		case name == "iss", name == "sub", name == "aud":
			t.claims[name] = oneOrList(values)
		case name == "ttl":
			d, err := lifetime(values[0])
			if err != nil {
				return nil, err
			}
			ttl = d
		case !slices.Contains(parameters, name):
			return nil, fmt.Errorf("%s: no such parameter; there are claim.NAME, %s", name,
				strings.Join(parameters, ", "))
		}
	}
	if _, given := t.claims["exp"]; !given {
		t.claims["exp"] = now.Add(ttl).Unix()
	}
	if bad := form.Get("bad"); bad != "" {
		if faults[bad] == nil {
			return nil, fmt.Errorf("bad = %q: want one of %s", bad,
				strings.Join(slices.Sorted(maps.Keys(faults)), ", "))
		}
		faults[bad](t)
	}
	return t, nil
}

func oneOrList(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

// lifetime reads a duration or a number of seconds.
func lifetime(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("ttl = %q: want a duration like 5m, or seconds", text)
	}
	return d, nil
}

// jwks publishes the keys.
func (s *issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	set := s.keys.public()
	s.mu.Unlock()
	answer(w, map[string]any{"keys": set})
}

// discovery is OpenID Connect's description of an issuer. The keys are where the request went.
func (s *issuer) discovery(w http.ResponseWriter, r *http.Request) {
	answer(w, map[string]any{"issuer": s.name, "jwks_uri": "http://" + r.Host + "/jwks.json",
		"token_endpoint":                        "http://" + r.Host + "/token",
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{rs256, es256}})
}

// rotate makes new keys. The ones before stay published, so that their tokens go on being good,
// unless forget is asked for.
func (s *issuer) rotate(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.keys.rotate(r.FormValue("forget") != "")
	text := strings.Join(s.keys.names(), " ")
	s.mu.Unlock()
	app.Text(w, http.StatusOK, text)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client may be gone
}
