package meshcore

import (
	"fmt"
	"strings"
	"testing"
)

// TestRulesBite plants a violation of each rule, and a neighbour that is right.
func TestRulesBite(t *testing.T) {
	long := "// " + strings.Repeat("x", maxColumns)
	body := strings.Repeat("\tx()\n", maxFuncLines)
	methods := strings.Repeat("\tM()\n", maxMethods)
	v3 := "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	planted := map[string]bool{}
	for _, c := range []struct{ rule, path, wrong, right string }{
		{"imports", "meshcore/istio/a.go", imported(module + "meshcore/engine"), imported("strings")},
		{"imports", "meshcore/unheard/a.go", "package unheard", ""},
		{"imports", "lab/runner/a.go", imported(module + "lab"), imported(module + "reports")},
		{"imports", "meshcore/engine/a.go",
			imported(module + "meshcore/engineer"), imported(module + "meshcore/engine/lb")},
		{"names", "lab/a.go", "package util", "package lab"},
		{"aliases", "lab/a.go", imported(v3), "package x\nimport routev3 \"" + v3 + "\"\n"},
		{"purity", "meshcore/istio/a.go", imported("os"), imported("io")},
		{"purity", "meshcore/engine/lb/a.go", "package lb\nvar t = time.Now()", "package lb\nvar t = clock.Now()"},
		{"purity", "reports/a.go", "package reports\nfunc f() { go f() }", "package reports\nfunc f() { f() }"},
		{"purity", "scenarios/a.go", "package x\nvar n = rand.IntN(3)", "package x\nvar n = r.IntN(3)"},
		{"lines", "lab/a.go", "package x\n" + long, "package x\n" + long[:maxColumns]},
		{"lines", "lab/a.go", "package x\n\t" + long[:maxColumns-3], "package x\n\t" + long[:maxColumns-4]},
		{"lines", "lab/a.go", "package x" + strings.Repeat("\n", maxFileLines+1),
			"package x" + strings.Repeat("\n", maxFileLines)},
		{"functions", "lab/a.go", "package x\nfunc f() {\n" + body + "}",
			"package x\nfunc f() {\n" + strings.Repeat("\tx()\n", maxFuncLines-2) + "}"},
		{"functions", "lab/a.go", "package x\nfunc f(a, b, c, d, e, f int) {}",
			"package x\nfunc f(a, b, c, d, e int) {}"},
		{"interfaces", "lab/a.go", "package x\ntype i interface {\n" + methods + "\tM()\n}",
			"package x\ntype i interface {\n" + methods + "}"},
		{"documented", "lab/a.go", "package x\nfunc F() {}", "package x\n// F does.\nfunc F() {}"},
		{"documented", "lab/a.go", "package x\ntype T int", "package x\n// T is.\ntype T int"},
		{"documented", "lab/a.go", "package x\nconst C = 1", "package x\nconst C = 1 // it is"},
		{"documented", "lab/a.go", "package x\nfunc (t *T) F() {}", "package x\nfunc (t *u) F() {}"},
		{"no init", "lab/a.go", "package x\nfunc init() {}", "package x\nfunc (t T) init() {}"},
		{"no sleep", "lab/a_test.go", "package x\nvar _ = time.Sleep", "package x\nvar _ = time.Second"},
		{"words", "docs/a.md", "see /wo" + "rk/main", "see lab/runner"},
		{"words", "docs/a.md", "as iss" + "ue #12 says", "an issue is open"},
		{"words", "Makefile", "curl https://proxy.gol" + "ang.org", "curl https://golang.org"},
		{"words", "lab/a.go", "package x // a help" + "er agent wrote it", "package x // Istio's agent"},
	} {
		planted[c.rule] = true
		t.Run(c.rule, func(t *testing.T) {
			if got := judge(t, c.rule, c.path, c.wrong); len(got) == 0 {
				t.Errorf("nothing is said of %s:\n%s", c.path, c.wrong)
			}
			if c.right == "" {
				return
			}
			if got := judge(t, c.rule, c.path, c.right); len(got) > 0 {
				t.Errorf("%s is right, but: %s", c.right, got)
			}
		})
	}
	for name := range rules {
		if !planted[name] {
			t.Errorf("no violation of %q is planted", name)
		}
	}
}

func imported(path string) string { return fmt.Sprintf("package x\nimport %q\n", path) }

// judge returns what a rule says of a file.
func judge(t *testing.T, rule, path, text string) (said []string) {
	t.Helper()
	s, err := read(path, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rules[rule](s, func(format string, args ...any) {
		said = append(said, fmt.Sprintf(format, args...))
	})
	return said
}
