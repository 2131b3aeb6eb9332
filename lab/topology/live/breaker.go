package live

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Able says why this topology can not do a fault.
func (m *Mesh) Able(f topology.Fault) error {
	switch f.Kind {
	case topology.FaultUnready:
		return nil
	case topology.FaultControl:
		if _, ok := m.o.Control.(ControlBreaker); !ok {
			return errors.New("the control plane of this topology can not be broken")
		}
		return nil
	}
	if b, ok := m.world.(Breaker); ok {
		return b.Able(f)
	}
	return fmt.Errorf("this topology can not do %q", f.Kind)
}

// Break has a fault begin.
func (m *Mesh) Break(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	if err := m.Able(f); err != nil {
		return nil, err
	}
	switch f.Kind {
	case topology.FaultControl:
		return m.breakControl(ctx, f)
	case topology.FaultPartition, topology.FaultLink, topology.FaultDNS:
		return m.world.(Breaker).Break(ctx, f)
	}
	b, err := m.breakPods(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := m.awaitHealth(ctx); err != nil {
		return nil, errors.Join(err, b.Heal(context.WithoutCancel(ctx)))
	}
	return b, nil
}

// breakPods has a fault begin that is on pods.
func (m *Mesh) breakPods(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	reg := m.Registry()
	if len(f.Pods) == 0 {
		return nil, fmt.Errorf("%s: no pod is named", f.Kind)
	}
	for _, id := range f.Pods {
		if !slices.ContainsFunc(reg.Pods, is(id)) {
			return nil, fmt.Errorf("no pod %q in the lab", id)
		}
	}
	b := newFault(m, f)
	if err = b.begin(ctx); err != nil {
		return nil, errors.Join(err, b.end(context.WithoutCancel(ctx)))
	}
	return b, nil
}

// Whole says what is still broken.
func (m *Mesh) Whole(ctx context.Context) error {
	var errs []error
	m.mu.RLock()
	for _, b := range m.faults {
		errs = append(errs, fmt.Errorf("%s of %v is not healed", b.f.Kind, b.f.Pods))
	}
	for id := range m.killed {
		errs = append(errs, fmt.Errorf("pod %s is killed", id))
	}
	if m.away {
		errs = append(errs, errors.New("the control plane is stopped"))
	}
	m.mu.RUnlock()
	if b, ok := m.world.(Breaker); ok {
		errs = append(errs, b.Whole(ctx))
	}
	if b, ok := m.o.Control.(ControlBreaker); ok {
		errs = append(errs, b.Whole(ctx))
	}
	return errors.Join(errs...)
}

// Problems says what is wrong with pods that nobody has broken, by POD.NAMESPACE: a proxy that has
// died, a service that is not ready. Restart mends what has died.
func (m *Mesh) Problems() map[string]error {
	out := map[string]error{}
	for _, p := range m.Running() {
		if s, ok := p.(Patient); ok {
			if err := s.Problem(); err != nil {
				out[p.Spec().ID()] = err
			}
		}
	}
	return out
}

// breakControl has the control plane behave otherwise.
func (m *Mesh) breakControl(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	b, err := m.o.Control.(ControlBreaker).Break(ctx, f.Control)
	if err != nil {
		return nil, err
	}
	if f.Control.Down {
		m.setAway(true)
	}
	return &brokenControl{Broken: b, m: m, down: f.Control.Down}, nil
}

// brokenControl is a fault of the control plane.
type brokenControl struct {
	topology.Broken
	m    *Mesh
	down bool // and not healed; of who holds apply
}

// Heal ends it, and gives proxies what they have missed.
func (b *brokenControl) Heal(ctx context.Context) error {
	ctx, release, err := b.m.take(ctx)
	if errors.Is(err, errClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if err := b.Broken.Heal(ctx); err != nil {
		return err
	}
	if b.down {
		b.m.setAway(false)
		b.down = false
	}
	return b.m.adapt(ctx)
}

// Change gives it another strength.
func (b *brokenControl) Change(ctx context.Context, f topology.Fault) error {
	return b.Broken.Change(ctx, f)
}

func (m *Mesh) setAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// isAway says whether the control plane is not there to tell anybody anything.
func (m *Mesh) isAway() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.away
}

// adapt makes the configuration anew, as pods are now, and returns when every proxy has ACKed that
// can. Without a control plane they hear of it when it is back. Caller must hold apply.
func (m *Mesh) adapt(ctx context.Context) error {
	m.adapting = true
	defer func() { m.adapting = false }()
	_, err := m.become(ctx, m.Config())
	return err
}

var _ topology.Breaker = (*Mesh)(nil)
