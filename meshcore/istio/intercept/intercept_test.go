package intercept_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

var prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// changed is the default with something else in it.
func changed(f func(*intercept.Rules)) *intercept.Rules {
	r := intercept.Default()
	f(r)
	return r
}

func ranges(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestOf(t *testing.T) {
	const k = "traffic.sidecar.istio.io/"
	for _, c := range []struct {
		name        string
		annotations map[string]string
		want        *intercept.Rules
	}{
		{"none", nil, intercept.Default()},
		{"inbound ports", map[string]string{k + "includeInboundPorts": "80, 443"},
			changed(func(r *intercept.Rules) {
				r.Inbound = intercept.Ports{List: []uint16{80, 443}}
			})},
		{"nothing inbound", map[string]string{k + "includeInboundPorts": ""},
			changed(func(r *intercept.Rules) { r.Inbound = intercept.Ports{} })},
		{"all inbound but", map[string]string{
			k + "includeInboundPorts": "*", k + "excludeInboundPorts": "22,15021,23"},
			changed(func(r *intercept.Rules) {
				r.ExcludeInbound = []uint16{15090, 15021, 15020, 22, 23}
			})},
		{"status port", map[string]string{"status.sidecar.istio.io/port": "16000"},
			changed(func(r *intercept.Rules) {
				r.ExcludeInbound = []uint16{15090, 15021, 16000}
			})},
		{"no status port", map[string]string{"status.sidecar.istio.io/port": "0"},
			changed(func(r *intercept.Rules) { r.ExcludeInbound = []uint16{15090, 15021} })},
		{"outbound ports", map[string]string{
			k + "includeOutboundPorts": "3306", k + "excludeOutboundPorts": "25,587",
			k + "includeOutboundIPRanges": ""},
			changed(func(r *intercept.Rules) {
				r.OutboundPorts, r.ExcludePorts = []uint16{3306}, []uint16{25, 587}
				r.Outbound = intercept.Ranges{}
			})},
		{"all outbound ports", map[string]string{
			k + "includeOutboundPorts": "*", k + "includeOutboundIPRanges": "10.0.0.0/8"},
			intercept.Default()},
		{"ranges", map[string]string{
			k + "includeOutboundIPRanges": "10.96.0.0/12,10.244.1.1/16",
			k + "excludeOutboundIPRanges": "192.0.2.7/32"},
			changed(func(r *intercept.Rules) {
				r.Outbound = intercept.Ranges{List: ranges("10.96.0.0/12", "10.244.0.0/16")}
				r.ExcludeOutbound = ranges("192.0.2.7/32")
			})},
		{"interfaces", map[string]string{k + "excludeInterfaces": "eth1, net2"},
			changed(func(r *intercept.Rules) { r.ExcludeInterfaces = []string{"eth1", "net2"} })},
		{"mode", map[string]string{"sidecar.istio.io/interceptionMode": "REDIRECT"},
			intercept.Default()},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, diags := intercept.Of(&translate.Pod{Annotations: c.annotations})
			if len(diags) > 0 {
				t.Fatalf("refused: %v", diags)
			}
			if d := cmp.Diff(c.want, got, prefixes); d != "" {
				t.Errorf("want -, got +:\n%s", d)
			}
		})
	}
}

