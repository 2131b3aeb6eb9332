package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// BreakerOf returns what breaks things in a mesh: its own Breaker, or one that can do what the mesh
// can otherwise: kill pods.
func BreakerOf(m topology.Mesh) topology.Breaker {
	if b, ok := m.(topology.Breaker); ok {
		return b
	}
	k, _ := m.(topology.Killer)
	return &killer{mesh: k, clock: m.Clock()}
}

// killer is the Breaker of a mesh that has none.
type killer struct {
	mesh  topology.Killer // nil: it can nothing
	clock clock.Clock

	mu   sync.Mutex
	dead []string
}

// Able is topology.Breaker's.
func (k *killer) Able(f topology.Fault) error {
	whole := f.Part == "" || f.Part == topology.PartPod
	if k.mesh == nil || f.Kind != topology.FaultKill || !whole {
		return errors.New("this topology can not")
	}
	return nil
}

// Break is topology.Breaker's.
func (k *killer) Break(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	b := &killed{k: k, r: topology.Receipt{Unit: "pods killed"}}
	for _, p := range f.Pods {
		if err := k.mesh.Kill(ctx, p); err != nil {
			return nil, errors.Join(err, b.Heal(context.WithoutCancel(ctx)))
		}
		k.mu.Lock()
		k.dead = append(k.dead, p)
		k.mu.Unlock()
		b.pods = append(b.pods, p)
		b.r.Last = k.clock.Now()
		if b.r.Fired++; b.r.Fired == 1 {
			b.r.First = b.r.Last
		}
	}
	return b, nil
}

// Whole is topology.Breaker's.
func (k *killer) Whole(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.dead) > 0 {
		return fmt.Errorf("killed still: %s", strings.Join(k.dead, ", "))
	}
	return nil
}

// killed are pods that a killer has killed.
type killed struct {
	k    *killer
	r    topology.Receipt
	pods []string // that are to be started again
}

// Receipt is topology.Broken's.
func (b *killed) Receipt(context.Context) (topology.Receipt, error) { return b.r, nil }

// Change is topology.Broken's.
func (b *killed) Change(context.Context, topology.Fault) error {
	return errors.New("a kill has no strength")
}

// Heal is topology.Broken's.
func (b *killed) Heal(ctx context.Context) error {
	for len(b.pods) > 0 {
		p := b.pods[0]
		if err := b.k.mesh.Restart(ctx, p); err != nil {
			return err
		}
		b.pods = b.pods[1:]
		b.k.mu.Lock()
		if i := slices.Index(b.k.dead, p); i >= 0 {
			b.k.dead = slices.Delete(b.k.dead, i, i+1)
		}
		b.k.mu.Unlock()
	}
	return nil
}
