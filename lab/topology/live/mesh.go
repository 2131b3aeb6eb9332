package live

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
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Options are what a Mesh is made of.
type Options struct {
	Spec     topology.Spec
	Envoy    bool // proxies are real Envoys: what --exact enumerates, it says in resources
	Clock    *clock.Real
	Recorder *observe.Recorder
	Control  Control
	Log      *slog.Logger // nil: nobody hears anything
}

// Mesh is one running lab. It is a topology.Mesh, with all of its optional powers; what its World
// can not is refused with the reason.
type Mesh struct {
	o     Options
	world World
	ended context.Context // with Close
	end   context.CancelFunc

	authority *identity.Authority

	apply       chan struct{} // held by who changes the mesh: one at a time
	stopRenewal func() bool   // held likewise
	keys        keyring       // held likewise
	adapting    bool          // held likewise: nothing new is configured

	nameFaults nameFaults

	mu      sync.RWMutex
	now     state
	pods    map[string]Pod  // by POD.NAMESPACE
	killed  map[string]bool // pods that are to stay down
	unready map[string]bool // pods that run, but are no endpoints yet
	faults  []*fault        // in effect
	seen    map[string]*seen
	healthy clock.Instant // when proxies were last told of a pod's health
	merged  clock.Instant // when they act on it at the latest
	away    bool          // the control plane is
	missed  bool          // what it would have told by now
	carried map[string]carried
	told    func(from clock.Instant) // of what proxies carry out; may be nil
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

// New returns a mesh without a pod. It takes the Control over: Close closes it.
func New(o Options) *Mesh {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	reg := &translate.Registry{}
	m := &Mesh{
		o: o, apply: make(chan struct{}, 1), stopRenewal: func() bool { return false },
		now: state{
			config: &istio.Config{Mesh: o.Spec.Config.Mesh}, reg: reg, dns: newNames(reg),
		},
		pods: map[string]Pod{}, killed: map[string]bool{}, unready: map[string]bool{},
		seen: map[string]*seen{},
	}
	m.ended, m.end = context.WithCancel(context.Background())
	m.keys = m.newKeyring()
	return m
}

// Begin has a World run what the Spec configures; it returns when every proxy has ACKed. The Mesh
// takes the World over: on failure nothing is left behind, and Close closes both.
func (m *Mesh) Begin(ctx context.Context, w World) error {
	m.world = w
	err := m.startAuthority()
	if err == nil {
		_, err = m.Apply(ctx, m.o.Spec.Config)
	}
	if err != nil {
		return errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	return nil
}

// World returns where the pods run.
func (m *Mesh) World() World { return m.world }

// Ended is over when the lab is taken down.
func (m *Mesh) Ended() context.Context { return m.ended }

// Clock returns the run's clock.
func (m *Mesh) Clock() clock.Clock { return m.o.Clock }

// Recorder returns what collects the run's records.
func (m *Mesh) Recorder() *observe.Recorder { return m.o.Recorder }

// current returns what is in effect.
func (m *Mesh) current() state {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.now
}

// Config returns the configuration in effect.
func (m *Mesh) Config() *istio.Config { return m.current().config }

// Registry returns what runs in the lab.
func (m *Mesh) Registry() *translate.Registry { return m.current().reg }

// Notes returns what the lab did of its own accord, such as making a gateway pod, and which
// issuers' keys it could not fetch.
func (m *Mesh) Notes() []istio.Diagnostic {
	now := m.current()
	return slices.Concat(now.notes, m.keys.Problems(translate.KeyRequests(now.config)))
}

// Snapshot returns what a node was last given.
func (m *Mesh) Snapshot(node string) (*xds.Snapshot, error) {
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
func (m *Mesh) Proxies() []topology.ProxyStatus {
	var out []topology.ProxyStatus
	for _, s := range m.o.Control.Status() {
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
func (m *Mesh) Gateways() []topology.GatewayAddress {
	reg := m.Registry()
	var out []topology.GatewayAddress
	for _, p := range m.Running() {
		out = append(out, p.Gateways(reg)...)
	}
	slices.SortFunc(out, func(a, b topology.GatewayAddress) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// OwnServices tells of the pods whose service is the user's own, where a World has them.
func (m *Mesh) OwnServices() []topology.OwnService {
	if o, ok := m.world.(topology.Owner); ok {
		return o.OwnServices()
	}
	return nil
}

// Running lists the pods.
func (m *Mesh) Running() []Pod {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Values(m.pods))
}

// Pod returns a pod that runs, by POD.NAMESPACE; nil when none does.
func (m *Mesh) Pod(id string) Pod {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pods[id]
}

// Settle waits until every exchange that has ended is recorded.
func (m *Mesh) Settle(ctx context.Context) error {
	var wg sync.WaitGroup
	pods := m.Running()
	errs := make([]error, len(pods))
	for i, p := range pods {
		wg.Go(func() { errs[i] = p.Settle(ctx) })
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// closeTimeout bounds how long the end of a lab, or the way back from a refused change, may take.
const closeTimeout = 5 * time.Second

// Close stops everything; a change under way is given up. It may be called twice.
func (m *Mesh) Close(ctx context.Context) error {
	m.end()
	m.apply <- struct{}{}
	defer func() { <-m.apply }()
	m.stopRenewal()
	m.keys.stop()
	m.mu.Lock()
	for _, s := range m.seen {
		if s.due != nil {
			s.due()
		}
	}
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	pods := m.Running()
	errs := make([]error, len(pods))
	for i, p := range pods {
		wg.Go(func() { errs[i] = m.stop(ctx, p) })
	}
	wg.Wait()
	return errors.Join(append(errs, m.o.Control.Close(), m.world.Close(ctx))...)
}

// stop takes a pod out of the lab.
func (m *Mesh) stop(ctx context.Context, p Pod) error {
	id := p.Spec().ID()
	m.settleAccounts(ctx, id)
	m.mu.Lock()
	if m.pods[id] == p {
		delete(m.pods, id)
		delete(m.unready, id)
	}
	m.mu.Unlock()
	return p.Close(ctx)
}

var _ topology.Mesh = (*Mesh)(nil)