// TestOfRefuses shows that each bad value is named with its place.
func TestOfRefuses(t *testing.T) {
	for annotation, want := range map[string]string{
		`traffic.sidecar.istio.io/includeInboundPorts: "80,http"`: `a.yaml:7:51: ` +
			`Pod default/a metadata.annotations[traffic.sidecar.istio.io/includeInboundPorts]: ` +
			`"http" is no port`,
		`traffic.sidecar.istio.io/excludeInboundPorts: "*"`:          `"*" is no port`,
		`traffic.sidecar.istio.io/includeOutboundPorts: "70000"`:     `"70000" is no port`,
		`traffic.sidecar.istio.io/includeOutboundIPRanges: "10.0/8"`: `"10.0/8" is no range`,
		`traffic.sidecar.istio.io/excludeOutboundIPRanges: "*"`:      `"*" is no range`,
		`traffic.sidecar.istio.io/excludeOutboundIPRanges: "fd::/8"`: `IPv6 is not carried out`,
		`traffic.sidecar.istio.io/excludeInterfaces: "eth0,,"`:       `"" is no network interface`,
		`sidecar.istio.io/interceptionMode: TPROXY`:                  `"TPROXY" is not carried out`,
		`sidecar.istio.io/interceptionMode: NONE`:                    `"NONE" is not carried out`,
		`traffic.sidecar.istio.io/kubevirtInterfaces: net1`:          `kubevirtInterfaces`,
		`istio.io/reroute-virtual-interfaces: net1`:                  `no virtual machines`,
		`status.sidecar.istio.io/port: "x"`:                          `"x" is no port`,
	} {
		t.Run(annotation, func(t *testing.T) {
			name, value, _ := strings.Cut(annotation, ": ")
			rules, diags := intercept.Of(pod(t, annotation, name, strings.Trim(value, `"`)))
			if rules != nil || len(diags) != 1 {
				t.Fatalf("got %v, %v; want one problem", rules, diags)
			}
			got := diags[0].String()
			if !strings.Contains(got, want) || !strings.HasPrefix(got, "a.yaml:7:") {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// pod reads a pod with one annotation, so that places are known.
func pod(t *testing.T, line, name, value string) *translate.Pod {
	t.Helper()
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n" +
		"  labels: {app: a}\n  annotations:\n    " + line + "\n" +
		"spec: {containers: [{name: a, image: nginx}]}\n"
	c, _ := istio.Read([]istio.File{{Name: "a.yaml", Data: []byte(text)}}, istio.ReadOptions{})
	if len(c.Objects) != 1 {
		t.Fatalf("%d objects", len(c.Objects))
	}
	return &translate.Pod{
		Name: "a", Namespace: "default", Object: c.Objects[0],
		Annotations: map[string]string{name: value},
	}
}

// TestChanged: who can not tell a kernel refuses what is not all, by name.
func TestChanged(t *testing.T) {
	const k = "traffic.sidecar.istio.io/"
	for annotation, want := range map[string]bool{
		k + "includeInboundPorts: *": false, k + "includeInboundPorts: 80": true,
		k + "includeOutboundIPRanges: *": false, k + "includeOutboundIPRanges: 10.0.0.0/8": true,
		k + "includeOutboundPorts: *": false, k + "excludeOutboundPorts: 25": true,
		k + "excludeInterfaces: eth1": true, "a: b": false,
	} {
		name, value, _ := strings.Cut(annotation, ": ")
		got := intercept.Changed(&translate.Pod{Annotations: map[string]string{name: value}})
		if (len(got) == 1) != want || want && !strings.Contains(got[0].String(), name) {
			t.Errorf("%s: %v", annotation, got)
		}
	}
}

func TestTakes(t *testing.T) {
	vip, pod := netip.MustParseAddrPort("10.96.0.10:80"), netip.MustParseAddrPort("10.244.0.2:80")
	out := netip.MustParseAddrPort("198.51.100.1:443")
	for _, c := range []struct {
		name   string
		change func(*intercept.Rules)
		to     netip.AddrPort
		want   bool
	}{
		{"all", func(*intercept.Rules) {}, out, true},
		{"in range", func(r *intercept.Rules) {
			r.Outbound = intercept.Ranges{List: ranges("10.96.0.0/12")}
		}, vip, true},
		{"out of range", func(r *intercept.Rules) {
			r.Outbound = intercept.Ranges{List: ranges("10.96.0.0/12")}
		}, pod, false},
		{"excluded range", func(r *intercept.Rules) {
			r.ExcludeOutbound = ranges("198.51.100.0/24")
		}, out, false},
		{"excluded range wins over port", func(r *intercept.Rules) {
			r.ExcludeOutbound, r.OutboundPorts = ranges("198.51.100.0/24"), []uint16{443}
		}, out, false},
		{"included port", func(r *intercept.Rules) {
			r.Outbound, r.OutboundPorts = intercept.Ranges{}, []uint16{443}
		}, out, true},
		{"excluded port", func(r *intercept.Rules) { r.ExcludePorts = []uint16{443} }, out, false},
	} {
		if got := changed(c.change).TakesOutbound(c.to); got != c.want {
			t.Errorf("%s: takes %s: %v, want %v", c.name, c.to, got, c.want)
		}
	}
	r := intercept.Default()
	for port, want := range map[uint16]bool{80: true, 15001: true, 15008: false, 15021: false} {
		if r.TakesInbound(port) != want {
			t.Errorf("takes port %d: %v, want %v", port, !want, want)
		}
	}
	r.Inbound = intercept.Ports{List: []uint16{80, 15008}}
	for port, want := range map[uint16]bool{80: true, 81: false, 15008: false} {
		if r.TakesInbound(port) != want {
			t.Errorf("a list: takes port %d: %v, want %v", port, !want, want)
		}
	}
}
