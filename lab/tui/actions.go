package tui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
)

// action is what a form does: it fills in what the fields mean, and does it.
type action struct {
	mean func(*screen.Form)
	do   func(*App, *screen.Form) Do
}

// open shows a form, if the action is possible here.
func (a *App) open(f *screen.Form, w action, why string) Do {
	if !a.may {
		why = "nothing can be changed here: the scenario decides"
	}
	if why != "" {
		a.say(why, errors.New(why))
		return nil
	}
	a.ui.Form, a.work = f, w
	w.mean(f)
	return nil
}

// formKey obeys a key while a form is open.
func (a *App) formKey(k Key) Do {
	f := a.ui.Form
	if f.Sure {
		switch k {
		case "y", "Y":
			a.ui.Form = nil
			return a.work.do(a, f)
		case "Esc", "n", "N", "q":
			f.Sure = false
		}
		return nil
	}
	n := len(f.Fields)
	switch k {
	case "Esc":
		a.ui.Form = nil
		return nil
	case "Enter":
		f.Sure = f.Problem == ""
		return nil
	case "Tab", "Down":
		f.Chosen = (f.Chosen + 1) % max(n, 1)
		return nil
	case "Backtab", "Up":
		f.Chosen = (f.Chosen + n - 1) % max(n, 1)
		return nil
	}
	if n == 0 {
		return nil
	}
	x := &f.Fields[f.Chosen]
	switch {
	case x.Number:
		shift(f, map[Key]int{"Left": -5, "h": -5, "Right": 5, "l": 5, "S-Left": -1, "S-Right": 1,
			"H": -1, "L": 1, "-": -1, "+": 1}[k])
	case x.Choices != nil:
		i, by := slices.Index(x.Choices, x.Value), 0
		switch k {
		case "Left", "h":
			by = len(x.Choices) - 1
		case "Right", "l", " ":
			by = 1
		}
		x.Value = x.Choices[(max(i, 0)+by)%len(x.Choices)]
	default:
		x.Value = edited(x.Value, k)
	}
	a.work.mean(f)
	return nil
}

// shift moves weight from the next field that has some to the chosen one, or back.
func shift(f *screen.Form, by int) {
	x := &f.Fields[f.Chosen]
	from, _ := strconv.Atoi(x.Value) // it is a number that was written here
	by = min(max(by, -from), 100-from)
	for i := 1; i < len(f.Fields) && by != 0; i++ {
		y := &f.Fields[(f.Chosen+i)%len(f.Fields)]
		has, _ := strconv.Atoi(y.Value)
		part := max(min(by, has), has-100)
		y.Value, from, by = strconv.Itoa(has-part), from+part, by-part
	}
	x.Value = strconv.Itoa(from)
}

// weightForm asks for the weights of the chosen service's route.
func (a *App) weightForm() (*screen.Form, action, string) {
	var rule *feed.Split
	if a.view != nil {
		for i := range a.view.Services {
			if s := &a.view.Services[i]; s.Name == a.ui.Service {
				rule = s.Rule
			}
		}
	}
	switch {
	case rule == nil:
		return nil, action{}, "no VirtualService leads to subsets of " +
			cmp.Or(a.ui.Service, "anything")
	case len(rule.Parts) < 2:
		return nil, action{}, "the rule that leads to " + rule.Service +
			" has one destination only: there is nothing to weigh"
	}
	f := &screen.Form{Title: "weights of " + rule.Service}
	for _, p := range rule.Parts {
		f.Fields = append(f.Fields, screen.Field{Name: cmp.Or(p.Subset, "(all)"),
			Value: strconv.Itoa(p.Weight), Number: true})
	}
	f.Command = "mesh-lab apply" + a.flag() + " -f -   (with the YAML above)"
	ns, _, _ := strings.Cut(rule.Object, "/")
	return f, action{
		mean: func(f *screen.Form) {
			var w []int
			for _, x := range f.Fields {
				n, _ := strconv.Atoi(x.Value) // as above
				w = append(w, n)
			}
			text, err := Weights(rule.YAML, rule.Rule, w)
			f.YAML, f.Problem = text, problem(err)
		},
		do: func(a *App, f *screen.Form) Do {
			lab := a.lab
			return func(ctx context.Context) func(*App) {
				said, err := lab.Apply(ctx, ns, f.YAML)
				return func(a *App) { a.say(said, err) }
			}
		},
	}, ""
}

