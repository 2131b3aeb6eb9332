package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

const (
	victim = "preference-0.default"
	callee = "recommendation-v1-0.default"
)

// breaks begins a fault that is healed with the test at the latest.
func breaks(t *testing.T, m topology.Mesh, f topology.Fault) topology.Broken {
	t.Helper()
	b, err := m.(topology.Breaker).Break(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.(topology.Breaker).Whole(t.Context()); err == nil {
		t.Error("something is broken, and it is said that nothing is")
	}
	return b
}

// heals ends a fault, which must have fired so often at least.
func heals(t *testing.T, m topology.Mesh, b topology.Broken, fired int64) topology.Receipt {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // it may be called again
		if err := b.Heal(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r, err := b.Receipt(ctx)
	if err != nil || r.Fired < fired || fired == 0 && r.Fired != 0 || r.Unit == "" ||
		r.Fired > 0 && (r.First == 0 || r.Last < r.First) {
		t.Errorf("want a receipt of %d at least: %+v, %v", fired, r, err)
	}
	if err := m.(topology.Breaker).Whole(ctx); err != nil {
		t.Errorf("healed, and not whole: %v", err)
	}
	return r
}

// statusOf sends a request to customer, and says with what status it is answered.
func statusOf(t *testing.T, m topology.Mesh) int {
	t.Helper()
	return ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"})[0].Status
}

// TestKillParts ends the app and the sidecar of a pod, each alone.
func TestKillParts(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		m := upOn(t, d, customer(t))
		b := breaks(t, m, topology.Fault{
			Kind: topology.FaultKill, Part: topology.PartApp, Pods: []string{victim},
		})
		r := ask(t, m, request.Spec{From: "curl", URL: "http://preference:8080/"})[0]
		inbound := r.Hops[len(r.Hops)-1]
		if r.Status != 503 || inbound.Reporter == "source" || !strings.Contains(inbound.Flags, "UF") {
			t.Errorf("the app is dead, its sidecar is not: %+v", r)
		}
		if got := heals(t, m, b, 1); got.Unit != "apps killed" {
			t.Errorf("%+v", got)
		}
		if got := statusOf(t, m); got != 200 {
			t.Errorf("healed: %d", got)
		}

		network, at, release, err := m.Capture(victim, "recommendation:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		b = breaks(t, m, topology.Fault{
			Kind: topology.FaultKill, Part: topology.PartProxy, Pods: []string{victim},
		})
		r = ask(t, m, request.Spec{From: "curl", URL: "http://preference:8080/"})[0]
		if r.Status != 503 || len(r.Hops) != 1 || !strings.Contains(r.Hops[0].Flags, "UF") {
			t.Errorf("the sidecar is dead: %+v", r)
		}
		if c, err := m.Dial(t.Context(), victim, "recommendation:8080"); err == nil {
			c.Close()
			t.Error("its app can bypass it")
		}
		if got := heals(t, m, b, 1); got.Unit != "proxies killed" {
			t.Errorf("%+v", got)
		}
		if got := statusOf(t, m); got != 200 {
			t.Errorf("healed: %d", got)
		}
		c, err := net.Dial(network, at)
		if err != nil {
			t.Fatal("what was captured before: ", err)
		}
		sendOn(t, c, "recommendation:8080")
		hear(t, c, true)
	})
}

