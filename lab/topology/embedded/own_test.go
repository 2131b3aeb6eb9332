package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/own"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// ownRole makes this test binary a service: who calls it, what it is told, and what its upstream
// preference says, which it reaches by the proxy and by the local port that its environment names.
const ownRole = "EMBEDDED_TEST_OWN"

func serveOwn() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ask := func(url string) string {
		r, err := http.Get(url) // by HTTP_PROXY
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return fmt.Sprint(r.StatusCode, " ", strings.TrimSpace(string(b)), err)
	}
	fmt.Println("it serves")
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/crash":
			fmt.Println("now it crashes")
			os.Exit(7)
		case "/proxy":
			fmt.Fprint(w, ask("http://preference:8080/"))
		case "/port":
			fmt.Fprint(w, ask("http://"+net.JoinHostPort(os.Getenv("PREFERENCE_SERVICE_HOST"),
				os.Getenv("PREFERENCE_SERVICE_PORT"))))
		default:
			fmt.Fprintf(w, "%s %s", os.Getenv("POD_NAME"), r.Header.Get("x-forwarded-client-cert"))
		}
	}))
	fmt.Println(err)
}

// mineYAML is a Service and a pod of the user's own, in a mesh that is strict.
const mineYAML = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Service
metadata: {name: mine}
spec: {selector: {app: mine}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: mine}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mine}
spec:
  replicas: %d
  selector: {matchLabels: {app: mine}}
  template:
    metadata: {labels: {app: mine}, annotations: {%s: '%s'}}
    spec:
      serviceAccountName: mine
      containers: [{name: main, image: whatever, ports: [{containerPort: 8080}],
        env: [{name: EMBEDDED_TEST_OWN, value: serve}]}]
`

// heard collects what is said of services.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) take(from string, line []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(&h.text, "%s: %s\n", from, line)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// upOwn brings up the customer chain with services of the user's own.
func upOwn(t *testing.T, d embedded.Driver, c *istio.Config) (topology.Mesh, *heard) {
	t.Helper()
	h := &heard{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := d.Up(ctx, topology.Spec{
		Config: c, Seed: 1, OwnLog: topology.OwnLog{Take: h.take, All: true},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err, h)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m, h
}

func askMine(t *testing.T, m topology.Mesh, path string) request.Result {
	t.Helper()
	return ask(t, m, request.Spec{From: "curl", URL: "http://mine" + path})[0]
}

// owner returns the services of the user's own.
func owner(m topology.Mesh) []topology.OwnService { return m.(topology.Owner).OwnServices() }

// TestOwnCommand: two replicas of a command are in a mesh that is strict; rules hold for what goes
// in and out; one that crashes is no endpoint until it is back; it can be killed and restarted.
func TestOwnCommand(t *testing.T) { onBoth(t, testOwnCommand) }

func testOwnCommand(t *testing.T, d embedded.Driver) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	base := customer(t, fmt.Sprintf(mineYAML, 2, own.CommandAnnotation, `"`+self+`"`))
	m, said := upOwn(t, d, base)
	seen := map[string]bool{}
	wait.Until(t, said.String, func() bool { // a proxy may be late to learn who is ready
		pod, _, _ := strings.Cut(askMine(t, m, "/").Body, " ")
		seen[pod] = true
		return seen["mine-0"] && seen["mine-1"]
	})
	for _, r := range ask(t, m, request.Spec{From: "curl", URL: "http://mine/", Count: 30}) {
		pod, cert, _ := strings.Cut(r.Body, " ")
		if r.Status != 200 || !strings.Contains(cert, "/sa/curl") {
			t.Fatalf("%+v", r)
		}
		if b := r.Backend; b == nil || b.Pod != pod || r.Hops[len(r.Hops)-1].Peer == "" {
			t.Errorf("answered by %s, recorded %+v", pod, r)
		}
	}
	for _, path := range []string{"/proxy", "/port"} {
		r := askMine(t, m, path)
		if !strings.HasPrefix(r.Body, "200 preference => recommendation v") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if _, err := m.Apply(t.Context(), istio.Merge(base, read(t, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: preference}
spec:
  hosts: [preference]
  http:
  - fault: {abort: {percentage: {value: 100}, httpStatus: 418}}
    route: [{destination: {host: preference}}]
`))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/proxy", "/port"} {
		if r := askMine(t, m, path); r.Body != "418 fault filter abort<nil>" {
			t.Errorf("%s with a fault: %+v", path, r)
		}
	}
	crashAndKill(t, m, said)
}

// crashAndKill ends both pods in turn.
func crashAndKill(t *testing.T, m topology.Mesh, said *heard) {
	t.Helper()
	killer := m.(topology.Killer)
	if err := killer.Kill(t.Context(), "mine-1.default"); err != nil {
		t.Fatal(err)
	}
	becomes := func(answer string) {
		t.Helper()
		wait.Until(t, said.String, func() bool {
			return strings.HasPrefix(askMine(t, m, "/").Body, answer+" ")
		})
	}
	becomes("mine-0")
	if r := askMine(t, m, "/crash"); r.Status != 503 {
		t.Errorf("a crash looks like %+v", r)
	}
	crashed := "mine-0.default/main: now it crashes\nmine-0.default/main: mesh-lab: "
	wait.Until(t, said.String, func() bool {
		return strings.Contains(said.String(), crashed) &&
			strings.Contains(said.String(), ": exit status 7; it starts again in 1s\n")
	})
	wait.Until(t, said.String, func() bool { return strings.Count(said.String(), ": it serves\n") >= 3 })
	becomes("mine-0")
	if err := killer.Restart(t.Context(), "mine-1.default"); err != nil {
		t.Fatal(err)
	}
	if err := killer.Kill(t.Context(), "mine-0.default"); err != nil {
		t.Fatal(err)
	}
	becomes("mine-1")
}

