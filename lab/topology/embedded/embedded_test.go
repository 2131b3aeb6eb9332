package embedded_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

func TestMain(m *testing.M) {
	if os.Getenv(ownRole) != "" {
		serveOwn()
		return
	}
	goleak.VerifyTestMain(m)
}

// customer reads the bundled chain, with further YAML.
func customer(t *testing.T, more ...string) *istio.Config {
	t.Helper()
	return bundled(t, "customer", more...)
}

// bundled reads a bundled set, with further YAML.
func bundled(t *testing.T, set string, more ...string) *istio.Config {
	t.Helper()
	files, ok := sampleapps.Manifests(set)
	if !ok {
		t.Fatal(set + " is not bundled")
	}
	var in []istio.File
	for _, f := range files {
		in = append(in, istio.File{Name: f.Name, Data: f.Data})
	}
	for i, y := range more {
		in = append(in, istio.File{Name: fmt.Sprintf("more-%d.yaml", i), Data: []byte(y)})
	}
	c, diags := istio.Read(in, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	return c
}

// onBoth runs a test on our own data plane and, where there is one, on the real Envoy.
func onBoth(t *testing.T, test func(*testing.T, embedded.Driver)) {
	t.Run("meshcore", func(t *testing.T) { test(t, embedded.Driver{}) })
	t.Run("envoy", func(t *testing.T) {
		testenvoy.Binary(t)
		test(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
	})
}

func up(t *testing.T, c *istio.Config) topology.Mesh {
	t.Helper()
	return upOn(t, embedded.Driver{}, c)
}

// upOn brings up a mesh that is taken down with the test.
func upOn(t *testing.T, d embedded.Driver, c *istio.Config) topology.Mesh {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := d.Up(ctx, topology.Spec{Config: c, Seed: 1})
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

// ask sends requests and returns their results.
func ask(t *testing.T, m topology.Mesh, s request.Spec) []request.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out []request.Result
	if err := request.Send(ctx, m, s, func(r request.Result) error {
		out = append(out, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestChain(t *testing.T) {
	m := up(t, customer(t))
	for _, r := range ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/", Count: 10}) {
		if r.Status != 200 || !strings.HasPrefix(r.Body, "customer => preference => recommendation v") {
			t.Fatalf("%+v", r)
		}
		if len(r.Hops) != 6 {
			t.Errorf("want a record of each of 6 proxies, got %d: %+v", len(r.Hops), r.Hops)
		}
	}
}

// TestGateway sends what a browser would send, to the published address.
func TestGateway(t *testing.T) {
	m := up(t, customer(t))
	for _, name := range []string{"", "customer-gateway", "istio-ingressgateway.istio-system"} {
		r := ask(t, m, request.Spec{From: topology.Outside, Gateway: name, URL: "http://any/customer"})
		if r[0].Status != 200 {
			t.Errorf("--gateway %q: %+v", name, r[0])
		}
	}
	g := m.Gateways()
	if len(g) == 0 {
		t.Fatal("no gateway")
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + g[0].Address + "/customer")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(b), "customer =>") {
		t.Errorf("%s %q %v", resp.Status, b, err)
	}
}

const v2only = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: recommendation}
spec:
  host: recommendation
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: recommendation}
spec:
  hosts: [recommendation]
  http: [{route: [{destination: {host: recommendation, subset: %s}}]}]
`

// TestApplyUnderLoad moves all traffic between versions many times while requests run: none may fail, and
// what begins after apply has returned must follow the new rule.
func TestApplyUnderLoad(t *testing.T) {
	base := customer(t)
	m := up(t, base)
	var stop atomic.Bool
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				for _, r := range ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"}) {
					if r.Status != 200 {
						failed.Add(1)
						t.Errorf("%d %s %s", r.Status, r.Error, r.Body)
					}
				}
			}
		})
	}
	for i := range 20 {
		v := []string{"v1", "v2"}[i%2]
		if _, err := m.Apply(t.Context(), customer(t, fmt.Sprintf(v2only, v))); err != nil {
			t.Fatal(err)
		}
		r := ask(t, m, request.Spec{From: "preference", URL: "http://recommendation:8080/", Count: 5})
		for _, x := range r {
			if !strings.Contains(x.Body, "recommendation "+v) {
				t.Errorf("after apply of %s: %s", v, x.Body)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
}

// TestKill ends a pod; its endpoints go, and come back with it.
func TestKill(t *testing.T) { onBoth(t, testKill) }

func testKill(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t))
	k := m.(topology.Killer)
	if err := k.Kill(t.Context(), "recommendation-v1-0.default"); err != nil {
		t.Fatal(err)
	}
	for _, r := range ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/", Count: 20}) {
		if !strings.Contains(r.Body, "recommendation v2") {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
	if err := k.Restart(t.Context(), "recommendation-v1-0.default"); err != nil {
		t.Fatal(err)
	}
	// A second change of health alone takes effect within update_merge_window, a second, as in Envoy.
	back := false
	for until := m.Clock().Now().Add(10 * time.Second); !back && m.Clock().Now() < until; {
		r := ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/", Count: 50})
		back = slices.ContainsFunc(r, func(r request.Result) bool {
			return strings.Contains(r.Body, "recommendation v1")
		})
	}
	if !back {
		t.Error("the restarted pod gets nothing")
	}
}

// TestControlPlaneLost keeps serving what it has.
func TestControlPlaneLost(t *testing.T) { onBoth(t, testControlPlaneLost) }

func testControlPlaneLost(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t))
	cp := m.(topology.ControlPlane)
	if err := cp.StopControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"}); r[0].Status != 200 {
		t.Errorf("%+v", r)
	}
	if err := cp.StartControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := m.Apply(ctx, customer(t, fmt.Sprintf(v2only, "v2"))); err != nil {
		t.Fatal(err)
	}
	r := ask(t, m, request.Spec{From: "preference", URL: "http://recommendation:8080/"})
	if !strings.Contains(r[0].Body, "recommendation v2") {
		t.Errorf("%+v", r)
	}
}

// TestNothingLeft brings meshes up and down side by side; goleak and the file count see the rest.
func TestNothingLeft(t *testing.T) { onBoth(t, testNothingLeft) }

func testNothingLeft(t *testing.T, d embedded.Driver) {
	before := descriptors(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			m, err := d.Up(t.Context(), topology.Spec{Config: customer(t)})
			if err != nil {
				t.Error(err)
				return
			}
			ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"})
			if err := m.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if err := m.Close(t.Context()); err != nil {
				t.Errorf("second Close: %v", err)
			}
		})
	}
	wg.Wait()
	if after := descriptors(t); after > before+2 {
		t.Errorf("%d file descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	return len(d)
}

// TestBadMesh refuses what can not run, and leaves nothing.
func TestBadMesh(t *testing.T) {
	c := customer(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: strange}
spec:
  selector: {matchLabels: {app: strange}}
  template:
    metadata: {labels: {app: strange}}
    spec: {containers: [{name: main, image: "example.com/strange:1"}]}
`)
	_, err := embedded.Driver{}.Up(t.Context(), topology.Spec{Config: c})
	if err == nil || !strings.Contains(err.Error(), `image "example.com/strange:1" is not bundled`) {
		t.Errorf("got %v", err)
	}
}

