package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/reports/page"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// outputs are the files that run and report write beside stdout.
type outputs struct {
	json, junit, fortio, history, html string

	require bool // what a topology can not do fails
	watch   bool // show the run in the terminal
}

func (o *outputs) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.json, "json", "", "write the Result to `FILE`")
	f.StringVar(&o.junit, "junit", "", "write JUnit XML to `FILE`")
	f.StringVar(&o.fortio, "fortio", "", "write fortio's result files to `DIR`")
	f.StringVar(&o.html, "html", "", "write one self-contained page to `FILE`")
}

func (o *outputs) check() error {
	for _, f := range []string{o.json, o.junit, o.history, o.html} {
		if err := writable(f); err != nil {
			return environment(clean(err))
		}
	}
	return nil
}

// writable says whether a file can be written, before an hour of load is spent on it.
func writable(file string) error {
	if file == "" {
		return nil
	}
	_, err := os.Stat(file)
	fresh := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if fresh {
		return errors.Join(f.Close(), os.Remove(file))
	}
	return f.Close()
}

func runCommand(e *env) *cobra.Command {
	var o outputs
	var exact bool
	var atOnce int
	c := &cobra.Command{
		Use:   "run SCENARIO...",
		Short: "Run scenarios and give a verdict for each",
		Long: `Runs scenario files, directories of them, or bundled scenarios by name, and gives a
verdict for each. In a directory, folders called testdata are passed over.

Each scenario has a mesh of its own. As many run at a time as the machine has CPUs, or as -j says;
what they came to is told in the order of the arguments, one after the other. One that fails stops
no other. With --seed all have the same seed, so that each can be run again alone.

Exit status: 0 everything passed, 1 a verdict failed, 2 invalid input, 3 inconclusive and nothing
failed, 4 the environment could not do it, 130 interrupted.`,
		Example: `  mesh-lab run canary
  mesh-lab run security/strict security/migration
  mesh-lab run scenarios/ --junit results.xml
  mesh-lab run scenarios/ -j 1             # one after the other
  mesh-lab run my.yaml --seed 7f3a91 --history run.jsonl -o json
  mesh-lab run canary --watch              # see it happen
  mesh-lab run canary --exact              # weights come out to the request
  mesh-lab run canary --proxy envoy        # on real Envoys, one for each pod`,
		Args: wants(1, -1, "which scenario? A file, a directory, or one of "+
			strings.Join(scenarios.Names(), ", ")),
		ValidArgsFunction: scenarioNames,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if atOnce < 1 {
				return usage("-j %d: want a number of scenarios, at least 1", atOnce)
			}
			return e.run(c.Context(), args, atOnce, exact, &o)
		},
	}
	o.flags(c)
	exactFlag(c, &exact)
	c.Flags().BoolVar(&o.watch, "watch", false,
		"watch the run in the terminal (one scenario); q leaves it, and the run goes on")
	c.Flags().BoolVar(&o.require, "require", false,
		"what the topology can not do fails, instead of being skipped")
	c.Flags().IntVarP(&atOnce, "jobs", "j", runtime.NumCPU(), "scenarios that run at a time: `N`")
	c.Flags().StringVar(&o.history, "history", "", "write the recorded run to `FILE` (JSON lines)")
	outputFlag(e, c, "text", "json")
	return c
}

// run runs every scenario, atOnce of them at a time; invalid ones are reported before anything
// starts.
func (e *env) run(
	ctx context.Context, args []string, atOnce int, exact bool, o *outputs,
) error {
	var all []*scenarios.Scenario
	var errs []error
	for _, a := range args {
		found, err := e.openScenarios(a)
		all = append(all, found...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{exitUsage, err}
	}
	play := func(s *suite) ([]assert.Outcome, error) { return s.play(ctx, atOnce) }
	if o.watch {
		out, errs, err := e.hold(len(all))
		if err != nil {
			return err
		}
		play = func(s *suite) ([]assert.Outcome, error) { return s.watchRun(ctx, out, errs) }
		defer errs.release()
	}
	w := &writer{env: e, outputs: o, exact: exact}
	s, err := newSuite(ctx, w, all)
	if err != nil {
		return err
	}
	outcomes, err := play(s)
	if err := errors.Join(err, w.flush()); err != nil {
		return err
	}
	return verdict(outcomes)
}

// verdict turns outcomes into the exit status.
func verdict(outcomes []assert.Outcome) error {
	switch assert.Worst(outcomes...) {
	case assert.Fail:
		return &exitError{exitFail, nil}
	case assert.Inconclusive:
		return &exitError{exitInconclusive, nil}
	}
	return nil
}

// runError gives a runner's error its exit status.
func runError(ctx context.Context, s *scenarios.Scenario, err error) error {
	var ie *runner.InvalidError
	switch {
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, nil}
	case errors.As(err, &ie):
		return &exitError{exitUsage, err}
	}
	err = fmt.Errorf("%s: %w", s.Name, err)
	var xe *exitError
	if errors.As(upError(err), &xe) {
		return xe
	}
	return environment(err)
}

