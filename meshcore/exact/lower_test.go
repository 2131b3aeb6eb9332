package exact_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3" // in listeners.yaml
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

var update = flag.Bool("update", false, "rewrite testdata")

func read(t *testing.T, file string, m proto.Message) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(file, err)
	}
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(file, err)
	}
	if err := protojson.Unmarshal(j, m); err != nil {
		t.Fatal(file, err)
	}
}

// snapshot is that of a proxy with one listener and its routes.
func snapshot(t *testing.T) *xds.Snapshot {
	t.Helper()
	s := xds.NewSnapshot()
	l, rc := &listenerv3.Listener{}, &routev3.RouteConfiguration{}
	read(t, "testdata/listeners.yaml", l)
	read(t, "testdata/routes.yaml", rc)
	s.Listeners[l.Name], s.Routes[rc.Name] = l, rc
	s.Routes["certain"] = &routev3.RouteConfiguration{Name: "certain"}
	return s
}

// TestLower compares a lowered snapshot with the one that was looked through, and sees that what is
// lowered is not changed itself.
func TestLower(t *testing.T) {
	s := snapshot(t)
	before, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	low, err := exact.Lower(s)
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the snapshot that is lowered was changed:", cmp.Diff(string(before), string(after)))
	}
	if low.Routes["certain"] != s.Routes["certain"] || low.Routes["80"] == s.Routes["80"] {
		t.Error("what is not altered is to be shared")
	}
	old, now := s.Routes["80"].VirtualHosts[0].Routes, low.Routes["80"].VirtualHosts[0].Routes
	if now[0] != old[0] {
		t.Error("a route that is not altered is to be shared")
	}
	if err := low.Routes["80"].ValidateAll(); err != nil {
		t.Error(err)
	}
	got, err := low.YAML()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/lowered.yaml"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error("(-wanted +got)\n", d)
	}
}

func TestDescribe(t *testing.T) {
	s := snapshot(t)
	vhost := s.Routes["80"].VirtualHosts[0]
	vhost.TypedPerFilterConfig = vhost.Routes[3].TypedPerFilterConfig // the abort of 30 %
	d, err := exact.Describe(s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"route 80, svc, abort /abort: abort 30 % by x-mesh-lab-draw-abort",
		"route 80, svc, all /all: abort 10 % by x-mesh-lab-draw-abort",
		"route 80, svc, all /all: delay 20 % by x-mesh-lab-draw-delay",
		"route 80, svc, all /all: mirror 20 % to shadow, 60 % to other, 100 % to every " +
			"by x-mesh-lab-draw-mirror",
		"route 80, svc, all /all: weights 50/50 by x-mesh-lab-draw-split",
		"route 80, svc, cors /cors: weights 70/30 by x-mesh-lab-draw-split",
		"route 80, svc, delay /delay: delay 20 % by x-mesh-lab-draw-delay",
		"route 80, svc, mirror /mirror: mirror 30 % to shadow by x-mesh-lab-draw-mirror",
		"route 80, svc, moved /moved: abort 25 % by x-mesh-lab-draw-abort",
		"route 80, svc, product /product: abort 10 % by x-mesh-lab-draw-abort",
		"route 80, svc, product /product: weights 50/50 by x-mesh-lab-draw-split",
		"route 80, svc, retry /retry: weights 70/30 by x-mesh-lab-draw-split",
		"route 80, svc, split /split: weights 70/30 by x-mesh-lab-draw-split",
		"route 80, svc, three /three: weights 50/0/30/20 by x-mesh-lab-draw-split",
	}
	if d := cmp.Diff(want, d.Enumerated); d != "" {
		t.Error("(-wanted +got)\n", d)
	}
	if d := cmp.Diff([]string{"route 80, svc: abort of 30 %"}, d.Random); d != "" {
		t.Error("(-wanted +got)\n", d)
	}
}
