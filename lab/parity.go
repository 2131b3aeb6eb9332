package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/parity"
	"github.com/mesh-lab/mesh-lab/lab/parity/rules"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// parityFlags are what the command compares.
type parityFlags struct {
	source
	requests string
	fuzz     int
	most     int
	report   string
}

func parityCommand(e *env) *cobra.Command {
	var p parityFlags
	c := &cobra.Command{
		Use:   "parity [SCENARIO...] [-f FILE... [--requests FILE]] [--fuzz N]",
		Short: "Run the same on our data plane and on the real Envoy, and report every difference",
		Long: `Puts our data plane and the real Envoy under one configuration and sends both the
same requests: those of scenarios, those of a file, and many that are made from the configuration
itself. It compares answers, what the backend saw and what the proxies recorded, and the shares of
what is random. For each difference it tells the smallest request that shows it.

Exit status: 0 no difference but those that docs/fidelity.md lists, 1 a difference, 2 invalid input,
4 no Envoy.`,
		Example: `  mesh-lab parity canary retries
  mesh-lab parity -f mesh/ --requests requests.ndjson -o json
  mesh-lab parity --fuzz 2000 --seed 7f3a91`,
		ValidArgsFunction: scenarioNames,
		RunE: func(c *cobra.Command, args []string) error {
			return e.parity(c.Context(), p.takeReport(args), &p)
		},
	}
	sourceFlags(c, &p.source)
	f := c.Flags()
	f.StringVar(&p.requests, "requests", "",
		"with -f: requests of one's own from `FILE`, one JSON object a line, - for stdin")
	f.IntVar(&p.fuzz, "fuzz", 0, "compare `NUMBER` of random configurations")
	f.IntVar(&p.most, "max-requests", 0, "generated requests for each configuration, "+
		"at `MOST` (default 1000; with --fuzz 20)")
	f.StringVar(&p.report, "report", "", "write what was compared to `FILE`: numbers to a .json, "+
		"else the report of docs/fidelity.md, which it is without FILE")
	f.Lookup("report").NoOptDefVal = fidelityPage
	outputFlag(e, c, "text", "json")
	return c
}

// parity compares what its arguments name, one after the other.
func (e *env) parity(ctx context.Context, args []string, p *parityFlags) error {
	own := len(p.files) > 0 || p.app != ""
	switch {
	case p.requests != "" && !own:
		return usage("--requests goes with -f or --app: whose mesh are they for?")
	case p.fuzz < 0:
		return usage("--fuzz %d: want a number of configurations", p.fuzz)
	case len(args) == 0 && !own && p.fuzz == 0:
		return usage("parity: what to compare? A SCENARIO, -f FILE or --fuzz N; " +
			"`mesh-lab parity -h` shows examples")
	case p.report == fidelityPage && !inProject():
		return usage("--report without FILE writes %s, which is not here; --report FILE writes a "+
			"new one", fidelityPage)
	case p.most < 0:
		return usage("--max-requests %d: want a number of requests", p.most)
	}
	all, config, requests, err := e.parityInput(args, p, own)
	if err != nil {
		return err
	}
	r, err := e.newParity(ctx, p)
	if err != nil {
		return err
	}
	began := time.Now()
	if own {
		where := strings.TrimSpace(strings.Join(p.files, " ") + " " + p.app)
		err = r.Config(ctx, where, config, requests)
	}
	for i := 0; i < len(all) && err == nil; i++ {
		err = r.Scenario(ctx, all[i])
	}
	if p.fuzz > 0 && err == nil {
		err = fuzz(ctx, r, p.fuzz)
	}
	if err != nil {
		return upError(err)
	}
	report := r.Report(time.Since(began))
	if p.report != "" {
		if err := writeParity(p.report, r.Evidence(), report.Summary()); err != nil {
			return environment(clean(err))
		}
	}
	return e.parityReport(report)
}

// parityInput reads everything before anything starts.
func (e *env) parityInput(args []string, p *parityFlags, own bool) (
	all []*scenarios.Scenario, c *istio.Config, requests []request.Spec, err error,
) {
	var errs []error
	for _, a := range args {
		found, err := e.openScenarios(a)
		all = append(all, found...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, nil, &exitError{exitUsage, err}
	}
	if own {
		if c, err = e.config(p.source); err != nil {
			return nil, nil, nil, err
		}
		if len(c.Objects) == 0 {
			return nil, nil, nil, usage("the configuration is empty")
		}
	}
	if p.requests != "" {
		b, err := e.readFile(p.requests)
		if err != nil {
			return nil, nil, nil, &exitError{exitUsage, err}
		}
		requests, err = parseSpecs(p.requests, b, &request.Spec{})
		if err != nil {
			return nil, nil, nil, err
		}
	}
	return all, c, requests, nil
}

// Bounds of what is generated and repeated, unless the flags say otherwise.
const (
	maxGenerated = 1000
	maxFuzzed    = 20
)

// newParity finds the Envoy and prepares a run.
func (e *env) newParity(ctx context.Context, p *parityFlags) (*parity.Run, error) {
	bin, err := envoy.Locate(ctx)
	if err != nil {
		return nil, environment(err)
	}
	seed, err := e.seed()
	if err != nil {
		return nil, err
	}
	real, err := e.driverOf("envoy")
	if err != nil {
		return nil, err
	}
	o := parity.Options{
		A:      parity.Side{Name: "meshcore", Driver: embedded.Driver{}},
		B:      parity.Side{Name: "envoy " + bin.Version, Driver: real},
		Spec:   topology.Spec{Seed: seed, UnknownImage: p.unknown, Log: e.log},
		Max:    maxGenerated,
		Effort: parity.Effort{Groups: 12, Least: 200, Most: 1600},
		Progress: func(s string) {
			fmt.Fprintln(e.err, s)
		},
	}
	if p.fuzz > 0 {
		o.Max, o.Effort = maxFuzzed, parity.Effort{Groups: 2, Least: 50, Most: 400}
	}
	if p.most > 0 {
		o.Max = p.most
	}
	fmt.Fprintf(e.err, "seed %x\n", seed)
	return parity.NewRun(o), nil
}

// fuzz compares random configurations: of routing rules half are drawn for this purpose, so that
// conditions meet, and half have every field that is carried out; a third of all is about access.
func fuzz(ctx context.Context, r *parity.Run, n int) error {
	for i, src := range []parity.Source{
		{Name: "rules", Mesh: rules.Mesh(), Draw: rules.Draw},
		{Name: "generated", Mesh: rules.GeneratedMesh(), Draw: rules.Generated},
		{Name: "access", Mesh: rules.AccessMesh(), Draw: rules.Access},
	} {
		if err := r.Fuzz(ctx, src, (n+2-i)/3); err != nil {
			return err
		}
	}
	return nil
}

// parityReport prints what was found and gives it its exit status.
func (e *env) parityReport(r *parity.Report) error {
	var err error
	if e.output == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	} else {
		err = r.Text(e.out)
	}
	if err != nil {
		return environment(err)
	}
	if len(r.Findings) > 0 {
		return &exitError{exitFail, nil}
	}
	return nil
}
