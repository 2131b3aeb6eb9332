package lab

import (
	"context"
	"errors"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// suite is the scenarios of one command. Each has a mesh of its own; as many as are allowed run at
// a time, begun in order. What comes of them is told in order, whichever ends first.
type suite struct {
	*writer
	all    []*scenarios.Scenario
	driver topology.Driver
	envoy  string // the version of the real Envoys
	seeds  []uint64
	show   *progress
	log    func(pod string, line []byte) // access logs
	own    topology.OwnLog
	ended  []chan played // of each scenario: takes its end, once
	story  *story        // of the only one, where it is watched
}

// played is what came of one scenario.
type played struct {
	run *reports.Run // nil: it did not begin
	err error
}

// newSuite looks for what all scenarios need.
func newSuite(
	ctx context.Context, w *writer, all []*scenarios.Scenario,
) (s *suite, err error) {
	s = &suite{writer: w, all: all, show: newProgress(w.env, all), log: w.accessLog(),
		own: w.ownLog(false)}
	if s.driver, err = w.driver(); err != nil {
		return nil, err
	}
	if w.flags.proxy == "envoy" {
		b, err := envoy.Locate(ctx)
		if err != nil && w.flags.topology != "docker" { // Docker can pull one
			return nil, environment(err)
		}
		s.envoy = b.Version
	}
	for range all {
		seed, err := w.seed()
		if err != nil {
			return nil, err
		}
		s.seeds = append(s.seeds, seed)
		s.ended = append(s.ended, make(chan played, 1))
	}
	return s, nil
}

// play runs all scenarios, atOnce of them at a time, and reports each. A scenario that fails, or
// cannot be carried out, keeps no other from running; an interrupt does.
func (s *suite) play(ctx context.Context, atOnce int) ([]assert.Outcome, error) {
	next := make(chan int)
	for range min(atOnce, len(s.all)) {
		go func() {
			for i := range next {
				s.ended[i] <- s.one(ctx, i)
			}
		}()
	}
	go func() {
		for i := range s.all {
			next <- i
		}
		close(next)
	}()
	outcomes := []assert.Outcome{}
	var errs []error
	for i, sc := range s.all {
		p := <-s.ended[i]
		s.show.aside(func() {
			if p.run == nil {
				return
			}
			res, err := s.write(p.run)
			if res != nil {
				outcomes = append(outcomes, res.Verdict)
			}
			errs = append(errs, err)
		})
		if p.err != nil {
			errs = append(errs, runError(ctx, sc, p.err))
		}
	}
	return outcomes, errors.Join(errs...)
}

// one runs scenario i, unless an interrupt has come.
func (s *suite) one(ctx context.Context, i int) played {
	if ctx.Err() != nil {
		return played{}
	}
	log, tell := s.env.log, s.show.of(i)
	if len(s.all) > 1 {
		log = log.With("scenario", s.all[i].Name)
	}
	o := runner.Options{
		Driver: s.driver, Topology: s.flags.topology, Proxy: s.flags.proxy, Seed: s.seeds[i],
		Exact: s.exact, Require: s.outputs.require, Version: buildVersion(),
		Envoy: s.envoy, Log: log,
		Progress: tell, Now: time.Now(), AccessLog: s.log, OwnLog: s.own,
	}
	if s.outputs.history != "" || s.story != nil {
		o.Carried = &reports.Carried{}
	}
	if s.story != nil {
		s.story.carried = o.Carried
		o.Progress, o.Up, o.Stepped = s.story.doing, s.story.begun, s.story.stepped
	}
	run, err := runner.Run(ctx, s.all[i], o)
	s.show.done(i)
	if err != nil && ctx.Err() == nil && len(run.Header.Steps) == 0 {
		run = nil // there is nothing to tell but the error
	}
	return played{run, err}
}
