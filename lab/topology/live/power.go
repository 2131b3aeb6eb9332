package live

import (
	"context"
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Kill ends a pod's processes at once, as if its node had lost power: connections break, ports
// close. Then its endpoints go, as Kubernetes notices.
func (m *Mesh) Kill(ctx context.Context, id string) error {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	m.mu.Lock()
	p := m.pods[id]
	if p == nil {
		m.mu.Unlock()
		return fmt.Errorf("no pod %q in the lab", id)
	}
	m.killed[id] = true
	m.mu.Unlock()
	now, cancel := context.WithCancel(ctx)
	cancel() // it has no time to end in order
	if err := m.stop(now, p); err != nil {
		return err
	}
	return m.adapt(ctx)
}

// Restart starts a killed pod again, with an empty memory. It waits for a service of the user's own
// as the start of the lab does.
func (m *Mesh) Restart(ctx context.Context, id string) error {
	if err := m.restart(ctx, id); err != nil {
		return err
	}
	if a, ok := m.Pod(id).(Awaiter); ok {
		a.Await(ctx)
	}
	return ctx.Err()
}

func (m *Mesh) restart(ctx context.Context, id string) error {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	m.mu.Lock()
	p, killed := m.pods[id], m.killed[id]
	delete(m.killed, id)
	for _, b := range m.faults {
		if b.f.Kind == topology.FaultKill && b.of(id) {
			b.spared[id], killed = true, true
		}
	}
	m.mu.Unlock()
	switch {
	case p == nil && !killed:
		return fmt.Errorf("no pod %q in the lab", id)
	case p != nil: // it runs: restart means a new one
		if err := m.stop(ctx, p); err != nil {
			return err
		}
	}
	return m.adapt(ctx)
}

// isKilled says whether a pod is to stay down.
func (m *Mesh) isKilled(id string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.killed[id] || len(m.coveringLocked(id, (*fault).kills)) > 0
}

// StopControlPlane takes the control plane away; proxies keep what they have.
func (m *Mesh) StopControlPlane(ctx context.Context) error {
	if err := m.o.Control.Stop(ctx); err != nil {
		return err
	}
	m.setAway(true)
	return nil
}

// StartControlPlane brings it back. It returns when proxies have what they have missed.
func (m *Mesh) StartControlPlane(ctx context.Context) error {
	if err := m.o.Control.Start(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	missed := m.missed
	m.away, m.missed = false, false
	m.mu.Unlock()
	if !missed {
		return nil
	}
	ctx, release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return m.adapt(ctx)
}

var (
	_ topology.Killer       = (*Mesh)(nil)
	_ topology.ControlPlane = (*Mesh)(nil)
)
