package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// sabotages is how many sabotaged scenarios run at a time: most of them wait most of the time.
const sabotages = 6

// TestSabotage leaves out each rule that a scenario applies, one after the other: each object, and
// of objects with several routes or rules each of these. The scenario must not pass any more: one
// that passes without its rule shows nothing. What tells may not be that something was slow: a busy
// machine would make up for the rule.
func TestSabotage(t *testing.T) {
	type result struct {
		name string
		err  error
	}
	var wg sync.WaitGroup
	var results []*result
	turn := make(chan struct{}, sabotages)
	for _, name := range stories() {
		for i, rule := range rules(t, bundled(t, name)) {
			r := &result{name: name + " without " + rule.name}
			results = append(results, r)
			wg.Go(func() {
				turn <- struct{}{}
				defer func() { <-turn }()
				s := bundled(t, name)
				rules(t, s)[i].leaveOut()
				r.err = mustNotPass(t.Context(), s)
			})
		}
	}
	wg.Wait()
	for _, r := range results {
		if r.err != nil {
			t.Errorf("%s: %v", r.name, r.err)
		}
	}
	if len(results) < len(stories()) {
		t.Errorf("only %d rules in all scenarios", len(results))
	}
}

// mustNotPass plays a scenario until a step does not pass; the error is that none is so.
func mustNotPass(ctx context.Context, s *scenarios.Scenario) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	run, err := runner.Run(ctx, s, runner.Options{
		Driver: embedded.Driver{}, Topology: "embedded", Proxy: "meshcore", Seed: 7,
		Version: "test", FailFast: true,
	})
	if invalid := (*runner.InvalidError)(nil); errors.As(err, &invalid) {
		return err // it must be possible to leave the rule out
	}
	res, err := reports.Judge(run)
	if err != nil {
		return err
	}
	if res.Verdict == assert.Pass {
		w := &builder{}
		return errors.Join(reports.Text(w, res, reports.TextOptions{}),
			fmt.Errorf("it passes all the same:\n%s", w.b))
	}
	return nil
}

// bundled opens a scenario of the catalogue.
func bundled(t *testing.T, name string) *scenarios.Scenario {
	t.Helper()
	s, diags := scenarios.Open(scenarios.Catalogue(), name+".yaml")
	for _, d := range diags {
		t.Fatal(d)
	}
	return s
}

// rule is something that a scenario applies.
type rule struct {
	name     string
	leaveOut func()
}

// rules lists what a scenario says of the mesh's behaviour: all of its configuration, and what its
// manifests have of Istio's.
func rules(t *testing.T, s *scenarios.Scenario) []rule {
	t.Helper()
	var out []rule
	add := func(docs *scenarios.Documents, only func(kind string) bool) {
		if docs != nil {
			for i := range *docs {
				out = append(out, rulesOf(t, &(*docs)[i], only)...)
			}
		}
	}
	add(&s.Mesh.Files, func(version string) bool { return strings.Contains(version, "istio.io") })
	any := func(string) bool { return true }
	add(&s.Mesh.Config, any)
	for i := range s.Steps {
		for j := range s.Steps[i].Actions {
			a := &s.Steps[i].Actions[j]
			add(a.Apply, any)
			if a.Load != nil {
				for k := range a.Load.Meanwhile {
					add(a.Load.Meanwhile[k].Apply, any)
				}
			}
		}
	}
	return out
}

// lists are the fields of specs that are lists of rules.
var lists = []string{"http", "tcp", "tls", "rules", "jwtRules", "servers"}

// rulesOf lists the rules of one document whose objects are of some versions.
func rulesOf(t *testing.T, d *scenarios.Document, only func(version string) bool) []rule {
	t.Helper()
	var objects []map[string]any
	for dec := yaml.NewDecoder(bytes.NewReader(d.Data)); ; {
		var o map[string]any
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(d.File, err)
		}
		objects = append(objects, o)
	}
	write := func(all []map[string]any) {
		var b bytes.Buffer
		enc := yaml.NewEncoder(&b)
		for _, o := range all {
			if err := enc.Encode(o); err != nil {
				panic(err) // it has been read
			}
		}
		d.Data = b.Bytes()
	}
	var out []rule
	for i, o := range objects {
		if version, _ := o["apiVersion"].(string); !only(version) {
			continue
		}
		meta, _ := o["metadata"].(map[string]any)
		name := fmt.Sprintf("%s's %v %v", d.File, o["kind"], meta["name"])
		out = append(out, rule{name, func() {
			write(slices.Delete(slices.Clone(objects), i, i+1))
		}})
		spec, _ := o["spec"].(map[string]any)
		for _, field := range lists {
			all, _ := spec[field].([]any)
			for k := range all {
				if len(all) > 1 {
					out = append(out, rule{fmt.Sprintf("%s %s[%d]", name, field, k), func() {
						spec[field] = slices.Delete(slices.Clone(all), k, k+1)
						write(objects)
					}})
				}
			}
		}
	}
	return out
}

// TestFailFast ends with the first step that does not pass, and says so.
func TestFailFast(t *testing.T) {
	step := "- {request: {from: curl, to: \"http://customer:8080/\", expect: {status: STATUS}}}\n"
	story := "name: s\nmesh: {app: customer}\nsteps:\n"
	for _, status := range []string{"200", "404", "200"} {
		story += strings.Replace(step, "STATUS", status, 1)
	}
	s, diags := scenarios.Parse("s.yaml", []byte(story))
	for _, d := range diags {
		t.Fatal(d)
	}
	run, err := runner.Run(t.Context(), s, runner.Options{
		Driver: embedded.Driver{}, Topology: "embedded", Proxy: "meshcore", FailFast: true,
	})
	if err != nil || len(run.Header.Steps) != 2 || run.Header.Stopped == "" {
		t.Errorf("%v: %d steps, stopped %q", err, len(run.Header.Steps), run.Header.Stopped)
	}
}
