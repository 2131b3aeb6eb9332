package pilot

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mesh-lab/mesh-lab/meshcore/jwks"
)

// TestKeys: proxies get the keys of token issuers, new ones after a refresh, and nobody's while
// they are missing, which is tried again soon.
func TestKeys(t *testing.T) {
	kid := "one"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kid == "" {
			http.Error(w, "closed", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"keys":[{"kty":"RSA","kid":%q}]}`, kid)
	}))
	defer server.Close()
	var log strings.Builder
	p, diags := New(read(t, mesh+`
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec: {jwtRules: [{issuer: mint, jwksUri: "`+server.URL+`/keys"}]}
`), slog.New(slog.NewTextHandler(&log, nil)))
	if p.config == nil {
		t.Fatal(diags)
	}
	p.connected("a-0.default", id("sidecar", "10.0.0.7", "a-0"), false)
	p.until = time.Time{}
	timer := newKeyTimer()
	defer timer.Stop()
	expect := func(want string, tries int) {
		t.Helper()
		p.fetchKeys(t.Context(), timer)
		text, err := protojson.Marshal(p.snapshots()["a-0.default"].Listeners["virtualInbound"])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) || timer.tries != tries {
			t.Errorf("%d tries, want %d; no %s in %s", timer.tries, tries, want, text)
		}
	}
	kid = ""
	expect("0xObjM0UvS_oaazj", 1)
	if !strings.Contains(log.String(), "status 503") {
		t.Errorf("no warning: %s", log.String())
	}
	kid = "one"
	expect(`\"one\"`, 0)
	kid = "two"
	expect(`\"one\"`, 0)
	timer.due, timer.at = true, time.Now().Add(-time.Second)
	expect(`\"two\"`, 0)
	if left := time.Until(timer.at); timer.due || left > jwks.Interval || left < jwks.Interval/2 {
		t.Errorf("the next refresh is in %s", left)
	}
}
