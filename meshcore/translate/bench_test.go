package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// meshOf writes a mesh of n workloads, each with two pods, a Service, two subsets and a 90/10
// split.
func meshOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: app-%[1]d}
spec: {selector: {app: app-%[1]d}, ports: [{name: http, port: %[2]d, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app-%[1]d}
spec:
  replicas: 2
  selector: {matchLabels: {app: app-%[1]d}}
  template:
    metadata: {labels: {app: app-%[1]d, version: v1}}
    spec: {containers: [{name: app, image: mesh-lab/echo}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app-%[1]d}
spec: {host: app-%[1]d, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app-%[1]d}
spec:
  hosts: [app-%[1]d]
  http:
  - route:
    - {destination: {host: app-%[1]d, subset: v1}, weight: 90}
    - {destination: {host: app-%[1]d, subset: v2}, weight: 10}
`, i, 8000+i%5)
	}
	return b.String()
}

func mustRead(t testing.TB, name, text string) *istio.Config {
	t.Helper()
	config, problems := istio.Read([]istio.File{{Name: name, Data: []byte(text)}}, istio.ReadOptions{})
	for _, d := range problems {
		if d.Severity == istio.Error {
			t.Fatal(d)
		}
	}
	return config
}

// BenchmarkApply translates a new configuration for 100 sidecars of 50 workloads.
func BenchmarkApply(b *testing.B) {
	config := mustRead(b, "mesh.yaml", meshOf(50))
	b.ReportAllocs()
	for b.Loop() {
		registry, _ := NewRegistry(config, nil)
		translator := New(config, registry)
		for _, p := range registry.Pods {
			translator.Snapshot(p)
		}
	}
}
