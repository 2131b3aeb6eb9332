package sidecar

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/resolve"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// plane puts static and dynamic resources into effect together.
type plane struct {
	s        *Sidecar
	resolver resolve.Resolver
	static   *xds.Snapshot
	began    atomic.Bool // it has served what it was to have first

	mu       sync.Mutex
	dynamic  *xds.Snapshot
	updated  time.Time
	versions map[string]string // of what was accepted, by type URL
	drained  bool
}

// healthcheck is set by POST /healthcheck/fail.
type healthcheck = atomic.Bool

func newPlane(s *Sidecar) *plane {
	p := &plane{
		s: s, static: static(s.opt.Bootstrap), dynamic: xds.NewSnapshot(),
		versions: map[string]string{}, updated: s.began,
	}
	p.resolver.Log, p.resolver.Changed = s.opt.Log, p.resolved
	return p
}

// live says whether the first configuration is in effect.
func (p *plane) live() bool { return p.began.Load() }

// checkCluster says whether a cluster can be carried out, its names included.
func checkCluster(e *engine.Engine, c *clusterv3.Cluster) error {
	if resolve.Is(c) {
		var err error
		if c, err = resolve.Static(c); err != nil {
			return err
		}
	}
	return e.Check(c)
}

// Check says whether a resource can be carried out.
func (p *plane) Check(m proto.Message) error {
	if c, ok := m.(*clusterv3.Cluster); ok {
		return checkCluster(p.s.engine, c)
	}
	return p.s.engine.Check(m)
}

// Update puts the server's resources into effect, beside the static ones.
func (p *plane) Update(s *xds.Snapshot) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.dynamic
	p.dynamic = s
	if err := p.apply(); err != nil {
		p.dynamic = old
		return err
	}
	p.updated = time.Now()
	return nil
}

// start serves the static resources alone, if nothing has been served yet.
func (p *plane) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.Load() {
		return nil
	}
	return p.apply()
}

// resolved takes in what the resolver has found.
func (p *plane) resolved() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.apply(); err != nil {
		p.s.opt.Log.Warn("addresses of clusters", "err", err)
	}
}

// warmTime is how long names of new clusters may take to be found before they serve without.
const warmTime = 5 * time.Second

// apply gives the proxy all that there is. A dynamic resource never takes the place of a static one
// (Envoy cluster_manager_impl.cc addOrUpdateCluster, listener_manager_impl.cc
// addOrUpdateListener). Caller must hold mu.
func (p *plane) apply() error {
	all := &xds.Snapshot{
		Clusters: over(p.static.Clusters, p.dynamic.Clusters), Routes: p.dynamic.Routes,
		Listeners: over(p.static.Listeners, p.dynamic.Listeners),
		Endpoints: maps.Clone(p.dynamic.Endpoints), Secrets: p.dynamic.Secrets,
	}
	names := map[string]*clusterv3.Cluster{}
	for name, c := range all.Clusters {
		if resolve.Is(c) {
			names[name] = c
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), warmTime)
	defer cancel()
	if p.drained {
		all.Listeners = nil // for good
	}
	clusters, endpoints := p.resolver.Set(ctx, names)
	maps.Copy(all.Clusters, clusters)
	maps.Copy(all.Endpoints, endpoints)
	if err := p.s.proxy.Update(ctx, all); err != nil {
		return err
	}
	if !p.began.Swap(true) {
		p.s.opt.Log.Info("all dependencies initialized. starting workers") // as Envoy says it
	}
	return nil
}

func over[M any](static, dynamic map[string]M) map[string]M {
	out := maps.Clone(dynamic)
	if out == nil {
		out = map[string]M{}
	}
	maps.Copy(out, static)
	return out
}

// dump is what /config_dump shows.
type dump struct {
	static, dynamic *xds.Snapshot
	versions        map[string]string
	updated         time.Time
}

func (p *plane) dump() dump {
	p.mu.Lock()
	defer p.mu.Unlock()
	return dump{p.static, p.dynamic, maps.Clone(p.versions), p.updated}
}

// accepted notes the version of a type.
func (p *plane) accepted(typeURL, version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.versions[typeURL] = version
}

// listeners counts the listeners in effect.
func (p *plane) listeners() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(over(p.static.Listeners, p.dynamic.Listeners))
}

// bound is one listener and where it listens.
type bound struct {
	name string
	at   []engine.Address
}

// bound lists the listeners that have sockets, by name.
func (p *plane) bound() []bound {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drained {
		return nil
	}
	var out []bound
	all := over(p.static.Listeners, p.dynamic.Listeners)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := all[name]
		if l.GetBindToPort() != nil && !l.GetBindToPort().GetValue() {
			continue
		}
		b := bound{name: name}
		addresses := []*corev3.Address{l.GetAddress()}
		for _, a := range l.GetAdditionalAddresses() {
			addresses = append(addresses, a.GetAddress())
		}
		for _, a := range addresses {
			at, err := address(a)
			if err != nil {
				continue // refused before it came here
			}
			if real, ok := p.s.proxy.Addr(at).(*net.TCPAddr); ok {
				at.AddrPort = real.AddrPort() // port 0 is any
			}
			b.at = append(b.at, at)
		}
		out = append(out, b)
	}
	return out
}

// drain closes all listeners for good.
func (p *plane) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drained {
		return
	}
	p.drained = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()             // do not wait for connections: they end with their requests
	p.s.proxy.Drain(ctx) //nolint:errcheck // says that they have not ended yet
}
