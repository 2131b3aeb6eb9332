// Package resolve keeps the addresses of clusters of type STRICT_DNS and LOGICAL_DNS. The engine
// looks nothing up: it is given each of them as a cluster with endpoints that come and go.
//
//	Cluster STRICT_DNS ─▶ Set ─▶ Cluster EDS + ClusterLoadAssignment ─▶ engine
//	                       └─ every dns_refresh_rate: look up ─▶ Changed
package resolve

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
)

// Resolver looks names up for clusters. Close ends it.
type Resolver struct {
	// Lookup asks for the addresses of a name; network is ip4 or ip6. Nil: the machine's resolver.
	Lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)
	// Changed is called, from a goroutine of the resolver, when a cluster has got other addresses:
	// Set gives them.
	Changed func()
	Log     *slog.Logger

	mu       sync.Mutex
	clusters map[string]*cluster
	wg       sync.WaitGroup
}

// cluster is one cluster whose names are looked up again and again.
type cluster struct {
	from   *clusterv3.Cluster
	to     *clusterv3.Cluster
	cancel context.CancelFunc
	first  chan struct{} // closed when the first lookup has ended
	found  map[string][]netip.Addr
}

// Is says whether a cluster's endpoints are names to be looked up.
func Is(c *clusterv3.Cluster) bool {
	return c.GetType() == clusterv3.Cluster_STRICT_DNS ||
		c.GetType() == clusterv3.Cluster_LOGICAL_DNS
}

// Set makes these clusters, by name, the ones to look up, and returns them as clusters with
// endpoints. It waits for the first answers of those that are new, as Envoy's clusters warm, but
// not longer than ctx. Who has no address yet has no endpoints.
func (r *Resolver) Set(ctx context.Context, want map[string]*clusterv3.Cluster) (
	clusters map[string]*clusterv3.Cluster, endpoints map[string]*endpointv3.ClusterLoadAssignment,
) {
	now := r.adopt(want)
	for _, c := range now {
		select {
		case <-c.first:
		case <-ctx.Done():
		}
	}
	clusters = make(map[string]*clusterv3.Cluster, len(now))
	endpoints = make(map[string]*endpointv3.ClusterLoadAssignment, len(now))
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, c := range now {
		clusters[name] = c.to
		e := c.assignment()
		endpoints[e.ClusterName] = e
	}
	return clusters, endpoints
}

