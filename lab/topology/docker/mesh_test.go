package docker_test

import (
	"context"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// TestMeshFaults breaks, by the mesh's own Breaker, what is more than one pod's: a whole pod, and
// the control plane, which traffic does not need and which knows nothing when it is back.
func TestMeshFaults(t *testing.T) {
	onBoth(t, func(ctx context.Context, t *testing.T, proxy string) {
		m := up(ctx, t, proxy, "echo")
		b := m.(topology.Breaker)
		for _, c := range []struct {
			fault topology.Fault
			want  string
		}{
			{topology.Fault{Kind: topology.FaultKill, Pods: []string{"echo-0.default"}}, "503"},
			{topology.Fault{Kind: topology.FaultControl,
				Control: topology.ControlFault{Down: true}}, clean},
			{topology.Fault{Kind: topology.FaultUnready,
				Pods: []string{"echo-0.default"}}, "503"},
			{topology.Fault{Kind: topology.FaultStarve, CPU: 0.02,
				Pods: []string{"echo-0.default"}}, ""},
		} {
			c.fault.Name = string(c.fault.Kind)
			suffers(ctx, t, m, b, c.fault, c.want)
		}
	})
}

// suffers has a fault begin, looks what is answered, and heals it.
func suffers(
	ctx context.Context, t *testing.T, m topology.Mesh, b topology.Breaker, f topology.Fault,
	want string,
) {
	t.Helper()
	broken, err := b.Break(ctx, f)
	if err != nil {
		t.Errorf("%s: %v", f.Kind, err)
		return
	}
	for range 5 { // work, for who is starved
		got := ask(ctx, m, "curl-0.default", "echo:8080", 20*time.Second)
		if want != "" && got != want {
			t.Errorf("%s: %s, want %s", f.Kind, got, want)
		}
	}
	if err := broken.Heal(ctx); err != nil {
		t.Errorf("%s: healed: %v", f.Kind, err)
	}
	r, err := broken.Receipt(ctx)
	if err != nil || r.Fired == 0 && f.Kind != topology.FaultUnready {
		t.Errorf("%s: receipt %+v, %v", f.Kind, r, err)
	}
	t.Logf("%s: %d %s %v", f.Kind, r.Fired, r.Unit, r.Evidence)
	if got := ask(ctx, m, "curl-0.default", "echo:8080", 20*time.Second); got != clean {
		t.Errorf("%s: healed: %s", f.Kind, got)
	}
	if err := b.Whole(ctx); err != nil {
		t.Errorf("%s: healed: %v", f.Kind, err)
	}
}
