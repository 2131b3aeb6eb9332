package sidecar

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
)

// counters counts what records, dials and ADS answers tell. What is shown of it is in stats.go.
type counters struct {
	sink     proxy.Sink // is given the records, too; may be nil
	clusters sync.Map   // name → *clusterCount
	prefixes sync.Map   // stat_prefix → *prefixCount

	mu      sync.Mutex
	updates map[string]updateCount // by type URL
	isOn    bool
}

// updateCount is what became of one type's responses.
type updateCount struct{ success, rejected uint64 }

type clusterCount struct {
	codes                   codes // of what went downstream
	total, retry, timeout   atomic.Uint64
	pendingFailed, overflow atomic.Uint64
	connects, connectKO     atomic.Uint64
	hosts                   sync.Map // address → *hostCount
}

type hostCount struct {
	connects, connectKO, total, success, failed, timeout atomic.Uint64
}

// prefixCount is one HTTP connection manager's, or one TCP proxy's.
type prefixCount struct {
	codes                     codes
	total, noRoute, noCluster atomic.Uint64
	received, sent            atomic.Uint64
}

// codes counts statuses.
type codes [600]atomic.Uint64

func (c *codes) add(status int) {
	if status > 0 && status < len(c) {
		c[status].Add(1)
	}
}

func get[V any](m *sync.Map, key string) *V {
	if v, ok := m.Load(key); ok {
		return v.(*V)
	}
	v, _ := m.LoadOrStore(key, new(V))
	return v.(*V)
}

// Record hands on the record of a connection that no filter chain takes; of all else RecordOn is
// called in its place.
func (c *counters) Record(r *observe.Request) {
	if c.sink != nil {
		c.sink.Record(r)
	}
}

// RecordOn counts a request or a TCP connection.
func (c *counters) RecordOn(chain *engine.Chain, r *observe.Request) {
	c.Record(r)
	p := get[prefixCount](&c.prefixes, chain.StatPrefix)
	p.total.Add(1)
	p.received.Add(uint64(r.BytesReceived))
	p.sent.Add(uint64(r.BytesSent))
	p.codes.add(r.Status)
	if has(r.Flags, "NR") {
		p.noRoute.Add(1)
	}
	if has(r.Flags, "NC") {
		p.noCluster.Add(1)
	}
	for i := range r.Attempts {
		c.attempt(&r.Attempts[i], i > 0)
	}
	for i := range r.Mirrors {
		c.attempt(&r.Mirrors[i], false)
	}
	// Envoy charges the cluster with the answer that went downstream, also where no host was left
	// (source/common/router/router.cc chargeUpstreamAbort); a fault's answer never reached it.
	if len(r.Attempts) > 0 || has(r.Flags, "UH") {
		cl := get[clusterCount](&c.clusters, r.Cluster)
		cl.codes.add(r.Status)
		if has(r.Flags, "UT") {
			cl.timeout.Add(1)
		}
	}
}

// attempt counts one try at a host, or one copy.
func (c *counters) attempt(a *observe.Attempt, retry bool) {
	cl := get[clusterCount](&c.clusters, a.Cluster)
	h := get[hostCount](&cl.hosts, a.Upstream)
	if retry {
		cl.retry.Add(1)
	}
	switch {
	case has(a.Flags, "UF"): // never became a request
		cl.pendingFailed.Add(1)
		return
	case has(a.Flags, "UO"):
		cl.overflow.Add(1)
		return
	}
	cl.total.Add(1)
	h.total.Add(1)
	switch {
	case has(a.Flags, "UT"):
		h.timeout.Add(1)
		h.failed.Add(1)
	case a.Status >= 500 || a.Status == 0:
		h.failed.Add(1)
	default:
		h.success.Add(1)
	}
}

// has says whether a flag is among those of a record.
func has(flags, flag string) bool {
	for flags != "" {
		var f string
		f, flags, _ = strings.Cut(flags, ",")
		if f == flag {
			return true
		}
	}
	return false
}

// Dialed counts a connection to an endpoint.
func (c *counters) Dialed(ep *engine.Endpoint, made bool) {
	cl := get[clusterCount](&c.clusters, ep.Cluster.Name)
	h := get[hostCount](&cl.hosts, ep.Addr.String())
	cl.connects.Add(1)
	h.connects.Add(1)
	if !made {
		cl.connectKO.Add(1)
		h.connectKO.Add(1)
	}
}

// answered counts a response of the ADS server.
func (c *counters) answered(typeURL string, refusal error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.updates == nil {
		c.updates = map[string]updateCount{}
	}
	u := c.updates[typeURL]
	if refusal == nil {
		u.success++
	} else {
		u.rejected++
	}
	c.updates[typeURL] = u
}

// connected notes whether the ADS server is there.
func (c *counters) connected(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isOn = on
}
