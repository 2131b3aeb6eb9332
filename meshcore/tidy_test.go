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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mesh-lab/mesh-lab/"

// imports says which packages of this module each package may import, tests aside. A package that is
// not listed may import nothing of the module: list it here when it comes.
var imports = map[string][]string{
	"meshcore/clock":            {},
	"meshcore/xds":              {},
	"meshcore/istio":            {},
	"meshcore/wire":             {},
	"meshcore/wire/h1":          {"meshcore/wire"},
	"meshcore/observe":          {"meshcore/clock"},
	"meshcore/translate":        {"meshcore/istio", "meshcore/xds"},
	"meshcore/engine/match":     {"meshcore/wire"},
	"meshcore/engine/lb":        {"meshcore/clock"},
	"meshcore/engine/outlier":   {"meshcore/clock"},
	"meshcore/engine/breaker":   {},
	"meshcore/engine":           {"meshcore/clock", "meshcore/xds", "meshcore/wire", "meshcore/observe", "meshcore/engine/*"},
	"meshcore/control":          {"meshcore/clock", "meshcore/xds", "meshcore/observe"},
	"meshcore/subscribe":        {"meshcore/xds"},
	"meshcore/proxy":            {"meshcore/clock", "meshcore/xds", "meshcore/wire", "meshcore/wire/h1", "meshcore/observe", "meshcore/engine", "meshcore/engine/breaker"},
	"meshcore/proxy/probe":      {},
	"scenarios/assert":          {"meshcore/clock", "meshcore/observe"},
	"scenarios":                 {"meshcore/clock", "meshcore/istio", "scenarios/assert"},
	"reports":                   {"meshcore/clock", "meshcore/observe", "scenarios", "scenarios/assert"},
	"sampleapps":                {"sampleapps/*"},
	"sampleapps/app":            {},
	"sampleapps/customer":       {"sampleapps/app"},
	"sampleapps/preference":     {"sampleapps/app"},
	"sampleapps/recommendation": {"sampleapps/app"},
	"sampleapps/echo":           {"sampleapps/app"},
	"lab/topology":              {"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate", "meshcore/xds"},
	"lab/topology/embedded":     {"meshcore/*", "lab/topology", "sampleapps", "sampleapps/app"},
	"lab/load":                  {"meshcore/clock", "meshcore/observe", "lab/topology", "scenarios"},
	"lab/runner":                {"meshcore/clock", "meshcore/istio", "meshcore/observe", "meshcore/translate", "scenarios", "scenarios/assert", "lab/topology", "lab/load", "lab/request", "reports", "sampleapps"},
	"lab/request":               {"meshcore/clock", "meshcore/observe", "lab/topology", "meshcore/translate"},
	"lab":                       {"*"},
	"testdata/truth":            {},
	".":                         {"lab"},
}

// pure lists the packages that are given time and randomness and touch nothing outside.
var pure = []string{
	"meshcore/xds", "meshcore/istio", "meshcore/wire", "meshcore/wire/h1", "meshcore/observe",
	"meshcore/translate", "meshcore/engine", "meshcore/engine/match", "meshcore/engine/lb",
	"meshcore/engine/outlier", "meshcore/engine/breaker", "scenarios", "scenarios/assert", "reports",
}

// bannedImports reach the world.
var bannedImports = []string{"os", "net/http", "context", "log", "log/slog", "math/rand"}

// bannedCalls are the ways to ask for the time or to wait.
var bannedCalls = []string{
	"time.Now", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker",
	"time.Tick", "time.Since", "time.Until", "rand.Int", "rand.IntN", "rand.Float64", "rand.Uint64",
	"rand.Uint32", "rand.Perm", "rand.Shuffle", "rand.N",
}

// Limits of house style.
const (
	maxFuncLines = 70
	maxFileLines = 500
	maxColumns   = 100
	maxParams    = 5
	maxMethods   = 6
)

// excused lists what may exceed a limit, with the reason.
var excused = map[string]string{
	"meshcore/engine Start": "the hot path's one call; a struct for it would be filled per request",
	"lab/topology Mesh":     "the one seam to the world; drivers implement it whole",
	"meshcore/wire Stream":  "one exchange has this many directions; both codecs implement it whole",
}

// importLine is a line that cannot be broken.
var importLine = regexp.MustCompile(`^\t\w* ?"[^" ]+"$`)

type source struct {
	path, pkg string
	file      *ast.File
	fset      *token.FileSet
	lines     [][]byte
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	root := ".."
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		out = append(out, source{filepath.ToSlash(rel), filepath.ToSlash(filepath.Dir(rel)), f, fset,
			bytes.Split(text, []byte("\n"))})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no Go files found")
	}
	return out
}

func isTest(s source) bool { return strings.HasSuffix(s.path, "_test.go") }

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if isTest(s) {
			continue
		}
		allowed, listed := imports[s.pkg]
		if !listed && !strings.HasPrefix(s.path, "lab/") {
			t.Errorf("%s: package %s is not in the import table", s.path, s.pkg)
		}
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			own, ok := strings.CutPrefix(path, module)
			if ok && listed && !permits(allowed, own) {
				t.Errorf("%s imports %s, which the table does not allow", s.path, own)
			}
		}
	}
}

func permits(allowed []string, pkg string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		if prefix, ok := strings.CutSuffix(a, "*"); ok {
			return strings.HasPrefix(pkg, prefix)
		}
		return a == pkg
	})
}

