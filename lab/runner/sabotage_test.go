package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// TestSabotage leaves out each piece of configuration that a scenario about security applies, one
// after the other: it must not pass any more. A scenario that passes without its rule shows nothing.
func TestSabotage(t *testing.T) {
	for _, name := range scenarios.Names() {
		if !strings.HasPrefix(name, "security/") {
			continue
		}
		for i := range len(pieces(bundled(t, name))) {
			s := bundled(t, name)
			piece := pieces(s)[i]
			t.Run(fmt.Sprintf("%s without %s", name, piece.File), func(t *testing.T) {
				t.Parallel()
				piece.Data = nil
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				run, err := runner.Run(ctx, s, runner.Options{
					Driver: embedded.Driver{}, Topology: "embedded", Proxy: "meshcore", Seed: 7,
					Version: "test",
				})
				if invalid := (*runner.InvalidError)(nil); errors.As(err, &invalid) {
					t.Fatal(err) // it must be possible to leave the piece out
				}
				res, err := reports.Judge(run)
				if err != nil {
					t.Fatal(err)
				}
				if res.Verdict == assert.Pass {
					t.Errorf("it passes all the same:\n%s", text(t, res))
				}
			})
		}
	}
}

// bundled opens a scenario of the catalogue.
func bundled(t *testing.T, name string) *scenarios.Scenario {
	t.Helper()
	s, diags := scenarios.Open(scenarios.Catalogue(), name+".yaml")
	for _, d := range diags {
		t.Fatal(d)
	}
	return s
}

// pieces lists the configuration of a scenario that says what the mesh does: all of it but
// manifests.
func pieces(s *scenarios.Scenario) []*scenarios.Document {
	var out []*scenarios.Document
	add := func(docs *scenarios.Documents) {
		if docs != nil {
			for i := range *docs {
				out = append(out, &(*docs)[i])
			}
		}
	}
	add(&s.Mesh.Config)
	for i := range s.Steps {
		for j := range s.Steps[i].Actions {
			a := &s.Steps[i].Actions[j]
			add(a.Apply)
			if a.Load != nil {
				for k := range a.Load.Meanwhile {
					add(a.Load.Meanwhile[k].Apply)
				}
			}
		}
	}
	return out
}