// adopt starts what is new and ends what is gone.
func (r *Resolver) adopt(want map[string]*clusterv3.Cluster) map[string]*cluster {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := make(map[string]*cluster, len(want))
	for name, from := range want {
		if old := r.clusters[name]; old != nil && proto.Equal(old.from, from) {
			now[name] = old
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		c := &cluster{
			from: from, to: plain(from, clusterv3.Cluster_EDS), cancel: cancel,
			first: make(chan struct{}), found: map[string][]netip.Addr{},
		}
		now[name] = c
		r.wg.Go(func() { r.follow(ctx, c) })
	}
	for name, old := range r.clusters {
		if now[name] != old {
			old.cancel()
		}
	}
	r.clusters = now
	return now
}

// Close ends all lookups.
func (r *Resolver) Close() {
	r.adopt(nil)
	r.wg.Wait()
}

// The rates at which names are looked up (Envoy api/envoy/config/cluster/v3/cluster.proto), and how
// long a lookup may take.
const (
	refreshRate   = 5 * time.Second
	lookupTimeout = 5 * time.Second
)

// follow looks a cluster's names up until ctx ends.
func (r *Resolver) follow(ctx context.Context, c *cluster) {
	rate := cmp.Or(c.from.GetDnsRefreshRate().AsDuration(), refreshRate)
	retry := cmp.Or(c.from.GetDnsFailureRefreshRate().GetBaseInterval().AsDuration(), rate)
	for first := true; ; first = false {
		changed, failed := r.lookup(ctx, c)
		if first {
			close(c.first)
		} else if changed && ctx.Err() == nil && r.Changed != nil {
			r.Changed()
		}
		pause := rate
		if failed {
			pause = retry
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// lookup asks for every name once. A name that can not be found keeps the addresses that it had.
func (r *Resolver) lookup(ctx context.Context, c *cluster) (changed, failed bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for _, name := range names(c.from) {
		addrs, err := r.addresses(ctx, c.from.GetDnsLookupFamily(), name)
		if err != nil {
			failed = true
			if ctx.Err() == nil && r.Log != nil {
				r.Log.Warn("dns lookup", "cluster", c.from.GetName(), "err", err)
			}
			continue
		}
		if c.from.GetType() == clusterv3.Cluster_LOGICAL_DNS {
			addrs = addrs[:1] // Envoy uses the first address only
		} else {
			slices.SortFunc(addrs, netip.Addr.Compare)
		}
		r.mu.Lock()
		if !slices.Equal(c.found[name], addrs) {
			c.found[name], changed = addrs, true
		}
		r.mu.Unlock()
	}
	return changed, failed
}

// names lists the names of a cluster's endpoints, each once.
func names(c *clusterv3.Cluster) []string {
	var out []string
	for _, l := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			name := e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// addresses returns at least one address of a name, of the families that are wanted.
func (r *Resolver) addresses(
	ctx context.Context, family clusterv3.Cluster_DnsLookupFamily, name string,
) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	v4 := func() ([]netip.Addr, error) { return r.ask(ctx, "ip4", name) }
	v6 := func() ([]netip.Addr, error) { return r.ask(ctx, "ip6", name) }
	switch family {
	case clusterv3.Cluster_V4_ONLY:
		return v4()
	case clusterv3.Cluster_V6_ONLY:
		return v6()
	case clusterv3.Cluster_V4_PREFERRED:
		return either(v4, v6)
	case clusterv3.Cluster_ALL:
		six, _ := v6() // the other family may be missing
		four, err := v4()
		if len(six)+len(four) == 0 {
			return nil, err
		}
		return append(six, four...), nil
	}
	return either(v6, v4) // AUTO
}

// either asks the second way when the first finds nothing.
func either(first, second func() ([]netip.Addr, error)) ([]netip.Addr, error) {
	if a, err := first(); err == nil {
		return a, nil
	}
	return second()
}

// ask looks a name up in one family.
func (r *Resolver) ask(ctx context.Context, network, name string) ([]netip.Addr, error) {
	lookup := r.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	addrs, err := lookup(ctx, network, name)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// assignment is the cluster's load assignment with an endpoint for each address. Caller must hold
// the resolver's mu.
func (c *cluster) assignment() *endpointv3.ClusterLoadAssignment {
	out := proto.Clone(c.from.GetLoadAssignment()).(*endpointv3.ClusterLoadAssignment)
	if out == nil {
		out = &endpointv3.ClusterLoadAssignment{}
	}
	out.ClusterName = c.to.GetEdsClusterConfig().GetServiceName()
	for _, l := range out.GetEndpoints() {
		var all []*endpointv3.LbEndpoint
		for _, e := range l.GetLbEndpoints() {
			at := e.GetEndpoint().GetAddress().GetSocketAddress()
			for _, a := range c.found[at.GetAddress()] {
				one := proto.Clone(e).(*endpointv3.LbEndpoint)
				one.GetEndpoint().GetAddress().GetSocketAddress().Address = a.String()
				all = append(all, one)
			}
		}
		l.LbEndpoints = all
	}
	return out
}

// plain returns a cluster of another type, without what only lookups need.
func plain(from *clusterv3.Cluster, as clusterv3.Cluster_DiscoveryType) *clusterv3.Cluster {
	c := proto.Clone(from).(*clusterv3.Cluster)
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: as}
	c.DnsRefreshRate, c.DnsFailureRefreshRate, c.DnsJitter = nil, nil, nil
	c.DnsLookupFamily, c.RespectDnsTtl, c.WaitForWarmOnInit = 0, false, nil
	c.TypedDnsResolverConfig = nil
	if as == clusterv3.Cluster_EDS {
		c.LoadAssignment = nil
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{
			ServiceName: "dns:" + from.GetName(),
			EdsConfig: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{
				Ads: &corev3.AggregatedConfigSource{}}},
		}
	}
	return c
}

// Static returns a cluster as one of type STATIC with an address in the place of each name: what
// else is wrong with it, the engine can say of that. The error says what is wrong with its names.
func Static(from *clusterv3.Cluster) (*clusterv3.Cluster, error) {
	if err := check(from); err != nil {
		return nil, err
	}
	c := plain(from, clusterv3.Cluster_STATIC)
	for _, l := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			if s := e.GetEndpoint().GetAddress().GetSocketAddress(); s != nil {
				s.Address = "192.0.2.1" // stands for what will be found
			}
		}
	}
	return c, nil
}
