package scenarios

import (
	"embed"
	"io/fs"
)

//go:embed *.yaml istio/*.yaml
var catalogue embed.FS

// Catalogue returns the bundled scenarios: NAME.yaml, and the configuration that they name.
func Catalogue() fs.FS { return catalogue }

// Names returns the names of the bundled scenarios, sorted.
func Names() []string {
	files, _ := fs.Glob(catalogue, "*.yaml") // the pattern is well formed
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, f[:len(f)-len(".yaml")])
	}
	return names
}
