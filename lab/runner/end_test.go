package runner_test

import (
	"context"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// counted is a mesh that counts restarts, and its own driver.
type counted struct {
	topology.Mesh
	restarts int
}

func (c *counted) Up(ctx context.Context, s topology.Spec) (_ topology.Mesh, err error) {
	c.Mesh, err = embedded.Driver{}.Up(ctx, s)
	return c, err
}

func (c *counted) Kill(ctx context.Context, pod string) error {
	return c.Mesh.(topology.Killer).Kill(ctx, pod)
}

func (c *counted) Restart(ctx context.Context, pod string) error {
	c.restarts++
	return c.Mesh.(topology.Killer).Restart(ctx, pod)
}

// TestEnd: what was killed is started again before the mesh is closed, in one that has no Breaker,
// too.
func TestEnd(t *testing.T) {
	s, diags := scenarios.Parse("story.yaml", []byte(`
name: end
mesh: {app: echo}
steps: [{kill: echo}]
`))
	for _, d := range diags {
		t.Fatal(d)
	}
	m := &counted{}
	if _, err := runner.Run(t.Context(), s, runner.Options{Driver: m, Topology: "embedded"}); err != nil {
		t.Fatal(err)
	}
	if m.restarts != 1 {
		t.Errorf("%d pods were started at the end, want the one that was killed", m.restarts)
	}
}
