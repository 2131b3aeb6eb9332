// Package meshcore holds the simulator's mesh; this test keeps the architecture.
package meshcore

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/mesh-lab/mesh-lab/"

// imports says which packages of this module each package may import, tests aside. A package that is
// not listed may import nothing of the module: list it here when it comes.
var imports = map[string][]string{
	"meshcore":                  {},
	"meshcore/clock":            {},
	"meshcore/xds":              {},
	"meshcore/istio":            {},
	"meshcore/istio/generate":   {},
	"meshcore/istio/intercept":  {"meshcore/istio", "meshcore/translate"},
	"meshcore/wire":             {},
	"meshcore/transport":        {"meshcore/engine/match"},
	"meshcore/identity":         {"meshcore/clock", "meshcore/xds"},
	"meshcore/roots":            {},
	"meshcore/stock":            {"meshcore/xds"},
	"meshcore/wire/h1":          {"meshcore/wire"},
	"meshcore/observe":          {"meshcore/clock"},
	"meshcore/translate":        {"meshcore/istio", "meshcore/xds"},
	"meshcore/jwks":             {"meshcore/istio", "meshcore/translate"},
	"meshcore/exact":            {"meshcore/xds"},
	"meshcore/engine/match":     {"meshcore/wire"},
	"meshcore/engine/lb":        {"meshcore/clock"},
	"meshcore/engine/outlier":   {"meshcore/clock"},
	"meshcore/engine/breaker":   {},
	"meshcore/engine/trace":     {"meshcore/observe"},
	"meshcore/engine/formatter": {},
	"meshcore/engine/jwt":       {"meshcore/engine/formatter", "meshcore/engine/match", "meshcore/wire"},
	"meshcore/engine/rbac":      {"meshcore/engine/match", "meshcore/transport", "meshcore/wire"},
	"meshcore/engine": {
		"meshcore/clock", "meshcore/xds", "meshcore/wire", "meshcore/observe", "meshcore/exact",
		"meshcore/transport", "meshcore/engine/*",
	},
	"meshcore/control":   {"meshcore/clock", "meshcore/xds", "meshcore/observe"},
	"meshcore/subscribe": {"meshcore/xds"},
	"meshcore/bootstrap": {"meshcore/engine"},
	"meshcore/resolve":   {},
	"meshcore/pilot": {
		"meshcore/control", "meshcore/identity", "meshcore/istio", "meshcore/jwks",
		"meshcore/observe", "meshcore/roots", "meshcore/stock", "meshcore/translate",
		"meshcore/xds",
	},
	"meshcore/sidecar": {
		"meshcore/clock", "meshcore/engine", "meshcore/engine/lb", "meshcore/observe",
		"meshcore/proxy", "meshcore/proxy/host", "meshcore/resolve", "meshcore/subscribe",
		"meshcore/xds",
	},
	"meshcore/envoy/als": {"meshcore/clock", "meshcore/exact", "meshcore/observe"},
	"meshcore/proxy": {
		"meshcore/clock", "meshcore/xds", "meshcore/wire", "meshcore/wire/h1",
		"meshcore/observe", "meshcore/engine", "meshcore/engine/breaker", "meshcore/transport",
	},
	"meshcore/proxy/host":  {"meshcore/engine"},
	"meshcore/proxy/probe": {},
	"meshcore/envoy": {
		"meshcore/incarnation", "meshcore/xds",
	},
	"meshcore/incarnation": {},
	"lab/topology/docker": {
		"lab/topology", "lab/topology/docker/*", "lab/topology/embedded", "lab/topology/live",
		"meshcore/clock", "meshcore/control", "meshcore/envoy", "meshcore/envoy/als",
		"meshcore/istio", "meshcore/istio/intercept", "meshcore/observe", "meshcore/observe/sent",
		"meshcore/translate", "meshcore/xds", "sampleapps/model", "lab/link",
		"meshcore/incarnation",
	},
	"lab/topology/docker/bundled": {
		"meshcore/clock", "sampleapps", "sampleapps/app", "sampleapps/model",
	},
	"lab/topology/docker/hold": {
		"lab/link", "lab/topology/docker/capture", "meshcore/clock",
	},
	"lab/topology/docker/names": {},
	"lab/topology/docker/plane": {
		"meshcore/clock", "meshcore/control", "meshcore/observe", "meshcore/xds",
		"lab/topology",
	},
	"lab/topology/docker/part": {
		"lab/topology/docker/*", "meshcore/istio/intercept",
	},
	"lab/topology/docker/tunnel": {
		"meshcore/clock",
	},
	"lab/topology/docker/engine": {
		"meshcore/envoy", "meshcore/incarnation",
	},
	"scenarios/assert": {"meshcore/clock", "meshcore/observe"},
	"scenarios":        {"meshcore/clock", "meshcore/istio", "sampleapps/model", "scenarios/assert"},
	"reports": {
		"meshcore/clock", "meshcore/observe", "meshcore/xds", "scenarios", "scenarios/assert",
	},
	"reports/page": {
		"meshcore/clock", "meshcore/observe", "reports", "scenarios", "scenarios/assert",
	},
	"reports/fidelity":          {"meshcore/istio"},
	"sampleapps":                {"sampleapps/*"},
	"sampleapps/app":            {},
	"sampleapps/model":          {},
	"sampleapps/around":         {"sampleapps/app", "sampleapps/model"},
	"sampleapps/bookinfo":       {"sampleapps/app"},
	"sampleapps/customer":       {"sampleapps/app"},
	"sampleapps/preference":     {"sampleapps/app"},
	"sampleapps/recommendation": {"sampleapps/app"},
	"sampleapps/echo":           {"sampleapps/app"},
	"sampleapps/extauthz":       {"sampleapps/app"},
	"sampleapps/fortio":         {"sampleapps/app"},
	"sampleapps/helloworld":     {"sampleapps/app"},
	"sampleapps/httpbin":        {"sampleapps/app"},
	"sampleapps/nginx":          {"sampleapps/app"},
	"sampleapps/servicex":       {"sampleapps/app"},
	"sampleapps/jwtissuer":      {"sampleapps/app"},
	"sampleapps/isotope":        {"sampleapps/app"},
	"lab/graph": {
		"meshcore/istio", "meshcore/observe", "meshcore/translate",
	},
	"lab/why": {
		"meshcore/clock", "meshcore/engine", "meshcore/engine/lb", "meshcore/engine/trace",
		"meshcore/istio", "meshcore/observe", "meshcore/transport", "meshcore/translate",
		"meshcore/wire", "meshcore/xds", "lab/request", "lab/topology", "reports",
	},
	"lab/topology": {
		"meshcore/engine/trace",
		"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate",
		"meshcore/xds",
	},
	"meshcore/envoy/relocate": {"meshcore/xds"},
	"lab/topology/live":       {"meshcore/*", "lab/topology"},
	"lab/topology/embedded": {
		"meshcore/*", "lab/link", "lab/own", "lab/topology", "lab/topology/live", "sampleapps",
		"sampleapps/app", "sampleapps/model",
	},
	"lab/chaos": {
		"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate",
		"lab/request", "lab/topology", "scenarios",
	},
	"lab/link": {
		"lab/topology", "meshcore/clock",
	},
	"lab/logfile": {},
	"lab/own":     {"meshcore/clock"},
	"lab/load":    {"meshcore/clock", "meshcore/observe", "lab/topology", "lab/tlsclient"},
	"lab/runner": {
		"lab/why", "meshcore/xds",
		"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate",
		"scenarios", "scenarios/assert", "lab/chaos", "lab/topology", "lab/load", "lab/request",
		"lab/tlsclient", "reports",
		"sampleapps",
	},
	"lab/tlsclient": {},
	"lab/request": {
		"meshcore/clock", "meshcore/observe", "lab/topology", "meshcore/translate",
		"meshcore/istio", "lab/tlsclient"},
	"lab/parity": {
		"meshcore/clock", "meshcore/istio", "scenarios", "lab/parity/cases", "lab/request",
		"lab/runner", "lab/topology", "reports/fidelity",
	},
	"lab/parity/cases": {
		"meshcore/clock", "meshcore/istio", "meshcore/translate", "lab/request", "lab/topology",
	},
	"lab/parity/rules": {"meshcore/istio", "meshcore/istio/generate"},
	"lab/bench":        {"meshcore/*", "lab/topology", "lab/topology/embedded", "lab/tui", "lab/tui/feed"},
	"lab/tui/feed":     {"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate", "scenarios/assert"},
	"lab/tui/model":    {"lab/tui/feed", "meshcore/clock", "meshcore/observe", "scenarios/assert"},
	"lab/tui/screen":   {"lab/tui/feed", "lab/tui/model", "meshcore/clock", "scenarios/assert"},
	"lab/tui":          {"lab/tui/*", "meshcore/clock", "meshcore/observe"},
	"lab/remote": {
		"lab/why", "lab/graph",
		"lab/chaos", "lab/load", "lab/request", "lab/tlsclient", "lab/topology", "lab/tui/feed",
		"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate",
		"meshcore/xds", "scenarios",
	},
	"lab": {
		"lab/*", "meshcore/istio/intercept", "meshcore/observe", "meshcore/bootstrap", "meshcore/clock", "meshcore/engine", "meshcore/envoy",
		"meshcore/incarnation", "meshcore/istio",
		"meshcore/pilot", "meshcore/proxy/host", "meshcore/roots", "meshcore/sidecar",
		"meshcore/stock", "meshcore/translate", "reports", "reports/fidelity", "reports/page",
		"sampleapps", "sampleapps/app", "sampleapps/model", "scenarios", "scenarios/assert", "meshcore/xds",
	},
	"testdata/truth":    {},
	"testdata/agree":    {"lab/why"},
	"testdata/envoy":    {"meshcore/envoy"},
	"testdata/docker":   {},
	"testdata/page":     {},
	"testdata/chromium": {},
	"testdata/wait":     {},
	"testdata/terminal": {},
	"testdata/apps":     {},
	"testdata/netns":    {},
	"testdata/evidence": {"meshcore/istio", "reports/fidelity"},
	"meshcore/observe/sent": {
		"meshcore/clock", "meshcore/observe",
	},
	"lab/topology/docker/sidecar": {
		"meshcore/clock", "meshcore/observe", "meshcore/observe/sent", "meshcore/sidecar",
		"meshcore/xds",
	},
	"lab/topology/docker/capture": {
		"meshcore/istio/intercept",
	},
	".": {"lab"},
}

