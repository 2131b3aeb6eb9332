package fidelity

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

var update = flag.Bool("update", false, "rewrite this report's sections of docs/fidelity.md")

// evidence reads the files themselves: what is built in may be older than what other packages'
// tests have just written.
func evidence(t *testing.T) []Evidence {
	t.Helper()
	all, err := Stored(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPage keeps the documentation what the evidence says.
func TestPage(t *testing.T) {
	const file = "../../docs/fidelity.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Rewrite(string(text), evidence(t))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case want == string(text):
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is out of date: run this with -update (-is +should be)\n%s", file,
			cmp.Diff(string(text), want))
	}
}

// TestReasons demands evidence for each field that is carried out, or a reason why there is none.
func TestReasons(t *testing.T) {
	all := evidence(t)
	paths := map[string]bool{}
	for _, f := range istio.Supported() {
		paths[f.Path] = true
		switch unshown := rowOf(f, all).unshown(); {
		case unshown && reason(f.Path) == "":
			t.Errorf("nothing shows %s: write a case that uses it, or say why there is none", f.Path)
		case !unshown && reasons[f.Path] != "":
			t.Errorf("%s is shown: take it off the list of reasons", f.Path)
		}
	}
	for path := range reasons {
		if !paths[path] {
			t.Errorf("the list of reasons has %s, which is no field that is carried out", path)
		}
	}
	for _, e := range all {
		for path, use := range e.Fields {
			if !paths[path] {
				t.Errorf("%s shows %s, which is no field that is carried out", e.By, path)
			}
			if _, ok := e.Cases[use.Example]; !ok {
				t.Errorf("%s: the example of %s is none of its cases: %s", e.By, path, use.Example)
			}
		}
	}
}

// TestWitnesses looks for the tests that are said to have written the evidence.
func TestWitnesses(t *testing.T) {
	for _, e := range evidence(t) {
		pkg, tests, _ := strings.Cut(e.By, " ")
		if pkg == "mesh-lab" {
			continue // a command; .ci/run runs it
		}
		files, err := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var source strings.Builder
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
		for name := range strings.SplitSeq(tests, ", ") {
			if !strings.Contains(source.String(), "func "+name+"(") {
				t.Errorf("%s has no test %s: remove its evidence", pkg, name)
			}
		}
	}
}

// TestDifferences checks the list: in order, complete, and about fields that there are.
func TestDifferences(t *testing.T) {
	if !slices.IsSortedFunc(known, func(a, b Difference) int {
		return strings.Compare(a.ID, b.ID)
	}) {
		t.Error("the differences are not sorted by ID")
	}
	for i, d := range known {
		if i > 0 && known[i-1].ID == d.ID {
			t.Errorf("%s is there twice", d.ID)
		}
		if d.What == "" || d.Plane == "" || d.Why == "" || d.Felt == "" {
			t.Errorf("%s leaves something out", d.ID)
		}
		for _, f := range d.Fields {
			if !slices.ContainsFunc(istio.Supported(), func(s istio.Field) bool {
				return strings.HasPrefix(s.Path, f)
			}) {
				t.Errorf("%s: no field that is carried out begins with %s", d.ID, f)
			}
		}
	}
}

// TestWrite writes a report from what one test and one command say.
func TestWrite(t *testing.T) {
	const host, timeout = "VirtualService.hosts", "VirtualService.http.timeout"
	truth := Evidence{
		By: "truth", What: "all with all", Short: "recorded", Shows: Answered, Plane: Meshcore,
		Unit: "requests", Cases: map[string]int{"a/many": 1200, "a/few": 34},
	}
	truth.Count(map[string][]string{"a/many": {host, timeout, "x"}, "a/few": {host}})
	parity := Evidence{
		By: "mesh-lab parity", What: "both", Short: "parity", Shows: Answered, Plane: Envoy,
		Unit: "requests", Cases: map[string]int{"seed 7": 10}, Fields: map[string]Use{timeout: {Cases: 3}},
	}
	old := parity
	old.Fields = map[string]Use{host: {Cases: 9}}
	var b, again bytes.Buffer
	all := With([]Evidence{old, truth}, parity)
	if err := Write(&b, all); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| all with all | meshcore | truth | 2 | 1,234 requests |",
		"| both | envoy | mesh-lab parity | 1 | 10 requests |",
		"| `hosts` |  | 2 recorded (a/few) |  |  |",
		"| `http.timeout` |  | 1 recorded (a/many) | 3 parity |  |",
		"| `http.fault.delay.percent` | nothing shows it yet |  |  | [draws](#draws) |",
		"| `gateways` | nothing shows it yet |  |  |  |",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %q in\n%.9000s", line, b.String())
		}
	}
	if err := Write(&again, all); err != nil || again.String() != b.String() {
		t.Errorf("the second report is another one: %v", err)
	}
}

// TestReport adds what a command compared to what is recorded.
func TestReport(t *testing.T) {
	var b strings.Builder
	err := Report(&b, Evidence{By: "mesh-lab parity", What: "both planes", Short: "parity",
		Shows: Answered, Plane: Envoy, Unit: "requests", Cases: map[string]int{"canary": 321},
		Fields: map[string]Use{"VirtualService.hosts": {Cases: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"| both planes | envoy | mesh-lab parity | 1 | 321 requests |\n", "meshcore/translate TestTruth",
	} {
		if !strings.Contains(b.String(), s) {
			t.Errorf("the report does not say %q", s)
		}
	}
}

// TestRewrite changes this report's sections and no others.
func TestRewrite(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Mine\n")
	for _, s := range sections {
		page.WriteString(s.begin + "old\n" + end + "kept\n")
	}
	got, err := Rewrite(page.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "old\n") || strings.Count(got, "kept\n") != len(sections) ||
		!strings.HasPrefix(got, "# Mine\n"+sections[0].begin) {
		t.Errorf("got\n%s", got)
	}
	if again, err := Rewrite(got, nil); err != nil || again != got {
		t.Errorf("written again it is another one: %v", err)
	}
	if _, err := Rewrite("# Another page\n", nil); err == nil {
		t.Error("a page without sections is taken")
	}
}

// TestEncode reads what it writes.
func TestEncode(t *testing.T) {
	e := Evidence{By: "a", Shows: Golden, Unit: "resources", Cases: map[string]int{"x": 1},
		Fields: map[string]Use{"f": {1, "x"}, "g": {2, ""}}}
	var b bytes.Buffer
	if err := Encode(&b, e); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b.Bytes())
	if diff := cmp.Diff(e, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if _, err := Decode([]byte(`{"fields": {"f": "many"}}`)); err == nil {
		t.Error("a use without a number is taken")
	}
}
