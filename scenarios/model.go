package scenarios

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/sampleapps/model"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Model is how a workload's pods behave, whatever their app. Each key stands for the variable of
// sampleapps/model of that name.
type Model struct {
	Latency     *Latency       `yaml:"latency" about:"how long each answer takes: 20ms"`
	Errors      *Failures      `yaml:"errors" about:"share of the answers that fail: 5%"`
	Concurrency *int           `yaml:"concurrency" about:"requests that are worked on at a time"`
	Queue       *int           `yaml:"queue" about:"requests that may wait; no bound unless said"`
	Startup     *time.Duration `yaml:"startup" about:"until then the app does not listen"`
	ReadyAfter  *time.Duration `yaml:"readyAfter" about:"until then no endpoint; startup if unsaid"`
	Ready       string         `yaml:"ready" about:"false: the pods never are"`
	Remember    *int           `yaml:"remember" about:"different callers to remember"`
}

// Latency is a law: of one time, of two quantiles, or of a histogram.
type Latency struct {
	Fixed     string       `yaml:"fixed" scalar:"true" about:"every answer takes this: 20ms"`
	P50       string       `yaml:"p50" about:"half of all answers take this or less: 5ms"`
	P99       string       `yaml:"p99" about:"99 of 100 answers take this or less: 80ms"`
	Histogram assert.Pairs `yaml:"histogram" about:"{1ms: 50, 5ms: 45}: shares of times up to each"`
}

// Validate wants one of the three.
func (l *Latency) Validate() error {
	if (l.P50 != "" || l.P99 != "") && len(l.Histogram) > 0 {
		return errors.New("either quantiles (p50, p99) or a histogram")
	}
	return nil
}

// variable writes a law as a container's variable.
func (l *Latency) variable() string {
	switch {
	case l.Fixed != "":
		return l.Fixed
	case len(l.Histogram) > 0:
		return "histogram: " + joined(l.Histogram)
	}
	var parts []string
	for _, q := range []assert.Pair{{Name: "p50", Value: l.P50}, {Name: "p99", Value: l.P99}} {
		if q.Value != "" {
			parts = append(parts, q.Name+"="+q.Value)
		}
	}
	return strings.Join(parts, " ")
}

// Failures are shares of answers: one for 503, or one for each status.
type Failures struct {
	Share    string       `yaml:"share" scalar:"true" about:"5%, answered with 503"`
	ByStatus assert.Pairs `yaml:",inline" about:"{503: 5%, 500: 1%}"`
}

func joined(pairs assert.Pairs) string {
	var parts []string
	for _, p := range pairs {
		parts = append(parts, p.Name+":"+p.Value)
	}
	return strings.Join(parts, " ")
}

// Env returns the model as variables of containers.
func (m *Model) Env() assert.Pairs {
	var out assert.Pairs
	add := func(name, value string) { out = append(out, assert.Pair{Name: name, Value: value}) }
	if m.Latency != nil {
		add(model.Latency, m.Latency.variable())
	}
	if m.Errors != nil {
		add(model.Errors, m.Errors.Share+joined(m.Errors.ByStatus))
	}
	for name, n := range map[string]*int{
		model.Concurrency: m.Concurrency, model.Queue: m.Queue, model.Remember: m.Remember,
	} {
		if n != nil {
			add(name, strconv.Itoa(*n))
		}
	}
	for name, d := range map[string]*time.Duration{
		model.Startup: m.Startup, model.ReadyAfter: m.ReadyAfter,
	} {
		if d != nil {
			add(name, d.String())
		}
	}
	if m.Ready != "" {
		add(model.Ready, m.Ready)
	}
	slices.SortFunc(out, func(a, b assert.Pair) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// modelKeys are a model's keys by the variables that they stand for.
var modelKeys = map[string]string{
	model.Latency: "latency", model.Errors: "errors", model.Concurrency: "concurrency",
	model.Queue: "queue", model.Startup: "startup", model.ReadyAfter: "readyAfter",
	model.Ready: "ready", model.Remember: "remember",
}

// decode reads a model, and reports what can not be carried out where it is written.
func (m *Model) decode(d *decoder, n *yaml.Node, field string) {
	d.structure(n, reflect.ValueOf(m).Elem(), field)
	vars := map[string]string{}
	for _, e := range m.Env() {
		if vars[e.Name] = e.Value; e.Value == "" {
			key := modelKeys[e.Name]
			d.report(valueOf(n, key), join(field, key), "says nothing")
		}
	}
	_, errs := model.Read(vars)
	for _, err := range errs {
		p, ok := errors.AsType[*model.Problem](err)
		if !ok {
			panic(fmt.Sprintf("scenarios: %v", err)) // Read returns no other
		}
		key, msg := modelKeys[p.Name], inKeys(p.Msg)
		if !strings.HasPrefix(msg, strconv.Quote(p.Value)) {
			msg = fmt.Sprintf("%q: %s", p.Value, msg)
		}
		d.report(valueOf(n, key), join(field, key), "%s", msg)
	}
}

// valueOf returns the value of a mapping's key, or the mapping.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return n
}

// inKeys says with a scenario's keys what speaks of variables.
func inKeys(msg string) string {
	for _, name := range model.Names {
		msg = strings.ReplaceAll(msg+" ", name+" ", modelKeys[name]+" ")
		msg = strings.TrimSuffix(msg, " ")
	}
	return msg
}
