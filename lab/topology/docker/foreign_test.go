package docker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// serve is what a user's own image runs: it tells what it was started with.
func serve(args []string) {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		dir, _ := os.Getwd()
		fmt.Fprintf(w, "%s in %s of %s", strings.Join(args, " "), dir, os.Getenv("WHO"))
	})
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}

// own is the manifest of a service of the user's own, of an image that Docker has.
const own = `
apiVersion: v1
kind: Service
metadata: {name: mine}
spec: {selector: {app: mine}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: mine, labels: {app: mine}}
spec:
  containers:
  - name: mine
    image: IMAGE
    imagePullPolicy: Never
    command: [/mesh-lab, serve]
    args: [one, "$(GREETING)", "$$(GREETING)", "$(NOBODY)"]
    workingDir: /tmp
    env:
    - {name: PORT, value: "7070"}
    - {name: GREETING, value: "hi $(WHO) $(PORT)"}
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    ports: [{name: web, containerPort: 7070}]
`

// caller is the manifest of a pod that asks.
const caller = `
---
apiVersion: v1
kind: Pod
metadata: {name: curl}
spec: {containers: [{name: curl, image: curlimages/curl}]}
`

// missing is the manifest of a pod whose image is nowhere.
const missing = `apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  containers:
  - name: lost
    image: example.com/lost:1
    imagePullPolicy: Never
`

func manifests(t *testing.T, files ...istio.File) *istio.Config {
	t.Helper()
	c, diags := istio.Read(files, istio.ReadOptions{})
	for _, d := range diags {
		if d.Severity == istio.Error {
			t.Fatal(d)
		}
	}
	return c
}

// TestOwnImage: a pod whose image is none of the bundled ones runs it as its manifest says, in the
// mesh, and nobody gets past its sidecar; an image that can not be had is an error that says which,
// where, and what to do.
func TestOwnImage(t *testing.T) {
	onBoth(t, func(ctx context.Context, t *testing.T, proxy string) {
		mine := istio.File{Name: "own.yaml",
			Data: []byte(strings.Replace(own, "IMAGE", image(ctx, t), 1) + caller)}
		m, err := docker.Driver{Proxy: proxy}.Up(ctx,
			topology.Spec{Config: manifests(t, mine), Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.Close(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		}()
		asStarted(ctx, t, m)
		captured(ctx, t, m)
		_, err = m.Apply(ctx,
			manifests(t, mine, istio.File{Name: "lost.yaml", Data: []byte(missing)}))
		lost(t, err)
	})
}

// image is one of a user's own, as far as the lab knows.
func image(ctx context.Context, t *testing.T) string {
	t.Helper()
	e, err := engine.Connect(ctx, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	i, err := e.Part(ctx)
	if err != nil {
		t.Fatal(err)
	}
	name, _, err := e.Ensure(ctx, i)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// asStarted asks the service with what it was started.
func asStarted(ctx context.Context, t *testing.T, m topology.Mesh) {
	t.Helper()
	var r []request.Result
	err := request.Send(ctx, m, request.Spec{From: "curl", URL: "http://mine/"},
		func(one request.Result) error { r = append(r, one); return nil })
	const want = "one hi $(WHO) 7070 $(GREETING) $(NOBODY) in /tmp of mine"
	if err != nil || len(r) != 1 || r[0].Body != want {
		t.Errorf("%+v, %v; want %q", r, err, want)
	}
}

// captured looks at what was recorded of a request from curl to mine, and for ways past the sidecar
// of mine once that has ended.
func captured(ctx context.Context, t *testing.T, m topology.Mesh) {
	t.Helper()
	var caller, app, service string
	for _, p := range m.Registry().Pods {
		switch p.Workload {
		case "curl":
			caller = p.IP.String()
		case "mine":
			app = p.IP.String() + ":7070"
		}
	}
	for _, s := range m.Registry().Services {
		if s.Name == "mine" {
			service = s.VIP.String() + ":80"
		}
	}
	list := m.Recorder().Snapshot().Requests
	if len(list) != 2 {
		t.Errorf("want a record of either sidecar: %+v", list)
	}
	for _, r := range list {
		local := app
		if r.Reporter == observe.Source {
			local = service
		}
		if host, _, _ := net.SplitHostPort(r.Remote); host != caller || r.Local != local ||
			r.Upstream != app {
			t.Errorf("want %s to have asked for %s at %s: %+v", caller, local, app, r)
		}
	}
	b, err := m.(topology.Breaker).Break(ctx, topology.Fault{Name: "gone", Kind: topology.FaultKill,
		Part: topology.PartProxy, Pods: []string{"mine.default"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range [][2]string{{topology.Outside, app}, {"mine.default", "mine:80"},
		{"mine.default", caller + ":9999"}} {
		if c, err := m.Dial(ctx, way[0], way[1]); err == nil {
			c.Close()
			t.Errorf("without the sidecar of mine, %s reaches %s", way[0], way[1])
		}
	}
	if c, err := m.Dial(ctx, "mine.default", "localhost:7070"); err != nil {
		t.Errorf("not its sidecar alone is gone: %v", err)
	} else {
		c.Close()
	}
	if err := b.Heal(ctx); err != nil {
		t.Error(err)
	}
}

// lost looks at the error of a pod whose image is nowhere.
func lost(t *testing.T, err error) {
	t.Helper()
	var u *engine.UnusableError
	if !errors.As(err, &u) || u.Do == "" {
		t.Fatalf("an image that is nowhere: %v", err)
	}
	for _, want := range []string{"lost.yaml:7:", "Pod default/lost spec.containers[0].image",
		"no image example.com/lost:1", "imagePullPolicy is Never"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
