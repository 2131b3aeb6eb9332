package scenarios

import (
	"io/fs"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Parse reads a scenario file; every problem is reported. The files that it names are not read.
func Parse(file string, text []byte) (*Scenario, []istio.Diagnostic) { panic("scenarios: Parse") }

// Resolve reads the files that the scenario names, relative to its own file.
func (s *Scenario) Resolve(fsys fs.FS) []istio.Diagnostic { panic("scenarios: Resolve") }

// Open reads a scenario and the files that it names; the scenario is usable when there is no Error.
func Open(fsys fs.FS, file string) (*Scenario, []istio.Diagnostic) { panic("scenarios: Load") }

func keepHeaders(s *Scenario) []string { return nil }
