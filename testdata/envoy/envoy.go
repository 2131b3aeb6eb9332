// Package envoy finds the real Envoy for tests, as mesh-lab itself finds it.
//
// A test on a machine without one is skipped with the reason, unless MESHLAB_REQUIRE contains
// "envoy": then it fails.
package envoy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// Binary returns the Envoy of this machine.
func Binary(t testing.TB) envoy.Binary {
	t.Helper()
	b, err := envoy.Locate(t.Context())
	if err != nil {
		if strings.Contains(os.Getenv("MESHLAB_REQUIRE"), "envoy") {
			t.Fatal("envoy is required: ", err)
		}
		t.Skip(err)
	}
	return b
}

// Binaries returns Binary, and those that MESHLAB_ENVOYS lists as PATH does: further versions.
func Binaries(t testing.TB) []envoy.Binary {
	t.Helper()
	all := []envoy.Binary{Binary(t)}
	for _, path := range filepath.SplitList(os.Getenv("MESHLAB_ENVOYS")) {
		b, err := envoy.Examine(t.Context(), path)
		if err != nil {
			t.Fatal("MESHLAB_ENVOYS: ", err)
		}
		if !slices.ContainsFunc(all, func(o envoy.Binary) bool { return o.Path == b.Path }) {
			all = append(all, b)
		}
	}
	return all
}
