package parity_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/parity"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// TestEnvoy compares random configurations on our data plane and on the real Envoy: a few that are
// always the same, or MESHLAB_PARITY=2000 of a fresh seed, which it prints.
func TestEnvoy(t *testing.T) {
	envoy.Binary(t)
	r := newRun(t, nil)
	r.B.Name, r.B.Driver = "envoy", embedded.Driver{Proxy: "envoy", Dir: t.TempDir()}
	r.Max, r.Spec.Seed = 20, 1
	n := 30
	if more, err := strconv.Atoi(os.Getenv("MESHLAB_PARITY")); err == nil {
		n, r.Spec.Seed = more, uint64(time.Now().UnixNano())&0xffffff
	}
	t.Logf("seed %x", r.Spec.Seed)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, src := range []parity.Source{drawn, generated, access} {
		if err := r.Fuzz(ctx, src, n/3); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Findings) > 0 || r.Tally.Configs+r.Tally.Invalid != n/3*3 {
		t.Errorf("%s", report(t, r))
	}
}

// mistaken has clients speak TLS to servers that take plain text alone.
const mistaken = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: shop}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec:
  host: a.shop.svc.cluster.local
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
`

// TestCompany compares connections that fail: with one, a real Envoy fails all requests that wait
// for the same host, and how many these are is no difference between data planes.
func TestCompany(t *testing.T) {
	envoy.Binary(t)
	r := newRun(t, nil)
	r.B.Name, r.B.Driver = "envoy", embedded.Driver{Proxy: "envoy", Dir: t.TempDir()}
	src := fixed(mistaken)
	src.Mesh = access.Mesh
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := r.Fuzz(ctx, src, 1); err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 || r.Tally.Configs != 1 || r.Tally.Random == 0 {
		t.Errorf("%+v\n%s", r.Tally, report(t, r))
	}
}
