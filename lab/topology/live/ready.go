package live

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// A pod whose app takes its time, or whose readiness probe fails, is no endpoint of its Services.
// World.Start says so before the mesh is told of the pod; later changes are pushed on their own.

// without marks the pods of a registry that are not taken for ready: killed, held back, or broken.
func (m *Mesh) without(reg *translate.Registry) *translate.Registry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := *reg
	for i, p := range reg.Pods {
		if m.noticed(p.ID()) {
			continue
		}
		if &out.Pods[0] == &reg.Pods[0] {
			out.Pods = slices.Clone(reg.Pods)
		}
		c := *p
		c.Ready = false
		out.Pods[i] = &c
	}
	return &out
}

// isReady says whether a pod is ready as the lab knows. Caller must hold mu.
func (m *Mesh) isReady(id string) bool {
	return !m.killed[id] && !m.unready[id] && len(m.coveringLocked(id, (*fault).kills)) == 0
}

// noticed says whether a pod is ready as proxies are to be told. Caller must hold mu.
func (m *Mesh) noticed(id string) bool {
	for _, b := range m.coveringLocked(id, (*fault).denies) {
		if b.f.Delay == 0 {
			return false
		}
	}
	if s := m.seen[id]; s != nil {
		return s.ready
	}
	return m.isReady(id)
}

// seen is what the readiness probes of a pod have last told that are slow.
type seen struct {
	ready bool
	due   func() bool // stops the notice of a change; nil: none is due
}

// denies says whether the fault is about a pod's readiness.
func (b *fault) denies(id string) bool { return b.f.Kind == topology.FaultUnready && b.of(id) }

// beginUnready has a pod's probes fail, or be slow. Caller must hold apply.
func (m *Mesh) beginUnready(b *fault, id string) {
	if b.f.Delay == 0 {
		if m.Pod(id) != nil {
			b.fire(m.o.Clock.Now(), id+" is not ready")
		}
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen[id] == nil {
		m.seen[id] = &seen{ready: m.isReady(id)}
	}
}

// endUnready forgets what slow probes have told that are slow no more. Caller must hold mu.
func (m *Mesh) endUnready() {
	for id, s := range m.seen {
		if m.slow(id) == nil {
			if s.due != nil {
				s.due()
			}
			delete(m.seen, id)
		}
	}
}

// slow returns what has a pod's probes be slow; nil: nothing. Caller must hold mu.
func (m *Mesh) slow(id string) *fault {
	for _, b := range m.coveringLocked(id, (*fault).denies) {
		if b.f.Delay > 0 {
			return b
		}
	}
	return nil
}

// lag has slow probes tell later what has changed by now. Caller must hold apply.
func (m *Mesh) lag() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.seen {
		b, now := m.slow(id), m.isReady(id)
		if b == nil || s.due != nil || s.ready == now {
			continue
		}
		what := map[bool]string{true: " is ready", false: " is not ready"}[now]
		b.fire(m.o.Clock.Now(), id+what+": noticed "+b.f.Delay.String()+" later")
		s.due = m.o.Clock.AfterFunc(b.f.Delay, func() { m.notice(id, s) })
	}
}

// notice has a pod's slow probes tell the truth.
func (m *Mesh) notice(id string, s *seen) {
	ctx, release, err := m.take(m.ended)
	if err != nil {
		return // the lab has ended
	}
	defer release()
	m.mu.Lock()
	stale := m.seen[id] != s
	s.due, s.ready = nil, m.isReady(id)
	m.mu.Unlock()
	if stale {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewalPatience)
	defer cancel()
	if err := m.adapt(ctx); err != nil && m.ended.Err() == nil {
		m.o.Log.Warn("whether a pod is ready has changed, but not all proxies know", "pod", id,
			"err", err)
	}
}

// mergeWindow is a little more than how long proxies may keep news of an endpoint's health to
// themselves that come soon after others (config.cluster.v3, CommonLbConfig.update_merge_window: a
// second).
const mergeWindow = 1100 * time.Millisecond

// noteHealth notes when proxies will act on what they have just been told of pods' health.
func (m *Mesh) noteHealth(old, next *translate.Registry) {
	ready := map[string]bool{}
	for _, p := range old.Pods {
		ready[p.ID()] = p.Ready
	}
	if !slices.ContainsFunc(next.Pods, func(p *translate.Pod) bool {
		was, there := ready[p.ID()]
		return there && was != p.Ready
	}) {
		return
	}
	now := m.o.Clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.healthy != 0 && now.Sub(m.healthy) < mergeWindow || now < m.merged {
		m.merged = now.Add(mergeWindow)
	}
	m.healthy = now
}

// awaitHealth waits until proxies act on what they have been told of pods' health.
func (m *Mesh) awaitHealth(ctx context.Context) error {
	m.mu.RLock()
	wait := m.merged.Sub(m.o.Clock.Now())
	m.mu.RUnlock()
	if wait <= 0 {
		return nil
	}
	over := make(chan struct{})
	defer m.o.Clock.AfterFunc(wait, func() { close(over) })()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ended.Done():
		return errClosed
	}
}

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
	if err = m.adapt(ctx); err != nil {
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
