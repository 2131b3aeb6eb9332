package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// fault is one in effect on pods: it acts on each by an effect of its own, anew on a pod that takes
// another's place.
type fault struct {
	m *Mesh

	mu     sync.Mutex
	f      topology.Fault
	acts   map[string]topology.Broken // by pod
	past   topology.Receipt           // of those whose pods have ended
	spared map[string]bool            // pods that somebody has restarted; of Mesh.mu
	ended  bool                       // and everybody knows; of who holds apply
}

func newFault(m *Mesh, f topology.Fault) *fault {
	if f.Part == "" {
		f.Part = topology.PartPod
	}
	return &fault{
		m: m, f: f, acts: map[string]topology.Broken{}, spared: map[string]bool{},
		past: topology.Receipt{Unit: unit(f)},
	}
}

// unit is what the receipt of a fault counts.
func unit(f topology.Fault) string {
	part := map[topology.Part]string{
		topology.PartApp: "apps", topology.PartProxy: "proxies",
	}[f.Part]
	if part == "" {
		part = "pods"
	}
	switch f.Kind {
	case topology.FaultKill:
		return part + " killed"
	case topology.FaultPause:
		return part + " paused"
	case topology.FaultRefuse:
		return "connections refused"
	case topology.FaultUnready:
		if f.Delay > 0 {
			return "changes of readiness held back"
		}
		return "pods taken for not ready"
	}
	return "periods of the CPU's quota cut short"
}

// is tells a pod by its ID.
func is(id string) func(*translate.Pod) bool {
	return func(p *translate.Pod) bool { return p.ID() == id }
}

// of says whether the fault is about a pod.
func (b *fault) of(id string) bool {
	return slices.Contains(b.f.Pods, id) && !b.spared[id]
}

// kills says whether the fault keeps a whole pod down.
func (b *fault) kills(id string) bool {
	return b.f.Kind == topology.FaultKill && b.f.Part == topology.PartPod && b.of(id)
}

// mutes says whether nobody can wait for the answer of a pod's proxy.
func (b *fault) mutes(id string) bool {
	stops := b.f.Kind == topology.FaultPause ||
		b.f.Kind == topology.FaultKill && b.f.Part == topology.PartProxy
	return stops && b.f.Part != topology.PartApp && b.of(id)
}

// covering lists the faults in effect on a pod of which what is true.
func (m *Mesh) covering(id string, what func(*fault, string) bool) []*fault {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.coveringLocked(id, what)
}

// coveringLocked is covering. Caller must hold mu.
func (m *Mesh) coveringLocked(id string, what func(*fault, string) bool) []*fault {
	var out []*fault
	for _, b := range m.faults {
		if what(b, id) {
			out = append(out, b)
		}
	}
	return out
}

// begin has the fault act on the pods that run. Caller must hold apply.
func (b *fault) begin(ctx context.Context) error {
	b.m.mu.Lock()
	b.m.faults = append(b.m.faults, b)
	b.m.mu.Unlock()
	for _, id := range b.f.Pods {
		p := b.m.Pod(id)
		if b.f.Kind == topology.FaultUnready {
			b.m.beginUnready(b, id)
		} else if p != nil {
			if err := b.act(ctx, p); err != nil {
				return err
			}
		}
	}
	return b.adapt(ctx)
}

// adapt tells proxies where a fault changes what they are to know. Caller must hold apply.
func (b *fault) adapt(ctx context.Context) error {
	if b.f.Kind == topology.FaultUnready ||
		b.f.Kind == topology.FaultKill && b.f.Part == topology.PartPod {
		return b.m.adapt(ctx)
	}
	return nil
}

// act breaks one pod.
func (b *fault) act(ctx context.Context, p Pod) error {
	id := p.Spec().ID()
	e, err := b.effect(ctx, p)
	if err != nil {
		return fmt.Errorf("pod %s: %w", id, err)
	}
	b.mu.Lock()
	b.acts[id] = e
	b.mu.Unlock()
	if b.kills(id) {
		now, cancel := context.WithCancel(ctx)
		cancel() // it has no time to end in order
		return b.m.stop(now, p)
	}
	return nil
}

// effect begins what a fault is on a pod.
func (b *fault) effect(ctx context.Context, p Pod) (topology.Broken, error) {
	switch b.f.Kind {
	case topology.FaultKill:
		if k, ok := p.(Killer); ok {
			return k.Kill(ctx, b.f.Part)
		}
	case topology.FaultPause:
		if k, ok := p.(Pauser); ok {
			return k.Pause(ctx, b.f.Part)
		}
	case topology.FaultRefuse:
		if k, ok := p.(Refuser); ok {
			return k.Refuse(ctx, b.f.Ports)
		}
	case topology.FaultStarve:
		if k, ok := p.(Starver); ok {
			return k.Starve(ctx, b.f.CPU)
		}
	}
	return nil, fmt.Errorf("this topology can not do %q", b.f.Kind)
}

