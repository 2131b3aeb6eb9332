package parity_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// silent has the goldens of which no request can be made, and why.
var silent = map[string]string{
	"access-log-json": "it has a gateway and nothing behind it",
	"roles":           "it has no Service, and no rules",
}

// apart has the goldens that are not compared, and why.
var apart = map[string]string{
	"auto-passthrough": "of its Service's two pods one has no sidecar, and who comes past the " +
		"routes meets one of them for each connection: outcomes are not drawn request by request",
	"client-tls":      "no lab starts with it: it names a Secret that does not exist",
	"gateway-secrets": "no lab starts with it: its Secrets are broken",
	"l4-refused":      "no lab starts with it: Envoy refuses its listeners",
	"made-gateway":    "an Envoy of the embedded topology has no listener at a gateway's own address",
	"headless": "a pod that calls itself by a headless name: of that connection, which a proxy " +
		"passes on unread, an Envoy of the embedded topology records another end",
}

// TestGoldens sends the meshes of all translation goldens the same requests on our data plane and
// on the real Envoy.
func TestGoldens(t *testing.T) {
	envoy.Binary(t)
	files, err := filepath.Glob("../../meshcore/translate/testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			if why := apart[name]; why != "" {
				t.Skip(why)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, diags := istio.Read([]istio.File{{Name: "in.yaml", Data: text}},
				istio.ReadOptions{})
			if istio.HasErrors(diags) {
				t.Fatal(diags)
			}
			r := newRun(t, nil)
			r.B.Name, r.B.Driver = "envoy", embedded.Driver{Proxy: "envoy", Dir: t.TempDir()}
			r.Max, r.Spec.UnknownImage = 25, "echo"
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := r.Config(ctx, name, c, nil); err != nil {
				t.Fatal(err)
			}
			if len(r.Findings) > 0 || (r.Tally.Requests == 0) != (silent[name] != "") {
				t.Errorf("%s", report(t, r))
			}
		})
	}
}
