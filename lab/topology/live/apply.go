package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/jwks"
	"github.com/mesh-lab/mesh-lab/meshcore/roots"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// errClosed is what a lab that has been taken down answers.
var errClosed = errors.New("the lab is down")

// Apply makes c the configuration, or leaves the mesh as it was.
func (m *Mesh) Apply(ctx context.Context, c *istio.Config) (topology.Applied, error) {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return topology.Applied{}, err
	}
	defer release()
	return m.become(ctx, c)
}

// take waits for the turn to change the mesh. The context that it returns ends with the lab, too.
func (m *Mesh) take(ctx context.Context) (context.Context, func(), error) {
	select {
	case m.apply <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-m.ended.Done():
		return nil, nil, errClosed
	}
	if m.ended.Err() != nil {
		<-m.apply
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(m.ended, cancel)
	return ctx, func() { stop(); cancel(); <-m.apply }, nil
}

// become starts what is new, tells every proxy, and stops what is gone, in this order. When that
// can not be done, everything goes back. Caller must hold apply.
func (m *Mesh) become(ctx context.Context, c *istio.Config) (topology.Applied, error) {
	began, old := m.o.Clock.Now(), m.current()
	m.fetchKeys(ctx, c) // from what runs already
	waiting := m.heldBack()
	next, err := m.plan(ctx, c, old.reg)
	if err != nil {
		return topology.Applied{}, err
	}
	if err := m.start(ctx, next.reg); err != nil {
		return topology.Applied{}, errors.Join(err, m.back(ctx, old, false))
	}
	if !maps.Equal(waiting, m.heldBack()) { // what has been started is not as what it replaces
		if next, err = m.plan(ctx, c, old.reg); err != nil {
			return topology.Applied{}, errors.Join(err, m.back(ctx, old, false))
		}
	}
	m.set(next)
	res, err := m.push(ctx, next)
	if err == nil {
		_, err = m.pushKeys(ctx)
	}
	if err == nil {
		err = m.renewLate(ctx)
	}
	if err != nil {
		return topology.Applied{}, errors.Join(err, m.back(ctx, old, true))
	}
	m.planKeys(jwks.Interval)
	m.noteHealth(old.reg, next.reg)
	m.launch()
	m.lag()
	took := m.o.Clock.Now().Sub(began)
	return topology.Applied{
			Proxies: res.Changed, Total: res.Nodes, Took: took, Warnings: next.warned,
			Withheld: res.Withheld,
		},
		m.stopGone(ctx, next.reg)
}

// launch tells what answers in the pods that their proxies are configured. Caller must hold apply.
func (m *Mesh) launch() {
	for _, p := range m.Running() {
		p.Launch()
	}
}

// push gives a state to the proxies and waits until it is in effect.
func (m *Mesh) push(ctx context.Context, s state) (control.Result, error) {
	if m.isAway() && m.adapting {
		m.mu.Lock()
		m.missed = true
		m.mu.Unlock()
		return control.Result{}, nil
	}
	from := m.o.Clock.Now()
	w, ok := m.world.(Pusher)
	if !ok {
		res, err := m.tell(ctx, s)
		m.noteCarried(from, s, res, err)
		return res, err
	}
	if err := w.Prepare(ctx, s.reg); err != nil {
		return control.Result{}, err
	}
	res, err := m.tell(ctx, s)
	if err != nil {
		return res, err
	}
	alive, stop := w.Alive(ctx)
	defer stop()
	err = died(ctx, w, alive, w.InEffect(alive, given(s.snaps, res.Withheld)))
	m.noteCarried(from, s, res, err)
	return res, err
}

// given leaves out of snapshots those that have been withheld.
func given(snaps map[string]*xds.Snapshot, withheld []string) map[string]*xds.Snapshot {
	if len(withheld) == 0 {
		return snaps
	}
	snaps = maps.Clone(snaps)
	for _, id := range withheld {
		delete(snaps, id)
	}
	return snaps
}

// tell gives a state to the proxies and waits until they have ACKed it.
func (m *Mesh) tell(ctx context.Context, s state) (control.Result, error) {
	var aside []string // whoever can not answer
	for id := range s.sent {
		if len(m.covering(id, (*fault).mutes)) > 0 {
			aside = append(aside, id)
		}
	}
	w, ok := m.world.(Pusher)
	if !ok {
		return m.o.Control.Set(ctx, s.sent, aside)
	}
	alive, stop := w.Alive(ctx)
	defer stop()
	res, err := m.o.Control.Set(alive, s.sent, aside)
	return res, died(ctx, w, alive, err)
}

// died says why something has failed while everything was to be alive.
func died(ctx context.Context, w Pusher, alive context.Context, err error) error {
	if err != nil && ctx.Err() == nil && alive.Err() != nil {
		return context.Cause(alive)
	}
	return w.Explain(err)
}

// plan computes everything that a configuration leads to, and refuses what can not be.
func (m *Mesh) plan(
	ctx context.Context, c *istio.Config, old *translate.Registry,
) (state, error) {
	reg, notes := translate.NewRegistry(c, old)
	for _, p := range reg.Pods {
		notes = append(notes, m.world.Check(p)...)
	}
	if err := refused(notes); err != nil {
		return state{}, err
	}
	reg = m.without(reg)
	t := translate.NewWithKeys(c, reg, m.keys.Keys()).SystemRoots(roots.System())
	dns := newNames(reg)
	snaps := map[string]*xds.Snapshot{}
	var all []istio.Diagnostic
	var err error
	exactly := m.exactly()
	for _, p := range reg.Pods {
		if p.Role == translate.Sidecar || p.Role == translate.Gateway {
			if ctx.Err() != nil {
				return state{}, ctx.Err()
			}
			if m.isKilled(p.ID()) {
				continue
			}
			s, diags := t.Snapshot(p)
			if s, err = exactly.snapshot(s); err != nil {
				return state{}, err
			}
			if snaps[p.ID()], err = m.withSecrets(c, p, s); err != nil {
				return state{}, err
			}
			all = append(all, diags...)
		}
	}
	sent, err := m.lower(dns, snaps)
	if err == nil {
		sent, err = m.world.Link(reg, sent)
	}
	if err != nil {
		return state{}, err
	}
	return state{
		config: c, reg: reg, dns: dns, snaps: snaps, sent: sent, notes: notes, warned: all,
		exact: exactly.Exactness,
	}, refused(all)
}

// lower makes of what istiod generates what any Envoy carries out in the lab, ours or the real one.
func (m *Mesh) lower(
	dns *names, snaps map[string]*xds.Snapshot,
) (map[string]*xds.Snapshot, error) {
	low := stock.NewLowering()
	out := make(map[string]*xds.Snapshot, len(snaps))
	for id, s := range snaps {
		var err error
		namespace := id[strings.LastIndexByte(id, '.')+1:]
		find := func(host string) []netip.Addr { return m.locate(dns, id, namespace, host) }
		if out[id], err = low.Snapshot(located(s, find)); err != nil {
			return nil, fmt.Errorf("pod %s: %w", id, err)
		}
	}
	return out, nil
}

func (m *Mesh) set(s state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = s
}

// back makes an earlier state the mesh's again; told says that proxies may have heard of another.
func (m *Mesh) back(ctx context.Context, old state, told bool) error {
	m.set(old)
	if m.ended.Err() != nil {
		return nil // Close ends everything
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := m.start(ctx, old.reg)
	if told {
		old.sent = maps.Clone(old.sent)
		maps.DeleteFunc(old.sent, func(id string, _ *xds.Snapshot) bool { return m.isKilled(id) })
		_, serr := m.push(ctx, old)
		// Without a control plane proxies get it when they are back; an Envoy that has died is what
		// every change is told.
		if serr != nil && ctx.Err() == nil && !errors.Is(serr, topology.ErrEnvoy) {
			err = errors.Join(err, fmt.Errorf("take the change back: %w", serr))
		}
	}
	m.launch()
	return errors.Join(err, m.stopGone(ctx, old.reg))
}

// starters is how many pods start at a time.
const starters = 16

// start runs the pods of a registry that are not there yet; a pod that changed is replaced. Caller
// must hold apply.
func (m *Mesh) start(ctx context.Context, reg *translate.Registry) error {
	fresh, err := m.fresh(ctx, reg)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, starters)
	errs := make([]error, len(fresh))
	var wg sync.WaitGroup
	for i, p := range fresh {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := m.startPod(ctx, p); err != nil {
				errs[i] = fmt.Errorf("pod %s: %w", p.ID(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// startPod starts a pod. Its proxy has no configuration until the next push.
func (m *Mesh) startPod(ctx context.Context, s *translate.Pod) error {
	p, err := m.world.Start(ctx, s)
	m.mu.Lock()
	if err != nil {
		delete(m.unready, s.ID()) // HoldBack may have said so
	} else {
		m.pods[s.ID()] = p
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.again(ctx, p)
}

// differs says whether a pod must be replaced: other containers, labels, address or role.
func differs(o, s *translate.Pod) bool {
	return o.IP != s.IP || o.Role != s.Role || !maps.Equal(o.Labels, s.Labels) ||
		!maps.Equal(o.Annotations, s.Annotations) || !reflect.DeepEqual(o.Containers, s.Containers)
}

// fresh lists the pods to start, and stops those whose place they take.
func (m *Mesh) fresh(ctx context.Context, reg *translate.Registry) ([]*translate.Pod, error) {
	var fresh []*translate.Pod
	var errs []error
	for _, p := range reg.Pods {
		old := m.Pod(p.ID())
		switch {
		case m.isKilled(p.ID()):
			continue
		case old != nil && !differs(old.Spec(), p):
			old.SetSpec(p)
			continue
		}
		for _, other := range m.Running() {
			if other == old || other.Spec().IP == p.IP {
				errs = append(errs, m.stop(ctx, other))
			}
		}
		fresh = append(fresh, p)
	}
	return fresh, errors.Join(errs...)
}

// stopGone stops the pods that a registry does not have. Caller must hold apply.
func (m *Mesh) stopGone(ctx context.Context, reg *translate.Registry) error {
	keep := map[string]bool{}
	for _, p := range reg.Pods {
		keep[p.ID()] = true
	}
	var errs []error
	for _, p := range m.Running() {
		if !keep[p.Spec().ID()] {
			errs = append(errs, m.stop(ctx, p))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.killed, func(id string, _ bool) bool { return !keep[id] })
	return errors.Join(errs...)
}
