package embedded_test

import (
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

// tokensOnly lets those with a token of the bundled issuer ask the customer. The control plane
// finds the keys by the issuer's OpenID configuration.
const tokensOnly = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: customer}}
  jwtRules: [{issuer: "http://jwt-issuer.default:8080"}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: customer}}
  rules: [{from: [{source: {requestPrincipals: ["http://jwt-issuer.default:8080/ada"]}}]}]
`

// TestIssuer: an issuer that starts together with its policy is asked for its keys before the
// change is over; who has its token is let in. New keys come with the next refresh.
func TestIssuer(t *testing.T) { onBoth(t, testIssuer) }

func testIssuer(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t, append(issuer(t), tokensOnly)...))
	if n, ok := m.(interface{ Notes() []istio.Diagnostic }); ok {
		for _, d := range n.Notes() {
			if strings.Contains(d.Msg, "keys") {
				t.Error(d)
			}
		}
	}
	token := func(query string) string {
		r := ask(t, m, request.Spec{From: "curl", URL: "http://jwt-issuer:8080/token?" + query})[0]
		return strings.TrimSpace(r.Body)
	}
	from := "curl"
	expect := func(token string, want int) {
		t.Helper()
		s := request.Spec{From: from, URL: "http://customer:8080/"}
		if token != "" {
			s.Headers = []string{"authorization: Bearer " + token}
		}
		if r := ask(t, m, s)[0]; r.Status != want {
			t.Errorf("token %q: %d %s, want %d", token, r.Status, r.Body, want)
		}
	}
	expect(token("sub=ada"), 200)
	expect(token("sub=bob"), 403)
	expect("", 403)
	expect(token("sub=ada&bad=signature"), 401)
	expect(token("sub=ada&bad=unknown-key"), 401)
	expect(token("sub=ada&bad=expired"), 401)

	ask(t, m, request.Spec{From: "curl", URL: "http://jwt-issuer:8080/rotate"})
	expect(token("sub=ada"), 401) // signed with a key that proxies do not have
	m.(*live.Mesh).KeysDue()
	from = "preference" // connections that stand keep the keys that they began with
	expect(token("sub=ada"), 200)
}

// issuer is the bundled issuer's manifest.
func issuer(t *testing.T) []string {
	t.Helper()
	files, ok := sampleapps.Manifests("jwt-issuer")
	if !ok {
		t.Fatal("jwt-issuer is not bundled")
	}
	var out []string
	for _, f := range files {
		if strings.HasSuffix(f.Name, "jwt-issuer.yaml") {
			out = append(out, string(f.Data))
		}
	}
	return out
}
