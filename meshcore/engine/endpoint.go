package engine

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Endpoint is one upstream host of one cluster. It is the same value as long as the cluster and the
// host's address stay, so that pools and counts can hang on it.
type Endpoint struct {
	Addr    netip.AddrPort
	Source  netip.Addr // upstream_bind_config's address; invalid when there is none
	Cluster *Cluster
	// Pool is the driver's: its connection pool to this endpoint.
	Pool atomic.Value

	active atomic.Int64 // requests in flight, for LEAST_REQUEST (Envoy's host rq_active)
}

// Cluster is a compiled cluster.
type Cluster struct {
	Name                     string
	ConnectTimeout           time.Duration
	MaxRequestsPerConnection int           // 0: no limit
	IdleTimeout              time.Duration // 1 h unless set; 0: none
	MaxConnectionDuration    time.Duration // 0: none
	HTTP2                    bool          // upstream speaks HTTP/2 (prior knowledge)
}
