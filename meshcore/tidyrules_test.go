package meshcore

import (
	"bytes"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of house style.
const (
	maxFuncLines = 70
	maxFileLines = 500
	maxColumns   = 100
	maxParams    = 5
	maxMethods   = 6
)

// report tells a problem.
type report func(format string, args ...any)

// rules are what every file is held to.
var rules = map[string]func(source, report){
	"imports":    importsInTable,
	"names":      names,
	"aliases":    aliases,
	"purity":     purity,
	"lines":      lines,
	"functions":  functions,
	"interfaces": interfaces,
	"documented": documented,
	"no init":    noInit,
	"no sleep":   noSleep,
	"words":      words,
}

func importsInTable(s source, bad report) {
	if s.file == nil || isTest(s) {
		return
	}
	allowed, listed := imports[s.pkg]
	if !listed {
		bad("%s: package %s is not in the import table", s.path, s.pkg)
	}
	for _, i := range s.file.Imports {
		name, _ := strconv.Unquote(i.Path.Value)
		own, ok := strings.CutPrefix(name, module)
		if ok && !permits(allowed, own) {
			bad("%s imports %s, which the table does not allow", s.path, own)
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

// empty are names that say nothing about what a package is for.
var empty = []string{"util", "utils", "common", "helpers", "types", "manager", "impl", "base"}

func names(s source, bad report) {
	if s.file != nil && slices.Contains(empty, s.file.Name.Name) {
		bad("%s: package name %s says nothing", s.path, s.file.Name.Name)
	}
}

var envoyAPI = regexp.MustCompile(`^github\.com/envoyproxy/go-control-plane/envoy/.*/([a-z_]+)/(v3)$`)

// aliases wants routev3 for .../route/v3 everywhere: a version's package never goes by "v3".
func aliases(s source, bad report) {
	if s.file == nil {
		return
	}
	for _, i := range s.file.Imports {
		name, _ := strconv.Unquote(i.Path.Value)
		m := envoyAPI.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if i.Name == nil || i.Name.Name != "_" && !strings.HasSuffix(i.Name.Name, m[2]) {
			bad("%s: import %s as %s%s", s.path, name, m[1], m[2])
		}
	}
}

// bannedImports reach the world.
var bannedImports = []string{"os", "net/http", "context", "log", "log/slog", "math/rand"}

// bannedCalls are the ways to ask for the time, to wait, and to draw from hidden state.
var bannedCalls = []string{
	"time.Now", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker",
	"time.Tick", "time.Since", "time.Until", "rand.Int", "rand.IntN", "rand.Float64", "rand.Uint64",
	"rand.Uint32", "rand.Perm", "rand.Shuffle", "rand.N",
}

func purity(s source, bad report) {
	if s.file == nil || isTest(s) || !slices.Contains(pure, s.pkg) {
		return
	}
	for _, i := range s.file.Imports {
		if name, _ := strconv.Unquote(i.Path.Value); slices.Contains(bannedImports, name) {
			bad("%s: pure package imports %s", s.path, name)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			bad("%s: go statement in a pure package", s.fset.Position(n.Pos()))
		case *ast.SelectorExpr:
			if name := selected(n); slices.Contains(bannedCalls, name) {
				bad("%s: %s in a pure package", s.fset.Position(n.Pos()), name)
			}
		}
		return true
	})
}

// selected returns "x.Name" of a selection from an identifier.
func selected(n *ast.SelectorExpr) string {
	if x, ok := n.X.(*ast.Ident); ok {
		return x.Name + "." + n.Sel.Name
	}
	return ""
}

// importLine is a line that can not be broken.
var importLine = regexp.MustCompile(`^\t\w* ?"[^" ]+"$`)

func lines(s source, bad report) {
	if s.file == nil || isTest(s) {
		return
	}
	if n := len(s.lines); n > maxFileLines+1 {
		bad("%s has %d lines; at most %d", s.path, n, maxFileLines)
	}
	for i, l := range s.lines {
		if n := columns(l); n > maxColumns && !importLine.Match(l) {
			bad("%s:%d has %d columns; at most %d", s.path, i+1, n, maxColumns)
		}
	}
}

// columns counts a tab as four.
func columns(l []byte) int { return utf8.RuneCount(l) + 3*bytes.Count(l, []byte("\t")) }

func functions(s source, bad report) {
	if s.file == nil || isTest(s) {
		return
	}
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil || excused[s.pkg+" "+f.Name.Name] != "" {
			continue
		}
		from, to := s.fset.Position(f.Pos()), s.fset.Position(f.End())
		if n := to.Line - from.Line + 1; n > maxFuncLines {
			bad("%s: %s has %d lines; at most %d", from, f.Name.Name, n, maxFuncLines)
		}
		if n := f.Type.Params.NumFields(); n > maxParams {
			bad("%s: %s has %d parameters; at most %d", from, f.Name.Name, n, maxParams)
		}
	}
}

func interfaces(s source, bad report) {
	if s.file == nil || isTest(s) {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		t, ok := n.(*ast.TypeSpec)
		if !ok || excused[s.pkg+" "+t.Name.Name] != "" {
			return true
		}
		if i, ok := t.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
			bad("%s: interface %s has %d methods; at most %d",
				s.fset.Position(t.Pos()), t.Name.Name, i.Methods.NumFields(), maxMethods)
		}
		return true
	})
}

