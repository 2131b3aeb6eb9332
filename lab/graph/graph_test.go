package graph_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/graph"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, d)
	}
}

func all(t *testing.T, name string, g *graph.Graph) {
	t.Helper()
	golden(t, name+".txt", g.Text())
	golden(t, name+".mmd", g.Mermaid())
	golden(t, name+".dot", g.DOT())
	golden(t, name+".svg", g.SVG())
	d := xml.NewDecoder(strings.NewReader(g.SVG()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the SVG is no XML: %v", err)
		}
	}
}

// What rules say, as it is drawn.
func TestOfConfiguration(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, diags := istio.Read([]istio.File{{Name: "shop.yaml", Data: text}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	reg, _ := translate.NewRegistry(c, nil)
	all(t, "config", graph.Of(c, reg))
}

// What was recorded, as it is drawn: shares, failures, retries, faults, copies.
func TestOfHistory(t *testing.T) {
	v1 := observe.Workload{Workload: "shop-v1", Namespace: "default"}
	v2 := observe.Workload{Workload: "shop-v2", Namespace: "default"}
	sent := func(to observe.Workload, status int, flags string, tries int) observe.Request {
		return observe.Request{Reporter: observe.Source, Workload: "client",
			Namespace: "default", Dest: to, Status: status, Flags: flags,
			UpstreamTLS: "TLSv1.3", Attempts: make([]observe.Attempt, tries)}
	}
	h := &observe.History{Requests: []observe.Request{
		sent(v1, 200, "", 1), sent(v1, 503, "URX", 3), sent(v2, 200, "DI", 1),
		{Reporter: observe.Destination, Workload: "shop-v1", Namespace: "default", Status: 200},
		{Reporter: observe.Source, Workload: "client", Namespace: "default", Status: 502,
			Cluster: "PassthroughCluster", Authority: "api.example.com", Duration: 2_000_000_000,
			Mirrors: []observe.Attempt{{Pod: "audit", Cluster: "outbound|80||audit"}}},
	}}
	all(t, "history", graph.OfHistory(h))
}

// Circles end.
func TestCircle(t *testing.T) {
	g := &graph.Graph{Nodes: []graph.Node{{ID: "a", Label: "a"}, {ID: "b", Label: "<b>"}},
		Edges: []graph.Edge{{From: "a", To: "b"}, {From: "b", To: "a"}, {From: "a", To: "a"},
			{From: "a", To: "nowhere"}}}
	if s := g.SVG(); !strings.Contains(s, "&lt;b&gt;") || strings.Count(s, "<path class") != 3 {
		t.Error(s)
	}
}
