package scenarios

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed *.yaml istio bookinfo chaos httpbin security
var catalogue embed.FS

// Catalogue returns the bundled scenarios: NAME.yaml or FOLDER/NAME.yaml, and the configuration
// that they name, in folders called istio.
func Catalogue() fs.FS { return catalogue }

// configFolder is what folders are called that hold configuration beside scenarios.
const configFolder = "istio"

// Names returns the names of the bundled scenarios, sorted.
func Names() []string {
	var names []string
	err := fs.WalkDir(catalogue, ".", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && d.Name() == configFolder {
			return fs.SkipDir
		}
		if name, ok := strings.CutSuffix(path, ".yaml"); ok {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		panic("scenarios: the catalogue: " + err.Error()) // it is in memory
	}
	slices.Sort(names)
	return names
}
