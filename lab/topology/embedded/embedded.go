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
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Driver brings up embedded meshes.
type Driver struct {
	// Proxy is the data plane: "meshcore", our own (also when empty), or "envoy", one real Envoy
	// process for each sidecar and gateway.
	Proxy string
	// Dir is where files of a lab with real Envoys go; empty: the directory for temporary files.
	Dir string
	// Tamper, when set, changes what each data plane carries out, behind the control plane's back:
	// a mesh that is wrong in one thing. Tests prove with it that scenarios notice.
	Tamper func(*xds.Snapshot) *xds.Snapshot

	shared bool // one loopback address for all pods, as where there is no other
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
	checks engine.Checks
	log    *slog.Logger
	ended  context.Context // with Close
	end    context.CancelFunc
	runDir string
	envoys *envoys // nil: our own data plane

	authority *identity.Authority

	apply       chan struct{} // held by who changes the mesh: one at a time
	stopRenewal func() bool   // held likewise
	keys        keyring       // held likewise

	mu      sync.RWMutex
	now     state
	pods    map[string]*pod // by POD.NAMESPACE
	killed  map[string]bool // pods that are to stay down
	unready map[string]bool // pods that run, but are no endpoints yet
	closed  bool
}

// state is a configuration and what is made of it. It is replaced as a whole.
type state struct {
	config *istio.Config
	reg    *translate.Registry
	dns    *names
	snaps  map[string]*xds.Snapshot
	sent   map[string]*xds.Snapshot // snaps, as the proxies need them
	notes  []istio.Diagnostic
	warned []istio.Diagnostic // by translation, once for each proxy
	exact  topology.Exactness
}

// Up starts a mesh; it is ready when every proxy has ACKed, and every pod is ready that is to be.
// On failure nothing is left behind.
func (d Driver) Up(ctx context.Context, s topology.Spec) (topology.Mesh, error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	n, err := newNetwork(d.shared)
	if err != nil {
		return nil, err
	}
	c := clock.NewReal()
	reg := &translate.Registry{}
	m := &mesh{
		spec: s, tamper: d.Tamper, clock: c, rec: observe.NewRecorder(), net: n, log: s.Log,
		now:   state{config: &istio.Config{Mesh: s.Config.Mesh}, reg: reg, dns: newNames(reg)},
		apply: make(chan struct{}, 1), pool: &subscribe.Pool{}, pods: map[string]*pod{},
		killed: map[string]bool{}, unready: map[string]bool{},
		runDir: d.Dir, stopRenewal: func() bool { return false },
	}
	m.ended, m.end = context.WithCancel(context.Background())
	m.keys = m.newKeyring()
	m.local = control.Local(c, m.rec)
	if err := m.startAuthority(); err != nil {
		return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	if d.Proxy == "envoy" {
		if err := m.startEnvoys(ctx); err != nil {
			return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
		}
	}
	if _, err := m.Apply(ctx, s.Config); err != nil {
		return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	if err := m.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	if m.awaitOwn(ctx, m.owned()); ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), m.Close(context.WithoutCancel(ctx)))
	}
	return m, nil
}

// Clock returns the run's clock.
func (m *mesh) Clock() clock.Clock { return m.clock }

// Recorder returns what collects the run's records.
func (m *mesh) Recorder() *observe.Recorder { return m.rec }

// current returns what is in effect.
func (m *mesh) current() state {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.now
}

// Config returns the configuration in effect.
func (m *mesh) Config() *istio.Config { return m.current().config }

// Registry returns what runs in the lab.
func (m *mesh) Registry() *translate.Registry { return m.current().reg }

// Notes returns what the lab did of its own accord, such as making a gateway pod, and which
// issuers' keys it could not fetch.
func (m *mesh) Notes() []istio.Diagnostic {
	now := m.current()
	return slices.Concat(now.notes, m.keys.Problems(translate.KeyRequests(now.config)))
}

// Snapshot returns what a node was last given.
func (m *mesh) Snapshot(node string) (*xds.Snapshot, error) {
	s := m.current().snaps[node]
	if s == nil {
		return nil, fmt.Errorf("no proxy %q in the lab", node)
	}
	return s, nil
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
		out = append(out, p.publishedPorts(m.now.reg)...)
	}
	slices.SortFunc(out, func(a, b topology.GatewayAddress) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// running lists the pods.
func (m *mesh) running() []*pod {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Values(m.pods))
}

// Settle waits until every exchange that has ended is recorded.
func (m *mesh) Settle(ctx context.Context) error {
	var wg sync.WaitGroup
	pods := m.running()
	errs := make([]error, len(pods))
	for i, p := range pods {
		if p.side != nil {
			wg.Go(func() { errs[i] = p.side.settle(ctx) })
		}
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// closeTimeout bounds how long the end of a lab, or the way back from a refused change, may take.
const closeTimeout = 5 * time.Second

// Close stops everything; a change under way is given up. It may be called twice.
func (m *mesh) Close(ctx context.Context) error {
	m.end()
	m.apply <- struct{}{}
	defer func() { <-m.apply }()
	m.stopRenewal()
	m.keys.stop()
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	pods := m.running()
	errs := make([]error, len(pods))
	for i, p := range pods {
		wg.Go(func() { errs[i] = m.stop(ctx, p) })
	}
	wg.Wait()
	errs = append(errs, m.local.Close())
	if m.envoys != nil {
		errs = append(errs, m.envoys.close())
	}
	m.net.close()
	return errors.Join(errs...)
}

var _ topology.Mesh = (*mesh)(nil)
