package lab

import (
	"os"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/parity"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
)

// TestParityReport writes the project's page again, with what was compared.
func TestParityReport(t *testing.T) {
	page, err := os.ReadFile("../" + fidelityPage)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, dir := range []string{"docs", fidelityEvidence} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(fidelityPage, page, 0o644); err != nil {
		t.Fatal(err)
	}
	found := []fidelity.Evidence{{By: "mesh-lab parity", What: "both planes", Short: "in parity",
		Shows: fidelity.Answered, Plane: fidelity.Envoy, Unit: "requests",
		Cases:  map[string]int{"canary": 321},
		Fields: map[string]fidelity.Use{"VirtualService.hosts": {Cases: 7, Example: "canary"}}}}
	if err := writeParity(fidelityPage, found, parity.Summary{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(fidelityPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| both planes | envoy | mesh-lab parity | 1 | 321 requests |",
		"7 in parity (canary)"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if err := writeParity(fidelityPage, found, parity.Summary{Differences: 1}); err == nil {
		t.Error("a page of what does not differ is written after a difference")
	}
}

// TestTakeReport finds the FILE behind a --report that may stand alone.
func TestTakeReport(t *testing.T) {
	for _, c := range []struct{ args, report, left string }{
		{"canary", fidelityPage, "canary"}, {"canary what.json", "what.json", "canary"},
		{"what.md my.yaml", "what.md", "my.yaml"},
	} {
		p := &parityFlags{report: fidelityPage}
		left := p.takeReport(strings.Fields(c.args))
		if p.report != c.report || strings.Join(left, " ") != c.left {
			t.Errorf("%s: %s, and %v are left", c.args, p.report, left)
		}
	}
}
