package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

const echo2 = `
apiVersion: v1
kind: Service
metadata: {name: extra}
spec: {selector: {app: extra}, ports: [{name: http, port: 9000, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: extra}
spec:
  replicas: %d
  selector: {matchLabels: {app: extra}}
  template:
    metadata: {labels: {app: extra, version: %s}}
    spec: {containers: [{name: main, image: mesh-lab/echo, env: [{name: ECHO_STATUS, value: "%s"}]}]}
`

// serves says whether the mesh still does what the customer chain alone does.
func serves(t *testing.T, m topology.Mesh) {
	t.Helper()
	r := ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"})[0]
	if r.Status != 200 || !strings.HasPrefix(r.Body, "customer => preference => recommendation v") {
		t.Errorf("the mesh before does not serve: %+v", r)
	}
	for _, p := range m.Registry().Pods {
		if p.Workload == "extra" {
			t.Errorf("%s is still there", p.ID())
		}
	}
}

// TestRefusedApply leaves the mesh as it was: a pod that can not start, a proxy that refuses.
func TestRefusedApply(t *testing.T) { onBoth(t, testRefusedApply) }

func testRefusedApply(t *testing.T, d embedded.Driver) {
	d.Tamper = func(s *xds.Snapshot) *xds.Snapshot {
		const name = "outbound|9000||extra.default.svc.cluster.local"
		if s.Clusters[name] == nil {
			return s
		}
		out := *s
		out.Clusters = map[string]*clusterv3.Cluster{}
		for k, c := range s.Clusters {
			out.Clusters[k] = c
		}
		c := proto.CloneOf(out.Clusters[name])
		c.AltStatName = "refuse me"
		c.DnsFailureRefreshRate = &clusterv3.Cluster_RefreshRate{}
		out.Clusters[name] = c
		return &out
	}
	base := customer(t)
	m := upOn(t, d, base)
	before := embedded.Sockets(m)
	for _, c := range []struct{ yaml, want string }{
		{fmt.Sprintf(echo2, 2, "v1", "200"), "extra.default.svc.cluster.local"}, // NACK
		{fmt.Sprintf(echo2, 2, "v1", "nonsense"), "ECHO_STATUS"},
	} {
		_, err := m.Apply(t.Context(), customer(t, c.yaml))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error about %s, got %v", c.want, err)
		}
		serves(t, m)
		if after := embedded.Sockets(m); after != before {
			t.Errorf("%d sockets before, %d after", before, after)
		}
	}
	if _, err := m.Apply(t.Context(), customer(t, fmt.Sprintf(v2only, "v2"))); err != nil {
		t.Errorf("a good configuration after bad ones: %v", err)
	}
}

// TestReplace changes a pod's template: the new pod has the address, and nothing is left of the old one.
func TestReplace(t *testing.T) { onBoth(t, testReplace) }

func testReplace(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t, fmt.Sprintf(echo2, 2, "v1", "200")))
	before := embedded.Sockets(m)
	for i := range 5 {
		status := 200 + i
		c := customer(t, fmt.Sprintf(echo2, 2, fmt.Sprintf("v%d", i), fmt.Sprint(status)))
		if _, err := m.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		for _, r := range ask(t, m, request.Spec{From: "curl", URL: "http://extra:9000/", Count: 4}) {
			if r.Status != status || r.Backend == nil || r.Backend.Version != fmt.Sprintf("v%d", i) {
				t.Errorf("want %d from v%d, got %+v", status, i, r)
			}
		}
		if after := embedded.Sockets(m); after != before {
			t.Errorf("%d sockets before, %d after", before, after)
		}
	}
	if _, err := m.Apply(t.Context(), customer(t)); err != nil {
		t.Fatal(err)
	}
	serves(t, m)
}

// TestPublished closes a gateway's port on localhost with the Gateway, and opens it again with it.
func TestPublished(t *testing.T) { onBoth(t, testPublished) }

