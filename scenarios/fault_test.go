package scenarios

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

func size(n int64) *int64 { return &n }

// Every kind of fault is read into what it says.
func TestFaults(t *testing.T) {
	ab := Path{From: []string{"a"}, To: []string{"b"}}
	for text, want := range map[string]Fault{
		"kill: a":                                   {Targets: Targets{[]string{"a"}}},
		"kill: [a, b]":                              {Targets: Targets{[]string{"a", "b"}}},
		"kill: {pods: a, part: app, for: 2s}":       {Targets: Targets{[]string{"a"}}, Part: "app", When: When{For: 2 * time.Second}},
		"pause: {pods: a, part: proxy}":             {Targets: Targets{[]string{"a"}}, Part: "proxy"},
		"partition: {from: a, to: b, both: true}":   {Path: Path{From: []string{"a"}, To: []string{"b"}, Both: true}},
		"delay: {from: a, to: b, by: 2s}":           {Path: ab, Delay: 2 * time.Second},
		"link: {from: a, to: b, bandwidth: 20KB/s}": {Path: ab, Bandwidth: 20_000},
		"link: {from: a, to: b, loss: 12.5%}":       {Path: ab, Loss: 0.125},
		"link: {from: a, to: b, resetAfter: 2KiB}":  {Path: ab, ResetAfter: size(2048)},
		"link: {from: a, to: b, resetAfter: 0}":     {Path: ab, ResetAfter: size(0)},
		"link: {from: a, to: b, halfOpen: true}":    {Path: ab, HalfOpen: true},
		"refuse: {pods: a, ports: 80}":              {Targets: Targets{[]string{"a"}}, Ports: []int{80}},
		"unready: {pods: a, slow: 5s}":              {Targets: Targets{[]string{"a"}}, Slow: 5 * time.Second},
		"starve: {pods: a, cpu: 10%}":               {Targets: Targets{[]string{"a"}}, CPU: 0.1},
		"dns: {pods: a, names: b.c, answer: fail}":  {Targets: Targets{[]string{"a"}}, Names: []string{"b.c"}, Answer: "fail"},
		"dns: {pods: a, answer: 192.0.2.1}":         {Targets: Targets{[]string{"a"}}, Answer: "192.0.2.1"},
		"control plane: down":                       {State: "down"},
		"control plane: {withhold: [a, b]}":         {Withhold: []string{"a", "b"}},
		"control plane: {slow: 1s}":                 {Delay: time.Second},
		"kill: {pods: a, at: 1s, for: 1s, every: 3s, times: 2, random: {within: 500ms}}": {
			Targets: Targets{[]string{"a"}},
			When: When{At: time.Second, For: time.Second, Every: 3 * time.Second, Times: 2,
				Random: &Random{Within: 500 * time.Millisecond}},
		},
	} {
		f, problems := ParseFault("f", []byte(text))
		if len(problems) > 0 {
			t.Errorf("%s: %v", text, problems)
			continue
		}
		want.Kind, _, _ = strings.Cut(text, ":")
		if d := cmp.Diff(want, *f, cmpopts.IgnoreTypes(istio.Place{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
	for _, text := range []string{"", "a", "load: {}", "{kill: a, pause: b}", "kill: a\nkill: b", "delay: a"} {
		if f, problems := ParseFault("f", []byte(text)); len(problems) == 0 {
			t.Errorf("%q is read as %+v", text, f)
		}
	}
}

// Faults that have no name get one each, by which they are healed.
func TestFaultsHaveNames(t *testing.T) {
	s := parse(t, `
name: s
mesh: {app: customer}
steps:
- delay: [{from: a, by: 1s}, {from: b, by: 1s, name: slow}]
- control plane: down
  load: {from: a, to: "http://b/", requests: 1, meanwhile: {delay: {from: a, by: 1s}, heal: delay}}
`)
	var names []string
	for _, step := range s.Steps {
		for _, a := range step.Actions {
			if a.Fault != nil {
				names = append(names, a.Fault.Name)
			}
			if a.Load != nil {
				names = append(names, a.Load.Meanwhile[0].Fault.Name)
			}
		}
	}
	if want := []string{"delay", "slow", "control-plane", "delay-2"}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
}

// A steady state makes a step before the story, one that spans it, and one after it that heals
// first.
func TestSteady(t *testing.T) {
	s := parse(t, `
name: s
mesh: {app: customer}
steady:
  name: it serves
  load: {from: a, to: "http://b/", requests: 10}
  expect: [{success: 100%}]
  during: [{success: "> 50%"}]
steps:
- {name: break it, kill: b, load: {from: a, to: "http://b/", requests: 10}}
rollback: {apply: c.yaml, wait: 1s}
`)
	var got []string
	for _, step := range s.Steps {
		line := step.Name + ":"
		for _, a := range step.Actions {
			line += " " + a.Kind()
		}
		for _, e := range step.Expect {
			line += " " + e.Name()
		}
		got = append(got, line+" "+string(step.Steady))
	}
	want := []string{
		"it serves, before: load success before",
		"break it: kill load ",
		"it serves, during: success during",
		"it serves, after: heal load success after",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(s.Rollback) != 2 || s.Rollback[0].Kind() != "apply" || s.Rollback[1].Kind() != "wait" {
		t.Errorf("rollback %+v", s.Rollback)
	}
}

// The documentation's examples are scenarios, and it names every kind of fault and every key of a
// schedule.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/chaos.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```")
	for i := 1; i < len(blocks); i += 2 {
		block, ok := strings.CutPrefix(blocks[i], "yaml\n")
		if !ok {
			continue
		}
		if !strings.Contains(block, "steps:") {
			block += "steps: [{wait: 1s}]\n"
		}
		parse(t, "name: s\nmesh: {app: bookinfo}\n"+block)
	}
	keys := FaultKinds()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[When]()) {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	for _, k := range keys {
		if !strings.Contains(string(text), "`"+k) {
			t.Errorf("docs/chaos.md does not tell of %s", k)
		}
	}
}
