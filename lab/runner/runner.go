// Package runner runs one scenario on one mesh: it brings the mesh up, plays the steps, records
// what happens, and takes everything down again. It judges nothing: what it returns is the recorded
// run, from which the Result is computed.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Options are how a scenario is run.
type Options struct {
	Driver   topology.Driver
	Topology string // its name
	Proxy    string
	Seed     uint64
	Version  string
	Envoy    string // the version of the real Envoys, where it is known
	Exact    bool   // the proxies enumerate what they would draw
	// Carried, when set, is where is recorded what requests are explained by (why), as it happens.
	Carried  *reports.Carried
	FailFast bool // end with the first step that does not pass
	Require  bool // what the topology can not do fails the run, instead of being skipped
	Log      *slog.Logger
	// AccessLog and OwnLog are topology.Spec's.
	AccessLog func(pod string, line []byte)
	OwnLog    topology.OwnLog
	Progress  func(Progress) // called from the runner's goroutine; may be nil
	// Up is given the mesh when it is up, Stepped the run so far after each step; may be nil.
	Up      func(topology.Mesh)
	Stepped func(*reports.Run)
	Now     time.Time // when the run begins
}

// Progress is what is going on, for a person who waits.
type Progress struct {
	Step   int // from 1
	Steps  int
	Name   string
	Doing  string
	Sent   int64
	Failed int64
}

// InvalidError says that the scenario's configuration can not be used.
type InvalidError struct{ Diagnostics []istio.Diagnostic }

// Error prints every problem on a line of its own.
func (e *InvalidError) Error() string {
	s := ""
	for i, d := range e.Diagnostics {
		if i > 0 {
			s += "\n"
		}
		s += d.String()
	}
	return s
}

// run is one run under way.
type run struct {
	opt    Options
	s      *scenarios.Scenario
	out    *reports.Run
	mesh   topology.Mesh
	config *istio.Config
	jars   request.Jars
	chaos  *chaos.Ledger     // what is broken
	skip   string            // why what is left of the story can not be told; empty: it can
	began  []<-chan struct{} // of faults of the load's meanwhile: Ledger.Begin's
	beside []reports.Did     // what was done while the step's loads ran
	cut    *observe.History  // as it was before an interrupt broke requests off
}

// Run plays a scenario. The run that it returns is as far as it came, also with an error: of the
// environment, of the configuration (InvalidError), or of ctx.
func Run(ctx context.Context, s *scenarios.Scenario, o Options) (_ *reports.Run, err error) {
	r := &run{opt: o, s: s, jars: request.Jars{}, out: &reports.Run{Header: reports.Header{
		Schema: reports.RunSchema, File: s.File, Scenario: string(s.Text), Topology: o.Topology,
		Proxy: o.Proxy, Seed: o.Seed, Version: o.Version, Envoy: o.Envoy, Began: o.Now,
		Require: o.Require,
	}}}
	if o.Log == nil {
		r.opt.Log = slog.New(slog.DiscardHandler)
	}
	r.opt.Log.Info("bring the mesh up", "scenario", s.Name)
	r.progress(0, "bringing the mesh up", 0, 0)
	if err := r.up(ctx); err != nil {
		if ctx.Err() != nil {
			r.out.Header.Stopped = "interrupted while the mesh was brought up"
		}
		return r.out, err
	}
	defer func() {
		err = errors.Join(err, r.mend(context.WithoutCancel(ctx)))
		r.finish()
		err = errors.Join(err, r.mesh.Close(context.WithoutCancel(ctx)))
	}()
	if o.Up != nil {
		o.Up(r.mesh)
	}
	for i := range s.Steps {
		if r.skips(i) {
			continue
		}
		err := r.step(ctx, i)
		r.stepped()
		if err != nil {
			if ctx.Err() != nil {
				r.out.Header.Stopped = "interrupted"
				return r.out, ctx.Err()
			}
			r.out.Header.Stopped = err.Error()
			return r.out, err
		}
		if s.Steps[i].Steady == scenarios.Before && !r.passes() {
			r.out.Header.Stopped = "the steady state does not hold before anything is broken"
			break
		}
		if o.FailFast && !r.passes() {
			r.out.Header.Stopped = "the first step that did not pass was to be the last"
			break
		}
	}
	return r.out, nil
}

// up reads the configuration and brings the mesh up.
func (r *run) up(ctx context.Context) error {
	c, err := Configuration(r.s)
	if err != nil {
		return err
	}
	r.config = c
	r.mesh, err = r.opt.Driver.Up(ctx, topology.Spec{
		Config: c, Seed: r.opt.Seed, UnknownImage: r.s.Mesh.UnknownImage, Log: r.opt.Log,
		KeepHeaders: r.keepHeaders(c), Exact: r.opt.Exact, AccessLog: r.opt.AccessLog,
		OwnLog: r.opt.OwnLog,
	})
	if err != nil {
		return err
	}
	r.out.Header.Mesh = describe(r.mesh)
	r.chaos = ledger(r.mesh, r.opt.Seed)
	r.needs()
	r.exactness()
	r.place(c)
	r.keepCarried()
	return nil
}

