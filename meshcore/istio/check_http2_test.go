package istio_test

import (
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// TestHTTP2 accepts the HTTP/2 ports of a Service that an extension provider names, in what is read
// or in what that is merged into.
func TestHTTP2(t *testing.T) {
	const service = `
apiVersion: v1
kind: Service
metadata: {name: checker, namespace: office}
spec:
  ports:
  - {name: grpc, port: 9000}
  - {name: web, port: 9001, appProtocol: kubernetes.io/h2c}
`
	mesh := func(provider string) string {
		return `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |-
    extensionProviders:
    - name: door
      ` + provider + `
`
	}
	read := func(text string, base *istio.Config) (*istio.Config, []istio.Diagnostic) {
		return istio.Read([]istio.File{{Name: "a.yaml", Data: []byte(text)}},
			istio.ReadOptions{Base: base})
	}
	const host = "checker.office.svc.cluster.local"
	for _, c := range []struct {
		name, provider string
		problems       int
	}{
		{"grpc", "envoyExtAuthzGrpc: {service: " + host + ", port: 9000}", 0},
		{"with a namespace", "envoyExtAuthzGrpc: {service: office/" + host + ", port: 9000}", 0},
		{"http", "envoyExtAuthzHttp: {service: " + host + ", port: 8000}", 0},
		{"another", "envoyExtAuthzHttp: {service: other.office.svc.cluster.local, port: 80}", 2},
		{"no authorizer", "envoyFileAccessLog: {path: /dev/stdout}", 2},
	} {
		if _, diags := read(service+"---"+mesh(c.provider), nil); len(diags) != c.problems {
			t.Errorf("%s, together: %v", c.name, diags)
		}
		base, diags := read(mesh(c.provider), nil)
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		if _, diags := read(service, base); len(diags) != c.problems {
			t.Errorf("%s, one after the other: %v", c.name, diags)
		}
	}
	named, _ := read(mesh("envoyExtAuthzGrpc: {service: "+host+", port: 9000}"), nil)
	none := mesh("envoyFileAccessLog: {path: /dev/stdout}")
	if _, diags := read(service+"---"+none, named); len(diags) != 2 {
		t.Errorf("a MeshConfig that replaces the one before: %v", diags)
	}
}