// TestKillPod keeps a pod down until it is healed, or restarted.
func TestKillPod(t *testing.T) {
	m := up(t, customer(t))
	f := topology.Fault{Kind: topology.FaultKill, Pods: []string{victim, callee}}
	b := breaks(t, m, f)
	if got := statusOf(t, m); got != 503 {
		t.Errorf("killed: %d", got)
	}
	paused := breaks(t, m, topology.Fault{
		Kind: topology.FaultPause, Pods: []string{victim}, Part: topology.PartProxy,
	})
	if err := m.(topology.Killer).Restart(t.Context(), callee); err != nil {
		t.Fatal(err)
	}
	if m.(*live.Mesh).Pod(callee) == nil || m.(*live.Mesh).Pod(victim) != nil {
		t.Error("one of two killed pods is restarted: it alone runs")
	}
	if r, err := paused.Receipt(t.Context()); err != nil || r.Fired != 0 {
		t.Errorf("a pod that is not there can not be paused: %+v, %v", r, err)
	}
	if err := b.Heal(t.Context()); err != nil { // though nobody can wait for the proxy
		t.Fatal(err)
	}
	heals(t, m, paused, 1) // the pod came back paused
	heals(t, m, b, 2)
	if got := statusOf(t, m); got != 200 {
		t.Errorf("healed: %d", got)
	}
}

// TestKillClient has a socket whose connections are a pod's serve its clients again when the pod is
// back, though it is another.
func TestKillClient(t *testing.T) { onBoth(t, testKillClient) }

func testKillClient(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t))
	network, at, release, err := m.Capture("curl-0.default", "customer:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		},
	}}
	status := func() (int, error) {
		r, err := client.Get("http://customer:8080/")
		if err != nil {
			return 0, err
		}
		return r.StatusCode, r.Body.Close()
	}
	if got, err := status(); got != 200 {
		t.Fatalf("before: %d, %v", got, err)
	}
	b := breaks(t, m, topology.Fault{Kind: topology.FaultKill, Pods: []string{"curl-0.default"}})
	if got, err := status(); err == nil {
		t.Errorf("killed: %d", got)
	}
	heals(t, m, b, 1)
	if got, err := status(); got != 200 {
		t.Errorf("healed: %d, %v", got, err)
	}
}

// sendOn sends a request on a connection.
func sendOn(t *testing.T, c net.Conn, host string) {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		t.Fatal(err)
	}
}

// hear says whether an answer comes, as it should or should not.
func hear(t *testing.T, c net.Conn, want bool) {
	t.Helper()
	patience := 300 * time.Millisecond
	if want {
		patience = time.Minute
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		defer r.Body.Close()
	}
	switch {
	case want && (err != nil || r.StatusCode != 200):
		t.Errorf("want an answer: %+v, %v", r, err)
	case !want && !errors.Is(err, os.ErrDeadlineExceeded):
		t.Errorf("want silence: %+v, %v", r, err)
	}
}

// TestPause stops parts of a pod: connections stay open, new ones are taken, and what waits goes on
// afterwards.
func TestPause(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		m := upOn(t, d, customer(t))
		for _, part := range []topology.Part{topology.PartApp, topology.PartProxy, topology.PartPod} {
			old, err := m.Dial(t.Context(), "curl-0.default", "preference:8080")
			if err != nil {
				t.Fatal(err)
			}
			sendOn(t, old, "preference:8080")
			hear(t, old, true)
			b := breaks(t, m, topology.Fault{
				Kind: topology.FaultPause, Part: part, Pods: []string{victim},
			})
			sendOn(t, old, "preference:8080")
			hear(t, old, false)
			fresh, err := m.Dial(t.Context(), "curl-0.default", "preference:8080")
			if err != nil {
				t.Fatal(err)
			}
			sendOn(t, fresh, "preference:8080")
			hear(t, fresh, false)
			if err := m.Settle(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := m.Apply(t.Context(), m.Config()); err != nil {
				t.Errorf("%s is paused, and the others can not be told anything: %v", part, err)
			}
			heals(t, m, b, 1)
			hear(t, old, true)
			hear(t, fresh, true)
		}
	})
}

