// Package truth finds the recorded corpus for tests: small configurations, the xDS that istiod
// generated for them, and what istiod and Envoy together answered.
//
// The corpus lies beside the repository (../shared/truth); MESHLAB_TRUTH names another place. A
// test that finds none is skipped with the reason, unless MESHLAB_REQUIRE contains "truth": then it
// fails.
package truth

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// Case is one recorded case.
type Case struct {
	Area, Name string
	Dir        string   // its folder: config.yaml, case.yaml, xds/NODE/*.json, observed.yaml
	Title      string   // what it is about, in a few words
	Nodes      []string // the proxies whose xDS was recorded: POD.NAMESPACE
	Rejected   bool     // istiod refuses the configuration (area invalid)
}

// String returns "AREA/NAME".
func (c Case) String() string { return c.Area + "/" + c.Name }

// Read returns one file of the case.
func (c Case) Read(t testing.TB, name ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{c.Dir}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Has says whether the case has a file or folder of this name.
func (c Case) Has(name ...string) bool {
	_, err := os.Stat(filepath.Join(append([]string{c.Dir}, name...)...))
	return err == nil
}

// Dir returns the corpus' folder; it skips the test, or fails it when it is required, if there is
// none.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("MESHLAB_TRUTH")
	if dir == "" {
		dir = filepath.Join(root(t), "..", "shared", "truth")
	}
	if _, err := os.Stat(filepath.Join(dir, "cases")); err != nil {
		missing(t, "the recorded truth is absent: no "+filepath.Join(dir, "cases"))
	}
	return dir
}

// Cases returns the cases of these areas, or of all areas, sorted by area and name.
func Cases(t testing.TB, areas ...string) []Case {
	t.Helper()
	dir := Dir(t)
	files, err := filepath.Glob(filepath.Join(dir, "cases", "*", "*", "case.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	var out []Case
	for _, f := range files {
		c := Case{Dir: filepath.Dir(f), Name: filepath.Base(filepath.Dir(f))}
		c.Area = filepath.Base(filepath.Dir(c.Dir))
		if len(areas) == 0 || slices.Contains(areas, c.Area) {
			out = append(out, c.load(t))
		}
	}
	if len(out) == 0 {
		t.Fatalf("no recorded case in %s (areas %v)", dir, areas)
	}
	return out
}

func (c Case) load(t testing.TB) Case {
	t.Helper()
	var head struct {
		Title  string   `yaml:"title"`
		Nodes  []string `yaml:"nodes"`
		Expect string   `yaml:"expect"`
	}
	if err := yaml.Unmarshal(c.Read(t, "case.yaml"), &head); err != nil {
		t.Fatalf("%s: case.yaml: %v", c, err)
	}
	c.Title, c.Nodes, c.Rejected = head.Title, head.Nodes, head.Expect == "rejected"
	return c
}

// root returns the repository's root: the nearest parent of the test's folder with a go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = up
	}
}

func missing(t testing.TB, reason string) {
	t.Helper()
	if strings.Contains(os.Getenv("MESHLAB_REQUIRE"), "truth") {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