func testPublished(t *testing.T, d embedded.Driver) {
	with, without := customer(t), &istio.Config{}
	for _, o := range with.Objects {
		if o.Kind != "Gateway" {
			without.Objects = append(without.Objects, o)
		}
	}
	without.Mesh = with.Mesh
	m := upOn(t, d, with)
	for range 3 {
		g := m.Gateways()
		if len(g) != 1 {
			t.Fatalf("want one published port, got %v", g)
		}
		resp, err := http.Get("http://" + g[0].Address + "/customer")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if _, err := m.Apply(t.Context(), without); err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp4", g[0].Address); err == nil {
			c.Close()
			t.Error("the published port is still open")
		}
		if g := m.Gateways(); len(g) != 0 {
			t.Errorf("still published: %v", g)
		}
		if _, err := m.Apply(t.Context(), with); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConcurrentChanges applies, kills, restarts, asks and closes all at once.
func TestConcurrentChanges(t *testing.T) {
	m, err := embedded.Driver{}.Up(t.Context(), topology.Spec{Config: customer(t), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	k := m.(topology.Killer)
	const victim = "recommendation-v1-0.default"
	var wg sync.WaitGroup
	for _, f := range []func(i int) error{
		func(i int) error {
			_, err := m.Apply(t.Context(), customer(t, fmt.Sprintf(v2only, "v1")))
			return err
		},
		func(i int) error {
			_, err := m.Apply(t.Context(), customer(t, fmt.Sprintf(echo2, i%3, "v1", "200")))
			return err
		},
		func(int) error { return k.Kill(t.Context(), victim) },
		func(int) error { return k.Restart(t.Context(), victim) },
		func(int) error {
			m.Gateways()
			m.Proxies()
			spec := request.Spec{From: "curl", URL: "http://customer:8080/", Count: 3}
			return request.Send(t.Context(), m, spec, func(request.Result) error { return nil })
		},
	} {
		wg.Go(func() {
			for i := range 12 {
				// Killed twice, or dialled while it is away: that is in the nature of the thing.
				if err := f(i); err != nil && !strings.Contains(err.Error(), "no pod") {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := m.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	closers.Wait()
	if _, err := m.Apply(t.Context(), customer(t)); err == nil {
		t.Error("Apply on a lab that is down")
	}
}

// TestCloseEndsApply takes a lab down while a change waits for proxies that can not hear of it.
func TestCloseEndsApply(t *testing.T) {
	m, err := embedded.Driver{}.Up(t.Context(), topology.Spec{Config: customer(t), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.(topology.ControlPlane).StopControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	applied := make(chan error, 1)
	go func() {
		_, err := m.Apply(context.Background(), customer(t, fmt.Sprintf(v2only, "v2")))
		applied <- err
	}()
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-applied; err == nil {
		t.Error("the change was said to have arrived")
	}
}

// TestInterruptedUp gives a bring-up up; goleak sees what is left.
func TestInterruptedUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := embedded.Driver{}.Up(ctx, topology.Spec{Config: customer(t)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSharedAddress runs a mesh where there is no loopback address for each pod, as on macOS.
func TestSharedAddress(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := embedded.Shared().Up(ctx, topology.Spec{
		Config: customer(t, fmt.Sprintf(echo2, 2, "v1", "200")), Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	r := ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"})[0]
	if r.Status != 200 || len(r.Hops) != 6 {
		t.Errorf("%d %s: %d hops", r.Status, r.Body, len(r.Hops))
	}
	if up := r.Hops[0].Upstream; !strings.HasPrefix(up, "10.244.0.") {
		t.Errorf("a record shows %s", up)
	}
	out := ask(t, m, request.Spec{From: topology.Outside, URL: "http://any/customer"})[0]
	if out.Status != 200 {
		t.Errorf("through the gateway: %+v", out)
	}
	resp, err := http.Get("http://" + m.Gateways()[0].Address + "/customer")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	captured(t, m)
}
