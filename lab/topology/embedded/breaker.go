package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Able says what one process on loopback can not break.
func (w *world) Able(f topology.Fault) error {
	switch f.Kind {
	case topology.FaultKill, topology.FaultPause, topology.FaultRefuse:
		return nil
	case topology.FaultStarve:
		return errors.New("the pods of --topology embedded share one process, whose time the " +
			"system gives as a whole; --topology docker has a share of a core for each")
	}
	return w.ableBetween(f)
}

// Break breaks what is between pods.
func (w *world) Break(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	if err := w.ableBetween(f); err != nil {
		return nil, err
	}
	return w.breakBetween(ctx, f)
}

// Whole says what is still broken, by the pods themselves and by what is between them.
func (w *world) Whole(context.Context) error {
	errs := []error{w.links.Whole(), w.mesh.NamesWhole()}
	for _, p := range w.running() {
		errs = append(errs, p.whole())
	}
	return errors.Join(errs...)
}

// whole says what of the pod does not run as it should.
func (p *pod) whole() error {
	id := p.Spec().ID()
	var errs []error
	p.mu.Lock()
	for _, h := range slices.SortedFunc(maps.Keys(p.broken), func(a, b hold) int {
		return slices.Compare([]string{string(a.kind), string(a.part)},
			[]string{string(b.kind), string(b.part)})
	}) {
		if p.broken[h] > 0 {
			errs = append(errs, fmt.Errorf("the %s of %s: %s", h.part, id, h.kind))
		}
	}
	if len(p.refusals) > 0 {
		errs = append(errs, fmt.Errorf("the app of %s refuses connections", id))
	}
	p.mu.Unlock()
	parts, _ := p.parts(topology.PartPod) //nolint:errcheck // what runs elsewhere is not ours
	for _, part := range parts {
		if part == topology.PartApp && p.living() == nil ||
			part == topology.PartProxy && p.proxy() == nil {
			errs = append(errs, fmt.Errorf("the %s of %s does not run", part, id))
		}
	}
	if s, ok := p.proxy().(*envoySidecar); ok && s.process.Paused() {
		errs = append(errs, fmt.Errorf("the Envoy of %s is stopped", id))
	}
	return errors.Join(errs...)
}