func problem(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// flag is how commands name the lab.
func (a *App) flag() string {
	if a.name == "" || a.name == "default" {
		return ""
	}
	return " --lab " + a.name
}

// Weights returns a VirtualService with other weights in the HTTP rule of an index.
func Weights(text string, rule int, weights []int) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) == 0 {
		return "", errors.New("the VirtualService can not be read")
	}
	http := field(field(doc.Content[0], "spec"), "http")
	if http == nil || rule >= len(http.Content) {
		return "", fmt.Errorf("the VirtualService has no spec.http[%d]", rule)
	}
	route := field(http.Content[rule], "route")
	if route == nil || len(route.Content) != len(weights) {
		return "", fmt.Errorf("spec.http[%d].route has not %d destinations", rule, len(weights))
	}
	for i, d := range route.Content {
		w := field(d, "weight")
		if w == nil {
			w = &yaml.Node{Kind: yaml.ScalarNode}
			d.Content = append(d.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "weight"}, w)
		}
		w.Tag, w.Value, w.Style = "!!int", strconv.Itoa(weights[i]), 0
	}
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return "", err
	}
	return b.String(), enc.Close()
}

// field returns a mapping's value; nil without one.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// loadForm asks for a load.
func (a *App) loadForm() (*screen.Form, action, string) {
	f := &screen.Form{Title: "start a load", Fields: []screen.Field{
		{Name: "from", Choices: a.senders()}, {Name: "to", Value: a.url()},
		{Name: "qps", Value: "100"}, {Name: "connections", Value: "4"},
	}}
	f.Fields[0].Value = f.Fields[0].Choices[0]
	return f, action{
		mean: func(f *screen.Form) {
			l, err := loadOf(f)
			f.Problem = problem(err)
			f.YAML = fmt.Sprintf("load: {from: %s, to: %q, qps: %g, connections: %d}\n",
				l.From, l.URL, l.QPS, l.Connections)
			f.Command = fmt.Sprintf("mesh-lab load%s --from %s -qps %g -c %d -t 0 %s",
				a.flag(), l.From, l.QPS, l.Connections, l.URL)
		},
		do: func(a *App, f *screen.Form) Do {
			l, _ := loadOf(f) // it was checked
			return a.start(l)
		},
	}, ""
}

// loadOf reads the form of a load.
func loadOf(f *screen.Form) (l Load, err error) {
	l.From, l.URL = f.Fields[0].Value, f.Fields[1].Value
	var errs [2]error
	l.QPS, errs[0] = strconv.ParseFloat(f.Fields[2].Value, 64)
	l.Connections, errs[1] = strconv.Atoi(f.Fields[3].Value)
	switch {
	case !strings.HasPrefix(l.URL, "http://") && !strings.HasPrefix(l.URL, "https://"):
		return l, errors.New("to: want a URL, such as http://reviews:9080/")
	case errs[0] != nil || l.QPS < 0:
		return l, errors.New("qps: want a number; 0: no limit")
	case errs[1] != nil || l.Connections < 1:
		return l, errors.New("connections: want a number, at least 1")
	}
	return l, nil
}

// start begins a load, which goes on until it is stopped.
func (a *App) start(l Load) Do {
	lab := a.lab
	x := &running{stop: make(chan struct{})}
	a.loads = append(a.loads, x)
	return func(ctx context.Context) func(*App) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-x.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		said, err := lab.Load(ctx, l)
		return func(a *App) {
			a.loads = slices.DeleteFunc(a.loads, func(y *running) bool { return x == y })
			a.say(said, err)
		}
	}
}

// stopLoads ends the loads that were started here.
func (a *App) stopLoads() {
	if len(a.loads) == 0 {
		a.say("no load was started from here", nil)
	}
	for _, x := range a.loads {
		x.end()
	}
}

// senders are the workloads that may send: those that serve nobody first.
func (a *App) senders() []string {
	var clients, others []string
	if a.view != nil {
		for _, p := range a.view.Config.Pods {
			serves := !client(p.App) && slices.ContainsFunc(a.view.Config.Services,
				func(s feed.Service) bool { return s.Name == p.App })
			if p.Role == "external" || slices.Contains(others, p.Workload) ||
				slices.Contains(clients, p.Workload) {
				continue
			}
			if serves || p.Role == "gateway" {
				others = append(others, p.Workload)
			} else {
				clients = append(clients, p.Workload)
			}
		}
	}
	if all := slices.Concat(clients, others); len(all) > 0 {
		return all
	}
	return []string{"outside"}
}

// client says whether a service is one of Istio's samples that only send.
func client(name string) bool { return name == "curl" || name == "sleep" }

