// Package fidelity writes the report of what is as in Istio and Envoy, and how it is shown:
// docs/fidelity.md.
//
//	tests that compare ──▶ evidence/*.json ─┐
//	                                        ├─▶ Write: summary, a table for each kind, differences
//	the field tables of meshcore/istio ─────┘
//
// The report is a function of the evidence and the tables. It says nothing that no test wrote: each
// file of evidence is made by the test that did the comparing, and checked by it ever after.
package fidelity

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Shows says what evidence is about.
type Shows string

// What evidence can show.
const (
	Generated Shows = "generated" // resources are those that istiod generates
	Golden    Shows = "golden"    // resources are as a golden file says, consistent and valid
	Answered  Shows = "answered"  // requests have the outcome that Istio and Envoy give
	Refused   Shows = "refused"   // what Istio refuses is refused
	Bytes     Shows = "bytes"     // bytes on the wire are those of Envoy
)

// The data planes.
const (
	Meshcore = "meshcore"
	Envoy    = "envoy"
)

// Evidence is what one test or command has compared.
type Evidence struct {
	By    string `json:"by"`    // "meshcore/translate TestTruth", "mesh-lab parity"
	What  string `json:"what"`  // what is compared with what, for the summary
	Short string `json:"short"` // what a case is, after a number: "recorded", "in scenarios"
	Shows Shows  `json:"shows"`
	Plane string `json:"plane,omitempty"` // Meshcore or Envoy, for what is answered or bytes
	Unit  string `json:"unit"`            // what is counted in each case: "requests"
	// Cases has the cases in which nothing differed but for what Differences lists, and how much
	// was compared in each.
	Cases map[string]int `json:"cases"`
	// Fields says of each field, by its path in istio.Supported, which cases set it.
	Fields map[string]Use `json:"fields,omitempty"`
}

// Use says which cases set a field: how many, and the one that sets least besides.
type Use struct {
	Cases   int
	Example string // may be empty
}

// MarshalText writes "12 vs-match/header-kinds".
func (u Use) MarshalText() ([]byte, error) {
	return []byte(strings.TrimSpace(fmt.Sprintf("%d %s", u.Cases, u.Example))), nil
}

// UnmarshalText reads what MarshalText writes.
func (u *Use) UnmarshalText(text []byte) error {
	number, example, _ := strings.Cut(string(text), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("want a number of cases and an example, not %q", text)
	}
	u.Cases, u.Example = n, example
	return nil
}

// Total is how much was compared in all cases.
func (e *Evidence) Total() int {
	n := 0
	for _, m := range e.Cases {
		n += m
	}
	return n
}

// Count makes Fields, from the fields that each case sets.
func (e *Evidence) Count(fields map[string][]string) {
	e.Fields = map[string]Use{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, f := range fields[name] {
			u := e.Fields[f]
			if u.Cases == 0 || len(fields[name]) < len(fields[u.Example]) {
				u.Example = name
			}
			u.Cases++
			e.Fields[f] = u
		}
	}
}

//go:embed evidence/*.json
var recorded embed.FS

// Recorded returns the evidence that this repository's tests have written.
func Recorded() ([]Evidence, error) { return Stored(recorded) }

// Stored reads the evidence in a folder's folder evidence.
func Stored(files fs.FS) ([]Evidence, error) {
	entries, err := fs.ReadDir(files, "evidence")
	if err != nil {
		return nil, err
	}
	var out []Evidence
	for _, entry := range entries {
		text, err := fs.ReadFile(files, path.Join("evidence", entry.Name()))
		if err != nil {
			return nil, err
		}
		e, err := Decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		out = append(out, e)
	}
	return out, nil
}

// Decode reads a file of evidence.
func Decode(text []byte) (Evidence, error) {
	var e Evidence
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&e)
	return e, err
}

// Encode writes a file of evidence.
func Encode(w io.Writer, e Evidence) error {
	out := json.NewEncoder(w)
	out.SetIndent("", " ")
	out.SetEscapeHTML(false)
	return out.Encode(e)
}

// With returns all with newer evidence in the place of what the same test or command, on the same
// data plane, showed before.
func With(all []Evidence, newer ...Evidence) []Evidence {
	out := slices.Clone(all)
	for _, e := range newer {
		out = slices.DeleteFunc(out, func(o Evidence) bool {
			return o.By == e.By && o.Plane == e.Plane
		})
		out = append(out, e)
	}
	return out
}

// order is that of the summary.
var order = []Shows{Generated, Golden, Answered, Bytes, Refused}

// kinds of cases come in this order, after those of commands.
var kinds = []string{"recorded", "golden", "in scenarios"}

// sorted returns evidence in the order of the report.
func sorted(all []Evidence) []Evidence {
	return slices.SortedStableFunc(slices.Values(all), func(a, b Evidence) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Shows), slices.Index(order, b.Shows)),
			-cmp.Compare(a.Plane, b.Plane), // our own first
			cmp.Compare(slices.Index(kinds, a.Short), slices.Index(kinds, b.Short)),
			cmp.Compare(a.By, b.By),
		)
	})
}
