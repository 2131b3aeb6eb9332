// Package page keeps the generated sections of the documentation true: a test computes what a
// section should say, and fails when the page says something else; -update rewrites it.
package page

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// End closes a section.
const End = "<!-- end -->\n"

// Begin opens a section: what it holds, and the package whose tests write it ("./meshcore/istio").
func Begin(what, pkg string) string {
	return "<!-- begin: " + what + " (go test " + pkg + " -update) -->\n"
}

// Keep compares a section of a file with what it should be; with the test's flag -update it writes
// it. Tests of several packages must not do so at the same time: `make golden` runs one after the
// other.
func Keep(t testing.TB, file, begin, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, End)
	if !found || !closed {
		t.Fatalf("%s has no section between %q and %q", file, begin, End)
	}
	want = "\n" + strings.TrimSpace(want) + "\n\n"
	if got == want {
		return
	}
	if f := flag.Lookup("update"); f == nil || f.Value.String() != "true" {
		t.Errorf("%s is out of date: run this with -update (-is +should be)\n%s", file,
			cmp.Diff(got, want))
		return
	}
	if err := os.WriteFile(file, []byte(before+begin+want+End+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
