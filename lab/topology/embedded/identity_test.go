package embedded_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
)

// handshakes has every request of the chain begin with handshakes between all its proxies.
const handshakes = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: once}
spec:
  host: "*.default.svc.cluster.local"
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
`

// serials are the serial numbers of the certificates that proxies have, by node.
func serials(t *testing.T, m topology.Mesh) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range m.Proxies() {
		s, err := m.Snapshot(p.Node)
		if err != nil {
			t.Fatal(err)
		}
		chain := s.Secrets[identity.Default].GetTlsCertificate().GetCertificateChain()
		block, _ := pem.Decode(chain.GetInlineBytes())
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out[p.Node] = c.SerialNumber.String()
	}
	return out
}

// while has requests through the whole chain go on, one behind the other, until do has ended. None
// of them may fail.
func while(t *testing.T, m topology.Mesh, do func(ctx context.Context)) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer cancel()
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			var status int
			var body string
			err := request.Send(t.Context(), m,
				request.Spec{From: "curl", URL: "http://customer:8080/"},
				func(r request.Result) error {
					status, body = r.Status, r.Body
					return nil
				})
			if err != nil || status != 200 {
				done <- fmt.Errorf("request %d: %d %s: %v", n, status, body, err)
				return
			}
		}
	}()
	do(ctx)
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRotate: all certificates are issued anew under load, and every proxy has ACKed its own; no
// request is lost, and nothing but secrets is sent.
func TestRotate(t *testing.T) { onBoth(t, testRotate) }

func testRotate(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t, handshakes))
	before, began := serials(t, m), m.Clock().Now()
	while(t, m, func(ctx context.Context) {
		for range 5 {
			n, err := m.(topology.Rotator).RotateCertificates(ctx)
			if err != nil || n != len(before) {
				t.Errorf("%d proxies of %d, %v", n, len(before), err)
			}
		}
	})
	for node, serial := range serials(t, m) {
		if serial == before[node] {
			t.Errorf("%s has the certificate from before", node)
		}
	}
	sent := 0
	for _, p := range m.Recorder().Snapshot().Pushes {
		switch {
		case p.At < began:
		case p.Type != "SDS" || p.Nack != "":
			t.Errorf("sent %+v", p)
		default:
			sent++
		}
	}
	if sent != 5*len(before) {
		t.Errorf("%d certificates sent, want %d", sent, 5*len(before))
	}
}

// TestRenewal: certificates that live for seconds are renewed again and again by themselves, and no
// request is lost by it.
func TestRenewal(t *testing.T) { onBoth(t, testRenewal) }

func testRenewal(t *testing.T, d embedded.Driver) {
	m, err := d.Up(t.Context(), topology.Spec{Config: customer(t, handshakes), Seed: 1,
		CertificateTTL: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(context.Background()) })
	const node, times = "curl-0.default", 4 // longer than one lives
	while(t, m, func(ctx context.Context) {
		seen := map[string]bool{}
		for len(seen) < times && ctx.Err() == nil {
			seen[serials(t, m)[node]] = true
			ask(t, m, request.Spec{From: "curl", URL: "http://customer:8080/"}) // what paces it
		}
	})
}

// TestIssue: who calls from outside gets a certificate of the mesh's authority.
func TestIssue(t *testing.T) {
	m := up(t, customer(t))
	c, err := m.(topology.Issuer).Issue("default", "caller")
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Snapshot("curl-0.default")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(
		s.Secrets[identity.RootCA].GetValidationContext().GetTrustedCa().GetInlineBytes())
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: roots,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || c.Leaf.URIs[0].String() != "spiffe://cluster.local/ns/default/sa/caller" {
		t.Errorf("%v, %v", c.Leaf.URIs, err)
	}
	if _, err := m.(topology.Issuer).Issue("default", "no name"); err == nil {
		t.Error("a certificate for a name that can not be")
	}
}

// TestControlPlaneLostRotation: without a control plane proxies keep their certificates, and have
// new ones once it is back.
func TestControlPlaneLostRotation(t *testing.T) {
	m := up(t, customer(t))
	cp := m.(topology.ControlPlane)
	if err := cp.StopControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.(topology.Rotator).RotateCertificates(ctx); err == nil {
		t.Error("rotated without a control plane")
	}
	serves(t, m)
	if err := cp.StartControlPlane(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := m.(topology.Rotator).RotateCertificates(t.Context()); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
	serves(t, m)
}