// TestCapture is how a load generator's own sockets are captured.
func TestCapture(t *testing.T) {
	captured(t, up(t, customer(t)))
}

func captured(t *testing.T, m topology.Mesh) {
	t.Helper()
	for _, from := range []string{"curl", topology.Outside} {
		network, addr, release, err := m.Capture(pod(m, from), "customer:8080")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: customer\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		if !strings.Contains(string(b), "customer => preference") {
			t.Errorf("%s: %q", from, b)
		}
		c.Close()
		release()
		if c, err := net.Dial(network, addr); err == nil {
			c.Close()
			t.Errorf("%s: the socket is still there", from)
		}
	}
}

func pod(m topology.Mesh, from string) string {
	if from == topology.Outside {
		return from
	}
	p, err := request.Pod(m.Registry(), from)
	if err != nil {
		return from
	}
	return p.ID()
}

// TestSelfCall is a pod that calls its own Service: under Istio it meets its own sidecar twice.
func TestSelfCall(t *testing.T) {
	m := up(t, customer(t))
	r := ask(t, m, request.Spec{From: "recommendation-v1", URL: "http://recommendation:8080/", Count: 20})
	for _, x := range r {
		if x.Status != 200 || len(x.Hops) != 2 || x.Hops[1].Reporter != "destination" {
			t.Fatalf("%d, hops %+v", x.Status, x.Hops)
		}
	}
}

// TestRepeatedLines sends an inline header twice, both ways: Envoy makes one line of it.
func TestRepeatedLines(t *testing.T) {
	m := up(t, customer(t, `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec: {containers: [{name: main, image: mesh-lab/echo}]}
`))
	r := ask(t, m, request.Spec{From: "curl", URL: "http://echo:8080/", Headers: []string{
		"accept: a1", "accept: b2", "x-a: 1", "x-a: 2",
		"x-echo-response-header: etag: c3", "x-echo-response-header: etag: d4",
	}})[0]
	if !strings.Contains(r.Body, `"accept":["a1,b2"]`) || !strings.Contains(r.Body, `"x-a":["1","2"]`) {
		t.Errorf("the app sees %s", r.Body)
	}
	if got := r.Headers["etag"]; !slices.Equal(got, []string{"c3,d4"}) {
		t.Errorf("etag: %q", got)
	}
}
