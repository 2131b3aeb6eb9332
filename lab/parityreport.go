package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/parity"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
)

// Where the project keeps its report, and the evidence that it is made of.
const (
	fidelityPage     = "docs/fidelity.md"
	fidelityEvidence = "reports/fidelity/evidence"
)

func inProject() bool {
	_, err := os.Stat(fidelityPage)
	return err == nil
}

// takeReport takes the FILE of --report FILE from the arguments: as the flag may stand alone, its
// value would else have to be written --report=FILE. No scenario ends like a report.
func (p *parityFlags) takeReport(args []string) []string {
	if p.report != fidelityPage {
		return args
	}
	i := slices.IndexFunc(args, func(a string) bool {
		ext := filepath.Ext(a)
		return ext == ".json" || ext == ".md"
	})
	if i < 0 {
		return args
	}
	p.report = args[i]
	return slices.Delete(slices.Clone(args), i, i+1)
}

// writeParity writes what was compared: numbers as JSON; a report of all evidence; or, in the
// project itself, its evidence and its page, which stay as the tests want them.
func writeParity(file string, found []fidelity.Evidence, s parity.Summary) error {
	var text bytes.Buffer
	switch {
	case strings.HasSuffix(file, ".json"):
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return err
		}
		text.Write(append(b, '\n'))
	case file == fidelityPage:
		if s.Differences > 0 {
			return fmt.Errorf("%s says what does not differ: it stays as it was", file)
		}
		return rewriteProject(found)
	default:
		if err := fidelity.Report(&text, found...); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Clean(file), text.Bytes(), 0o644)
}

// rewriteProject writes the evidence and the page of the project that is the current directory.
func rewriteProject(found []fidelity.Evidence) error {
	page, err := os.ReadFile(fidelityPage)
	if err != nil {
		return err
	}
	for _, e := range found {
		var text bytes.Buffer
		if err := fidelity.Encode(&text, e); err != nil {
			return err
		}
		name := filepath.Join(fidelityEvidence, "parity-"+e.Plane+".json")
		if err := os.WriteFile(name, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	all, err := fidelity.Stored(os.DirFS(filepath.Dir(fidelityEvidence)))
	if err != nil {
		return err
	}
	text, err := fidelity.Rewrite(string(page), all)
	if err != nil {
		return err
	}
	return os.WriteFile(fidelityPage, []byte(text), 0o644)
}
