package engine

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// choose picks the endpoint of an attempt; nil means that the cluster has none.
func (x *Exchange) choose(c *Cluster, retry bool) *Endpoint {
	if c.kind == clusterv3.Cluster_ORIGINAL_DST {
		var local netip.AddrPort
		if x.chain.listener.restores() {
			local = x.ci.Local
		}
		ep := x.originalDestination(c, local)
		if x.tr != nil {
			x.traceAttempt(c, ep, nil)
		}
		return ep
	}
	x.lbc.Rnd = draw(x.rnd, drawHost, x.attempt)
	x.lbc.Skip, x.lbc.MaxTries = nil, 0
	if p := x.retry.policy; retry && p != nil && p.otherHosts {
		x.lbc.Skip, x.lbc.MaxTries = x.skip, p.maxTries
	}
	if x.tr != nil {
		x.lbc.Told = &lb.Choice{}
	}
	host := c.balancer.Pick(&x.lbc)
	var ep *Endpoint
	if host != nil {
		ep = host.Value.(*Endpoint)
	}
	if x.tr != nil {
		x.traceAttempt(c, ep, x.lbc.Told)
		x.lbc.Told = nil
	}
	return ep
}

// chooseCopy picks the endpoint of a mirrored copy, which has no hash policy of its own, and no
// client's connection that would say where it was going (async_client_impl.h; measured).
func (x *Exchange) chooseCopy(c *Cluster, rnd uint64) *Endpoint {
	if c.kind == clusterv3.Cluster_ORIGINAL_DST {
		return x.originalDestination(c, netip.AddrPort{})
	}
	if host := c.balancer.Pick(&lb.Context{Rnd: rnd}); host != nil {
		return host.Value.(*Endpoint)
	}
	return nil
}

// skipHost is the retry host predicate previous_hosts.
func (x *Exchange) skipHost(h *lb.Host) bool {
	for _, ep := range x.tried {
		if &ep.host == h {
			return true
		}
	}
	return false
}

// originalDestination makes the endpoint that the client meant, or that the header names (original_
// dst_cluster.cc). It is kept while it is used.
func (x *Exchange) originalDestination(c *Cluster, local netip.AddrPort) *Endpoint {
	addr := Address{AddrPort: local}
	if c.useHeader && x.head != nil {
		if v, ok := x.head.Get(c.header); ok {
			if a, err := netip.ParseAddrPort(string(v)); err == nil {
				addr.AddrPort = a
			}
		}
	}
	if !addr.IsValid() || addr.Port() == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ep := c.hosts[addr]
	if ep == nil {
		ep = c.newEndpoint(addr)
		c.hosts[addr] = ep
	}
	c.used[ep] = true
	return ep
}

// code tells outlier detection of a response.
func (ep *Endpoint) code(status int, now clock.Instant, rnd uint64) {
	if ep.monitor != nil && ep.Cluster.e.opt.Again == nil {
		ep.Cluster.ejections(ep.Cluster.detector.PutCode(ep.monitor, status, now, rnd), now)
	}
}

// result tells outlier detection of an attempt that ended otherwise.
func (ep *Endpoint) result(r outlier.Result, code int, now clock.Instant, rnd uint64) {
	if ep.monitor != nil && ep.Cluster.e.opt.Again == nil {
		put := outlier.Put{Result: r, Code: code, Now: now, Rnd: rnd}
		ep.Cluster.ejections(ep.Cluster.detector.PutResult(ep.monitor, put), now)
	}
}

// ejections makes what the detector decided take effect.
func (c *Cluster) ejections(events []outlier.Event, now clock.Instant) {
	changed := false
	for i := range events {
		e := &events[i]
		ep := e.Monitor.Value.(*Endpoint)
		kind := ""
		switch e.Kind {
		case outlier.Eject:
			ep.host.Ejected.Store(true)
			changed, kind = true, "eject"
		case outlier.Uneject:
			ep.host.Ejected.Store(false)
			changed, kind = true, "uneject"
		}
		if kind != "" && c.e.opt.Changed != nil {
			c.e.opt.Changed(observe.Change{At: e.At, Kind: kind, By: c.e.opt.Node,
				What: c.Name + " " + ep.host.Address})
		}
	}
	if changed {
		c.refreshed(c.balancer.Refresh(now))
	}
}