// describe says what was brought up.
func describe(m topology.Mesh) reports.MeshRun {
	out := reports.MeshRun{Ready: m.Clock().Now().Sub(0)}
	for _, p := range m.Registry().Pods {
		if !slices.Contains(out.Workloads, p.Workload) {
			out.Workloads = append(out.Workloads, p.Workload)
		}
		if p.Role == translate.Sidecar {
			out.Sidecars++
		}
	}
	return out
}

// stepped tells how far the run has come.
func (r *run) stepped() {
	if r.opt.Stepped != nil {
		r.out.History = r.mesh.Recorder().Snapshot()
		r.opt.Stepped(r.out)
	}
}

// passes says whether the steps so far do.
func (r *run) passes() bool {
	r.out.History = r.mesh.Recorder().Snapshot()
	res, err := reports.Judge(r.out)
	return err == nil && !slices.ContainsFunc(res.Steps, func(s reports.StepResult) bool {
		return s.Verdict != assert.Pass
	})
}

// exactness remembers what the proxies enumerate; each configuration adds to it.
func (r *run) exactness() {
	x, ok := r.mesh.(topology.Exact)
	if !r.opt.Exact || !ok {
		return
	}
	now, h := x.Exactness(), &r.out.Header
	if h.Exact == nil {
		h.Exact = &reports.Exactness{}
	}
	h.Exact.Enumerated = union(h.Exact.Enumerated, now.Enumerated)
	h.Exact.Random = union(h.Exact.Random, now.Random)
	h.Exact.Altered = union(h.Exact.Altered, now.Altered)
}

// union appends the lines of more that are not there yet.
func union(lines, more []string) []string {
	for _, l := range more {
		if !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// place remembers where objects are written, for reports.
func (r *run) place(c *istio.Config) {
	if r.out.Header.Places == nil {
		r.out.Header.Places = map[string]string{}
	}
	for _, o := range c.Objects {
		if p := o.At(""); p.File != "" {
			r.out.Header.Places[o.Ref()] = fmt.Sprintf("%s:%d", p.File, p.Line)
		}
	}
}

// finish completes the record when everything has ended.
func (r *run) finish() {
	r.out.Header.Duration = r.mesh.Clock().Now().Sub(0)
	r.out.History = r.mesh.Recorder().Snapshot()
	if r.cut != nil { // faults are healed since
		r.cut.Faults, r.cut.Changes = r.out.History.Faults, r.out.History.Changes
		r.out.History = *r.cut
	}
}

// settleTimeout bounds how long the end of a step waits for records of exchanges that have ended.
const settleTimeout = 10 * time.Second

// step plays one step.
func (r *run) step(ctx context.Context, i int) (err error) {
	s := &r.s.Steps[i]
	now := r.mesh.Clock().Now
	sr := reports.StepRun{Name: s.Name, From: now()}
	if s.Steady == scenarios.During {
		sr.From = r.out.Header.Steps[1].From // it spans the story, from its first step on
	}
	r.mesh.Recorder().Change(observe.Change{At: sr.From, Kind: "step", What: s.Name})
	for a := range s.Actions {
		act := &s.Actions[a]
		r.opt.Log.Info("act", "step", s.Name, "kind", act.Kind())
		r.progress(i+1, act.Kind(), 0, 0)
		did := reports.Did{Kind: act.Kind(), From: now()}
		err = r.act(ctx, i, act, &did, sr.From)
		did.Until = now()
		sr.Did = append(append(sr.Did, did), r.beside...)
		r.beside = nil
		if changes(act) && !sent(sr.Did) {
			sr.From = now() // what was sent before is not judged by this step
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = errors.Join(r.strangers(s), r.chaos.Err())
	}
	r.chaos.Update(ctx)
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if serr := r.mesh.Settle(settle); serr != nil && err == nil {
		err = fmt.Errorf("step %q: requests did not end: %w", s.Name, serr)
	}
	sr.Until = now()
	if err != nil && ctx.Err() == nil {
		sr.Error = err.Error()
	}
	sr.Places = maps.Clone(r.out.Header.Places)
	r.out.Header.Steps = append(r.out.Header.Steps, sr)
	return err
}

// changes says whether an action changes the mesh, so that judging begins after it.
func changes(a *scenarios.Action) bool {
	switch a.Kind() {
	case "load", "request", "wait": // what happens while time passes is part of the story
		return false
	}
	return true
}

// sent says whether traffic has been sent in a step.
func sent(did []reports.Did) bool {
	return slices.ContainsFunc(did, func(d reports.Did) bool {
		return d.Kind == "load" || d.Kind == "request"
	})
}

// progress tells what is going on.
func (r *run) progress(step int, doing string, sent, failed int64) {
	if r.opt.Progress == nil {
		return
	}
	p := Progress{Step: step, Steps: len(r.s.Steps), Doing: doing, Sent: sent, Failed: failed}
	if step > 0 {
		p.Name = r.s.Steps[step-1].Name
	}
	r.opt.Progress(p)
}
