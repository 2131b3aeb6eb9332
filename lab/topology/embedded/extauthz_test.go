package embedded_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

// authorizers is Istio's sample, asked over HTTP about one app's paths and over gRPC about another's
// requests and connections.
const authorizers = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |-
    extensionProviders:
    - name: by-http
      envoyExtAuthzHttp:
        service: ext-authz.default.svc.cluster.local
        port: 8000
        includeRequestHeadersInCheck: [x-ext-authz]
        headersToUpstreamOnAllow: [x-ext-authz-check-result]
    - name: by-grpc
      envoyExtAuthzGrpc: {service: ext-authz.default.svc.cluster.local, port: 9000}
---
apiVersion: v1
kind: Service
metadata: {name: ext-authz}
spec:
  selector: {app: ext-authz}
  ports:
  - {name: http, port: 8000}
  - {name: grpc, port: 9000}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ext-authz}
spec:
  selector: {matchLabels: {app: ext-authz}}
  template:
    metadata: {labels: {app: ext-authz, sidecar.istio.io/inject: "false"}}
    spec:
      containers:
      - name: ext-authz
        image: gcr.io/istio-testing/ext-authz:latest
        ports: [{containerPort: 8000}, {containerPort: 9000}]
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec:
  selector: {app: other}
  ports: [{name: http, port: 8080}, {name: tcp, port: 9090}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers: [{name: app, image: mesh-lab/echo}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-http}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: by-http}
  rules: [{to: [{operation: {paths: ["/guarded/*"]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-grpc}
spec:
  selector: {matchLabels: {app: other}}
  action: CUSTOM
  provider: {name: by-grpc}
  rules: [{}]
`

// TestExternalAuthorizer has Istio's sample decide, on both data planes.
func TestExternalAuthorizer(t *testing.T) { onBoth(t, testExternalAuthorizer) }

func testExternalAuthorizer(t *testing.T, d embedded.Driver) {
	files, _ := sampleapps.Manifests("echo")
	in := []istio.File{{Name: "authorizers.yaml", Data: []byte(authorizers)}}
	for _, f := range files {
		in = append(in, istio.File{Name: f.Name, Data: f.Data})
	}
	c, diags := istio.Read(in, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	m := upOn(t, d, c)
	allow := "x-ext-authz: allow"
	for _, want := range []struct{ url, header, result string }{
		{"http://echo:8080/guarded/a", "", "403 UAEX ext_authz_denied ext_authz"},
		{"http://echo:8080/guarded/a", "x-ext-authz: deny", "403 UAEX ext_authz_denied ext_authz"},
		{"http://echo:8080/guarded/a", allow, "200  via_upstream "},
		{"http://echo:8080/free", "", "200  via_upstream "},
		{"http://other:8080/", "", "403 UAEX ext_authz_denied ext_authz"},
		{"http://other:8080/", allow, "200  via_upstream "},
		{"tcp://other:9090", "", "0 UAEX  ext_authz"},
	} {
		s := get("curl", want.url)
		if want.header != "" {
			s.Headers = []string{want.header}
		}
		if strings.HasPrefix(want.url, "tcp:") {
			s.Body = "ping"
		}
		r := ask(t, m, s)[0]
		last := r.Hops[len(r.Hops)-1]
		got := fmt.Sprintf("%d %s %s %s", r.Status, last.Flags, last.Details, last.Policy)
		if got != want.result {
			t.Errorf("%s %s: %s, want %s", want.url, want.header, got, want.result)
		}
	}
}