// refreshed notes when a merged change of hosts is due, and asks for a Tick then.
func (c *Cluster) refreshed(due clock.Instant) {
	c.mu.Lock()
	c.refresh = due
	c.mu.Unlock()
	if due != noDeadline && c.e.opt.Wake != nil {
		c.e.opt.Wake(due)
	}
}

// tick does what time makes due and says when more will be.
func (c *Cluster) tick(now clock.Instant) clock.Instant {
	if c.detector != nil {
		if c.sweep == noDeadline {
			c.sweep = now.Add(c.detector.Interval())
		}
		for c.sweep <= now {
			at := c.sweep
			rnd := clock.Mix(clock.Sub(c.e.opt.Seed, "sweep", c.Name) + uint64(at))
			var events []outlier.Event
			events, c.sweep = c.detector.Sweep(at, rnd)
			c.ejections(events, at)
		}
	}
	c.mu.Lock()
	due := c.refresh
	c.mu.Unlock()
	if due <= now {
		due = c.balancer.Refresh(now)
		c.mu.Lock()
		c.refresh = due
		c.mu.Unlock()
	}
	return min(c.sweep, due, c.cleanUp(now))
}

// cleanUp forgets original destinations that were not used for an interval (cleanup_interval).
func (c *Cluster) cleanUp(now clock.Instant) clock.Instant {
	if c.used == nil {
		return noDeadline
	}
	if c.clean == noDeadline {
		c.clean = now.Add(c.cleanup)
	}
	if c.clean > now {
		return c.clean
	}
	var gone []*Endpoint
	c.mu.Lock()
	for addr, ep := range c.hosts {
		if !c.used[ep] && ep.host.Active.Load() == 0 {
			delete(c.hosts, addr)
			gone = append(gone, ep)
		}
	}
	clear(c.used)
	c.mu.Unlock()
	c.drop(gone)
	c.clean = now.Add(c.cleanup)
	return c.clean
}

// drop tells the detector and the driver of endpoints that are no more.
func (c *Cluster) drop(gone []*Endpoint) {
	for _, ep := range gone {
		if ep.monitor != nil {
			c.detector.Remove(ep.monitor)
		}
		if c.e.opt.Removed != nil {
			c.e.opt.Removed(ep)
		}
	}
}

// assign gives the cluster its endpoints. Those whose address stays are the same values as before.
func (c *Cluster) assign(a *assignment, now clock.Instant) {
	var out lb.Assignment
	keep := make(map[Address]*Endpoint, len(c.hosts))
	c.mu.Lock()
	if a != nil {
		out.OverprovisioningFactor, out.WeightedPriorityHealth = a.factor, a.weightedHealth
		for i := range a.localities {
			l := a.localities[i].LocalityEndpoints
			l.Endpoints = make([]lb.Endpoint, 0, len(a.localities[i].hosts))
			for j := range a.localities[i].hosts {
				h := &a.localities[i].hosts[j]
				ep := c.hosts[h.addr]
				if keep[h.addr] != nil {
					continue // Envoy takes an address once
				}
				if ep == nil || ep.host.HashKey != h.hashKey || ep.hostname != h.hostname {
					ep = c.newEndpoint(h.addr)
					ep.host.HashKey, ep.hostname = h.hashKey, h.hostname
				}
				if w := ep.dest.Load(); w == nil || *w != h.workload {
					ep.dest.Store(&h.workload)
				}
				ep.metadata.Store(h.metadata)
				ep.tls.Store(c.sockets.of(h.metadata, a.localities[i].metadata))
				keep[h.addr] = ep
				l.Endpoints = append(l.Endpoints,
					lb.Endpoint{Host: &ep.host, Weight: h.weight, Unhealthy: h.unhealthy})
			}
			out.Localities = append(out.Localities, l)
		}
	}
	var gone []*Endpoint
	for _, addr := range sortedAddrs(c.hosts) {
		if ep := c.hosts[addr]; keep[addr] != ep {
			gone = append(gone, ep)
		}
	}
	c.hosts, c.given = keep, out
	c.mu.Unlock()
	c.drop(gone)
	c.refreshed(c.balancer.Update(out, now))
}

// close ends a cluster that was replaced or removed.
func (c *Cluster) close() {
	c.mu.Lock()
	var gone []*Endpoint
	for _, addr := range sortedAddrs(c.hosts) {
		gone = append(gone, c.hosts[addr])
	}
	c.hosts, c.given = map[Address]*Endpoint{}, lb.Assignment{}
	c.mu.Unlock()
	c.drop(gone)
}
