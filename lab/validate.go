package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/roots"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

func validateCommand(e *env) *cobra.Command {
	var meshConfig, namespace string
	c := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check scenarios and configuration; every problem with file, line and field",
		Example: `  mesh-lab validate scenarios/canary.yaml
  mesh-lab validate manifests/ istio/
  kustomize build . | mesh-lab validate -`,
		Args: wants(1, -1, "which file? Scenarios, Kubernetes or Istio YAML, a directory, or -"),
		RunE: func(c *cobra.Command, args []string) error {
			return e.validate(c.Context(), args, meshConfig, namespace)
		},
	}
	namespaceFlag(c, &namespace, "n")
	c.Flags().StringVar(&meshConfig, "mesh-config", "", "`FILE` with the MeshConfig")
	outputFlag(e, c, "text", "json")
	return c
}

func (e *env) validate(
	ctx context.Context, args []string, meshConfig, namespace string,
) error {
	var diags []istio.Diagnostic
	checked := 0
	if err := leavable(ctx, func() (err error) {
		diags, checked, err = e.check(args, meshConfig, namespace)
		return err
	}); err != nil {
		return err
	}
	return e.printDiagnostics(diags, checked)
}

// check checks files, and returns how many there were.
func (e *env) check(
	args []string, meshConfig, namespace string,
) (diags []istio.Diagnostic, checked int, err error) {
	files, err := e.readFiles(args)
	if err != nil {
		return nil, 0, err
	}
	var config []istio.File
	for _, f := range files {
		if !isScenario(f.Data) {
			config = append(config, f)
			continue
		}
		checked++
		s, d := scenarios.Open(os.DirFS(dirOf(f.Name)), filepath.Base(f.Name))
		diags = append(diags, inDir(d, f.Name)...)
		if s != nil && !hasError(d) {
			diags = append(diags, inDir(checkScenario(s, f.Name), f.Name)...)
		}
	}
	if len(config) > 0 || meshConfig != "" {
		d, err := e.checkConfig(config, meshConfig, namespace)
		if err != nil {
			return nil, 0, err
		}
		diags = append(diags, d...)
		checked += len(config)
	}
	return diags, checked, nil
}

// checkConfig reads and translates configuration files, all of them together.
func (e *env) checkConfig(
	files []istio.File, meshConfig, namespace string,
) ([]istio.Diagnostic, error) {
	o := istio.ReadOptions{Namespace: namespace}
	if meshConfig != "" {
		data, err := e.readFile(meshConfig)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		o.MeshConfig = &istio.File{Name: meshConfig, Data: data}
	}
	c, diags := istio.Read(files, o)
	if hasError(diags) {
		return diags, nil
	}
	diags = append(diags, istio.CrossCheck(c)...)
	for _, d := range translated(c, e.flags.topology) {
		// Both look for what is missing; CrossCheck suggests what was meant.
		if !slices.ContainsFunc(diags, func(x istio.Diagnostic) bool {
			return x.Place == d.Place && x.Field == d.Field && x.Severity == d.Severity
		}) {
			diags = append(diags, d)
		}
	}
	return diags, nil
}

// checkPod says what of a pod can not run where the mesh is to.
func checkPod(p *translate.Pod, where string) []istio.Diagnostic {
	out := embedded.CheckOwn(p)
	if where == "docker" {
		return append(out, docker.Check(p, "")...)
	}
	if err := embedded.CheckImage(p); err != nil && p.Object != nil {
		out = append(out, istio.Diagnostic{
			Severity: istio.Warning,
			Place:    p.Object.At("spec.template.spec.containers[0].image"),
			Object:   p.Object.Ref(), Msg: err.Error(),
		})
	}
	return append(out, embedded.CheckModel(p, "")...)
}

// translated returns what a configuration's translation complains of, each once.
func translated(c *istio.Config, where string) []istio.Diagnostic {
	reg, diags := translate.NewRegistry(c, nil)
	t := translate.New(c, reg).SystemRoots(roots.System())
	low := stock.NewLowering()
	known := accepted{}
	seen := map[string]bool{}
	tell := func(found ...istio.Diagnostic) {
		for _, x := range found {
			if s := x.String(); !seen[s] {
				seen[s] = true
				diags = append(diags, x)
			}
		}
	}
	for _, p := range reg.Pods {
		tell(checkPod(p, where)...)
		tell(embedded.CheckApp(p)...)
		if p.Role == translate.Sidecar {
			tell(intercept.Check(p)...)
		}
		if p.Role != translate.Sidecar && p.Role != translate.Gateway {
			continue
		}
		snap, d := t.Snapshot(p)
		// What the data plane would refuse is told before anything runs.
		snap, err := low.Snapshot(snap)
		if err == nil && !hasError(d) {
			err = known.take(p.ID(), snap)
		}
		tell(d...)
		if err != nil {
			tell(istio.Diagnostic{
				Place: p.Object.At(""), Object: p.Object.Ref(),
				Msg: "its proxy refuses: " + err.Error(),
			})
		}
	}
	return diags
}