// documented demands a sentence on each exported name.
func documented(s source, bad report) {
	if s.file == nil || isTest(s) {
		return
	}
	complain := func(n *ast.Ident, docs ...*ast.CommentGroup) {
		said := slices.ContainsFunc(docs, func(g *ast.CommentGroup) bool { return g != nil })
		if n.IsExported() && !said {
			bad("%s: %s has no comment", s.fset.Position(n.Pos()), n.Name)
		}
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || exportedReceiver(d) {
				complain(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, sp := range d.Specs {
				switch sp := sp.(type) {
				case *ast.TypeSpec:
					complain(sp.Name, d.Doc, sp.Doc, sp.Comment)
				case *ast.ValueSpec:
					for _, n := range sp.Names {
						complain(n, d.Doc, sp.Doc, sp.Comment)
					}
				}
			}
		}
	}
}

// exportedReceiver says whether a method can be called from outside by its type's name.
func exportedReceiver(d *ast.FuncDecl) bool {
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func noInit(s source, bad report) {
	if s.file == nil {
		return
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			bad("%s: an init function; say it in a table", s.fset.Position(f.Pos()))
		}
	}
}

// noSleep keeps sleeps and retries-until-green out of tests.
func noSleep(s source, bad report) {
	if s.file == nil || !isTest(s) {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if x, ok := n.(*ast.SelectorExpr); ok && selected(x) == "time.Sleep" {
			bad("%s: a test sleeps", s.fset.Position(x.Pos()))
		}
		return true
	})
}

// shop lists what belongs to one machine or one workshop: absolute paths of a machine, addresses of
// package registries, the names of tools and documents that a reader of this repository does not
// have. (Broken up so that this file does not match itself.)
var shop = []string{
	"/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/us" + "ers/", "/tm" + "p/",
	"proxy.gol" + "ang.org", "sum.gol" + "ang.org", "py" + "pi.org", "npm" + "js.",
	"iss" + "ues show", "clau" + "de", "anthro" + "pic", "open" + "ai", "language " + "model",
	"help" + "er agent", "sub" + "agent", "co" + "pilot", "chat" + "gpt", "this ses" + "sion",
	"house-" + "style.md", "contract" + ".md", "design" + ".md", "http-" + "path.md",
	"exercises" + ".md",
}

// ticket is an entry of somebody's issue tracker.
var ticket = regexp.MustCompile(`\biss` + `ue #?[0-9]`)

func words(s source, bad report) {
	if path.Base(s.path) == "go.sum" {
		return
	}
	text := bytes.ToLower(bytes.Join(s.lines, []byte("\n")))
	say := func(at, n int) {
		bad("%s:%d: %q belongs to one machine or workshop", s.path,
			1+bytes.Count(text[:at], []byte("\n")), text[at:at+n])
	}
	for _, w := range shop {
		if i := bytes.Index(text, []byte(w)); i >= 0 {
			say(i, len(w))
		}
	}
	if m := ticket.FindIndex(text); m != nil {
		say(m[0], m[1]-m[0])
	}
}
