package engine

import (
	"net/netip"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

const tcpTo = `{name: tcp, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, statPrefix: x, `

const listeners = `
- name: virtualOutbound
  address: {socketAddress: {address: 0.0.0.0, portValue: 15001}}
  useOriginalDst: true
  trafficDirection: OUTBOUND
  filterChains: [{name: passthrough, filters: [` + tcpTo + `cluster: Passthrough}}]}]
- name: vip
  address: {socketAddress: {address: 10.96.0.10, portValue: 80}}
  bindToPort: false
  filterChains: [{name: vip, filters: [` + tcpTo + `cluster: a}}]}]
- name: hashed
  address: {socketAddress: {address: 10.96.0.20, portValue: 80}}
  bindToPort: false
  filterChains: [{name: hashed, filters: [` + tcpTo + `cluster: ring, hashPolicy: [{sourceIp: {}}], maxDownstreamConnectionDuration: 2s}}]}]
- name: any
  address: {socketAddress: {address: 0.0.0.0, portValue: 80}}
  bindToPort: false
  filterChains: [{name: any, filters: [` + tcpTo + `cluster: a}}]}]
- name: virtualInbound
  address: {socketAddress: {address: 0.0.0.0, portValue: 15006}}
  trafficDirection: INBOUND
  listenerFilters:
  - name: http
    typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}
    filterDisabled: {orMatch: {rules: [{destinationPortRange: {start: 3306, end: 3307}}, {destinationPortRange: {start: 1, end: 2}}]}}
  filterChains:
  - {name: http8080, filterChainMatch: {destinationPort: 8080, transportProtocol: raw_buffer, applicationProtocols: [http/1.1, h2c]}, filters: [` + tcpTo + `cluster: a}}]}
  - {name: tcp8080, filterChainMatch: {destinationPort: 8080}, filters: [` + tcpTo + `cluster: a}}]}
  - {name: tls9000, filterChainMatch: {destinationPort: 9000, transportProtocol: tls}, filters: [` + tcpTo + `cluster: a}}]}
  - {name: wide, filterChainMatch: {prefixRanges: [{addressPrefix: 10.0.0.0, prefixLen: 8}]}, filters: [` + tcpTo + `cluster: a}}]}
  - {name: narrow, filterChainMatch: {prefixRanges: [{addressPrefix: 10.244.0.0, prefixLen: 16}], applicationProtocols: [x]}, filters: [` + tcpTo + `cluster: a}}]}
  - {name: sni, filterChainMatch: {serverNames: ["*.example.com"]}, filters: [` + tcpTo + `cluster: a}}]}
  defaultFilterChain: {name: default, filters: [` + tcpTo + `cluster: a}}]}
`

func listening(t testing.TB) *Engine {
	t.Helper()
	s := xds.NewSnapshot()
	for _, l := range protoYAML(t, []byte(listeners),
		func() *listenerv3.Listener { return &listenerv3.Listener{} }) {
		s.Listeners[l.GetName()] = l
	}
	for _, c := range protoYAML(t, []byte(`
- {name: Passthrough, type: ORIGINAL_DST, lbPolicy: CLUSTER_PROVIDED, cleanupInterval: 60s}
- name: ring
  type: STATIC
  lbPolicy: RING_HASH
  loadAssignment:
    clusterName: ring
    endpoints:
    - lbEndpoints:
      - {endpoint: {address: {socketAddress: {address: 10.244.0.2, portValue: 80}}}}
      - {endpoint: {address: {socketAddress: {address: 10.244.0.3, portValue: 80}}}}
      - {endpoint: {address: {socketAddress: {address: 10.244.0.4, portValue: 80}}}}
- {name: a, type: STATIC, loadAssignment: {clusterName: a, endpoints: [{lbEndpoints: [{endpoint: {address: {socketAddress: {address: 10.244.0.2, portValue: 80}}}}]}]}}`),
		func() *clusterv3.Cluster { return &clusterv3.Cluster{} }) {
		s.Clusters[c.GetName()] = c
	}
	e := New(Options{})
	if err := e.Update(0, s); err != nil {
		t.Fatal(err)
	}
	return e
}

// bindOf is an address that a listener binds.
func bindOf(text string) Address { return Address{AddrPort: netip.MustParseAddrPort(text)} }

func TestListener(t *testing.T) {
	e := listening(t)
	out := bindOf("0.0.0.0:15001")
	in := bindOf("0.0.0.0:15006")
	if b := e.Binds(); len(b) != 2 || b[0] != out || b[1] != in {
		t.Error(b)
	}
	for _, row := range []struct {
		bind        Address
		local, want string
	}{
		{out, "10.96.0.10:80", "vip"}, {out, "10.96.0.11:80", "any"},
		{out, "10.96.0.11:81", "virtualOutbound"}, {in, "10.96.0.10:80", "virtualInbound"},
	} {
		if l := e.Listener(row.bind, netip.MustParseAddrPort(row.local)); l.Name != row.want {
			t.Errorf("%v: %s, want %s", row, l.Name, row.want)
		}
	}
	if e.Listener(bindOf("0.0.0.0:1"), out.AddrPort) != nil {
		t.Error("a listener for an address that is not bound")
	}
}

// What a connection brings, and the chain that Envoy's rules give it.
func TestChain(t *testing.T) {
	e := listening(t)
	l := e.Listener(bindOf("0.0.0.0:15006"), netip.AddrPort{})
	for _, row := range []struct{ local, transport, alpn, sni, want string }{
		{"10.244.0.9:8080", "raw_buffer", "http/1.1", "", "http8080"},
		// A more specific transport protocol hides the chain without one, even if the rest fails.
		{"10.244.0.9:8080", "raw_buffer", "", "", "default"},
		{"10.244.0.9:8080", "raw_buffer", "http/1.0", "", "default"},
		{"10.244.0.9:8080", "tls", "http/1.1", "", "tcp8080"},
		// A port with chains never falls back to chains without a port.
		{"10.244.0.9:9000", "raw_buffer", "", "", "default"},
		{"10.1.0.9:70", "raw_buffer", "", "", "wide"},
		// The longest prefix decides before application protocols are looked at.
		{"10.244.0.9:70", "raw_buffer", "", "", "default"},
		{"10.244.0.9:70", "raw_buffer", "x", "", "narrow"},
		{"11.0.0.9:70", "tls", "", "a.b.example.com", "sni"},
		{"11.0.0.9:70", "tls", "", "example.com", "default"},
	} {
		ci := &ConnInfo{Local: netip.MustParseAddrPort(row.local), Transport: row.transport,
			SNI: row.sni, Remote: netip.MustParseAddrPort("10.244.0.1:1")}
		if row.alpn != "" {
			ci.ALPN = []string{row.alpn}
		}
		if c := l.Chain(ci); c.Name != row.want {
			t.Errorf("%v: %s", row, c.Name)
		}
	}
	for port, want := range map[string]bool{"80": true, "3306": false, "3307": true, "1": false} {
		ci := &ConnInfo{Local: netip.MustParseAddrPort("10.244.0.9:" + port)}
		if got := l.Inspect(ci); got.HTTP != want || got.TLS {
			t.Errorf("port %s: %+v", port, got)
		}
	}
}

func TestTCP(t *testing.T) {
	e := listening(t)
	out := bindOf("0.0.0.0:15001")
	ci := &ConnInfo{Local: netip.MustParseAddrPort("192.0.2.1:3306"),
		Remote: netip.MustParseAddrPort("10.244.0.1:1")}
	ch := e.Listener(out, ci.Local).Chain(ci)
	var x Exchange
	d := e.StartTCP(&x, ch, ci, 0, 1)
	if d.Kind != Attempt || d.Endpoint.Addr.AddrPort != ci.Local {
		t.Fatalf("%+v", d)
	}
	first := d.Endpoint
	if d = x.HandleTCP(Event{Kind: Connected}, 1); d.Kind != Forward || first.Active() != 1 {
		t.Fatalf("%+v", d)
	}
	if d = x.HandleTCP(Event{Kind: Sent}, 5); d.Kind != Done || x.Record.Duration != 5 {
		t.Fatalf("%+v %+v", d, x.Record)
	}
	if x.Record.Protocol != "TCP" || x.Record.Reporter != observe.Source || first.Active() != 0 ||
		x.Record.Cluster != "Passthrough" {
		t.Errorf("%+v", x.Record)
	}
	// The endpoint of an original destination is kept while it is used.
	if d = e.StartTCP(&x, ch, ci, 6, 2); d.Endpoint != first {
		t.Error("another endpoint for the same address")
	}
	if d = x.HandleTCP(Event{Kind: ConnectFail}, 7); d.Kind != Abort {
		t.Fatalf("%+v", d)
	}
	if x.HandleTCP(Event{Kind: Sent}, 8); x.Record.Flags != "UF,URX" {
		t.Error(x.Record.Flags)
	}
	now := clock.Instant(0)
	for range 3 {
		now = e.Tick(now)
	}
	if now != clock.Instant(3*time.Minute) || len(hosts(e, "Passthrough")) != 0 {
		t.Error(now, hosts(e, "Passthrough"))
	}
}

// TestTCPHash: the source address chooses the host, whatever the draw; and what lasted too long ends
// with its flag.
func TestTCPHash(t *testing.T) {
	e := listening(t)
	local := netip.MustParseAddrPort("10.96.0.20:80")
	seen := map[*Endpoint]bool{}
	for client := range 20 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, byte(client)}), 1)
		var chosen *Endpoint
		for port := range 5 {
			ci := &ConnInfo{Local: local, Remote: netip.AddrPortFrom(from.Addr(), uint16(1+port))}
			ch := e.Listener(bindOf("0.0.0.0:15001"), local).Chain(ci)
			if ch.TCPDuration != 2*time.Second {
				t.Fatal(ch.TCPDuration)
			}
			var x Exchange
			d := e.StartTCP(&x, ch, ci, 0, uint64(client*100+port))
			if chosen != nil && d.Endpoint != chosen {
				t.Errorf("client %d: %v, then %v", client, chosen.Addr, d.Endpoint.Addr)
			}
			chosen, seen[d.Endpoint] = d.Endpoint, true
			x.HandleTCP(Event{Kind: Connected}, 1)
			x.HandleTCP(Event{Kind: Timeout}, clock.Instant(2*time.Second))
			if x.Record.Flags != "DT" {
				t.Errorf("flags %q", x.Record.Flags)
			}
		}
	}
	if len(seen) < 2 {
		t.Error("every client has the same host")
	}
}
