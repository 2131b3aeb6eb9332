package embedded_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// call is a connection into the mesh of a golden case of meshcore/translate, and where it goes: the
// clusters that it may be led to, and flags.
type call struct {
	mesh string
	from string // a pod; "outside" by the published port of the gateway edge
	to   string // ADDRESS:PORT; from outside PORT of the gateway's Service
	sni  string // not empty: a TLS handshake with it, else plain text
	want string
}

// calls says where rules for connections lead.
var calls = []call{
	{"l4-routes", "client-0.default", "wire:9200", "", "outbound|9200|one|wire"},
	{"l4-routes", "guest-0.default", "wire:9200", "", "outbound|9200|two|wire"},
	{"l4-routes", "client-0.default", "wire:9300", "", "outbound|9300|one|wire or outbound|443||safe"},
	{"l4-routes", "client-0.default", "safe:443", "a.safe.example.com", "outbound|443|one|safe"},
	{"l4-routes", "client-0.default", "safe:443", "B.safe.example.com", "outbound|443|one|safe"},
	{"l4-routes", "client-0.default", "safe:443", "c.d.safe.example.com", "outbound|9300||wire"},
	{"l4-routes", "guest-0.default", "safe:443", "a.safe.example.com", "outbound|9300||wire"},
	{"l4-routes", "client-0.default", "safe:445", "safe.default.svc.cluster.local", "outbound|9200||wire"},
	{"l4-routes", "client-0.default", "safe:445", "other.safe.example.com", "outbound|9300||wire"},
	{"l4-routes", "client-0.default", "safe:445", "c.safe.example.com", "PassthroughCluster"},
	{"l4-routes", "client-0.default", "safe:443", "other.example.com", "PassthroughCluster"},
	{"l4-routes", "client-0.default", "safe:443", "", "PassthroughCluster"},
	{"l4-routes", "client-0.default", "safe:444", "a.safe.example.com", "outbound|444||safe"},

	{"l4-gateway", topology.Outside, "9100", "", "outbound|9200||wire"},
	{"l4-gateway", topology.Outside, "443", "a.example.com", "outbound|9200||wire"},
	{"l4-gateway", topology.Outside, "443", "x.b.example.com", "outbound|9200||wire"},
	{"l4-gateway", topology.Outside, "443", "safe.example.org", "outbound|9200||wire"},
	{"l4-gateway", topology.Outside, "443", "lone.example.org", "NR"},
	{"l4-gateway", topology.Outside, "443", "", "NR"},
}

// TestL4 follows connections through our proxies.
func TestL4(t *testing.T) { testL4(t, embedded.Driver{}) }

// TestL4Envoy does the same with real Envoys.
func TestL4Envoy(t *testing.T) {
	testenvoy.Binary(t)
	testL4(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

func testL4(t *testing.T, d embedded.Driver) {
	for _, mesh := range []string{"l4-routes", "l4-gateway"} {
		t.Run(mesh, func(t *testing.T) {
			text, err := os.ReadFile("../../../meshcore/translate/testdata/" + mesh + "/in.yaml")
			if err != nil {
				t.Fatal(err)
			}
			config, diags := istio.Read([]istio.File{{Name: "in.yaml", Data: text}}, istio.ReadOptions{})
			if istio.HasErrors(diags) {
				t.Fatal(diags)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m, err := d.Up(ctx, topology.Spec{Config: config, Seed: 7})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close(context.WithoutCancel(ctx))
			for _, c := range calls {
				if c.mesh != mesh {
					continue
				}
				got := c.led(t, ctx, m)
				if !slices.Contains(strings.Split(c.want, " or "), got) {
					t.Errorf("%s to %s, SNI %q: got %s, want %s", c.from, c.to, c.sni, got, c.want)
				}
			}
		})
	}
}

// led makes the connection and returns what the client's proxy, or the gateway, records of it.
func (c call) led(t *testing.T, ctx context.Context, m topology.Mesh) string {
	t.Helper()
	seen := make(recordsOf, 64)
	defer m.Recorder().Subscribe(seen)()
	conn := c.dial(t, ctx, m)
	if c.sni != "" {
		// The server speaks no TLS, so the handshake ends with whatever it answers.
		client := tls.Client(conn, &tls.Config{ServerName: c.sni, InsecureSkipVerify: true}) //nolint:gosec // a test
		_ = client.HandshakeContext(ctx)
	} else if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	conn.Close()
	return seen.first(t, ctx, func(r observe.Request) bool {
		return r.Reporter == observe.Source && (r.Proxy == c.from || c.from == topology.Outside)
	})
}

// recordsOf gets records as they come.
type recordsOf chan observe.Request

func (c recordsOf) Request(r *observe.Request) {
	select {
	case c <- *r:
	default: // more than any connection makes
	}
}

func (recordsOf) Client(*observe.Client) {}
func (recordsOf) Change(*observe.Change) {}

// first waits for a record and returns its cluster, or its flags without one.
func (c recordsOf) first(
	t *testing.T, ctx context.Context, wanted func(observe.Request) bool,
) string {
	t.Helper()
	for {
		select {
		case r := <-c:
			if wanted(r) {
				return cmp.Or(strings.TrimSuffix(r.Cluster, ".default.svc.cluster.local"), r.Flags)
			}
		case <-ctx.Done():
			t.Fatal("no record")
		}
	}
}

func (c call) dial(t *testing.T, ctx context.Context, m topology.Mesh) net.Conn {
	t.Helper()
	if c.from != topology.Outside {
		conn, err := m.Dial(ctx, c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return dialGateway(t, ctx, m, c.to)
}

// dialGateway connects to the published port of a gateway.
func dialGateway(t *testing.T, ctx context.Context, m topology.Mesh, port string) net.Conn {
	t.Helper()
	for _, g := range m.Gateways() {
		if g.Gateway == "edge-0.default" && fmt.Sprint(g.Port) == port {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp4", g.Address)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
	}
	t.Fatalf("port %s is not published: %v", port, m.Gateways())
	return nil
}
