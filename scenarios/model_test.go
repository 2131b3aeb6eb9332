package scenarios_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// TestModel reads models and writes them as variables.
func TestModel(t *testing.T) {
	for _, c := range []struct{ model, want string }{
		{"{}", ""},
		{"{latency: 20ms, errors: 5%}", "MESHLAB_ERRORS=5% MESHLAB_LATENCY=20ms"},
		{"{latency: {p99: 80ms, p50: 5ms}}", "MESHLAB_LATENCY=p50=5ms p99=80ms"},
		{"{latency: p50=5ms p99=80ms}", "MESHLAB_LATENCY=p50=5ms p99=80ms"},
		{
			"{latency: {histogram: {1ms: 50, 100ms: 5}}, errors: {503: 5%, 500: 0.5%}}",
			"MESHLAB_ERRORS=503:5% 500:0.5% MESHLAB_LATENCY=histogram: 1ms:50 100ms:5",
		},
		{
			"{concurrency: 4, queue: 0, remember: 10, startup: 1.5s, readyAfter: 0s}",
			"MESHLAB_CONCURRENCY=4 MESHLAB_QUEUE=0 MESHLAB_READY_AFTER=0s MESHLAB_REMEMBER=10 " +
				"MESHLAB_STARTUP=1.5s",
		},
		{"{ready: false}", "MESHLAB_READY=false"},
	} {
		text := fmt.Sprintf(`
name: m
mesh: {app: customer, workloads: {name: a, model: %s}}
steps: [{load: {from: curl, to: "http://a/", requests: 1}}]
`, c.model)
		s, diags := scenarios.Parse("m.yaml", []byte(text))
		if istio.HasErrors(diags) {
			t.Errorf("%s: %v", c.model, diags)
			continue
		}
		var got []string
		for _, e := range s.Mesh.Workloads[0].Model.Env() {
			got = append(got, e.Name+"="+e.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.model, strings.Join(got, " "), c.want)
		}
	}
}