// accepted are the clusters, endpoints and routes that our data plane has been found to take. Of
// thousands of proxies nearly all of these are the same messages, and they stand for themselves:
// whether one is taken does not depend on the others.
type accepted map[proto.Message]bool

// take says what a proxy refuses of a snapshot.
func (a accepted) take(node string, s *xds.Snapshot) error {
	fresh := *s
	fresh.Clusters, fresh.Endpoints = without(a, s.Clusters), without(a, s.Endpoints)
	fresh.Routes = without(a, s.Routes)
	if err := engine.New(engine.Options{Node: node}).Update(0, &fresh); err != nil {
		return err
	}
	add(a, fresh.Clusters)
	add(a, fresh.Endpoints)
	add(a, fresh.Routes)
	return nil
}

func without[M proto.Message](a accepted, all map[string]M) map[string]M {
	out := map[string]M{}
	for name, m := range all {
		if !a[m] {
			out[name] = m
		}
	}
	return out
}

func add[M proto.Message](a accepted, all map[string]M) {
	for _, m := range all {
		a[m] = true
	}
}

// checkScenario checks the configuration that a scenario names.
func checkScenario(s *scenarios.Scenario, file string) []istio.Diagnostic {
	_, err := runner.Configuration(s)
	var ie *runner.InvalidError
	switch x := err.(type) {
	case nil:
		return nil
	case *runner.InvalidError:
		ie = x
		return ie.Diagnostics
	}
	return []istio.Diagnostic{{
		Place: istio.Place{File: filepath.Base(file), Line: 1, Column: 1}, Msg: err.Error(),
	}}
}

// isScenario tells scenario files from configuration: they have steps and no kind.
func isScenario(data []byte) bool {
	var top struct {
		Kind  yaml.Node `yaml:"kind"`
		Steps yaml.Node `yaml:"steps"`
		Mesh  yaml.Node `yaml:"mesh"`
	}
	if err := yaml.Unmarshal(data, &top); err != nil {
		return false
	}
	return top.Kind.IsZero() && (!top.Steps.IsZero() || !top.Mesh.IsZero())
}

func dirOf(file string) string {
	if file == "-" {
		return "."
	}
	return filepath.Dir(file)
}

// inDir makes places relative to the working directory again, where they were relative to a file.
func inDir(diags []istio.Diagnostic, file string) []istio.Diagnostic {
	out := make([]istio.Diagnostic, 0, len(diags))
	for _, d := range diags {
		if d.Place.File != "" && !filepath.IsAbs(d.Place.File) {
			d.Place.File = filepath.Join(dirOf(file), d.Place.File)
		}
		out = append(out, d)
	}
	return out
}

func hasError(diags []istio.Diagnostic) bool {
	for _, d := range diags {
		if d.Severity == istio.Error {
			return true
		}
	}
	return false
}

// printDiagnostics prints every problem to stdout: they are what was asked for.
func (e *env) printDiagnostics(diags []istio.Diagnostic, files int) error {
	errs, warnings := 0, 0
	for _, d := range diags {
		if d.Severity == istio.Error {
			errs++
		} else {
			warnings++
		}
		if e.output == "text" {
			s := clip(d.String())
			if d.Severity != istio.Error {
				s += " (warning)"
			}
			fmt.Fprintln(e.out, s)
		}
	}
	if e.output == "json" {
		if err := e.jsonDiagnostics(diags); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(e.err, "%s: %s, %s\n", count(files, "file"), count(errs, "error"),
			count(warnings, "warning"))
	}
	if errs > 0 {
		return &exitError{exitUsage, nil}
	}
	return nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (e *env) jsonDiagnostics(diags []istio.Diagnostic) error {
	type row struct {
		Severity string `json:"severity"`
		File     string `json:"file"`
		Line     int    `json:"line"`
		Column   int    `json:"column"`
		Object   string `json:"object,omitempty"`
		Field    string `json:"field,omitempty"`
		Message  string `json:"message"`
	}
	rows := []row{}
	for _, d := range diags {
		sev := "error"
		if d.Severity != istio.Error {
			sev = "warning"
		}
		rows = append(rows, row{sev, d.Place.File, d.Place.Line, d.Place.Column, d.Object, d.Field,
			strings.TrimSpace(d.Msg)})
	}
	return json.NewEncoder(e.out).Encode(rows)
}