func TestPurity(t *testing.T) {
	for _, s := range sources(t) {
		if isTest(s) || !slices.Contains(pure, s.pkg) {
			continue
		}
		for _, i := range s.file.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); slices.Contains(bannedImports, path) {
				t.Errorf("%s: pure package imports %s", s.path, path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: go statement in a pure package", s.fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && slices.Contains(bannedCalls, x.Name+"."+n.Sel.Name) {
					t.Errorf("%s: %s.%s in a pure package", s.fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if isTest(s) {
			continue
		}
		if n := len(s.lines); n > maxFileLines+1 && excused[s.path] == "" {
			t.Errorf("%s has %d lines; at most %d", s.path, n, maxFileLines)
		}
		for i, l := range s.lines {
			if n := columns(l); n > maxColumns && !importLine.Match(l) {
				t.Errorf("%s:%d has %d columns; at most %d", s.path, i+1, n, maxColumns)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				checkFunc(t, s, n)
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods &&
					excused[s.pkg+" "+n.Name.Name] == "" {
					t.Errorf("%s: interface %s has %d methods; at most %d",
						s.fset.Position(n.Pos()), n.Name.Name, i.Methods.NumFields(), maxMethods)
				}
			}
			return true
		})
	}
}

// Limits of a package: lines of code (neither blank nor comment) and exported names.
const (
	maxPackageLines = 1500
	maxExports      = 25
)

// largePackages may be larger, up to what is given here: lines of code, exported names. The numbers are
// a ratchet: they go down when a package is divided, never up.
var largePackages = map[string][2]int{
	"lab":                {2600, 0}, // one file for each command
	"meshcore/engine":    {5800, 0}, // one file for each of Envoy's nouns
	"meshcore/istio":     {4600, 0}, // mostly tables of fields, and Istio's rules of validation
	"meshcore/proxy":     {2600, 0},
	"meshcore/translate": {5100, 0},  // listeners, routes, clusters and endpoints share one index
	"scenarios/assert":   {2900, 60}, // one file for each expectation
}

// TestPackages keeps packages small, and the exceptions from growing.
func TestPackages(t *testing.T) {
	lines, exports := map[string]int{}, map[string]int{}
	for _, s := range sources(t) {
		if isTest(s) {
			continue
		}
		lines[s.pkg] += codeLines(s)
		exports[s.pkg] += exported(s.file)
	}
	for pkg, n := range lines {
		limit, listed := largePackages[pkg]
		most, names := max(maxPackageLines, limit[0]), max(maxExports, limit[1])
		if n > most {
			t.Errorf("%s has %d lines of code; at most %d: divide it", pkg, n, most)
		}
		if exports[pkg] > names {
			t.Errorf("%s exports %d names; at most %d", pkg, exports[pkg], names)
		}
		if listed && n <= maxPackageLines && exports[pkg] <= maxExports {
			t.Errorf("%s is small now: take it off the list of large packages", pkg)
		}
	}
}

// codeLines counts the lines that hold code.
func codeLines(s source) int {
	comment := map[int]bool{}
	for _, g := range s.file.Comments {
		for l := s.fset.Position(g.Pos()).Line; l <= s.fset.Position(g.End()).Line; l++ {
			comment[l] = true
		}
	}
	n := 0
	for i, l := range s.lines {
		text := bytes.TrimSpace(l)
		if len(text) > 0 && (!comment[i+1] || !bytes.HasPrefix(text, []byte("//"))) {
			n++
		}
	}
	return n
}

// exported counts a file's exported top-level names, methods aside.
func exported(f *ast.File) int {
	n := 0
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.IsExported() {
				n++
			}
		case *ast.GenDecl:
			for _, sp := range d.Specs {
				if ts, ok := sp.(*ast.TypeSpec); ok && ts.Name.IsExported() {
					n++
				}
			}
		}
	}
	return n
}

func checkFunc(t *testing.T, s source, f *ast.FuncDecl) {
	if f.Body == nil || excused[s.pkg+" "+f.Name.Name] != "" {
		return
	}
	from, to := s.fset.Position(f.Pos()), s.fset.Position(f.End())
	if n := to.Line - from.Line + 1; n > maxFuncLines {
		t.Errorf("%s: %s has %d lines; at most %d", from, f.Name.Name, n, maxFuncLines)
	}
	if n := f.Type.Params.NumFields(); n > maxParams {
		t.Errorf("%s: %s has %d parameters; at most %d", from, f.Name.Name, n, maxParams)
	}
}

// columns counts a tab as four.
func columns(l []byte) int {
	return len([]rune(string(l))) + 3*bytes.Count(l, []byte("\t"))
}

func TestTests(t *testing.T) {
	for _, s := range sources(t) {
		if !isTest(s) || s.path == "meshcore/tidy_test.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == "time" && sel.Sel.Name == "Sleep" {
				t.Errorf("%s: a test sleeps", s.fset.Position(n.Pos()))
			}
			return true
		})
	}
}

// TestDocumented demands a sentence on each exported name and each package.
func TestDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if isTest(s) {
			continue
		}
		documented[s.pkg] = documented[s.pkg] || s.file.Doc != nil
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && d.Recv == nil {
					t.Errorf("%s: %s has no comment", s.fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, sp := range d.Specs {
					ts, ok := sp.(*ast.TypeSpec)
					if ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil && ts.Comment == nil {
						t.Errorf("%s: %s has no comment", s.fset.Position(ts.Pos()), ts.Name.Name)
					}
				}
			}
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}

// TestNoAbsolutePaths keeps the paths of one machine out of what is shipped.
func TestNoAbsolutePaths(t *testing.T) {
	for _, s := range sources(t) {
		for i, l := range s.lines {
			if bytes.Contains(l, []byte("/wo"+"rk/")) || bytes.Contains(l, []byte("/ro"+"ot/")) {
				t.Errorf("%s:%d names a path of one machine", s.path, i+1)
			}
		}
	}
}
