package embedded_test

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// wireMesh is a client, a server and a gateway, each with a proxy.
const wireMesh = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec: {containers: [{name: curl, image: mesh-lab/curl}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec: {containers: [{name: echo, image: mesh-lab/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000, targetPort: 9090}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template:
    metadata: {labels: {istio: ingressgateway}}
    spec: {containers: [{name: proxy, image: auto}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [web]
  http: [{route: [{destination: {host: server, port: {number: 80}}}]}]
`

const plainRule = `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain}
spec: {host: server, trafficPolicy: {tls: {mode: DISABLE}}}
`

const plainServer = `
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
`

const strictServer = `
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
`

// TestWire listens between the proxies: nothing that an app says is to be read there under mutual
// TLS, and all of it without.
func TestWire(t *testing.T) { testWire(t, embedded.Driver{}) }

// TestWireEnvoy does the same between real Envoys.
func TestWireEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	testWire(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

// The server's ports, and where the tap stands in for them.
var (
	tapped  = map[uint32]bool{8080: true, 9090: true}
	tapAddr = netip.MustParseAddr("198.51.100.99")
)

func testWire(t *testing.T, d embedded.Driver) {
	d.Tamper = throughTap
	for _, c := range []struct {
		name, config string
		secret       bool
	}{
		{"automatic mutual TLS", "", true},
		{"strict", strictServer, true},
		{"DestinationRule DISABLE", plainRule, false},
		{"PeerAuthentication DISABLE", plainServer, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, diags := istio.Read([]istio.File{{Name: "mesh.yaml",
				Data: []byte(wireMesh + c.config)}}, istio.ReadOptions{})
			for _, d := range diags {
				t.Fatal(d)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m, err := d.Up(ctx, topology.Spec{Config: config, Seed: 7})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close(context.Background())
			for _, s := range []request.Spec{
				{From: "client", URL: "http://server/", Headers: []string{"x-note: " + whisper}},
				{From: "client", URL: "http://server/" + whisper},
				{From: "client", URL: "http://server/", Body: whisper},
				{From: "client", URL: "tcp://server:9000", Body: whisper},
				{From: "outside", URL: "http://web:8080/" + whisper},
			} {
				overhear(t, ctx, m, s, c.secret)
			}
		})
	}
}

// whisper is what must not be overheard.
const whisper = "only-for-your-ears"

// overhear sends a request that has the whisper in it, and says whether that was on the wire.
func overhear(t *testing.T, ctx context.Context, m topology.Mesh, s request.Spec, secret bool) {
	t.Helper()
	server, err := request.Pod(m.Registry(), "server")
	if err != nil {
		t.Fatal(err)
	}
	var taps []*embedded.Heard
	for port := range tapped {
		h, err := embedded.Tap(m, netip.AddrPortFrom(tapAddr, uint16(port)),
			netip.AddrPortFrom(server.IP, uint16(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		taps = append(taps, h)
	}
	err = request.Send(ctx, m, s, func(r request.Result) error {
		if e := echoed(&r); e == nil || e.Pod != "server-0" ||
			!bytes.Contains([]byte(r.Body), []byte(whisper)) {
			t.Errorf("%s: got %d %q %s", s.URL, r.Status, r.Error, r.Body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var there, back, firsts []byte
	for _, h := range taps {
		a, b, c := h.Take()
		there, back, firsts = append(there, a...), append(back, b...), append(firsts, c...)
	}
	if len(there) == 0 || len(back) == 0 || len(firsts) == 0 {
		t.Fatalf("%s: the tap heard nothing", s.URL)
	}
	for what, b := range map[string][]byte{"request": there, "answer": back} {
		if heard := bytes.Contains(b, []byte(whisper)); heard == secret {
			t.Errorf("%s: %s in the clear: %v, want %v: %.200q", s.URL, what, heard, !secret, b)
		}
	}
	const handshake = 0x16
	for _, b := range firsts {
		if (b == handshake) != secret {
			t.Errorf("%s: a connection begins with %#x", s.URL, b)
		}
	}
}

// throughTap leads the server's callers to the tap, and nobody else anywhere.
func throughTap(s *xds.Snapshot) *xds.Snapshot {
	out := *s
	out.Endpoints = map[string]*endpointv3.ClusterLoadAssignment{}
	for name, a := range s.Endpoints {
		a = proto.CloneOf(a)
		for _, group := range a.Endpoints {
			for _, e := range group.LbEndpoints {
				at := e.GetEndpoint().GetAddress().GetSocketAddress()
				if tapped[at.GetPortValue()] {
					at.Address = tapAddr.String()
				}
			}
		}
		out.Endpoints[name] = a
	}
	return &out
}
