// Package embedded runs a whole mesh in one process on loopback: control plane, sidecars, gateways
// and apps, without root and without an installation.
//
//	client ─▶ app's dialer ─▶ sidecar :15001 ─▶ (network) ─▶ sidecar :15006 ─▶ app
//	                              ▲                               ▲
//	                              └──────── ADS, in memory ───────┴── control
//
// Every request crosses two real sidecars over real sockets. Captured connections carry their
// original destination in a PROXY protocol header, where a cluster has iptables.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Driver brings up embedded meshes.
type Driver struct {
	// Tamper, when set, changes what each data plane carries out, behind the control plane's back:
	// a mesh that is wrong in one thing. Tests prove with it that scenarios notice.
	Tamper func(*xds.Snapshot) *xds.Snapshot
}

// mesh is one running lab.
type mesh struct {
	spec   topology.Spec
	tamper func(*xds.Snapshot) *xds.Snapshot
	clock  *clock.Real
	rec    *observe.Recorder
	net    *network
	local  *control.LocalServer
	pool   *subscribe.Pool
	log    *slog.Logger

	apply sync.Mutex // one change at a time

	mu     sync.RWMutex
	config *istio.Config
	reg    *translate.Registry
	dns    *names
	pods   map[string]*pod // by POD.NAMESPACE
	snaps  map[string]*xds.Snapshot
	killed map[string]bool // pods that are to stay down
	notes  []istio.Diagnostic
	closed bool
}

// Up starts a mesh; it is ready when every proxy has ACKed. On failure nothing is left behind.
func (d Driver) Up(ctx context.Context, s topology.Spec) (topology.Mesh, error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	c := clock.NewReal()
	m := &mesh{
		spec: s, tamper: d.Tamper, clock: c, rec: observe.NewRecorder(), net: n, log: s.Log,
		config: &istio.Config{Mesh: s.Config.Mesh}, reg: &translate.Registry{},
		pool: &subscribe.Pool{}, pods: map[string]*pod{}, snaps: map[string]*xds.Snapshot{},
		killed: map[string]bool{},
	}
	m.dns = newNames(m.reg)
	m.local = control.Local(c, m.rec)
	if _, err := m.Apply(ctx, s.Config); err != nil {
		return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	return m, nil
}

// Clock returns the run's clock.
func (m *mesh) Clock() clock.Clock { return m.clock }

// Recorder returns what collects the run's records.
func (m *mesh) Recorder() *observe.Recorder { return m.rec }

// Config returns the configuration in effect.
func (m *mesh) Config() *istio.Config {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.config
}

// Registry returns what runs in the lab.
func (m *mesh) Registry() *translate.Registry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.reg
}

// Snapshot returns what a node was last given.
func (m *mesh) Snapshot(node string) (*xds.Snapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.snaps[node]
	if s == nil {
		return nil, fmt.Errorf("no proxy %q in the lab", node)
	}
	return s, nil
}

// Apply starts what is new, tells every proxy, and stops what is gone, in this order.
func (m *mesh) Apply(ctx context.Context, c *istio.Config) (topology.Applied, error) {
	m.apply.Lock()
	defer m.apply.Unlock()
	reg, diags := translate.NewRegistry(c, m.Registry())
	if err := refused(diags); err != nil {
		return topology.Applied{}, err
	}
	reg = m.without(reg)
	m.mu.Lock()
	m.notes = diags
	m.mu.Unlock()
	began := m.clock.Now()
	if err := m.start(ctx, reg); err != nil {
		return topology.Applied{}, err
	}
	snaps, err := m.translate(c, reg)
	if err != nil {
		return topology.Applied{}, errors.Join(err, m.stopGone(ctx, m.Registry()))
	}
	m.set(c, reg, snaps)
	res, err := m.local.Server.Set(ctx, snaps)
	if err != nil {
		return topology.Applied{}, err
	}
	took := m.clock.Now().Sub(began)
	return topology.Applied{Proxies: res.Changed, Total: res.Nodes, Took: took},
		m.stopGone(ctx, reg)
}

func (m *mesh) set(c *istio.Config, reg *translate.Registry, snaps map[string]*xds.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config, m.reg, m.snaps, m.dns = c, reg, snaps, newNames(reg)
}

