package live

import (
	"context"
	"errors"
	"maps"
)

// A pod whose app takes its time, or whose readiness probe fails, is no endpoint of its Services.
// World.Start says so before the mesh is told of the pod; later changes are pushed on their own.

// HoldBack has a pod begin as not ready. Only World.Start may call it, for the pod that it starts.
func (m *Mesh) HoldBack(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unready[id] = true
}

// heldBack returns which pods are not ready.
func (m *Mesh) heldBack() map[string]bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return maps.Clone(m.unready)
}

// SetReady changes whether a pod is ready, and returns when every proxy knows. A pod that has ended
// in the meantime stays as it is.
func (m *Mesh) SetReady(ctx context.Context, p Pod, ready bool) error {
	ctx, release, err := m.take(ctx)
	if errors.Is(err, errClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	id := p.Spec().ID()
	m.mu.Lock()
	stale := m.pods[id] != p || m.unready[id] == !ready
	if !stale {
		if delete(m.unready, id); !ready {
			m.unready[id] = true
		}
	}
	m.mu.Unlock()
	if stale {
		return nil
	}
	if _, err = m.become(ctx, m.Config()); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.pods[id] != p {
			return err
		}
		if delete(m.unready, id); ready { // nobody knows of it
			m.unready[id] = true
		}
	}
	return err
}
