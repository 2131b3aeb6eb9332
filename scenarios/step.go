package scenarios

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// stepKeys are a step's keys; those of actions may be written in any order, which is the order in
// which they are done.
var stepKeys = slices.Concat(
	[]string{"name"}, changeKeys, []string{"wait", "load", "request"}, FaultKinds(),
	[]string{"heal", "expect"},
)

// changeKeys are the actions that change the mesh, faults aside.
var changeKeys = []string{"apply", "delete", "scale", "restart", "rotate", "exec"}

// decode reads a step: its actions in the order written.
func (s *Step) decode(d *decoder, n *yaml.Node, field string) {
	s.Place = istio.Place{File: d.file, Line: n.Line, Column: n.Column}
	var expect *yaml.Node
	before := len(d.problems)
	for _, e := range d.entries(n, field) {
		key, at := e.key.Value, join(field, e.key.Value)
		switch {
		case key == "name":
			d.value(e.value, reflect.ValueOf(&s.Name).Elem(), at)
		case key == "expect":
			expect = e.value
		case slices.Contains(stepKeys, key):
			s.action(d, e, at)
		case key == "resume":
			d.report(e.key, at, "unknown key; heal ends a pause, and every other fault")
		default:
			d.unknown(e.key, field, stepKeys)
		}
	}
	if s.Name == "" {
		_, index, _ := strings.Cut(strings.TrimSuffix(field, "]"), "[")
		i, _ := strconv.Atoi(index) // fields of steps are steps[N]
		s.Name = "step " + strconv.Itoa(i+1)
	}
	if expect != nil {
		s.expectations(d, expect, join(field, "expect"))
	}
	if len(d.problems) == before {
		s.check(d, n, field)
	}
}

// check reports what a step cannot mean.
func (s *Step) check(d *decoder, n *yaml.Node, field string) {
	loads := false
	for i := range s.Actions {
		a := &s.Actions[i]
		loads = loads || a.Load != nil || a.Request != nil
		if a.Load != nil && bool(a.Load.Decided) && len(s.Expect) == 0 {
			d.report(n, field, "until: decided needs expectations")
		}
	}
	if len(s.Actions) == 0 && len(n.Content) > 0 {
		d.report(n, field, "a step does something: %s",
			strings.Join(stepKeys[1:len(stepKeys)-1], ", "))
	} else if len(s.Expect) > 0 && !loads && !s.waits() {
		d.report(n, field, "nothing is sent in this step that could be judged: add load or request")
	}
}

func (s *Step) waits() bool {
	return slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Kind() == "wait" })
}

// action reads what one key of a step does; loads, requests and faults may be lists.
func (s *Step) action(d *decoder, e entry, field string) {
	a := Action{Place: istio.Place{File: d.file, Line: e.key.Line, Column: e.key.Column}}
	into := func(v any) { d.value(e.value, reflect.ValueOf(v).Elem(), field) }
	switch e.key.Value {
	case "apply":
		into(&a.Apply)
	case "delete":
		into(&a.Delete)
	case "scale":
		var scales scaleList
		into(&scales)
		a.Scale = scales
	case "heal":
		into(&a.Heal)
	case "restart":
		into(&a.Restart)
	case "rotate":
		into(&a.Rotate)
	case "wait":
		into(&a.Wait)
		if a.Wait == 0 {
			d.report(e.value, field, "is for longer than nothing")
		}
	case "exec":
		var all []Exec
		into(&all)
		for i := range all {
			s.Actions = append(s.Actions, Action{Exec: &all[i], Place: a.Place})
		}
		return
	case "load":
		var all []Load
		into(&all)
		for i := range all {
			s.Actions = append(s.Actions, Action{Load: &all[i], Place: a.Place})
		}
		return
	case "request":
		var all []Request
		into(&all)
		for i := range all {
			s.Actions = append(s.Actions, Action{Request: &all[i], Place: a.Place})
		}
		return
	default:
		all := d.faults(e.key.Value, e.value, field)
		for i := range all {
			all[i].Place = a.Place
			s.Actions = append(s.Actions, Action{Fault: &all[i], Place: a.Place})
		}
		return
	}
	s.Actions = append(s.Actions, a)
}

// Meanwhile are the actions that are done while a load runs, one after the other, in the order
// written. They begin with the load's first answer. A load with a duration lasts until they are
// done, and half of it more; one of a number of requests that ends before they do proves nothing,
// and the step says so.
type Meanwhile []Action

// meanwhileKeys are the actions that may go on beside a load.
var meanwhileKeys = slices.Concat(changeKeys, []string{"wait"}, FaultKinds(), []string{"heal"})

// decode reads a mapping of actions.
func (m *Meanwhile) decode(d *decoder, n *yaml.Node, field string) {
	var s Step
	for _, e := range d.entries(n, field) {
		if !slices.Contains(meanwhileKeys, e.key.Value) {
			d.unknown(e.key, field, meanwhileKeys)
			continue
		}
		s.action(d, e, join(field, e.key.Value))
	}
	*m = s.Actions
}

// scaleList reads "workload: replicas".
type scaleList []Scale

// Put adds one.
func (l *scaleList) Put(name, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > 1000 {
		return fmt.Errorf("%q is no number of replicas", value)
	}
	*l = append(*l, Scale{Workload: name, Replicas: n})
	return nil
}

// expectations reads a list of {KIND: what}.
func (s *Step) expectations(d *decoder, n *yaml.Node, field string) {
	if n.Kind != yaml.SequenceNode {
		d.report(n, field, "must be a list: - split: {...}")
		return
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", field, i)
		if item = d.node(item, at); item == nil {
			return
		}
		entries := d.entries(item, at)
		if len(entries) > 1 {
			d.report(entries[1].key, at, "one expectation an item; put a dash before %s",
				entries[1].key.Value)
		}
		if len(entries) > 0 {
			s.expectation(d, entries[0], at)
		}
	}
}

func (s *Step) expectation(d *decoder, e entry, field string) {
	x, ok := assert.New(e.key.Value)
	if !ok {
		var known []string
		for _, k := range assert.Kinds {
			known = append(known, k.Key)
		}
		d.unknown(e.key, field, known)
		return
	}
	d.value(e.value, reflect.ValueOf(x).Elem(), join(field, e.key.Value))
	s.Expect = append(s.Expect, x)
}

// decode reads files, inline objects, or a list of them.
func (docs *Documents) decode(d *decoder, n *yaml.Node, field string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for i, item := range items {
		if item = d.node(item, field); item == nil {
			return
		}
		place := istio.Place{File: d.file, Line: item.Line, Column: item.Column}
		switch {
		case item.Kind == yaml.MappingNode:
			doc, err := yaml.Marshal(item)
			if err != nil {
				d.report(item, field, "%v", err)
				continue
			}
			*docs = append(*docs, Document{File: d.file, Line: item.Line, Data: doc, Place: place})
		case item.Kind == yaml.ScalarNode && strings.ContainsRune(item.Value, '\n'):
			line := item.Line + 1 // the text of a block scalar begins below its "|"
			*docs = append(*docs, Document{
				File: d.file, Line: line, Data: []byte(item.Value), Place: place,
			})
		case item.Kind == yaml.ScalarNode && item.Value != "":
			*docs = append(*docs, Document{File: item.Value, Place: place})
		default:
			d.report(item, fmt.Sprintf("%s[%d]", field, i), "must be a file or an object")
		}
	}
}
