package runner_test

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
)

// update is looked up by the book of evidence.
var _ = flag.Bool("update", false, "rewrite the evidence in reports/fidelity")

// TestScenarios runs every bundled scenario; MESHLAB_SOAK=50 runs each so often, with other seeds.
func TestScenarios(t *testing.T) { testScenarios(t, embedded.Driver{}) }

// TestScenariosEnvoy does the same with a real Envoy beside every app.
func TestScenariosEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	testScenarios(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

func testScenarios(t *testing.T, d embedded.Driver) {
	plane := cmp.Or(d.Proxy, fidelity.Meshcore)
	book := evidence.Open(t, "../../reports/fidelity/evidence", "scenarios-"+plane,
		fidelity.Evidence{
			By: "lab/runner " + t.Name(), Short: "in scenarios", Plane: plane,
			Shows: fidelity.Answered, Unit: "expectations",
			What: "bundled scenarios with what they expect of Istio",
		})
	times := 1
	if n, err := strconv.Atoi(os.Getenv("MESHLAB_SOAK")); err == nil {
		times = n
	}
	for _, name := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(times) {
				run, res := playKept(t, name, d, 1000+seed, &reports.Carried{})
				if res.Verdict != assert.Pass {
					t.Fatalf("seed %x:\n%s", 1000+seed, text(t, res))
				}
				began := time.Now()
				wrong, n := explained(run)
				t.Logf("%d records explained in %v", n, time.Since(began))
				for _, p := range wrong {
					t.Errorf("why: %s", p)
				}
			}
			expectations, configs := contents(t, name)
			book.Add(name, expectations, configs...)
		})
	}
}

// stories are the bundled scenarios but for those of TestStories.
func stories() []string {
	return slices.DeleteFunc(scenarios.Names(), func(name string) bool {
		return strings.HasPrefix(name, chaosFolder)
	})
}

// contents counts a scenario's expectations and reads every configuration in it.
func contents(t *testing.T, name string) (expectations int, configs []*istio.Config) {
	t.Helper()
	s, _ := scenarios.Open(scenarios.Catalogue(), name+".yaml")
	mesh, err := runner.Configuration(s)
	if err != nil {
		t.Fatal(err)
	}
	configs = append(configs, mesh)
	for _, step := range s.Steps {
		expectations += len(step.Expect)
		for _, a := range step.Actions {
			if a.Apply == nil {
				continue
			}
			for _, d := range *a.Apply {
				c, diags := istio.Read([]istio.File{{Name: d.File, Data: d.Data}},
					istio.ReadOptions{})
				if istio.HasErrors(diags) {
					t.Fatal(diags)
				}
				configs = append(configs, c)
			}
		}
	}
	return expectations, configs
}
