package why_test

import (
	"os"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// drawn is the world of a configuration without a lab.
func drawn(t testing.TB, file string) *why.World {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, diags := istio.Read([]istio.File{{Name: file, Data: text}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	reg, _ := translate.NewRegistry(c, nil)
	tr, low := translate.New(c, reg), stock.NewLowering()
	return &why.World{Places: why.PlacesOf(c), Values: why.ValuesOf(c),
		Carried: func(node string) (*xds.Snapshot, error) {
			for _, p := range reg.Pods {
				if p.ID() == node {
					s, _ := tr.Snapshot(p)
					return low.Snapshot(s)
				}
			}
			return nil, os.ErrNotExist
		}}
}

// Records may hold anything: they come from files. Explaining one never panics, and ends.
func FuzzHop(f *testing.F) {
	f.Add("client-0.default", "HTTP/1.1", "/cart?x=2", "shop", "10.96.0.10:80", "10.244.0.2:4000",
		"URX,UF", "via_upstream", "", "", uint64(7), 503, true)
	f.Add("stock-0.default", "HTTP/1.1", "/admin", "stock", "10.244.0.5:80", "10.244.0.2:0",
		"", "rbac_access_denied", "TLSv1.3", "outbound_.80_._.stock", uint64(0), 403, false)
	f.Add("shop-v1-0.default", "TCP", "", "", "10.244.0.3:80", "", "UR", "", "", "x", uint64(1), 0,
		false)
	w := drawn(f, "testdata/shop.yaml")
	f.Fuzz(func(t *testing.T, proxy, protocol, path, host, local, remote, flags, details, tls,
		sni string, draw uint64, status int, source bool) {
		r := observe.Request{ID: "x", Proxy: proxy, Protocol: protocol, Method: "GET", Path: path,
			Authority: host, Local: local, Remote: remote, Flags: flags, Details: details, TLS: tls,
			SNI: sni, Draw: draw, Status: status, Reporter: observe.Destination,
			Headers:  map[string]string{"end-user": host, path: sni},
			Attempts: []observe.Attempt{{Status: status}, {Flags: flags}}}
		if source {
			r.Reporter = observe.Source
		}
		e, err := w.Recorded("x", []observe.Request{r})
		if err != nil {
			t.Fatal(err)
		}
		e.Lines(len(path))
		e.Hops[0].Lines(80)
	})
}
