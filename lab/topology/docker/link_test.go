package docker_test

import (
	"context"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
)

// testLinks has links to a pod suffer what the kernel has no filter for: on the connection that the
// callers' pools have open, and on new ones.
func testLinks(ctx context.Context, t *testing.T, m topology.Mesh) {
	world := m.(*live.Mesh).World().(live.Breaker)
	const far, curl = 200 * time.Millisecond, "curl-0.default"
	few := int64(50)
	for _, c := range []struct {
		name  string
		from  string
		both  bool
		link  topology.Link
		want  string
		takes time.Duration // at least
		unit  string
	}{
		{name: "delay", from: curl, both: true, link: topology.Link{Delay: far / 2},
			want: clean, takes: far, unit: "connections slowed"},
		{name: "delay from outside", from: topology.Outside, both: true,
			link: topology.Link{Delay: far / 2},
			want: clean, takes: far, unit: "connections slowed"},
		{name: "reset", from: curl, link: topology.Link{ResetAfter: &few},
			want: "503", unit: "connections reset"},
		{name: "half-open", from: curl, link: topology.Link{HalfOpen: true},
			want: "silence", unit: "connections silenced"},
	} {
		get := func(patience time.Duration) (string, time.Duration) {
			began := time.Now()
			return ask(ctx, m, c.from, "echo:8080", patience), time.Since(began)
		}
		if got, _ := get(10 * time.Second); got != clean {
			t.Errorf("%s: before: %s", c.name, got)
		}
		b, err := world.Break(ctx, topology.Fault{Kind: topology.FaultLink, Name: c.name,
			From: []string{c.from}, To: []string{"echo-0.default"}, Both: c.both, Link: c.link})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		patience := 20 * time.Second
		if c.want == "silence" {
			patience = time.Second
		}
		got, took := get(patience)
		if got != c.want || took < c.takes {
			t.Errorf("%s: %s in %s, want %s in %s", c.name, got, took,
				c.want, c.takes)
		}
		if err := world.Whole(ctx); err == nil {
			t.Errorf("%s: the lab says that it is whole", c.name)
		}
		r, err := b.Receipt(ctx)
		if err != nil || r.Fired == 0 || r.Unit != c.unit {
			t.Errorf("%s: receipt %+v, %v", c.name, r, err)
		}
		t.Logf("%s: %d %s, %v", c.name, r.Fired, r.Unit, r.Evidence)
		if err := b.Heal(ctx); err != nil {
			t.Errorf("%s: healed: %v", c.name, err)
		}
		if got, _ := get(20 * time.Second); got != clean {
			t.Errorf("%s: healed: %s", c.name, got)
		}
		if err := world.Whole(ctx); err != nil {
			t.Errorf("%s: healed: %v", c.name, err)
		}
	}
}