// TestRefuse has the app of a pod refuse new connections.
func TestRefuse(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		m := upOn(t, d, customer(t))
		for _, ports := range [][]int{nil, {8080}} {
			b := breaks(t, m, topology.Fault{
				Kind: topology.FaultRefuse, Pods: []string{victim}, Ports: ports,
			})
			r := ask(t, m, request.Spec{From: "curl", URL: "http://preference:8080/"})[0]
			if r.Status != 503 || !strings.Contains(r.Hops[len(r.Hops)-1].Flags, "UF") {
				t.Errorf("refused: %+v", r)
			}
			heals(t, m, b, 1)
			if got := statusOf(t, m); got != 200 {
				t.Errorf("healed: %d", got)
			}
			// Connections that are open are not refused.
			if err := m.(topology.Killer).Restart(t.Context(), victim); err != nil {
				t.Fatal(err)
			}
		}
		other := breaks(t, m, topology.Fault{
			Kind: topology.FaultRefuse, Pods: []string{victim}, Ports: []int{9999},
		})
		if got := statusOf(t, m); got != 200 {
			t.Errorf("another port is refused: %d", got)
		}
		heals(t, m, other, 0)
	})
}

// TestUnready takes a pod out of its Services, at once or later than its end.
func TestUnready(t *testing.T) {
	m := up(t, customer(t))
	ready := func() bool {
		for _, p := range m.Registry().Pods {
			if p.ID() == callee {
				return p.Ready
			}
		}
		return false
	}
	b := breaks(t, m, topology.Fault{Kind: topology.FaultUnready, Pods: []string{callee}})
	for _, r := range ask(t, m, request.Spec{
		From: "curl", URL: "http://recommendation:8080/", Count: 20,
	}) {
		if r.Status != 200 || !strings.Contains(r.Body, "v2") {
			t.Fatalf("v1 is not ready: %+v", r)
		}
	}
	heals(t, m, b, 1)
	if !ready() {
		t.Error("healed, and not ready")
	}

	slow := breaks(t, m, topology.Fault{
		Kind: topology.FaultUnready, Pods: []string{callee}, Delay: time.Hour,
	})
	killed := breaks(t, m, topology.Fault{Kind: topology.FaultKill, Pods: []string{callee}})
	if !ready() {
		t.Error("its end was noticed at once")
	}
	if err := slow.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ready() {
		t.Error("probes are as before, and its end is not noticed")
	}
	if r, err := slow.Receipt(t.Context()); err != nil || r.Fired != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	heals(t, m, killed, 1)

	slow = breaks(t, m, topology.Fault{
		Kind: topology.FaultUnready, Pods: []string{callee}, Delay: time.Millisecond,
	})
	killed = breaks(t, m, topology.Fault{Kind: topology.FaultKill, Pods: []string{callee}})
	wait.Until(t, func() string { return "a slow probe tells the truth in the end" }, func() bool { return !ready() })
	if err := killed.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, func() string { return "so it does of what is well again" }, ready)
	heals(t, m, slow, 2)
}

// TestReplaced: a pod that takes another's place is broken as that was.
func TestReplaced(t *testing.T) {
	m := up(t, customer(t))
	b := breaks(t, m, topology.Fault{
		Kind: topology.FaultKill, Part: topology.PartApp, Pods: []string{victim},
	})
	before := m.(*live.Mesh).Pod(victim)
	if err := m.(topology.Killer).Restart(t.Context(), callee); err != nil {
		t.Fatal(err)
	}
	files, _ := sampleapps.Manifests("customer")
	var in []istio.File
	for _, f := range files {
		data := strings.ReplaceAll(string(f.Data), "app: preference\n        version: v1",
			"app: preference\n        version: v1\n        more: more")
		in = append(in, istio.File{Name: f.Name, Data: []byte(data)})
	}
	c, diags := istio.Read(in, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	if _, err := m.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if m.(*live.Mesh).Pod(victim) == before {
		t.Fatal("the pod was not replaced")
	}
	if got := statusOf(t, m); got != 503 {
		t.Errorf("the new pod's app lives: %d", got)
	}
	if r := heals(t, m, b, 2); r.Fired != 2 {
		t.Errorf("%+v", r)
	}
	if got := statusOf(t, m); got != 200 {
		t.Errorf("healed: %d", got)
	}
}

// TestCloseBroken takes a lab down in which things are broken.
func TestCloseBroken(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		m := upOn(t, d, customer(t))
		for _, f := range []topology.Fault{
			{Kind: topology.FaultPause, Pods: []string{victim}},
			{Kind: topology.FaultKill, Part: topology.PartProxy, Pods: []string{callee}},
			{Kind: topology.FaultKill, Part: topology.PartApp, Pods: []string{"customer-0.default"}},
			{Kind: topology.FaultKill, Pods: []string{"recommendation-v2-0.default"}},
			{Kind: topology.FaultUnready, Pods: []string{callee}, Delay: time.Hour},
		} {
			breaks(t, m, f)
		}
		last := breaks(t, m, topology.Fault{Kind: topology.FaultPause, Pods: []string{"curl-0.default"}})
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := last.Heal(t.Context()); err != nil {
			t.Errorf("a lab that is down has nothing to heal: %v", err)
		}
	})
}

