package embedded_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
)

// golden is a request to the mesh of a golden case of meshcore/translate, and what becomes of it:
// the status, flags, cluster and pod, and the lines that see names.
type golden struct {
	mesh string // folder in meshcore/translate/testdata
	request.Spec
	see  []string // "answer HEADER", "backend HEADER", "path", "delay": further things that matter
	want string
}

// goldens holds what Istio documents of fields that no recorded case has.
var goldens = []golden{
	{"policies", get("client", "http://lamp/", "origin: https://shop.example.com"),
		[]string{"answer access-control-allow-origin"},
		"200 outbound|80||lamp lamp-0 access-control-allow-origin=https://shop.example.com"},
	{"policies", get("client", "http://lamp/", "origin: https://other.example.com"),
		[]string{"answer access-control-allow-origin"}, // Envoy cors_filter.cc isOriginAllowed: "*"
		"200 outbound|80||lamp lamp-0 access-control-allow-origin=https://other.example.com"},
	{"policies", get("client", "http://lamp/"), []string{"cookie"},
		"200 outbound|80||lamp lamp-0 glow; Max-Age=60; Path=/lit; SameSite=Strict; Secure; HttpOnly"},
	{"policies", get("client", "http://lamp/slow"), []string{"delay"},
		"200 outbound|80||lamp lamp-0 DI delayed"},
	{"policies", get("client", "http://lamp/copied"), []string{"mirrors"},
		"200 outbound|80||lamp lamp-0 mirrored to outbound|82||ring"},
	{"policies", get("client", "http://lamp:81/"), nil, "200 outbound|81||lamp lamp-0"},
	{"policies", get("client", "http://ring:82/"), nil, "200 outbound|82||ring lamp-0"},

	{"mesh-defaults", get("client", "http://lamp/"), []string{"backend x-envoy-attempt-count"},
		"200 outbound|80||lamp lamp-0 x-envoy-attempt-count="},
	{"mesh-defaults", get("client", "http://open.other:83/"), nil, "503 UH outbound|83||open.other"},
	{"mesh-config", get("app", "http://app//a%2Fb"), []string{"path"},
		"200 outbound|80||app app-0 /a/b"},
	{"mesh-config", elsewhere("app", "http://nowhere.example.com/", "app:80"), nil, "502"},

	{"registry", get("client", "http://reed/"), nil, "200 outbound|80||reed reed-*"},
	{"registry", get("client", "http://bank/"), nil, "503 URX,UF outbound|80||bank"},
	{"registry", get("client", "http://bank:81/"), nil, "503 URX,UF outbound|81||bank"},
	{"endpointslice", get("client", "http://store/"), nil, "200 outbound|80||store store-0"},

	{"pod-names", get("client", "http://left.pair/"), nil, "200 outbound|80||pair one"},
	{"pod-names", get("client", "http://right.pair/"), nil, "200 outbound|80||pair two"},

	{"gateway-ports", outside("edge", "http://lamp.example.com/"), nil, "503 UH outbound|80||lamp"},
	{"l4-gateway", outside("edge", "http://shop.example.com/x?y=1"), []string{"answer location"},
		"301 location=https://shop.example.com/x?y=1"},
	{"gateway-tls", outside("edge", "http://a.example.com/"), []string{"answer location"},
		"301 location=https://a.example.com/"},
	{"rules", get("client", "http://shop:8000/redirect/a"), []string{"answer location"},
		"307 location=http://new.example.com:8000/to/a"},
	{"workload-selector", get("near", "http://far/"), nil, "200 outbound|80||far far-0"},
	{"visibility", get("b.beta", "http://lent.alpha:82/"), nil, "200 outbound|82||lent.alpha a-0"},
	{"visibility", get("a.alpha", "http://open/"), nil, "200 outbound|83||hidden.alpha a-0"},
	{"guards", get("client", "http://safe/admin/a/x"), nil, "403 outbound|80||safe"},
	{"guards", get("client", "http://safe/admin/a/b/x"), nil, "200 outbound|80||safe safe-0"},
	{"guards", get("client", "http://safe/ADMIN/a/x"), nil, "200 outbound|80||safe safe-0"},
	{"guards", get("client", "http://safe/tree/a/b"), nil, "403 outbound|80||safe"},
	{"guards", get("client", "http://safe/tree"), nil, "200 outbound|80||safe safe-0"},
	{"guards", get("client", "http://safe/", "x-bad: 1"), nil, "403 outbound|80||safe"},
	{"guards", get("client", "http://safe/", "x-bad: nothing"), nil, "200 outbound|80||safe safe-0"},
	{"guards", get("client", "http://safe/closed"), nil, "403 outbound|80||safe"},
	{"guards", get("client", "http://safe/closed/but"), nil, "403 outbound|80||safe"},
	{"guards", elsewhere("client", "http://old.example/", "safe:80"), nil, "403 PassthroughCluster"},
	{"guards", elsewhere("client", "http://OLD.example/", "safe:80"), nil, "403 PassthroughCluster"},
	{"guards", elsewhere("client", "http://old.example:80/", "safe:80"), nil, "200 PassthroughCluster safe-0"},
	{"guards", get("client", "http://near/near"), nil, "200 outbound|80||near near-0"},
	{"guards", get("client", "http://near/far"), nil, "403 outbound|80||near"},
	{"guards", elsewhere("client", "http://new.example/closed/but", "safe:80"), nil, "200 PassthroughCluster safe-0"},
}

