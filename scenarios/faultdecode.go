package scenarios

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// ParseFault reads one fault as it stands in a step: "delay: {from: a, to: b, by: 100ms}". What it
// is read from is called file in problems.
func ParseFault(file string, text []byte) (*Fault, []istio.Diagnostic) {
	d := &decoder{file: file}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) == 0 {
		d.report(&yaml.Node{Line: 1, Column: 1}, "", "is no fault: %v", err)
		return nil, d.problems
	}
	var s Step
	for _, e := range d.entries(doc.Content[0], "") {
		if !slices.Contains(FaultKinds(), e.key.Value) {
			d.unknown(e.key, "", FaultKinds())
			continue
		}
		s.action(d, e, e.key.Value)
	}
	if len(s.Actions) != 1 && len(d.problems) == 0 {
		d.report(doc.Content[0], "", "want one fault, not %d", len(s.Actions))
	}
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	return s.Actions[0].Fault, nil
}

// faults reads the value of a fault's key: one fault, or a list of them. Bare words are together
// one.
func (d *decoder) faults(kind string, n *yaml.Node, field string) []Fault {
	i := slices.Index(FaultKinds(), kind)
	k := &faultKinds[i]
	var out []Fault
	var words []string
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for j, item := range items {
		at := field
		if n.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", field, j)
		}
		if item = d.node(item, at); item == nil {
			return nil
		}
		if item.Kind == yaml.ScalarNode && item.Tag != "!!null" && item.Value != "" {
			words = append(words, item.Value)
			continue
		}
		if item.Kind != yaml.MappingNode {
			d.report(item, at, "must say what: %s: %s", kind, k.example)
			continue
		}
		s, before := k.shape(), len(d.problems)
		d.value(item, reflect.ValueOf(s).Elem(), at)
		if len(d.problems) == before {
			out = append(out, s.fault())
		}
	}
	switch {
	case len(words) > 0 && k.words == nil:
		d.report(n, field, "must say more than %s: %s: %s", strings.Join(words, ", "), kind,
			k.example)
	case len(words) > 0:
		s := k.words(words)
		if err := s.Validate(); err != nil {
			d.report(n, field, "%v", err)
		}
		out = append([]Fault{s.fault()}, out...)
	}
	for j := range out {
		out[j].Kind = kind
	}
	return out
}

// DefaultName is what a fault is called that has no name: its kind, as a word.
func DefaultName(kind string) string { return strings.ReplaceAll(kind, " ", "-") }

// nameFaults gives every fault a name, and reports what is healed that nothing breaks.
func (s *Scenario) nameFaults(d *decoder) {
	known := []string{everything}
	var heals []Action
	see := func(a Action) {
		switch f := a.Fault; {
		case a.Heal != nil:
			heals = append(heals, a)
		case f != nil && f.Name == "":
			f.Name = freeName(DefaultName(f.Kind), known)
			known = append(known, f.Name)
		case f != nil && !slices.Contains(known, f.Name):
			known = append(known, f.Name)
		}
	}
	for i := range s.Steps {
		for _, a := range s.Steps[i].Actions {
			see(a)
			if a.Load != nil {
				for _, m := range a.Load.Meanwhile {
					see(m)
				}
			}
		}
	}
	if len(d.problems) > 0 {
		return // names may be missing
	}
	for _, a := range heals {
		for _, name := range a.Heal {
			if !slices.Contains(known, name) {
				d.report(&yaml.Node{Line: a.Place.Line, Column: a.Place.Column}, "heal",
					"no fault is called %q; %s", name, oneOf(name, known))
			}
		}
	}
}

// freeName numbers a name that is taken: delay, delay-2, delay-3.
func freeName(name string, taken []string) string {
	for n, free := 2, name; ; n++ {
		if !slices.Contains(taken, free) {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// oneOf says which name may be meant, or which there are.
func oneOf(name string, known []string) string {
	if near := istio.Suggest(name, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "known are " + strings.Join(known, ", ")
}