// TestUnable refuses what can not be, with the reason, and leaves nothing broken.
func TestUnable(t *testing.T) {
	m := up(t, customer(t))
	b := m.(topology.Breaker)
	if err := b.Able(topology.Fault{Kind: topology.FaultStarve, CPU: 0.1}); err == nil ||
		!strings.Contains(err.Error(), "--topology docker") {
		t.Errorf("starve: %v", err)
	}
	for _, f := range []topology.Fault{
		{Kind: topology.FaultKill, Pods: []string{victim, "nobody.default"}},
		{Kind: topology.FaultKill},
		{Kind: topology.FaultKill, Part: topology.PartApp,
			Pods: []string{victim, "istio-ingressgateway-0.istio-system"}},
	} {
		if _, err := b.Break(t.Context(), f); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
	if err := b.Whole(t.Context()); err != nil {
		t.Error(err)
	}
	if got := statusOf(t, m); got != 200 {
		t.Errorf("nothing was to be broken: %d", got)
	}
}

// TestWithoutControlPlane breaks and heals pods of which nobody can tell the proxies.
func TestWithoutControlPlane(t *testing.T) {
	m := up(t, customer(t))
	p := m.(topology.ControlPlane)
	if err := p.StopControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := breaks(t, m, topology.Fault{Kind: topology.FaultKill, Pods: []string{callee}})
	if err := p.StartControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range ask(t, m, request.Spec{
		From: "curl", URL: "http://recommendation:8080/", Count: 10,
	}) {
		if r.Status != 200 || !strings.Contains(r.Body, "v2") {
			t.Fatalf("proxies have not heard of its end: %+v", r)
		}
	}
	heals(t, m, b, 1)

	down := breaks(t, m, topology.Fault{
		Kind: topology.FaultControl, Control: topology.ControlFault{Down: true},
	})
	b = breaks(t, m, topology.Fault{Kind: topology.FaultKill, Pods: []string{callee}})
	if err := b.Heal(t.Context()); err != nil { // its proxy has nobody to configure it
		t.Fatal(err)
	}
	heals(t, m, down, 1)
	heals(t, m, b, 1)
	if _, err := m.Snapshot(callee); err != nil {
		t.Error(err)
	}
	if got := statusOf(t, m); got != 200 {
		t.Errorf("healed: %d", got)
	}
}

// TestProblem sees a sidecar that has died by itself, and Restart mends it.
func TestProblem(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		if d.Proxy == "" {
			t.Skip("our own data plane is no process")
		}
		m := upOn(t, d, customer(t))
		l := m.(*live.Mesh)
		if got := l.Problems(); len(got) > 0 {
			t.Fatal(got)
		}
		if err := syscall.Kill(embedded.EnvoyPID(m, victim), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait.Until(t, func() string { return "it is known" }, func() bool { return l.Problems()[victim] != nil })
		if err := l.Restart(t.Context(), victim); err != nil {
			t.Fatal(err)
		}
		if got := l.Problems(); len(got) > 0 || statusOf(t, m) != 200 {
			t.Errorf("restarted: %v", got)
		}
	})
}