// pure lists the packages that are given time and randomness and touch nothing outside.
var pure = []string{
	"meshcore/xds", "meshcore/istio", "meshcore/istio/generate", "meshcore/istio/intercept",
	"meshcore/wire", "meshcore/wire/h1",
	"meshcore/observe", "meshcore/translate", "meshcore/exact", "meshcore/engine",
	"meshcore/engine/match", "meshcore/engine/lb",
	"meshcore/engine/outlier", "meshcore/engine/breaker", "meshcore/engine/formatter",
	"meshcore/engine/rbac", "meshcore/engine/jwt", "meshcore/engine/trace",
	"scenarios", "scenarios/assert", "reports", "lab/tui/model", "lab/tui/screen",
	"reports/fidelity", "sampleapps/model",
}

// excused lists what may exceed a limit, with the reason.
var excused = map[string]string{
	"meshcore/engine Start": "the hot path's one call; a struct for it would be filled per request",
	"lab/topology Mesh":     "the one seam to the world; drivers implement it whole",
	"meshcore/wire Stream":  "one exchange has this many directions; codecs implement it whole",
}

// source is a text file of the repository; file is nil when it is not Go.
type source struct {
	path, pkg string
	lines     [][]byte
	fset      *token.FileSet
	file      *ast.File
}

