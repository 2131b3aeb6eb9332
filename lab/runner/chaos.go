package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// ledger keeps account of what is broken in a mesh.
func ledger(m topology.Mesh, seed uint64) *chaos.Ledger {
	return chaos.New(chaos.BreakerOf(m), m.Clock(), m.Recorder(), seed)
}

// mendTimeout bounds how long the end of a run heals and rolls back.
const mendTimeout = 2 * time.Minute

// mend heals everything, rolls back, and looks whether everything is whole.
func (r *run) mend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	r.opt.Log.Info("heal")
	err := errors.Join(r.chaos.HealAll(ctx), r.rollback(ctx), r.chaos.Close(ctx))
	if err != nil && r.out.Header.Stopped == "" {
		r.out.Header.Stopped = err.Error()
	}
	return err
}

// rollback does what the scenario wants done in the end. One that fails keeps no other from being
// done.
func (r *run) rollback(ctx context.Context) error {
	var errs []error
	now := r.mesh.Clock().Now
	for i := range r.s.Rollback {
		a := &r.s.Rollback[i]
		did := reports.Did{Kind: a.Kind(), From: now()}
		if err := r.act(ctx, 0, a, &did, did.From); err != nil {
			errs = append(errs, fmt.Errorf("rollback: %w", err))
		}
		did.Until = now()
		r.out.Header.Rollback = append(r.out.Header.Rollback, did)
	}
	return errors.Join(errs...)
}

// needs has the story skipped when the topology lacks a power that it needs.
func (r *run) needs() {
	for _, n := range r.s.Needs {
		if !slices.Contains(scenarios.FaultKinds(), n) {
			continue // every topology can
		}
		if err := r.chaos.Able(chaos.Sample(n)); err != nil {
			r.skip = fmt.Sprintf("topology %s: %v", r.opt.Topology, err)
			return
		}
	}
}

// skips says whether step i can not be told, and records it: something is to be broken that the
// topology can not break. What comes after rests on it, and is skipped, too.
func (r *run) skips(i int) bool {
	s := &r.s.Steps[i]
	for a := range s.Actions {
		r.unable(&s.Actions[a])
		if l := s.Actions[a].Load; l != nil {
			for m := range l.Meanwhile {
				r.unable(&l.Meanwhile[m])
			}
		}
	}
	if r.skip == "" {
		return false
	}
	now := r.mesh.Clock().Now()
	r.opt.Log.Info("skip", "step", s.Name, "why", r.skip)
	r.out.Header.Steps = append(r.out.Header.Steps, reports.StepRun{
		Name: s.Name, From: now, Until: now, Skipped: r.skip,
	})
	return true
}

// unable remembers why an action can not be carried out.
func (r *run) unable(a *scenarios.Action) {
	if a.Fault == nil || r.skip != "" {
		return
	}
	if err := r.chaos.Able(a.Fault); err != nil {
		r.skip = fmt.Sprintf("topology %s: %v", r.opt.Topology, err)
	}
}

// breaks begins a fault, or has it begin when its moment comes.
func (r *run) breaks(ctx context.Context, f *scenarios.Fault, did *reports.Did) error {
	did.What = chaos.Describe(f)
	orders, err := chaos.Orders(f, r.mesh.Registry())
	if err != nil {
		return err
	}
	for _, o := range orders {
		settled, err := r.chaos.Begin(ctx, o)
		if err != nil {
			return err
		}
		r.began = append(r.began, settled)
	}
	return nil
}

// heal ends faults by name, or all.
func (r *run) heal(ctx context.Context, names []string, did *reports.Did) error {
	did.What = strings.Join(names, ", ")
	if slices.Contains(names, "all") {
		return r.chaos.HealAll(ctx)
	}
	return r.chaos.Heal(ctx, names...)
}

// restart starts pods again: those that were killed, or else in the place of those that run.
func (r *run) restart(ctx context.Context, names []string, did *reports.Did) error {
	did.What = strings.Join(names, ", ")
	for _, n := range names {
		pods, err := chaos.Pods(r.mesh.Registry(), n)
		if err != nil {
			return fmt.Errorf("restart: %w", err)
		}
		for _, p := range pods {
			if killed, err := r.chaos.EndOf(ctx, topology.FaultKill, p.ID()); killed || err != nil {
				if err != nil {
					return fmt.Errorf("restart %s: %w", p.ID(), err)
				}
				continue
			}
			k, ok := r.mesh.(topology.Killer)
			if !ok {
				return fmt.Errorf("restart: topology %s can not", r.opt.Topology)
			}
			if err := k.Restart(ctx, p.ID()); err != nil {
				return fmt.Errorf("restart %s: %w", p.ID(), err)
			}
		}
	}
	return nil
}
