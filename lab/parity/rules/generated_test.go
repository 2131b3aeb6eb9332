package rules

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// TestGenerated draws rules that are valid for their mesh and have no time that decides a race.
func TestGenerated(t *testing.T) {
	mesh, diags := istio.Read(GeneratedMesh(), istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	for _, o := range mesh.Objects {
		if o.Kind == "VirtualService" || o.Kind == "DestinationRule" {
			t.Errorf("%s %s is no part of the mesh", o.Kind, o.Name)
		}
	}
	fields := map[string]bool{}
	for seed := range uint64(100) {
		objects := Generated(rand.New(rand.NewPCG(seed, 1)))
		if len(objects) == 0 {
			t.Errorf("seed %d: no rules", seed)
		}
		c := *mesh
		c.Objects = objects
		for _, f := range istio.Used(&c) {
			fields[f] = true
		}
		for _, o := range objects {
			b, err := istio.Encode(o, istio.YAML)
			if err != nil {
				t.Fatal(err)
			}
			for _, short := range []string{"imeout: 0.001s", "imeout: 0.025s", "Delay: 0.005s",
				"%HOSTNAME%"} {
				if strings.Contains(string(b), short) {
					t.Errorf("seed %d has %q:\n%s", seed, short, b)
				}
			}
		}
	}
	if len(fields) < 100 {
		t.Errorf("only %d fields are drawn", len(fields))
	}
}

// TestAccess draws rules of all security kinds, valid for a mesh that has none.
func TestAccess(t *testing.T) {
	mesh, diags := istio.Read(AccessMesh(), istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	kinds := map[string]bool{}
	for seed := range uint64(50) {
		objects := Access(rand.New(rand.NewPCG(seed, 1)))
		if len(objects) == 0 {
			t.Errorf("seed %d: no rules", seed)
		}
		for _, o := range objects {
			kinds[o.Kind] = true
		}
	}
	for _, kind := range []string{
		"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy", "DestinationRule",
	} {
		if !kinds[kind] || len(mesh.Kind(kind)) > 0 {
			t.Errorf("%s: drawn %v, in the mesh %d", kind, kinds[kind], len(mesh.Kind(kind)))
		}
	}
}
