package engine

import (
	"slices"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
)

// ClusterStatus is what a cluster's hosts are at this moment, for display and statistics.
type ClusterStatus struct {
	Name   string
	Shown  string // alt_stat_name, else the name
	Usage  breaker.Usage
	Limits breaker.Thresholds
	EDS    string // the name of its endpoints' resource; empty when it has another source
	Hosts  []HostStatus
}

// HostStatus is one host of a cluster.
type HostStatus struct {
	*Endpoint
	Locality lb.Locality
	Weight   uint32 // load_balancing_weight, 1 unless set
	Priority uint32
	Failed   bool // health_status says that it is not healthy
	Ejected  bool // by outlier detection
}

// Healthy says whether load goes to the host, were there no panic.
func (h *HostStatus) Healthy() bool { return !h.Failed && !h.Ejected }

// Clusters returns the status of all clusters, sorted by name.
func (e *Engine) Clusters() []ClusterStatus {
	e.mu.Lock()
	live := slices.Clone(e.live)
	e.mu.Unlock()
	out := make([]ClusterStatus, 0, len(live))
	for _, c := range live {
		out = append(out, c.status())
	}
	return out
}

func (c *Cluster) status() ClusterStatus {
	s := ClusterStatus{Name: c.Name, Shown: c.Name, EDS: c.service,
		Usage: c.Breaker.Usage(), Limits: c.limits}
	if c.shown != "" {
		s.Shown = c.shown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.given.Localities {
		for _, e := range l.Endpoints {
			s.Hosts = append(s.Hosts, HostStatus{
				Endpoint: e.Host.Value.(*Endpoint), Locality: l.Locality, Priority: l.Priority,
				Weight: max(e.Weight, 1), Failed: e.Unhealthy, Ejected: e.Host.Ejected.Load(),
			})
		}
	}
	if c.used != nil { // ORIGINAL_DST
		for _, addr := range sortedAddrs(c.hosts) {
			s.Hosts = append(s.Hosts, HostStatus{Endpoint: c.hosts[addr], Weight: 1})
		}
	}
	return s
}
