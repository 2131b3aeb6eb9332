package jwks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// web is the answers of servers by URI; what is missing is an error.
type web struct {
	mu    sync.Mutex
	pages map[string]string
	asked map[string]int
}

func (w *web) get(ctx context.Context, uri string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[uri]++
	if page, ok := w.pages[uri]; ok {
		return []byte(page), ctx.Err()
	}
	return nil, errors.New("refused")
}

func newWeb(pages map[string]string) *web {
	return &web{pages: pages, asked: map[string]int{}}
}

// requests reads jwtRules.
func requests(t *testing.T, rules string) []translate.KeyRequest {
	t.Helper()
	text := `{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
		metadata: {name: a}, spec: {jwtRules: ` + rules + `}}`
	c, diags := istio.Read([]istio.File{{Name: "a.yaml", Data: []byte(text)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	return translate.KeyRequests(c)
}

const (
	old   = `{"keys":[{"kty":"RSA","kid":"1"}]}`
	newer = `{"keys":[{"kty":"RSA","kid":"2"}]}`
)

// TestFetch: from a URI, from what an issuer's configuration names, and each failure with its
// warning.
func TestFetch(t *testing.T) {
	w := newWeb(map[string]string{
		"http://keys/k": old,
		"https://one.example/.well-known/openid-configuration": `{"jwks_uri":"http://one/k"}`,
		"http://one/k": newer,
		"https://two.example/.well-known/openid-configuration":   `{"jwks_uri":""}`,
		"https://three.example/.well-known/openid-configuration": `no json`,
		"http://page/k":  `<html>`,
		"http://other/k": `{"ke` + `ys":{}}`,
	})
	all := requests(t, `[{issuer: a, jwksUri: "http://keys/k"}, {issuer: "https://one.example/"},
		{issuer: "https://two.example"}, {issuer: "https://three.example"},
		{issuer: b, jwksUri: "http://page/k"}, {issuer: b, jwksUri: "http://other/k"},
		{issuer: b, jwksUri: "http://nowhere/k", timeout: 1s}, {issuer: a, jwksUri: "http://keys/k"},
		{issuer: c, jwks: '{"keys":[{"kty":"RSA"}]}'}]`)
	s := New(w.get)
	if !s.Fetch(t.Context(), all, time.Time{}) {
		t.Error("nothing has changed")
	}
	want := translate.Keys{
		{Issuer: "a", URI: "http://keys/k"}:       old,
		{Issuer: "https://one.example/", URI: ""}: newer,
	}
	if diff := cmp.Diff(want, s.Keys()); diff != "" {
		t.Error(diff)
	}
	var told []string
	for _, d := range s.Problems(all) {
		told = append(told, d.Field+": "+d.Msg[strings.Index(d.Msg, "refused: ")+9:])
	}
	if diff := cmp.Diff([]string{
		"spec.jwtRules[2]: GET https://two.example/.well-known/openid-configuration: names no jwks_uri",
		"spec.jwtRules[3]: GET https://three.example/.well-known/openid-configuration: is no JSON " +
			"object: invalid character 'o' in literal null (expecting 'u')",
		`spec.jwtRules[4]: GET http://page/k: is no JSON Web Key Set: a JSON object with the list "keys"`,
		`spec.jwtRules[5]: GET http://other/k: is no JSON Web Key Set: a JSON object with the list "keys"`,
		"spec.jwtRules[6]: GET http://nowhere/k: refused",
	}, told); diff != "" {
		t.Error(diff)
	}
	if n := w.asked["http://keys/k"]; n != 1 {
		t.Errorf("asked %d times", n)
	}
	if s.Fetch(t.Context(), all, time.Time{}) || w.asked["http://keys/k"] != 1 {
		t.Error("fetched again what it has")
	}
	if w.asked["http://nowhere/k"] != 2 {
		t.Error("did not try again what it has not")
	}
	if s.Fetch(t.Context(), all[1:2], time.Time{}); len(s.Keys()) != 1 {
		t.Error("keeps what nobody asks for")
	}
}

// TestRefresh: new keys are noticed, failures keep the old ones for a week, and are tried again
// sooner.
func TestRefresh(t *testing.T) {
	w := newWeb(map[string]string{"http://keys/k": old})
	all := requests(t, `[{issuer: a, jwksUri: "http://keys/k"}]`)
	s := New(w.get)
	now := time.Unix(0, 0)
	s.Fetch(t.Context(), all, now)
	expect := func(changed bool, next time.Duration, keys string) {
		t.Helper()
		c, n := s.Refresh(t.Context(), now)
		if got := s.Keys()[all[0].KeySource]; c != changed || n != next || got != keys {
			t.Errorf("changed %v, next %v, keys %q", c, n, got)
		}
	}
	expect(false, Interval, old)
	w.pages["http://keys/k"] = "{ \"keys\": [ {\"kty\":\"RSA\", \"kid\":\"1\"} ] }"
	expect(false, Interval, w.pages["http://keys/k"])
	w.pages["http://keys/k"] = newer
	expect(true, Interval, newer)
	delete(w.pages, "http://keys/k")
	for _, next := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		expect(false, next*time.Minute, newer)
	}
	now = now.Add(eviction)
	expect(true, longest, "")
	w.pages["http://keys/k"] = newer
	expect(true, Interval, newer)
}

// TestClient asks real servers.
func TestClient(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/k" {
			fmt.Fprint(w, old)
			return
		}
		http.Error(w, strings.Repeat("x", 200), http.StatusTeapot)
	}))
	defer server.Close()
	get := Client((&net.Dialer{}).DialContext)
	if body, err := get(t.Context(), server.URL+"/k"); err != nil || string(body) != old {
		t.Errorf("%s, %v", body, err)
	}
	_, err := get(t.Context(), server.URL+"/other")
	want := `status 418, message "` + strings.Repeat("x", 100) + `"`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := get(ctx, server.URL+"/k"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
