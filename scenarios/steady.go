package scenarios

import (
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Steady is a hypothesis: what must hold before the story, may bend while it is told, and must
// hold again after it, when everything is healed. Each time its own traffic is sent.
type Steady struct {
	Name   string
	Step   Step                 // its traffic and what must be seen
	During []assert.Expectation // what holds even while the story is told, of the story's traffic
}

// Phase is what a step is to the steady state.
type Phase string

// The phases; of a step that is not made by a steady state it is empty.
const (
	Before Phase = "before" // it holds, or the story is not begun
	During Phase = "during" // spans the whole story; sends nothing
	After  Phase = "after"  // it holds again, everything healed
)

// steadyKeys are its keys.
var steadyKeys = []string{"name", "load", "request", "expect", "during"}

// decode reads a steady state.
func (s *Steady) decode(d *decoder, n *yaml.Node, field string) {
	s.Name = "steady state"
	s.Step.Place = istio.Place{File: d.file, Line: n.Line, Column: n.Column}
	before := len(d.problems)
	for _, e := range d.entries(n, field) {
		at := join(field, e.key.Value)
		switch e.key.Value {
		case "name":
			d.value(e.value, reflect.ValueOf(&s.Name).Elem(), at)
		case "load", "request":
			s.Step.action(d, e, at)
		case "expect":
			s.Step.expectations(d, e.value, at)
		case "during":
			var during Step
			during.expectations(d, e.value, at)
			s.During = during.Expect
		default:
			d.unknown(e.key, field, steadyKeys)
		}
	}
	if len(d.problems) > before {
		return
	}
	judged := len(s.Step.Expect) > 0
	for _, a := range s.Step.Actions {
		judged = judged || a.Request != nil && (a.Request.Want != nil || a.Request.Some != nil)
		if a.Load != nil && len(a.Load.Meanwhile) > 0 {
			d.report(n, field, "nothing is changed while the steady state is looked at: "+
				"meanwhile is for loads of steps")
		}
	}
	if len(s.Step.Actions) == 0 || !judged {
		d.report(n, field, "needs load or request, and expect: what must hold")
		return
	}
	s.Step.check(d, n, field)
}

// expand makes steps of the steady state: one before the others, one that spans them, one after.
func (s *Scenario) expand() {
	if s.Steady == nil || len(s.Steps) == 0 {
		return
	}
	phase := func(p Phase, actions []Action, expect []assert.Expectation) Step {
		return Step{
			Name: s.Steady.Name + ", " + string(p), Actions: actions, Expect: expect,
			Place: s.Steady.Step.Place, Steady: p,
		}
	}
	all := []Step{phase(Before, s.Steady.Step.Actions, s.Steady.Step.Expect)}
	all = append(all, s.Steps...)
	if len(s.Steady.During) > 0 {
		all = append(all, phase(During, nil, s.Steady.During))
	}
	heal := Action{Heal: []string{everything}, Place: s.Steady.Step.Place}
	s.Steps = append(all, phase(After,
		append([]Action{heal}, s.Steady.Step.Actions...), s.Steady.Step.Expect))
}

// Rollback is what is done at the end of a run, whatever has happened: after everything is healed,
// also when a step could not be played, and when the run is interrupted.
type Rollback []Action

// rollbackKeys are the actions that may be done then.
var rollbackKeys = slices.Concat(changeKeys, []string{"wait"})

// decode reads a mapping of actions, or a list of them.
func (r *Rollback) decode(d *decoder, n *yaml.Node, field string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var s Step
	for _, item := range items {
		if item = d.node(item, field); item == nil {
			return
		}
		for _, e := range d.entries(item, field) {
			switch {
			case e.key.Value == "heal":
				d.report(e.key, field, "everything is healed before, without being told")
			case !slices.Contains(rollbackKeys, e.key.Value):
				d.unknown(e.key, field, rollbackKeys)
			default:
				s.action(d, e, join(field, e.key.Value))
			}
		}
	}
	*r = s.Actions
}
