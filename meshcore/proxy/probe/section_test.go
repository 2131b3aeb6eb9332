package probe

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
)

const (
	page  = "../../../docs/fidelity.md"
	begin = "<!-- begin: go test ./meshcore/proxy/probe -update -->\n"
	end   = "<!-- end -->\n"
)

// TestFidelity keeps the list of differences in the documentation.
func TestFidelity(t *testing.T) {
	keepEvidence(t)
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no lines %q and %q", page, begin, end)
	}
	section := section(t)
	switch {
	case old == section:
	case *update:
		if err := os.WriteFile(page, []byte(before+begin+section+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is out of date, run with -update:\n%s", page, cmp.Diff(old, section))
	}
}

// keepEvidence counts the cases in which both show the same, by group.
func keepEvidence(t *testing.T) {
	book := evidence.Open(t, "../../../reports/fidelity/evidence", "bytes", fidelity.Evidence{
		By: "meshcore/proxy/probe TestProxy, TestEnvoy", Short: "probe", Plane: fidelity.Meshcore,
		Shows: fidelity.Bytes, Unit: "byte cases",
		What: "bytes and connections at both ends with those of a real Envoy",
	})
	same := wanted(t)
	for _, d := range differences {
		delete(same, d.name)
	}
	for name := range same {
		group, _, _ := strings.Cut(name, "/")
		book.Add(group, 1)
	}
}

// section is the generated part of the page.
func section(t *testing.T) string {
	envoy, ours := wanted(t), readGolden(t, "ours").text
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d cases; in %d the client, the upstream and the connections see the same. The others:\n\n",
		len(envoy), len(envoy)-len(differences))
	b.WriteString("| case | Envoy | mesh-lab | why |\n|---|---|---|---|\n")
	for _, d := range differences {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Replace(d.name, "/", ": ", 1),
			outcome(envoy[d.name]), outcome(ours[d.name]), d.reason)
	}
	b.WriteString("\n")
	return b.String()
}

// outcome says in a few words what a client got.
func outcome(text string) string {
	lines := strings.Split(text, "\n")
	status := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, `  "HTTP/`) })
	if status < 0 {
		return "closed"
	}
	said := strings.Trim(lines[status], ` "`)[len("HTTP/1.1 "):]
	for _, l := range lines[status:] {
		if l == "    body by content-length: \"\"" {
			return said + ", no body"
		}
	}
	return said
}
