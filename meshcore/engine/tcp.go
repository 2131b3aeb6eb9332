package engine

import (
	"time"

	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

// tcpProxy is a compiled tcp_proxy.
type tcpProxy struct {
	idle     time.Duration
	lasts    time.Duration // 0: as long as it wants
	bySource bool          // the hash of the source address chooses the host
	attempts int
	clusters []tcpTarget
	total    uint64
}

type tcpTarget struct {
	name    string
	weight  uint64
	cluster *slot[Cluster]
}

func (c *compiler) tcpProxy(m *tcpproxyv3.TcpProxy) *tcpProxy {
	t := &tcpProxy{idle: time.Hour, attempts: 1}
	if d := m.GetIdleTimeout(); d != nil {
		t.idle = c.duration("idle_timeout", d)
	}
	if d := m.GetMaxDownstreamConnectionDuration(); d != nil {
		t.lasts = c.duration("max_downstream_connection_duration", d)
	}
	t.bySource = len(m.GetHashPolicy()) > 0
	if n := m.GetMaxConnectAttempts(); n != nil {
		t.attempts = int(n.GetValue())
		if t.attempts < 1 {
			c.fail("max_connect_attempts", "value must be greater than or equal to 1")
		}
	}
	add := func(name string, weight uint32) {
		t.clusters = append(t.clusters, tcpTarget{name, uint64(weight), c.e.clusterSlot(name)})
		t.total += uint64(weight)
	}
	switch s := m.GetClusterSpecifier().(type) {
	case *tcpproxyv3.TcpProxy_Cluster:
		add(s.Cluster, 1)
	case *tcpproxyv3.TcpProxy_WeightedClusters:
		for _, w := range s.WeightedClusters.GetClusters() {
			add(w.GetName(), w.GetWeight())
			if w.GetWeight() == 0 {
				c.fail("weighted_clusters", "value must be greater than or equal to 1")
			}
		}
	}
	if len(t.clusters) == 0 {
		c.fail("cluster_specifier", "value is required")
	}
	return t
}

func (t *tcpProxy) pick(rnd uint64) *tcpTarget {
	n := rnd % max(t.total, 1)
	for i := range t.clusters {
		if n < t.clusters[i].weight {
			return &t.clusters[i]
		}
		n -= t.clusters[i].weight
	}
	return &t.clusters[0]
}
