package parity

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/parity/cases"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// Options are how a run compares.
type Options struct {
	A, B     Side
	Spec     topology.Spec // seed, log, app for unknown images
	Max      int           // generated requests for each configuration; 0: all
	Effort   Effort
	Progress func(string) // called as the run goes on; may be nil
}

// Run compares over many configurations; what it finds is in its checker.
type Run struct {
	Options
	Checker

	cases map[string]int // requests that were compared and found alike, by case
	uses  map[string]fidelity.Use
	jars  request.Jars // of the scenario that is compared; both sides' cookies are the same
	alike int          // configurations
}

// NewRun returns a run that has not compared anything yet.
func NewRun(o Options) *Run {
	r := &Run{Options: o, Checker: Checker{Effort: o.Effort}}
	r.Found = func(f *Finding) {
		what := "the shares of its outcomes"
		if f.Shares == nil {
			d := f.Differences[0]
			what = fmt.Sprintf("%s: %s and %s", d.Fact, clip(d.A), clip(d.B))
		}
		r.say("%s: %s: %s", f.Where, Command(f.Smallest), what)
	}
	return r
}

func (r *Run) say(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// up brings a pair up under a configuration.
func (r *Run) up(ctx context.Context, c *istio.Config, s topology.Spec) error {
	r.Pair = &Pair{A: r.A, B: r.B}
	s.Config, s.Seed, s.Log = c, r.Spec.Seed, r.Spec.Log
	return r.Pair.Up(ctx, s)
}

// down takes the pair down and keeps count of what it sent.
func (r *Run) down(ctx context.Context, err error) error {
	r.Tally.Sent += r.Pair.sent
	if cerr := r.Pair.Close(context.WithoutCancel(ctx)); cerr != nil {
		r.say("%v", cerr) // what was found stands
	}
	return err
}

// Config compares one configuration: with the requests that are given and those that are made from
// it.
func (r *Run) Config(
	ctx context.Context, where string, c *istio.Config, own []request.Spec,
) (err error) {
	if err := r.up(ctx, c, r.Spec); err != nil {
		return err
	}
	defer func() { err = r.down(ctx, err) }()
	return r.inForce(ctx, where, where, own)
}

// inOrder bounds the requests that are sent one after the other, which takes long, and inOrderLeast
// how many of them there are to be.
const (
	inOrder      = 200
	inOrderLeast = 40
)

// inForce compares what is in force now, as a part of a case.
func (r *Run) inForce(ctx context.Context, name, where string, own []request.Spec) error {
	c, before := r.Pair.config, len(r.Findings)
	r.Tally.Configs++
	most := r.Max
	if limited(c) {
		most = min(cmp.Or(most, inOrder), inOrder)
	}
	made := cases.From(c, r.Pair.meshes[0].Registry(), cases.Options{Seed: r.Spec.Seed, Max: most})
	r.Tally.Cut += made.Cut
	r.say("%s: %d requests", where, len(own)+len(made.Requests))
	for _, s := range own {
		if s.Count > 1 {
			r.Tally.Random++
			same := func(int) request.Spec { return s }
			if err := r.Distribution(ctx, where, same, nil, nil); err != nil {
				return err
			}
		}
	}
	all := append(own[:len(own):len(own)], made.Requests...)
	if err := r.Check(ctx, where, all); err != nil {
		return err
	}
	r.compared(name, c, len(all), before)
	return nil
}

// Scenario plays a scenario on both sides at once: its changes as it says; at each step the
// requests that are made from the configuration in force and the scenario's own; and its loads as
// comparisons of shares.
func (r *Run) Scenario(ctx context.Context, s *scenarios.Scenario) (err error) {
	c, err := runner.Configuration(s)
	if err != nil {
		return err
	}
	spec := r.Spec
	spec.UnknownImage, spec.KeepHeaders = s.Mesh.UnknownImage, s.KeepHeaders()
	if err := r.up(ctx, c, spec); err != nil {
		return err
	}
	defer func() { err = r.down(ctx, err) }()
	hands := [2]*runner.Hand{
		runner.NewHand(s, r.Pair.meshes[0]), runner.NewHand(s, r.Pair.meshes[1]),
	}
	defer func() {
		for _, h := range hands {
			err = errors.Join(err, h.Close(context.WithoutCancel(ctx)))
		}
	}()
	r.jars = request.Jars{}
	seen := map[*istio.Config]bool{}
	for i := range s.Steps {
		step := &s.Steps[i]
		where := s.Name + ", " + step.Name
		for j := range step.Actions {
			if err := r.action(ctx, where, hands, &step.Actions[j]); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
		}
		if now := hands[0].Config(); !seen[now] {
			seen[now] = true
			if err := r.inForce(ctx, s.Name, where, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// action carries one action out on both sides.
func (r *Run) action(
	ctx context.Context, where string, hands [2]*runner.Hand, a *scenarios.Action,
) error {
	switch {
	case a.Load != nil:
		l := a.Load
		return r.traffic(ctx, where, l.Headers, request.Spec{
			From: l.From, Gateway: l.Gateway, URL: l.To, Method: l.Method, Host: l.Host,
			Body: l.Body, Timeout: l.Timeout, Jar: r.jars.Named(l.Cookies),
		})
	case a.Request != nil:
		q := a.Request
		spec := request.Spec{
			From: q.From, Gateway: q.Gateway, URL: q.URL, Method: q.Method, Host: q.Host,
			Body: q.Body, Timeout: q.Timeout, Headers: lines(q.Headers, 0),
			Jar: r.jars.Named(q.Cookies),
		}
		return r.Check(ctx, where, []request.Spec{spec})
	}
	err := r.Pair.both(func(i int, _ Side) error { return hands[i].Do(ctx, a) })
	r.Pair.config = hands[0].Config()
	return err
}

// traffic compares the shares of a load's outcomes.
func (r *Run) traffic(
	ctx context.Context, where string, h scenarios.Headers, spec request.Spec,
) error {
	r.Tally.Random++
	return r.Distribution(ctx, where, func(n int) request.Spec {
		s := spec
		s.Headers = lines(h, n)
		return s
	}, nil, nil)
}

// lines writes the headers of request n.
func lines(headers scenarios.Headers, n int) []string {
	var out []string
	for _, h := range headers {
		out = append(out, h.Name+": "+h.Value.At(n))
	}
	return out
}
