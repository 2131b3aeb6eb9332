package runner

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// Configuration reads what a scenario's mesh is made of: the bundled app's manifests, its own
// files, and the overrides. The error is an InvalidError when the files are to blame.
func Configuration(s *scenarios.Scenario) (*istio.Config, error) {
	var files []istio.File
	if s.Mesh.App != "" {
		manifests, err := Bundled(s.Mesh.App)
		if err != nil {
			return nil, fmt.Errorf("%s: mesh.app: %w", s.File, err)
		}
		files = append(files, manifests...)
	}
	files = append(files, documents(s, &s.Mesh.Files)...)
	files = append(files, documents(s, &s.Mesh.Config)...)
	c, err := read(files, nil)
	if err != nil {
		return nil, err
	}
	for _, w := range s.Mesh.Workloads {
		if err := override(c, w); err != nil {
			return nil, fmt.Errorf("%s: mesh.workloads: %w", s.File, err)
		}
	}
	return c, nil
}

// Bundled returns the manifests of a bundled set, by its name or that of an app in it.
func Bundled(name string) ([]istio.File, error) {
	manifests, ok := sampleapps.Manifests(name)
	if !ok {
		return nil, NoApp(name, sampleapps.Names())
	}
	var files []istio.File
	for _, f := range manifests {
		files = append(files, istio.File{Name: f.Name, Data: f.Data})
	}
	return files, nil
}

// NoApp is the error for a name that is none of the known ones.
func NoApp(name string, known []string) error {
	if a, ok := sampleapps.Lookup(name); ok && a.Missing() != nil {
		return a.Missing()
	}
	near := ""
	if k := istio.Suggest(name, known); k != "" {
		near = fmt.Sprintf("; is %s meant?", k)
	}
	return fmt.Errorf("no app %q is bundled%s (`mesh-lab apps` lists them)", name, near)
}

// read reads files that are to be merged into base, nil for nothing; errors come as an
// InvalidError.
func read(files []istio.File, base *istio.Config) (*istio.Config, error) {
	c, diags := istio.Read(files, istio.ReadOptions{Base: base})
	return c, invalid(diags)
}

// invalid returns an InvalidError with all diagnostics when one of them is an error.
func invalid(diags []istio.Diagnostic) error {
	for _, d := range diags {
		if d.Severity == istio.Error {
			return &InvalidError{diags}
		}
	}
	return nil
}

// documents turns the documents of an action into files.
func documents(s *scenarios.Scenario, docs *scenarios.Documents) []istio.File {
	var files []istio.File
	for _, d := range *docs {
		data, name := d.Data, filepath.Join(filepath.Dir(s.File), d.File)
		if d.Line > 0 { // inline: keep the scenario's line numbers
			name = s.File
			data = append([]byte(strings.Repeat("\n", d.Line-1)), data...)
		}
		files = append(files, istio.File{Name: name, Data: data})
	}
	return files
}