func get(from, url string, headers ...string) request.Spec {
	return request.Spec{From: from, URL: url, Headers: headers, Timeout: 10 * time.Second}
}

func elsewhere(from, url, connect string) request.Spec {
	s := get(from, url)
	s.Connect = connect
	return s
}

func outside(gateway, url string) request.Spec {
	s := get("outside", url)
	s.Gateway = gateway
	return s
}

// TestGolden sends requests through the meshes of golden cases.
func TestGolden(t *testing.T) { testGolden(t, embedded.Driver{}) }

// TestGoldenEnvoy does the same with a real Envoy beside every app.
func TestGoldenEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	testGolden(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

func testGolden(t *testing.T, d embedded.Driver) {
	plane := planeOf(d)
	book := evidence.Open(t, evidenceFolder, "golden-"+plane, fidelity.Evidence{
		By: "lab/topology/embedded " + t.Name(), Short: "golden", Plane: plane,
		Shows: fidelity.Answered, Unit: "requests",
		What: "answers under golden configurations with what Istio says of their fields",
	})
	for _, mesh := range meshesOf(goldens) {
		t.Run(mesh, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../../meshcore/translate/testdata", mesh, "in.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			config, diags := istio.Read([]istio.File{{Name: "in.yaml", Data: text}}, istio.ReadOptions{})
			if istio.HasErrors(diags) {
				t.Fatal(diags)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m, err := d.Up(ctx, topology.Spec{Config: config, Seed: 7})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close(context.WithoutCancel(ctx))
			for _, g := range goldens {
				if g.mesh == mesh {
					g.send(t, ctx, m)
					book.Add(mesh, 1, config)
				}
			}
		})
	}
}

func meshesOf(all []golden) (out []string) {
	for _, g := range all {
		if !slices.Contains(out, g.mesh) {
			out = append(out, g.mesh)
		}
	}
	return out
}

// send sends one request and compares.
func (g golden) send(t *testing.T, ctx context.Context, m topology.Mesh) {
	t.Helper()
	err := request.Send(ctx, m, g.Spec, func(r request.Result) error {
		if got := seenOf(g, &r); got != g.want {
			t.Errorf("%s %s:\nwant %s\ngot  %s", g.URL, g.Headers, g.want, got)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", g.URL, err)
	}
}

// seenOf describes a result as want does.
func seenOf(g golden, r *request.Result) string {
	words := []string{fmt.Sprint(r.Status)}
	add := func(s string) {
		if s != "" {
			words = append(words, s)
		}
	}
	h := clientHop(r)
	if h == nil {
		h = &request.Hop{}
	}
	if r.Status != 200 {
		add(h.Flags)
	}
	name := strings.TrimSuffix(h.Cluster, ".svc.cluster.local")
	add(strings.TrimSuffix(name, ".default"))
	e := echoed(r)
	if e != nil {
		pod := e.Pod
		if strings.HasPrefix(pod, "reed-") {
			pod = "reed-*" // either
		}
		add(pod)
	} else {
		e = &echo{}
	}
	for _, see := range g.see {
		what, header, _ := strings.Cut(see, " ")
		switch what {
		case "answer":
			add(header + "=" + strings.Join(r.Headers[header], ","))
		case "backend":
			add(header + "=" + strings.Join(e.Headers[header], ","))
		case "cookie":
			add(generated.ReplaceAllString(strings.Join(r.Headers["set-cookie"], ","), ""))
		case "path":
			add(e.Path)
		case "mirrors":
			for _, c := range h.Mirrors {
				add("mirrored to " + strings.TrimSuffix(c, ".default.svc.cluster.local"))
			}
		case "delay":
			if r.DurationMS > 250 {
				add(h.Flags + " delayed")
			}
		}
	}
	return strings.Join(words, " ")
}
