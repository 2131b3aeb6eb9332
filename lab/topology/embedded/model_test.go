package embedded_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// modelled is echo in some versions ("VERSION ENV..."), with a client.
func modelled(t *testing.T, versions ...string) *istio.Config {
	t.Helper()
	text := `
apiVersion: v1
kind: Pod
metadata: {name: curl, labels: {app: curl}}
spec: {containers: [{name: curl, image: curlimages/curl}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8123}]}
`
	for _, v := range versions {
		words := strings.Split(v, "; ")
		text += fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo-%[1]s}
spec:
  selector: {matchLabels: {version: %[1]s}}
  template:
    metadata: {labels: {app: echo, version: %[1]s}}
    spec:
      containers:
        - name: echo
          image: mesh-lab/echo
          env:
            - {name: UNUSED, value: ""}
`, words[0])
		for _, e := range words[1:] {
			name, value, _ := strings.Cut(e, "=")
			text += fmt.Sprintf("            - {name: %s, value: %q}\n", name, value)
		}
	}
	c, diags := istio.Read([]istio.File{{Name: "echo.yaml", Data: []byte(text)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	return c
}

// answers counts who answers some requests, or with which status and flags nobody does.
func answers(t *testing.T, m topology.Mesh, n int) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for _, r := range ask(t, m, request.Spec{From: "curl", URL: "http://echo/", Count: n}) {
		who := fmt.Sprint(r.Status)
		if r.Status == 200 {
			who = r.Backend.Version
		} else {
			for _, h := range r.Hops {
				who += " " + h.Flags
			}
		}
		seen[who]++
	}
	return seen
}

// ready says which pods of echo are ready.
func ready(m topology.Mesh) (pods []string) {
	for _, p := range m.Registry().Pods {
		if p.Ready && strings.HasPrefix(p.Name, "echo") {
			pods = append(pods, p.Name)
		}
	}
	return pods
}

// TestStartup has pods that take their time to listen and to be ready, and some that never are.
func TestStartup(t *testing.T) { onBoth(t, testStartup) }

func testStartup(t *testing.T, d embedded.Driver) {
	began := time.Now()
	v1 := "v1; MESHLAB_STARTUP=150ms; MESHLAB_READY_AFTER=300ms"
	m := upOn(t, d, modelled(t, v1, "v0; MESHLAB_READY= false"))
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("up in %v, before its pod is ready", took)
	}
	if seen := answers(t, m, 20); seen["v1"] != 20 {
		t.Errorf("once it is up: %v", seen)
	}

	// What is applied is ready later, and gets nothing until then.
	never := "v3; MESHLAB_READY_AFTER=1h"
	if _, err := m.Apply(t.Context(), modelled(t, v1, "v2; MESHLAB_STARTUP=1h", never,
		"v4; ECHO_READY=false")); err != nil {
		t.Fatal(err)
	}
	if seen := answers(t, m, 20); seen["v1"] != 20 {
		t.Errorf("with pods that are not ready: %v", seen)
	}
	if got := ready(m); !slices.Equal(got, []string{"echo-v1-0"}) {
		t.Errorf("ready are %v", got)
	}

	// An endpoint that does not listen refuses.
	late := "v2; MESHLAB_STARTUP=1h; MESHLAB_READY_AFTER=0s"
	if _, err := m.Apply(t.Context(), modelled(t, late, never)); err != nil {
		t.Fatal(err)
	}
	for who := range answers(t, m, 3) {
		if !strings.HasPrefix(who, "503 ") || !strings.HasSuffix(who, "UF") {
			t.Errorf("an endpoint that does not listen: %s", who)
		}
	}

	// A pod that has become ready is an endpoint without another word.
	began = time.Now()
	soon := "v5; MESHLAB_STARTUP=100ms; MESHLAB_READY_AFTER=200ms"
	if _, err := m.Apply(t.Context(), modelled(t, soon, never)); err != nil {
		t.Fatal(err)
	}
	for seen := map[string]int{}; seen["v5"] == 0; seen = answers(t, m, 1) {
		if time.Since(began) > time.Minute {
			t.Fatalf("a pod that is ready gets nothing: %v", seen)
		}
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("ready after %v", took)
	}
}

// hears is a log that is listened to.
type hears func(line string)

func (h hears) Write(b []byte) (int, error) { h(string(b)); return len(b), nil }

// TestUpIsGivenUp ends a start that waits for a pod.
func TestUpIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := hears(func(line string) {
		if strings.Contains(line, `"waiting until a pod is ready" pod=echo-v1-0.default`) {
			cancel()
		}
	})
	_, err := embedded.Driver{}.Up(ctx, topology.Spec{
		Config: modelled(t, "v1; MESHLAB_STARTUP=1h"),
		Log:    slog.New(slog.NewTextHandler(log, nil)),
	})
	if err == nil || !strings.Contains(err.Error(), "waiting until pod echo-v1-0.default is ready") {
		t.Errorf("%v", err)
	}
}

// TestBadModel refuses variables that say nothing before anything starts: the place is named.
func TestBadModel(t *testing.T) {
	_, err := embedded.Driver{}.Up(t.Context(), topology.Spec{Config: modelled(t,
		"v1; MESHLAB_LATENCY=20; MESHLAB_LATENCEY=20ms", "v2; MESHLAB_READY=maybe")})
	for _, want := range []string{
		"echo.yaml:26:46: Deployment default/echo-v1 spec.template.spec.containers[0].env[1].value: " +
			`env MESHLAB_LATENCY = "20": want "20ms", `,
		`env MESHLAB_LATENCEY = "20ms": known are MESHLAB_LATENCY, MESHLAB_ERRORS, `,
		`env MESHLAB_READY = "maybe": want true or false`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	_, err = embedded.Driver{}.Up(t.Context(),
		topology.Spec{Config: modelled(t, "v1; ECHO_READY=maybe")})
	const want = "pod echo-v1-0.default: echo.yaml:26:41: Deployment default/echo-v1 " +
		`spec.template.spec.containers[0].env[1].value: env ECHO_READY = "maybe": want true or false`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// TestVariablesOfThePod: a variable may be something that the pod knows of itself; what can not be
// filled is not set, and warned of.
func TestVariablesOfThePod(t *testing.T) {
	const text = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello, track: canary}}
    spec:
      containers:
        - name: hello
          image: docker.io/istio/examples-helloworld-v1
          env:
            - {name: HOSTNAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - name: SERVICE_VERSION
              valueFrom: {fieldRef: {fieldPath: "metadata.labels['track']"}}
            - name: PASSWORD
              valueFrom: {secretKeyRef: {name: secret, key: password}}
`
	m := up(t, read(t, text))
	r := ask(t, m, request.Spec{From: "hello", URL: "http://localhost:5000/hello"})[0]
	if r.Body != "Hello version: canary, instance: hello-0\n" {
		t.Errorf("%+v", r)
	}
	const want = "x.yaml:18:15: Deployment default/hello " +
		"spec.template.spec.containers[0].env[2].valueFrom: of these the lab fills fieldRef only; " +
		"write the value of PASSWORD; it is not set"
	notes := m.(interface{ Notes() []istio.Diagnostic }).Notes()
	if !slices.ContainsFunc(notes, func(d istio.Diagnostic) bool {
		return d.Severity == istio.Warning && d.String() == want
	}) {
		t.Errorf("%v\nwant %s", notes, want)
	}
}

