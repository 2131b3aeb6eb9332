package relocate

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// place moves addresses to 127.64/10 and low ports to high ones.
func place(a netip.AddrPort) netip.AddrPort {
	at := a.Addr()
	if !at.IsUnspecified() {
		b := at.As4()
		at = netip.AddrFrom4([4]byte{127, 64 + b[1]%64, b[2], b[3]})
	}
	port := a.Port()
	if port != 0 && port < 1024 {
		port += 64_000
	}
	return netip.AddrPortFrom(at, port)
}

func app(a netip.AddrPort) netip.AddrPort {
	at := place(a)
	b := at.Addr().As4()
	b[1] += 64
	return netip.AddrPortFrom(netip.AddrFrom4(b), at.Port())
}

// snapshots translates the test's mesh.
func snapshots(t *testing.T) (pods []*translate.Pod, all []*xds.Snapshot) {
	t.Helper()
	text, err := os.ReadFile("testdata/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, diags := istio.Read([]istio.File{{Name: "in.yaml", Data: text}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	r, _ := translate.NewRegistry(c, nil)
	tr := translate.New(c, r)
	for _, p := range r.Pods {
		s, diags := tr.Snapshot(p)
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		pods, all = append(pods, p), append(all, s)
	}
	return pods, all
}

func proxyOf(p *translate.Pod) Proxy {
	return Proxy{
		IP: p.IP, Gateway: p.Role == translate.Gateway, Outbound: "@lab/" + p.Name, App: app,
		Ports: []uint16{9999},
	}
}

// TestGolden relocates a small mesh; what the golden file shows is listeners and endpoints, for
// nothing else may change.
func TestGolden(t *testing.T) {
	pods, all := snapshots(t)
	k := New(place, place)
	var got bytes.Buffer
	for i, p := range pods {
		before := all[i].Version()
		s, err := k.Snapshot(all[i], proxyOf(p))
		if err != nil {
			t.Fatal(err)
		}
		if all[i].Version() != before {
			t.Errorf("%s: the snapshot that was given has changed", p.ID())
		}
		for _, typ := range []string{xds.ClusterType, xds.RouteType, xds.SecretType} {
			if s.TypeVersion(typ) != all[i].TypeVersion(typ) {
				t.Errorf("%s: %s changed", p.ID(), typ)
			}
		}
		if err := s.Consistent(); err != nil {
			t.Errorf("%s: %v", p.ID(), err)
		}
		moved := xds.NewSnapshot()
		moved.Listeners, moved.Endpoints = s.Listeners, s.Endpoints
		text, err := moved.YAML()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "---\n# %s %s\n%s", p.ID(), p.IP, text)
	}
	const golden = "testdata/out.yaml"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v (make it with -update)", err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("(-golden +got)\n%s", d)
	}
}

// TestShares relocates what pods share once, so that the control plane marshals it once.
func TestShares(t *testing.T) {
	pods, all := snapshots(t)
	k := New(place, place)
	var first *xds.Snapshot
	for i, p := range pods {
		if p.Role == translate.Gateway {
			continue // it looks from another namespace
		}
		s, err := k.Snapshot(all[i], proxyOf(p))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = s
			continue
		}
		const name = "outbound|80||shop.default.svc.cluster.local"
		if s.Endpoints[name] == nil || s.Endpoints[name] != first.Endpoints[name] {
			t.Errorf("%s has endpoints of its own", p.ID())
		}
	}
}

// TestNowhere leaves a snapshot alone whose addresses are where they are.
func TestNowhere(t *testing.T) {
	pods, all := snapshots(t)
	stay := func(a netip.AddrPort) netip.AddrPort { return a }
	s, err := New(stay, stay).Snapshot(all[0], proxyOf(pods[0]))
	if err != nil {
		t.Fatal(err)
	}
	if s.TypeVersion(xds.EndpointType) != all[0].TypeVersion(xds.EndpointType) {
		t.Error("endpoints changed")
	}
}

// TestRefuses says what can not be relocated.
func TestRefuses(t *testing.T) {
	pods, all := snapshots(t)
	for _, a := range all[0].Endpoints {
		for _, g := range a.Endpoints {
			for _, e := range g.LbEndpoints {
				e.GetEndpoint().Address.GetSocketAddress().Address = "shop.example.com"
			}
		}
	}
	if _, err := New(place, place).Snapshot(all[0], proxyOf(pods[0])); err == nil {
		t.Error("a name was relocated")
	}
}
