package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	needed "github.com/mesh-lab/mesh-lab/testdata/docker"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// up brings a bundled set up.
func up(ctx context.Context, t *testing.T, proxy, set string) topology.Mesh {
	t.Helper()
	files, err := runner.Bundled(set)
	if err != nil {
		t.Fatal(err)
	}
	c, diags := istio.Read(files, istio.ReadOptions{})
	for _, d := range diags {
		if d.Severity == istio.Error {
			t.Fatal(d)
		}
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	m, err := docker.Driver{Proxy: proxy}.Up(ctx, topology.Spec{Config: c, Seed: 1, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// ask sends a request from a pod, and says what came of it.
func ask(ctx context.Context, m topology.Mesh, from, to string, patience time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h := &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return m.Dial(ctx, from, address)
		}}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to+"/", nil)
	if err != nil {
		return err.Error()
	}
	r, err := h.RoundTrip(q)
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "silence"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case err != nil && strings.Contains(err.Error(), "server misbehaving"):
		return "failed look-up"
	case err != nil:
		return err.Error()
	}
	defer r.Body.Close()
	io.Copy(io.Discard, r.Body) //nolint:errcheck // the status is what counts
	return fmt.Sprint(r.StatusCode)
}

// onBoth runs a test with our own sidecars and with real Envoys.
func onBoth(t *testing.T, test func(ctx context.Context, t *testing.T, proxy string)) {
	needed.Needed(t)
	for _, proxy := range []string{"meshcore", "envoy"} {
		t.Run(proxy, func(t *testing.T) {
			if proxy == "envoy" {
				envoy.Binary(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			test(ctx, t, proxy)
		})
	}
}

// TestFaults breaks a pod and what is around it, one thing after the other: each takes effect, has a
// receipt from where it acts, and is gone without a trace when it is healed.
func TestFaults(t *testing.T) {
	onBoth(t, func(ctx context.Context, t *testing.T, proxy string) {
		m := up(ctx, t, proxy, "echo")
		testFaults(ctx, t, m)
		testLinks(ctx, t, m)
	})
}

// clean is what nothing broken answers.
const clean = "200"

func testFaults(ctx context.Context, t *testing.T, m topology.Mesh) {
	mesh := m.(*live.Mesh)
	pod := mesh.Pod("echo-0.default")
	world := mesh.World().(live.Breaker)
	control := func(k topology.FaultKind, f topology.Fault) (topology.Broken, error) {
		f.Kind, f.Name = k, string(k)
		return world.Break(ctx, f)
	}
	get := func(patience time.Duration) string {
		return ask(ctx, m, "curl-0.default", "echo:8080", patience)
	}
	if got := get(10 * time.Second); got != clean {
		t.Fatalf("at first: %s", got)
	}
	from, to := []string{"curl-0.default"}, []string{"echo-0.default"}
	for _, c := range []struct {
		name  string
		brk   func() (topology.Broken, error)
		wants []string
	}{
		{"kill app", func() (topology.Broken, error) {
			return pod.(live.Killer).Kill(ctx, topology.PartApp)
		}, []string{"503"}},
		{"kill proxy", func() (topology.Broken, error) {
			return pod.(live.Killer).Kill(ctx, topology.PartProxy)
		}, []string{"503"}},
		{"pause app", func() (topology.Broken, error) {
			return pod.(live.Pauser).Pause(ctx, topology.PartApp)
		}, []string{"silence"}},
		{"pause proxy", func() (topology.Broken, error) {
			return pod.(live.Pauser).Pause(ctx, topology.PartProxy)
		}, []string{"silence"}},
		{"refuse", func() (topology.Broken, error) {
			// Connections that are open go on: a new sidecar has none.
			b, err := pod.(live.Killer).Kill(ctx, topology.PartProxy)
			if err == nil {
				err = b.Heal(ctx)
			}
			if err != nil {
				return nil, err
			}
			return pod.(live.Refuser).Refuse(ctx, nil)
		}, []string{"503"}},
		{"partition", func() (topology.Broken, error) {
			return control(topology.FaultPartition, topology.Fault{From: from, To: to})
		}, []string{"silence", "503"}},
		{"loss", func() (topology.Broken, error) {
			return control(topology.FaultLink, topology.Fault{
				From: from, To: to, Link: topology.Link{Loss: 1}})
		}, []string{"silence", "503"}},
		{"dns", func() (topology.Broken, error) {
			return control(topology.FaultDNS, topology.Fault{
				Pods: from, DNS: topology.DNSFault{Fail: true}})
		}, []string{"failed look-up", "no such host"}},
	} {
		b, err := c.brk()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := get(3 * time.Second); !slices.Contains(c.wants, got) {
			t.Errorf("%s: %s, want %s", c.name, got, strings.Join(c.wants, " or "))
		}
		if err := world.Whole(ctx); err == nil {
			t.Errorf("%s: the lab says that it is whole", c.name)
		}
		r, err := b.Receipt(ctx)
		if err != nil || r.Fired == 0 || r.Unit == "" {
			t.Errorf("%s: receipt %+v, %v", c.name, r, err)
		}
		t.Logf("%s: %d %s, %v", c.name, r.Fired, r.Unit, r.Evidence)
		if err := b.Heal(ctx); err != nil {
			t.Errorf("%s: healed: %v", c.name, err)
		}
		if got := get(20 * time.Second); got != clean {
			t.Errorf("%s: healed: %s", c.name, got)
		}
		if err := world.Whole(ctx); err != nil {
			t.Errorf("%s: healed: %v", c.name, err)
		}
	}
}
