package embedded_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

const keySet = `{"keys":[{"kty":"RSA","kid":"k","n":"x","e":"AQAB"}]}`

// TestKeys: the control plane asks the lab's Services, through the sidecars in front of them, and
// this machine; nothing else.
func TestKeys(t *testing.T) {
	m := up(t, customer(t, issuer(t)...))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, keySet)
	}))
	defer server.Close()
	policy := fmt.Sprintf(`{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
		metadata: {name: a}, spec: {jwtRules: [
			{issuer: here, jwksUri: %q},
			{issuer: app, jwksUri: "http://customer.default:8080/"},
			{issuer: port, jwksUri: "http://customer.default:1/"},
			{issuer: away, jwksUri: "https://example.com/keys"},
			{issuer: there, jwksUri: "http://192.0.2.1/keys"},
			{issuer: "http://jwt-issuer.default:8080"}]}}`, server.URL)
	c, diags := istio.Read(
		[]istio.File{{Name: "a.yaml", Data: []byte(policy)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	keys, problems := m.(*live.Mesh).FetchKeys(t.Context(), c)
	var told []string
	for _, d := range problems {
		told = append(told, d.Msg)
	}
	here := translate.KeySource{Issuer: "here", URI: server.URL}
	found := translate.KeySource{Issuer: "http://jwt-issuer.default:8080"}
	if keys[here] != keySet || !strings.Contains(keys[found], `"kty"`) || len(keys) != 2 {
		t.Errorf("keys: %v", keys)
	}
	for i, want := range []string{
		"GET http://customer.default:8080/: is no JSON Web Key Set", // the app answered
		"GET http://customer.default:1/: ",
		"no such host: keys come from the lab's own Services and hosts, or from this machine",
		"GET http://192.0.2.1/keys: ",
	} {
		if i >= len(told) || !strings.Contains(told[i], want) {
			t.Errorf("warning %d of %q: want %q", i, told, want)
		}
	}
}
