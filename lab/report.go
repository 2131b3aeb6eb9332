package lab

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/graph"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/reports/page"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

func reportCommand(e *env) *cobra.Command {
	var o outputs
	var compare bool
	c := &cobra.Command{
		Use:   "report FILE...",
		Short: "Make every report again from recorded runs, without a new run",
		Long: `Makes every report again from recorded runs, without a new run.

With --compare it puts two runs side by side, expectation by expectation, and marks what is not
the same: verdicts, and what was seen where there is no chance in it. Shares differ when the
intervals that hold them have nothing in common. The exit status is 0 when nothing differs, 1
otherwise.`,
		Example: `  mesh-lab run canary --history run.jsonl
  mesh-lab report run.jsonl --junit results.xml --html run.html
  mesh-lab report --compare before.jsonl after.jsonl --html both.html`,
		Args: wants(1, -1, "which recorded run? A file that `run --history` wrote"),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case compare && len(args) != 2:
				return usage("--compare takes two recorded runs, not %d", len(args))
			case compare && (o.json != "" || o.junit != "" || o.fortio != ""):
				return usage("--compare writes text and --html; " +
					"--json, --junit and --fortio are of one run")
			case compare && e.output == "json":
				return usage("--compare writes text and --html, not JSON")
			}
			if err := o.check(); err != nil {
				return err
			}
			if compare {
				return e.compareRuns(args[0], args[1], o.html)
			}
			return e.report(args, &o)
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&compare, "compare", false, "put two runs side by side")
	outputFlag(e, c, "text", "json")
	return c
}

// meshGraph draws who called whom in a run.
func meshGraph(r *reports.Run) (string, error) {
	return graph.OfHistory(&r.History).SVG(), nil
}

// readRun reads a recorded run.
func readRun(file string) (*reports.Run, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &exitError{exitUsage, clean(err)}
	}
	defer f.Close()
	run, err := reports.ReadRun(f)
	if err != nil {
		return nil, usage("%s: %v", file, err)
	}
	return run, nil
}

func (e *env) report(args []string, o *outputs) error {
	w := &writer{env: e, outputs: o}
	outcomes := []assert.Outcome{}
	for _, a := range args {
		run, err := readRun(a)
		if err != nil {
			return err
		}
		res, err := w.write(run)
		if res == nil && err != nil {
			return usage("%s: %v", a, err)
		}
		if err != nil {
			return err
		}
		outcomes = append(outcomes, res.Verdict)
	}
	if err := w.flush(); err != nil {
		return err
	}
	return verdict(outcomes)
}

// compareRuns puts two recorded runs side by side: as text, and as a page where a file is named.
func (e *env) compareRuns(a, b, html string) error {
	var runs [2]*reports.Run
	var results [2]*reports.Result
	for i, file := range []string{a, b} {
		run, err := readRun(file)
		if err != nil {
			return err
		}
		res, err := reports.Judge(run)
		if err != nil {
			return usage("%s: %v", file, err)
		}
		runs[i], results[i] = run, res
	}
	c := page.Compare(results[0], results[1])
	if err := c.Text(e.out); err != nil {
		return environment(err)
	}
	if html != "" {
		err := toFile(html, func(w io.Writer) error {
			return page.WriteComparison(w, meshGraph, runs[0], runs[1])
		})
		if err != nil {
			return environment(err)
		}
	}
	if c.Differences() > 0 {
		return &exitError{exitFail, nil}
	}
	return nil
}