// TestLimit sends a batch to a pod that has two workers, 20 ms a request: whatever else the machine
// does, the k-th answer can not come before k/2 of these. It remembers who called.
func TestLimit(t *testing.T) { onBoth(t, testLimit) }

func testLimit(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, modelled(t,
		"v1; MESHLAB_CONCURRENCY=2; MESHLAB_LATENCY=20ms; MESHLAB_REMEMBER=10"))
	const n = 20
	var mu sync.Mutex
	var ended []time.Duration
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := request.Send(ctx, m, request.Spec{
		From: "curl", URL: "http://echo/path?query", Count: n, Concurrency: n,
	}, func(r request.Result) error {
		mu.Lock()
		defer mu.Unlock()
		if ended = append(ended, time.Since(began)); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Error)
		}
		return nil
	})
	if err != nil || len(ended) != n {
		t.Fatalf("%d answers, %v", len(ended), err)
	}
	for k, at := range ended {
		if least := time.Duration(k/2+1) * 20 * time.Millisecond; at < least {
			t.Errorf("answer %d after %v, earlier than %v", k, at, least)
		}
	}
	r := ask(t, m, request.Spec{From: "curl", URL: "http://echo/mesh-lab/callers"})
	var seen struct {
		Requests int
		Callers  []map[string]any
	}
	if err := json.Unmarshal([]byte(r[0].Body), &seen); err != nil {
		t.Fatal(err)
	}
	if len(seen.Callers) != 1 || seen.Requests != n {
		t.Fatalf("remembers %+v", seen)
	}
	who := seen.Callers[0]
	if who["caller"] != "spiffe://cluster.local/ns/default/sa/default" || who["path"] != "/path" ||
		who["status"] != 200.0 || who["count"] != float64(n) {
		t.Errorf("remembers %v", who)
	}
}
