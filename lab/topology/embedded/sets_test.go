package embedded_test

import (
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

// TestSets brings up every set that --app knows, sends what `mesh-lab apps` says to try first, and
// opens what it says to open.
func TestSets(t *testing.T) {
	for _, s := range sampleapps.Sets() {
		t.Run(s.Name, func(t *testing.T) {
			files, _ := sampleapps.Manifests(s.Name)
			var in []istio.File
			for _, f := range files {
				in = append(in, istio.File{Name: f.Name, Data: f.Data})
			}
			c, diags := istio.Read(in, istio.ReadOptions{})
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			m := up(t, c)
			if r := ask(t, m, request.Spec{From: s.From, URL: s.Try}); r[0].Status != 200 {
				t.Errorf("%s: %+v", s.Try, r[0])
			}
			if (s.Open != "") != (len(m.Gateways()) > 0) {
				t.Errorf("open %q, gateways %v", s.Open, m.Gateways())
			}
			if s.Open == "" {
				return
			}
			page := request.Spec{From: topology.Outside, URL: "http://any" + s.Open}
			if r := ask(t, m, page); r[0].Status != 200 {
				t.Errorf("%s: %+v", page.URL, r[0])
			}
		})
	}
}
