package translate

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
)

var update = flag.Bool("update", false, "rewrite the golden files and remove stale ones")

var roles = map[Role]string{
	Sidecar: "sidecar", Gateway: "gateway", Bare: "bare", External: "external",
}

// TestGolden translates testdata/CASE/in.yaml and compares with out.yaml. The first lines of
// in.yaml say what is shown: "# show: POD.NAMESPACE TYPE...", the types being listeners, routes,
// clusters, endpoints and secrets.
// Every pod's snapshot must be consistent and valid, shown or not.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no testdata/*/in.yaml: %v", err)
	}
	book := evidence.Open(t, evidenceFolder, "golden", fidelity.Evidence{
		By: "meshcore/translate TestGolden", Short: "golden", Shows: fidelity.Golden,
		What: "our resources with golden files; every pod's are consistent and valid",
		Unit: "resources",
	})
	for _, input := range inputs {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			got := golden(t, string(text))
			config := mustRead(t, "in.yaml", string(text))
			book.Add(filepath.Base(dir), resources(config), config)
			if *update {
				refresh(t, dir, got)
				return
			}
			want, err := os.ReadFile(filepath.Join(dir, "out.yaml"))
			if err != nil {
				t.Fatalf("%v (make it with -update)", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-golden +got)\n%s", diff)
			}
		})
	}
}

// resources counts what is made for all pods.
func resources(config *istio.Config) (n int) {
	registry, _ := NewRegistry(config, nil)
	translator := New(config, registry)
	for _, p := range registry.Pods {
		s, _ := translator.Snapshot(p)
		for _, typeURL := range xds.Types {
			n += len(s.Resources(typeURL))
		}
	}
	return n
}

// refresh writes out.yaml and removes what no test reads.
func refresh(t *testing.T, dir, got string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "in.yaml" {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "out.yaml"), []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, text string) string {
	t.Helper()
	config := mustRead(t, "in.yaml", text)
	registry, problems := NewRegistry(config, nil)
	translator := New(config, registry)
	var out bytes.Buffer
	for _, d := range append(problems, translator.Diagnostics()...) {
		fmt.Fprintf(&out, "# %s\n", d)
	}
	for _, p := range registry.Pods {
		fmt.Fprintf(&out, "# %s %s %s\n", roles[p.Role], p.ID(), p.IP)
		s, _ := translator.Snapshot(p)
		check(t, p, s)
	}
	for line := range strings.Lines(text) {
		wanted, ok := strings.CutPrefix(line, "# show: ")
		if !ok {
			break
		}
		fields := strings.Fields(wanted)
		i := slices.IndexFunc(registry.Pods, func(p *Pod) bool { return p.ID() == fields[0] })
		if i < 0 {
			t.Fatalf("no pod %s", fields[0])
		}
		s, _ := translator.Snapshot(registry.Pods[i])
		show(t, &out, fields, s)
	}
	return out.String()
}

// show writes the chosen types of a snapshot.
func show(t *testing.T, out io.Writer, wanted []string, s *xds.Snapshot) {
	t.Helper()
	part := xds.NewSnapshot()
	for _, what := range wanted[1:] {
		switch what {
		case "listeners":
			part.Listeners = s.Listeners
		case "routes":
			part.Routes = s.Routes
		case "clusters":
			part.Clusters = s.Clusters
		case "endpoints":
			part.Endpoints = s.Endpoints
		case "secrets":
			part.Secrets = s.Secrets
		default:
			t.Fatalf("# show: %s: no such type", what)
		}
	}
	text, err := part.YAML()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(out, "---\n# %s\n%s", wanted[0], text)
}

// check holds for every snapshot: complete, and valid by the rules in Envoy's protos.
func check(t testing.TB, p *Pod, s *xds.Snapshot) {
	t.Helper()
	if err := s.Consistent(); err != nil {
		t.Errorf("%s: %v", p.ID(), err)
	}
	for _, typeURL := range xds.Types {
		for name, m := range s.Resources(typeURL) {
			if err := valid(m); err != nil {
				t.Errorf("%s: %s: %v", p.ID(), name, err)
			}
		}
	}
}

func valid(m proto.Message) error {
	return m.(interface{ ValidateAll() error }).ValidateAll()
}

// TestDeterminism translates twice, from fresh, and asks in another order.
func TestDeterminism(t *testing.T) {
	versions := func(reverse bool) map[string]string {
		config := mustRead(t, "mesh.yaml", meshOf(6))
		registry, _ := NewRegistry(config, nil)
		pods := slices.Clone(registry.Pods)
		if reverse {
			slices.Reverse(pods)
		}
		translator := New(config, registry)
		out := map[string]string{}
		for _, p := range pods {
			s, _ := translator.Snapshot(p)
			out[p.ID()] = s.Version()
		}
		return out
	}
	if diff := cmp.Diff(versions(false), versions(true)); diff != "" {
		t.Error(diff)
	}
}

// FuzzTranslate: what the reader accepts is translated without panic, completely and validly.
func FuzzTranslate(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*/in.yaml")
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(meshOf(2)))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, problems := istio.Read(
			[]istio.File{{Name: "in.yaml", Data: text}}, istio.ReadOptions{})
		if istio.HasErrors(problems) {
			return
		}
		registry, problems := NewRegistry(config, nil)
		if istio.HasErrors(problems) || len(registry.Pods) > 50 {
			return
		}
		translator := New(config, registry)
		if istio.HasErrors(translator.Diagnostics()) {
			return
		}
		for _, p := range registry.Pods {
			s, _ := translator.Snapshot(p)
			check(t, p, s)
		}
	})
}

// TestConcurrent asks for all snapshots at once; the race detector watches what they share.
func TestConcurrent(t *testing.T) {
	config := mustRead(t, "mesh.yaml", meshOf(6))
	registry, _ := NewRegistry(config, nil)
	translator := New(config, registry)
	var group sync.WaitGroup
	for _, p := range registry.Pods {
		group.Go(func() {
			s, _ := translator.Snapshot(p)
			check(t, p, s)
		})
	}
	group.Wait()
}