// translate makes the snapshot of every proxy.
func (m *mesh) translate(
	c *istio.Config, reg *translate.Registry,
) (map[string]*xds.Snapshot, error) {
	t := translate.New(c, reg)
	snaps := map[string]*xds.Snapshot{}
	var all []istio.Diagnostic
	for _, p := range reg.Pods {
		if p.Role != translate.Sidecar && p.Role != translate.Gateway {
			continue
		}
		if m.isKilled(p.ID()) {
			continue
		}
		s, diags := t.Snapshot(p)
		snaps[p.ID()] = s
		all = append(all, diags...)
	}
	return snaps, refused(all)
}

func (m *mesh) isKilled(id string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.killed[id]
}

// refused joins diagnostics that are errors, each once.
func refused(diags []istio.Diagnostic) error {
	var errs []error
	seen := map[string]bool{}
	for _, d := range diags {
		if s := d.String(); d.Severity == istio.Error && !seen[s] {
			seen[s] = true
			errs = append(errs, errors.New(s))
		}
	}
	return errors.Join(errs...)
}

// start runs the pods of a registry that are not there yet; a pod that changed is replaced.
func (m *mesh) start(ctx context.Context, reg *translate.Registry) error {
	var started []*pod
	for _, p := range reg.Pods {
		m.mu.RLock()
		old, killed := m.pods[p.ID()], m.killed[p.ID()]
		m.mu.RUnlock()
		if killed {
			continue
		}
		if old != nil && !old.differs(p) {
			old.setSpec(p)
			continue
		}
		if old != nil {
			if err := m.stop(ctx, old); err != nil {
				return err
			}
		}
		np, err := m.startPod(p)
		if err != nil {
			for _, s := range started {
				err = errors.Join(err, m.stop(ctx, s))
			}
			return fmt.Errorf("pod %s: %w", p.ID(), err)
		}
		started = append(started, np)
	}
	return nil
}

// stopGone stops the pods that a registry does not have.
func (m *mesh) stopGone(ctx context.Context, reg *translate.Registry) error {
	keep := map[string]bool{}
	for _, p := range reg.Pods {
		keep[p.ID()] = true
	}
	m.mu.RLock()
	var gone []*pod
	for id, p := range m.pods {
		if !keep[id] {
			gone = append(gone, p)
		}
	}
	m.mu.RUnlock()
	var errs []error
	for _, p := range gone {
		errs = append(errs, m.stop(ctx, p))
	}
	return errors.Join(errs...)
}

// Proxies returns what each proxy was sent and what it ACKed, by node.
func (m *mesh) Proxies() []topology.ProxyStatus {
	var out []topology.ProxyStatus
	for _, s := range m.local.Server.Status() {
		ps := topology.ProxyStatus{Node: s.Node, Types: map[string]topology.TypeStatus{}}
		for typ, ts := range s.Types {
			ps.Types[typ] = topology.TypeStatus{Sent: ts.Sent, Acked: ts.Acked, Nack: ts.Nack}
		}
		out = append(out, ps)
	}
	slices.SortFunc(out, func(a, b topology.ProxyStatus) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// Gateways returns where gateways listen for clients of the user's own.
func (m *mesh) Gateways() []topology.GatewayAddress {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []topology.GatewayAddress
	for _, p := range m.pods {
		out = append(out, p.publishedPorts(m.reg)...)
	}
	slices.SortFunc(out, func(a, b topology.GatewayAddress) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// Settle waits until every exchange that has ended is recorded.
func (m *mesh) Settle(ctx context.Context) error {
	m.mu.RLock()
	pods := make([]*pod, 0, len(m.pods))
	for _, p := range m.pods {
		pods = append(pods, p)
	}
	m.mu.RUnlock()
	for _, p := range pods {
		if p.proxy != nil {
			if err := p.proxy.Settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeTimeout bounds how long a pod may take to finish what is in flight.
const closeTimeout = 5 * time.Second

// Close stops everything. It may be called twice.
func (m *mesh) Close(ctx context.Context) error {
	m.apply.Lock()
	defer m.apply.Unlock()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	pods := make([]*pod, 0, len(m.pods))
	for _, p := range m.pods {
		pods = append(pods, p)
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(pods))
	for i, p := range pods {
		wg.Go(func() { errs[i] = m.stop(ctx, p) })
	}
	wg.Wait()
	errs = append(errs, m.local.Close())
	m.net.close()
	return errors.Join(errs...)
}

var _ topology.Mesh = (*mesh)(nil)
