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