// TestOwnBroken breaks a command of the user's own: it is the lab's process to stop and to end, what
// runs elsewhere is not.
func TestOwnBroken(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		m, said := upOwn(t, d, customer(t, fmt.Sprintf(mineYAML, 1, own.CommandAnnotation, `"`+self+`"`)))
		is := func(status int) {
			t.Helper()
			wait.Until(t, said.String, func() bool { return askMine(t, m, "/").Status == status })
		}
		is(200)
		for _, f := range []topology.Fault{
			{Kind: topology.FaultKill, Part: topology.PartApp},
			{Kind: topology.FaultKill, Part: topology.PartProxy},
			{Kind: topology.FaultRefuse},
		} {
			f.Pods = []string{"mine-0.default"}
			if f.Kind == topology.FaultRefuse {
				if err := m.(topology.Killer).Restart(t.Context(), "mine-0.default"); err != nil {
					t.Fatal(err)
				}
			}
			b := breaks(t, m, f)
			is(503)
			heals(t, m, b, 1)
			is(200)
		}
		b := breaks(t, m, topology.Fault{
			Kind: topology.FaultPause, Part: topology.PartApp, Pods: []string{"mine-0.default"},
		})
		c, err := m.Dial(t.Context(), "curl-0.default", "mine:80")
		if err != nil {
			t.Fatal(err)
		}
		sendOn(t, c, "mine")
		hear(t, c, false)
		heals(t, m, b, 1)
		hear(t, c, true)
	})
}

// TestOwnForward: an address that nobody listens at is no endpoint; when somebody does it is, and
// reaches the mesh by the pod's proxy.
func TestOwnForward(t *testing.T) { onBoth(t, testOwnForward) }

func testOwnForward(t *testing.T, d embedded.Driver) {
	// Nobody but this test is at this address; without such addresses, at this port.
	l, err := net.Listen("tcp4", "127.1.2.4:0")
	if err != nil {
		l, err = own.FreePort(uint64(os.Getpid()))
	}
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	m, said := upOwn(t, d, customer(t, fmt.Sprintf(mineYAML, 1, own.ForwardAnnotation, at)))
	want := "mine-0.default/main: mesh-lab: waiting for " + at + ": "
	if !strings.Contains(said.String(), want) {
		t.Errorf("said %s", said)
	}
	if s := owner(m)[0]; !errors.Is(s.Problem, syscall.ECONNREFUSED) || !s.Forward ||
		s.Ports[0] != (topology.OwnPort{Port: 8080, Address: at}) {
		t.Errorf("%+v", s)
	}
	if r := askMine(t, m, "/"); r.Status != 503 || r.Hops[0].Flags != "UH" {
		t.Errorf("of nobody: %+v", r)
	}
	if l, err = net.Listen("tcp", at); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "mine ", r.Host, " ", r.Header.Get("x-forwarded-client-cert"))
		}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	wait.Until(t, said.String, func() bool { return owner(m)[0].Problem == nil })
	wait.Until(t, said.String, func() bool { return askMine(t, m, "/").Status == 200 })
	r := askMine(t, m, "/")
	if !strings.HasPrefix(r.Body, "mine mine ") || !strings.Contains(r.Body, "/sa/curl") {
		t.Errorf("%+v", r)
	}
	proxy := &url.URL{Scheme: "http", Host: owner(m)[0].Proxy}
	c := http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}
	res, err := c.Get("http://preference:8080/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(b), "preference =>") {
		t.Errorf("by the proxy: %q %v", b, err)
	}
	s.Close()
	wait.Until(t, said.String, func() bool { return owner(m)[0].Problem != nil })
	wait.Until(t, said.String, func() bool { return askMine(t, m, "/").Hops[0].Flags == "UH" })
}

// TestOwnIsRefused: what can not be is said with its place, and nothing is left behind.
func TestOwnIsRefused(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{own.CommandAnnotation, "no-such-program", `more-0.yaml:23:73: Deployment default/mine: ` +
			`mesh-lab.dev/command: exec: "no-such-program": executable file not found in $PATH`},
		{own.ForwardAnnotation, "nowhere", `more-0.yaml:23:76: Deployment default/mine ` +
			`spec.template.metadata.annotations[mesh-lab.dev/forward-to]: "nowhere" is no address; `},
	} {
		_, err := embedded.Driver{}.Up(t.Context(), topology.Spec{
			Config: customer(t, fmt.Sprintf(mineYAML, 1, test.name, test.value))})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v\nwant %s", err, test.want)
		}
	}
	gateway := strings.Replace(fmt.Sprintf(mineYAML, 1, own.ForwardAnnotation, "3000"),
		"image: whatever", "image: auto", 1)
	if _, err := (embedded.Driver{}).Up(t.Context(), topology.Spec{
		Config: customer(t, gateway)}); err == nil ||
		!strings.Contains(err.Error(), "this pod is a gateway, which has no service of its own") {
		t.Errorf("a gateway: %v", err)
	}
}

func read(t *testing.T, yaml string) *istio.Config {
	t.Helper()
	c, diags := istio.Read([]istio.File{{Name: "x.yaml", Data: []byte(yaml)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	return c
}