// openScenarios opens a file, every scenario of a directory, or a bundled one by its name.
func (e *env) openScenarios(arg string) ([]*scenarios.Scenario, error) {
	i, err := os.Stat(arg)
	switch {
	case err == nil && i.IsDir():
		return e.openDir(arg)
	case err == nil:
		s, err := e.openFile(arg)
		return []*scenarios.Scenario{s}, err
	}
	name := strings.TrimSuffix(arg, ".yaml")
	if slices.Contains(scenarios.Names(), name) {
		s, diags := scenarios.Open(scenarios.Catalogue(), name+".yaml")
		s.File = name // as it is run again
		return []*scenarios.Scenario{s}, bare(e.diagnose(diags))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, clean(err)
	}
	if near := istio.Suggest(name, scenarios.Names()); near != "" {
		return nil, fmt.Errorf("no file and no bundled scenario %q; is %s meant?", arg, near)
	}
	if !strings.ContainsAny(arg, "./") {
		return nil, fmt.Errorf("no file and no bundled scenario %q; bundled are %s", arg,
			strings.Join(scenarios.Names(), ", "))
	}
	return nil, clean(err)
}

// openFile opens one scenario; places in its problems are relative to the working directory.
func (e *env) openFile(path string) (*scenarios.Scenario, error) {
	s, diags := scenarios.Open(os.DirFS(dirOf(path)), filepath.Base(path))
	if s != nil {
		s.File = path
	}
	return s, bare(e.diagnose(inDir(diags, path)))
}

// openDir opens every scenario in a directory and below, but for those that are data of tests.
func (e *env) openDir(dir string) ([]*scenarios.Scenario, error) {
	var out []*scenarios.Scenario
	var errs []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "testdata" && path != dir {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !isConfig(path) {
			return err
		}
		data, err := e.readFile(path)
		if err != nil || !isScenario(data) {
			return err
		}
		s, err := e.openFile(path)
		out = append(out, s)
		errs = append(errs, err)
		return nil
	})
	if err != nil {
		return nil, clean(err)
	}
	if len(out) == 0 {
		errs = append(errs, fmt.Errorf("%s: no scenario in it", dir))
	}
	return out, errors.Join(errs...)
}

// bare takes the exit status off, so that errors can be joined.
func bare(err error) error {
	var x *exitError
	if errors.As(err, &x) {
		return x.err
	}
	return err
}

// writer writes reports: text as they come, JUnit and JSON in the end.
type writer struct {
	*env
	outputs *outputs
	results []*reports.Result
	runs    []*reports.Run // for the page, when there is to be one
	exact   bool           // of the runs
}

// write computes a run's Result and writes what is written run by run.
func (w *writer) write(run *reports.Run) (*reports.Result, error) {
	res, err := reports.Judge(run)
	if err != nil {
		return nil, environment(err)
	}
	w.results = append(w.results, res)
	if w.outputs.html != "" {
		w.runs = append(w.runs, run)
	}
	var errs []error
	if w.output == "json" {
		errs = append(errs, reports.JSON(w.out, res))
	} else {
		errs = append(errs, reports.Text(w.out, res, reports.TextOptions{Color: w.colored(w.out)}))
	}
	if f := w.outputs.history; f != "" {
		errs = append(errs, toFile(numbered(f, len(w.results)), func(o io.Writer) error {
			return reports.WriteRun(o, run)
		}))
	}
	if d := w.outputs.fortio; d != "" {
		errs = append(errs, fortioFiles(d, res))
	}
	return res, environment(errors.Join(errs...))
}

// numbered gives each of several runs its own file: run.jsonl, run-2.jsonl.
func numbered(file string, n int) string {
	if n == 1 {
		return file
	}
	ext := filepath.Ext(file)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(file, ext), n, ext)
}

// flush writes the files that hold all results.
func (w *writer) flush() error {
	var errs []error
	if f := w.outputs.json; f != "" && len(w.results) > 0 {
		errs = append(errs, toFile(f, func(o io.Writer) error {
			for _, r := range w.results {
				if err := reports.JSON(o, r); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	if f := w.outputs.junit; f != "" && len(w.results) > 0 {
		errs = append(errs,
			toFile(f, func(o io.Writer) error { return reports.JUnit(o, w.results...) }))
	}
	if f := w.outputs.html; f != "" && len(w.runs) > 0 {
		errs = append(errs, toFile(f, func(o io.Writer) error {
			return page.Write(o, meshGraph, w.runs...)
		}))
	}
	return environment(errors.Join(errs...))
}

func toFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return clean(err)
	}
	return errors.Join(write(f), f.Close())
}

// fortioFiles writes each load's own result, as `fortio report` opens it.
func fortioFiles(dir string, res *reports.Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return clean(err)
	}
	for name, data := range reports.Fortio(res) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return clean(err)
		}
	}
	return nil
}
