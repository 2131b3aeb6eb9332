package embedded_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// many is a mesh of ten Services with n pods in all, and a rule that sends all to a version.
func many(b *testing.B, n int, version string) *istio.Config {
	b.Helper()
	y := fmt.Sprintf(v2only, version)
	for i := range 10 {
		name := fmt.Sprintf("s%d", i)
		if i == 0 {
			name = "recommendation"
		}
		y += fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s, version: v1}}
    spec: {containers: [{name: main, image: mesh-lab/echo}]}
`, name, n/10)
	}
	c, diags := istio.Read([]istio.File{{Name: "many.yaml", Data: []byte(y)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		b.Fatal(diags)
	}
	return c
}

// BenchmarkApply changes a rule in a mesh of 100 sidecars, until the last of them has ACKed; it tells
// how much memory each of them takes.
func BenchmarkApply(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	bring := func(n int) topology.Mesh {
		m, err := embedded.Driver{}.Up(b.Context(), topology.Spec{Config: many(b, n, "v1"), Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	few := bring(10)
	with10 := heap()
	few.Close(context.Background()) //nolint:errcheck // the other is what counts
	m := bring(100)
	defer m.Close(context.Background()) //nolint:errcheck // as above
	with100 := heap()
	configs := []*istio.Config{many(b, 100, "v2"), many(b, 100, "v1")}
	var took []time.Duration
	for b.Loop() {
		a, err := m.Apply(b.Context(), configs[len(took)%2])
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, a.Took)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric((float64(with100)-float64(with10))/90/1024, "KiB/sidecar")
}