// url is where requests went last, or the first service.
func (a *App) url() string {
	for _, r := range a.model.Tap(nil, a.now(), tapped) {
		if r.Authority != "" && slices.Index(a.senders(), r.Workload) == 0 {
			return "http://" + r.Authority + r.Path
		}
	}
	if a.view != nil {
		for _, s := range a.view.Config.Services {
			if s.Port > 0 && !client(s.Name) && !strings.Contains(s.Name, "gateway") {
				return fmt.Sprintf("http://%s:%d/", s.Name, s.Port)
			}
		}
	}
	return "http://"
}

// fault kinds, in the words of scenarios.
var faultKinds = []string{"delay", "kill", "pause", "refuse", "partition", "unready", "dns",
	"control plane"}

// faultForm asks for something to break.
func (a *App) faultForm() (*screen.Form, action, string) {
	var pods []string
	if a.view != nil {
		for _, p := range a.view.Config.Pods {
			if !slices.Contains(pods, p.Workload) && p.Role != "external" {
				pods = append(pods, p.Workload)
			}
		}
	}
	if len(pods) == 0 {
		return nil, action{}, "the lab has no pods"
	}
	from, to := a.between(pods)
	f := &screen.Form{Title: "break something", Fields: []screen.Field{
		{Name: "fault", Choices: faultKinds, Value: faultKinds[0]},
		{Name: "of, from", Choices: pods, Value: from},
		{Name: "to", Choices: pods, Value: to},
		{Name: "by", Value: "100ms"},
		{Name: "for", Value: ""},
	}}
	return f, action{
		mean: func(f *screen.Form) {
			f.YAML = faultYAML(f)
			f.Command = fmt.Sprintf("mesh-lab chaos%s %q", a.flag(), strings.TrimSpace(f.YAML))
		},
		do: func(a *App, f *screen.Form) Do {
			lab := a.lab
			return func(ctx context.Context) func(*App) {
				said, err := lab.Break(ctx, f.YAML)
				return func(a *App) { a.say(said, err) }
			}
		},
	}, ""
}

// between are the workloads of the chosen service and of who calls it; without one the first and
// the last.
func (a *App) between(pods []string) (from, to string) {
	of := func(app, other string) string {
		for _, p := range a.view.Config.Pods {
			if p.App == app && slices.Contains(pods, p.Workload) {
				return p.Workload
			}
		}
		return other
	}
	from, to = pods[0], pods[len(pods)-1]
	for _, e := range a.view.Edges {
		if e.To == a.ui.Service && !e.Mirror {
			return of(e.From, from), of(e.To, to)
		}
	}
	return from, to
}

// faultYAML is the fault that a form means, as a scenario's step has it.
func faultYAML(f *screen.Form) string {
	kind, of, to, by := f.Fields[0].Value, f.Fields[1].Value, f.Fields[2].Value, f.Fields[3].Value
	var body []string
	switch kind {
	case "delay":
		body = []string{"from: " + of, "to: " + to, "by: " + by}
	case "partition":
		body = []string{"from: " + of, "to: " + to, "both: true"}
	case "dns":
		body = []string{"pods: " + of, "answer: fail"}
	case "control plane":
		if f.Fields[4].Value == "" {
			return "control plane: down\n"
		}
		body = []string{"state: down"}
	default:
		body = []string{"pods: " + of}
	}
	if d := f.Fields[4].Value; d != "" {
		body = append(body, "for: "+d)
	}
	return kind + ": {" + strings.Join(body, ", ") + "}\n"
}

// healForm asks whether the chosen fault shall end.
func (a *App) healForm() (*screen.Form, action, string) {
	var x *model.Fault
	if i := a.ui.Row[screen.Faults]; a.view != nil && i < len(a.view.Faults) {
		x = &a.view.Faults[i]
	}
	switch {
	case x == nil:
		return nil, action{}, "nothing is broken"
	case x.Istio != "":
		return nil, action{}, x.Target + " injects it: change that"
	}
	name := cmp.Or(x.Name, x.Kind)
	f := &screen.Form{Title: "heal " + name, YAML: "heal: [" + name + "]\n",
		Command: "mesh-lab chaos heal" + a.flag() + " " + name}
	return f, action{
		mean: func(*screen.Form) {},
		do: func(a *App, _ *screen.Form) Do {
			lab := a.lab
			return func(ctx context.Context) func(*App) {
				said, err := lab.Heal(ctx, name)
				return func(a *App) { a.say(said, err) }
			}
		},
	}, ""
}