// again has the faults in effect act on a pod that has just been started.
func (m *Mesh) again(ctx context.Context, p Pod) error {
	var errs []error
	for _, b := range m.covering(p.Spec().ID(), (*fault).of) {
		if b.f.Kind != topology.FaultUnready {
			errs = append(errs, b.act(ctx, p))
		}
	}
	return errors.Join(errs...)
}

// receiptPatience bounds how long a pod may take to say what a fault did to it.
const receiptPatience = 2 * time.Second

// settleAccounts keeps the receipts of the effects on a pod that ends.
func (m *Mesh) settleAccounts(ctx context.Context, id string) {
	for _, b := range m.covering(id, func(*fault, string) bool { return true }) {
		b.mu.Lock()
		e := b.acts[id]
		b.mu.Unlock()
		if e != nil {
			b.book(ctx, id, e)
		}
	}
}

// book takes an effect that is over to what is past.
func (b *fault) book(ctx context.Context, id string, e topology.Broken) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), receiptPatience)
	defer cancel()
	r, err := e.Receipt(ctx)
	if err != nil {
		b.m.o.Log.Warn("what a fault did is not known", "fault", b.f.Kind, "pod", id, "err", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.acts[id] == e {
		delete(b.acts, id)
		b.past = b.past.Plus(r)
	}
}

// fire counts one effect of the Mesh's own.
func (b *fault) fire(at clock.Instant, evidence string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.past = b.past.Plus(topology.Receipt{
		Fired: 1, First: at, Last: at, Evidence: []string{evidence},
	})
}

// Receipt adds up what the fault did to its pods.
func (b *fault) Receipt(ctx context.Context) (topology.Receipt, error) {
	b.mu.Lock()
	r, acts := b.past, maps.Clone(b.acts)
	b.mu.Unlock()
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(acts)) {
		one, err := acts[id].Receipt(ctx)
		errs = append(errs, err)
		r = r.Plus(one)
	}
	return r, errors.Join(errs...)
}

// Change gives the fault another strength.
func (b *fault) Change(ctx context.Context, f topology.Fault) error {
	ctx, release, err := b.m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	b.mu.Lock()
	acts := maps.Clone(b.acts)
	b.mu.Unlock()
	switch b.f.Kind {
	case topology.FaultUnready:
		if (f.Delay == 0) != (b.f.Delay == 0) {
			return errors.New("unready: a probe that fails can not become one that is slow")
		}
	case topology.FaultStarve:
		for _, e := range acts {
			err = errors.Join(err, e.Change(ctx, f))
		}
	default:
		return fmt.Errorf("%s has no strength that could change", b.f.Kind)
	}
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	b.f.Delay, b.f.CPU = f.Delay, f.CPU
	return err
}

// Heal ends the fault, and returns when its pods run, are ready, and every proxy has ACKed.
func (b *fault) Heal(ctx context.Context) error {
	turn, release, err := b.m.take(ctx)
	if errors.Is(err, errClosed) {
		return nil // nothing is left that could be broken
	}
	if err != nil {
		return err
	}
	err = b.end(turn)
	release()
	if err != nil {
		return err
	}
	if err := b.m.awaitHealth(ctx); err != nil && !errors.Is(err, errClosed) {
		return err
	}
	if b.f.Kind != topology.FaultKill {
		return nil
	}
	for _, id := range b.f.Pods {
		if a, ok := b.m.Pod(id).(Awaiter); ok {
			a.Await(ctx)
		}
	}
	return ctx.Err()
}

// end heals the pods and tells proxies. Caller must hold apply.
func (b *fault) end(ctx context.Context) error {
	if b.ended {
		return nil
	}
	b.mu.Lock()
	acts := maps.Clone(b.acts)
	b.mu.Unlock()
	errs := make([]error, len(acts))
	var wg sync.WaitGroup
	for i, id := range slices.Sorted(maps.Keys(acts)) {
		wg.Go(func() {
			if err := acts[id].Heal(ctx); err != nil {
				errs[i] = fmt.Errorf("pod %s: %w", id, err)
				return
			}
			b.book(ctx, id, acts[id])
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.m.mu.Lock()
	b.m.faults = slices.DeleteFunc(b.m.faults, func(o *fault) bool { return o == b })
	b.m.endUnready()
	b.m.mu.Unlock()
	if b.f.Kind != topology.FaultRefuse && b.f.Kind != topology.FaultStarve {
		if err := b.m.adapt(ctx); err != nil {
			return err
		}
	}
	b.ended = true
	return nil
}