func isTest(s source) bool { return strings.HasSuffix(s.path, "_test.go") }

// read makes a source of a file's text.
func read(path string, text []byte) (source, error) {
	dir := filepath.ToSlash(filepath.Dir(path))
	s := source{path: path, pkg: dir, lines: bytes.Split(text, []byte("\n"))}
	if !strings.HasSuffix(path, ".go") {
		return s, nil
	}
	s.fset = token.NewFileSet()
	var err error
	s.file, err = parser.ParseFile(s.fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

// ignored are folders that git ignores.
var ignored = []string{".git", ".ci/envoy", "reports/out"}

// sources reads every text file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	root := ".."
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		for _, i := range ignored {
			if rel == i && d.IsDir() {
				return filepath.SkipDir
			}
		}
		if !d.Type().IsRegular() || rel == "mesh-lab" || rel == ".git" { // of a further work tree
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !utf8.Valid(text) {
			return err
		}
		s, err := read(rel, text)
		out = append(out, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no files found")
	}
	return out
}

// TestTidy holds every file to every rule.
func TestTidy(t *testing.T) {
	all := sources(t)
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			for _, s := range all {
				r(s, t.Errorf)
			}
		})
	}
}

// TestPackageComments demands a sentence on what each package is for.
func TestPackageComments(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		if s.file != nil {
			said[s.pkg] = said[s.pkg] || s.file.Doc != nil
		}
	}
	for pkg, ok := range said {
		if !ok {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}

// TestTablesAreTrue finds packages that are gone, and packages that nobody has said a word about.
func TestTablesAreTrue(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		if s.file != nil {
			exists[s.pkg] = true
		}
	}
	for pkg := range imports {
		if !exists[pkg] {
			t.Errorf("the import table lists %s, which is not there", pkg)
		}
	}
	for _, pkg := range pure {
		if !exists[pkg] {
			t.Errorf("the list of pure packages has %s, which is not there", pkg)
		}
	}
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range exists {
		named := pkg == "." || pkg == "meshcore" || strings.Contains(string(text), "`"+pkg+"`")
		for _, parent := range []string{"meshcore/engine/", "sampleapps/", "testdata/"} {
			named = named || strings.HasPrefix(pkg, parent) // the parent's row speaks of them
		}
		if !named {
			t.Errorf("docs/architecture.md does not say what %s is for", pkg)
		}
	}
}
