package live

import (
	"context"
	"fmt"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
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
	_, err = m.become(ctx, m.Config())
	return err
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
	m.mu.Unlock()
	switch {
	case p == nil && !killed:
		return fmt.Errorf("no pod %q in the lab", id)
	case p != nil: // it runs: restart means a new one
		if err := m.stop(ctx, p); err != nil {
			return err
		}
	}
	_, err = m.become(ctx, m.Config())
	return err
}

func (m *Mesh) isKilled(id string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.killed[id]
}

// without marks the pods of a registry that are killed or held back as not ready.
func (m *Mesh) without(reg *translate.Registry) *translate.Registry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.killed) == 0 && len(m.unready) == 0 {
		return reg
	}
	out := *reg
	out.Pods = slices.Clone(reg.Pods)
	for i, p := range out.Pods {
		if m.killed[p.ID()] || m.unready[p.ID()] {
			c := *p
			c.Ready = false
			out.Pods[i] = &c
		}
	}
	return &out
}

// StopControlPlane takes the control plane away; proxies keep what they have.
func (m *Mesh) StopControlPlane(ctx context.Context) error {
	return m.o.Control.Stop(ctx)
}

// StartControlPlane brings it back.
func (m *Mesh) StartControlPlane(ctx context.Context) error {
	return m.o.Control.Start(ctx)
}

var (
	_ topology.Killer       = (*Mesh)(nil)
	_ topology.ControlPlane = (*Mesh)(nil)
)
