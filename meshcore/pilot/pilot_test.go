package pilot

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mesh = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {clusterIP: 10.96.0.10, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a-0, labels: {app: a}}
spec: {containers: [{name: a, image: mesh-lab/echo}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a-1, labels: {app: a}}
spec: {containers: [{name: a, image: mesh-lab/echo}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a-2, labels: {app: a}, annotations: {mesh-lab.dev/ip: 10.1.0.9}}
spec: {containers: [{name: a, image: mesh-lab/echo}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {sidecar.istio.io/inject: "false"}}
spec: {containers: [{name: a, image: mesh-lab/echo}]}
`

func read(t *testing.T, text string) *istio.Config {
	t.Helper()
	c, diags := istio.Read([]istio.File{{Name: "mesh.yaml", Data: []byte(text)}}, istio.ReadOptions{})
	for _, d := range diags {
		t.Fatal(d)
	}
	return c
}

func newPilot(t *testing.T) *Pilot {
	t.Helper()
	p, diags := New(read(t, mesh), slog.New(slog.DiscardHandler))
	for _, d := range diags {
		t.Fatal(d)
	}
	return p
}

// id is a node whose id is as Istio's agent writes it.
func id(role, ip, pod string) *corev3.Node {
	return &corev3.Node{Id: role + "~" + ip + "~" + pod + ".default~default.svc.cluster.local"}
}

func metadata(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseNode(t *testing.T) {
	for _, row := range []struct {
		id   string
		meta map[string]any
		want string // key ip role, or a part of the error
	}{
		{"sidecar~10.0.0.7~a-0.default~default.svc.cluster.local", nil, "a-0.default 10.0.0.7 0"},
		{"router~10.0.0.7~gw.with.dots.istio-system~istio-system.svc.cluster.local", nil,
			"gw.with.dots.istio-system 10.0.0.7 1"},
		{"sidecar~10.0.0.7~a-0.default~other.svc.cluster.local",
			map[string]any{"NAMESPACE": "default"}, "a-0.default 10.0.0.7 0"},
		{"sidecar~10.0.0.7~vm~default.svc.cluster.local", nil, "vm.default 10.0.0.7 0"},
		{"sidecar~bad~a-0.default~default.svc.cluster.local",
			map[string]any{"INSTANCE_IPS": "10.0.0.8,fd00::1"}, "a-0.default 10.0.0.8 0"},
		{"sidecar~10.0.0.7~a-0.default~default.svc.cluster.local",
			map[string]any{"INSTANCE_IPS": "x"}, "a-0.default 10.0.0.7 0"},
		{"plain", nil, "want ROLE~IP~POD.NAMESPACE~DOMAIN"},
		{"ztunnel~10.0.0.7~a.b~b.svc", nil, `role "ztunnel" is not carried out`},
		{"sidecar~~a-0.default~default.svc", nil, "no valid IP address"},
		{"sidecar~10.0.0.7~~default.svc", nil, "it must name a pod"},
		{"sidecar~10.0.0.7~a~", nil, "and it or NAMESPACE a namespace"},
	} {
		n, err := parseNode(&corev3.Node{Id: row.id, Metadata: metadata(t, row.meta)})
		if err != nil {
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: %v", row.id, err)
			}
			continue
		}
		role := map[translate.Role]string{translate.Sidecar: "0", translate.Gateway: "1"}[n.role]
		if got := n.key() + " " + n.ip.String() + " " + role; got != row.want {
			t.Errorf("%s: %s, want %s", row.id, got, row.want)
		}
	}
}

// addresses are the pods' addresses, and the endpoints that proxy key is told of.
func addresses(t *testing.T, p *Pilot, key string) (pods map[string]string, endpoints []string) {
	t.Helper()
	all := p.snapshots()
	pods = map[string]string{}
	for _, pod := range p.reg.Pods {
		pods[pod.Name] = pod.IP.String()
	}
	s := all[key]
	if s == nil {
		return pods, nil
	}
	e := s.Endpoints["outbound|80||a.default.svc.cluster.local"]
	for _, l := range e.GetEndpoints() {
		for _, h := range l.GetLbEndpoints() {
			endpoints = append(endpoints,
				h.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
	slices.Sort(endpoints)
	return pods, endpoints
}

// TestAddresses: a connected proxy's address is its pod's, whatever it was; who chose one in the
// files keeps it, and nobody takes another's.
func TestAddresses(t *testing.T) {
	p := newPilot(t)
	p.connected("a-0.default", id("sidecar", "10.9.0.1", "a-0"), false)
	pods, endpoints := addresses(t, p, "a-0.default")
	if pods["a-0"] != "10.9.0.1" || pods["a-1"] != "10.244.0.3" || pods["a-2"] != "10.1.0.9" {
		t.Error(pods)
	}
	if !slices.Equal(endpoints, []string{"10.1.0.9", "10.244.0.3", "10.9.0.1"}) {
		t.Error(endpoints)
	}
	// It takes the address that another has by chance.
	p.connected("a-0.default", id("sidecar", "10.244.0.3", "a-0"), false)
	p.connected("a-2.default", id("sidecar", "10.7.7.7", "a-2"), false) // the files say another
	pods, _ = addresses(t, p, "a-0.default")
	if pods["a-0"] != "10.244.0.3" || pods["a-1"] == "10.244.0.3" || pods["a-2"] != "10.1.0.9" {
		t.Error(pods)
	}
	// Nobody takes one that is chosen, another proxy's or a Service's.
	for _, ip := range []string{"10.1.0.9", "10.244.0.3", "10.96.0.10"} {
		p.connected("a-1.default", id("sidecar", ip, "a-1"), false)
		if pods, _ := addresses(t, p, "a-1.default"); pods["a-1"] == ip {
			t.Error(pods)
		}
	}
	// It keeps its address when it has gone, and over another reading of the files.
	p.disconnected("a-0.default")
	p.Load(read(t, mesh))
	if pods, _ := addresses(t, p, ""); pods["a-0"] != "10.244.0.3" {
		t.Error(pods)
	}
}

// TestGuests: a proxy that the files do not have is told of the mesh, and its own Services, and
// nobody is told of it.
func TestGuests(t *testing.T) {
	p := newPilot(t)
	guest := id("sidecar", "10.5.0.1", "guest")
	guest.Metadata = metadata(t, map[string]any{
		"NAMESPACE": "default", "WORKLOAD_NAME": "guests", "LABELS": map[string]any{"app": "a"}})
	p.connected("guest.default", guest, false)
	p.connected("bare.default", id("sidecar", "10.5.0.2", "bare"), false)
	all := p.snapshots()
	if len(all) != 2 || all["bare.default"] == nil {
		t.Fatalf("%d snapshots", len(all))
	}
	s := all["guest.default"]
	if s.Clusters["inbound|8080||"] == nil || s.Clusters["outbound|80||a.default.svc.cluster.local"] == nil {
		t.Error("a cluster is missing")
	}
	if _, endpoints := addresses(t, p, "guest.default"); slices.Contains(endpoints, "10.5.0.1") {
		t.Error(endpoints)
	}
	if err := s.Consistent(); err != nil {
		t.Error(err)
	}
}

// TestComesBack: who comes back waits until all addresses are known, or the files are read again, or
// time is over; who is new does not.
func TestComesBack(t *testing.T) {
	served := func(p *Pilot) []string {
		var out []string
		for key := range p.snapshots() {
			out = append(out, key)
		}
		slices.Sort(out)
		return out
	}
	p := newPilot(t)
	p.connected("a-0.default", id("sidecar", "10.9.0.1", "a-0"), true)
	if got := served(p); len(got) != 0 {
		t.Error(got)
	}
	p.connected("a-1.default", id("sidecar", "10.9.0.2", "a-1"), false)
	if got := served(p); !slices.Equal(got, []string{"a-0.default", "a-1.default"}) {
		t.Error(got) // a-2's address is in the files, and bare has no proxy
	}
	p = newPilot(t)
	p.connected("a-0.default", id("sidecar", "10.9.0.1", "a-0"), true)
	p.connected("new.default", id("sidecar", "10.9.0.4", "new"), false)
	if got := served(p); !slices.Equal(got, []string{"new.default"}) {
		t.Error(got)
	}
	p.until = time.Now()
	if got := served(p); !slices.Equal(got, []string{"a-0.default", "new.default"}) {
		t.Error(got)
	}
	p = newPilot(t)
	p.connected("a-0.default", id("sidecar", "10.9.0.1", "a-0"), true)
	p.Load(read(t, mesh))
	if got := served(p); !slices.Equal(got, []string{"a-0.default"}) {
		t.Error(got)
	}
	// Who has gone long ago is forgotten.
	p.disconnected("a-0.default")
	p.nodes["a-0.default"].gone = time.Now().Add(-2 * remembered)
	if got := served(p); len(got) != 0 {
		t.Error(got)
	}
	if p.addresses["a-0.default"] != netip.MustParseAddr("10.9.0.1") {
		t.Error(p.addresses)
	}
}

// TestBadLoad: what can not be translated changes nothing.
func TestBadLoad(t *testing.T) {
	p := newPilot(t)
	before := p.config
	diags := p.Load(read(t, mesh+`---
apiVersion: v1
kind: Pod
metadata: {name: twice, annotations: {mesh-lab.dev/ip: 10.1.0.9}}
spec: {containers: [{name: a, image: mesh-lab/echo}]}
`))
	if len(diags) == 0 || p.config != before || p.Proxies() != 3 {
		t.Errorf("%v, %d proxies", diags, p.Proxies())
	}
}
