// Package evidence lets the tests that compare write down what they compared, for the report of
// reports/fidelity: with -update they write a file of evidence, else they check it.
package evidence

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
)

// Book collects what a test compares. It may be used by several goroutines.
type Book struct {
	mu     sync.Mutex
	head   fidelity.Evidence
	fields map[string][]string // by case
}

// Open begins a test's book. When the test ends, its subtests too, the book is kept in
// reports/fidelity/evidence/NAME.json, whose folder is given. A test that has failed keeps nothing,
// and a test of which only some subtests run (-run TestTruth/area) is held to those.
func Open(t testing.TB, folder, name string, head fidelity.Evidence) *Book {
	head.Cases = map[string]int{}
	b := &Book{head: head, fields: map[string][]string{}}
	t.Cleanup(func() {
		if !t.Failed() && !t.Skipped() {
			b.keep(t, filepath.Join(folder, name+".json"))
		}
	})
	return b
}

// Add notes that n things of a case were compared and found alike, under these configurations.
func (b *Book) Add(name string, n int, configs ...*istio.Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head.Cases[name] += n
	all := b.fields[name]
	for _, c := range configs {
		all = append(all, istio.Used(c)...)
	}
	slices.Sort(all)
	b.fields[name] = slices.Compact(all)
}

func (b *Book) keep(t testing.TB, file string) {
	t.Helper()
	b.head.Count(b.fields)
	var text bytes.Buffer
	if err := fidelity.Encode(&text, b.head); err != nil {
		t.Fatal(err)
	}
	partial := value("test.skip") != "" || strings.Contains(value("test.run"), "/")
	if value("update") == "true" && !partial {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("%v (write it with -update, all subtests running)", err)
		return
	}
	if partial {
		b.part(t, file, old)
	} else if diff := cmp.Diff(string(old), text.String()); diff != "" {
		t.Errorf("%s is not what was compared: write it with -update (-is +now)\n%s", file, diff)
	}
}

// part checks the cases that did run.
func (b *Book) part(t testing.TB, file string, old []byte) {
	t.Helper()
	was, err := fidelity.Decode(old)
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
	for name, n := range b.head.Cases {
		if was.Cases[name] != n {
			t.Errorf("%s says that %d %s were compared in %s, not %d", file, was.Cases[name],
				b.head.Unit, name, n)
		}
	}
}

func value(name string) string {
	f := flag.Lookup(name)
	if f == nil {
		return ""
	}
	return f.Value.String()
}
