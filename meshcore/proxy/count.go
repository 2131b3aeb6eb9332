package proxy

import (
	"maps"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Connections counts the downstream connections of one filter chain's stat_prefix.
type Connections struct {
	HTTP          bool
	Total, Active uint64
}

// counts keeps Connections by stat_prefix. It is asked once for each connection, never for each
// request.
type counts struct {
	mu       sync.Mutex
	byPrefix map[string]Connections
}

func (c *counts) add(chain *engine.Chain, total, active uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPrefix == nil {
		c.byPrefix = map[string]Connections{}
	}
	n := c.byPrefix[chain.StatPrefix]
	n.HTTP = chain.HTTP != nil
	n.Total, n.Active = n.Total+total, n.Active+active
	c.byPrefix[chain.StatPrefix] = n
}

func (c *counts) open(chain *engine.Chain)   { c.add(chain, 1, 1) }
func (c *counts) closed(chain *engine.Chain) { c.add(chain, 0, ^uint64(0)) }

// Connections returns the downstream connections so far, by stat_prefix.
func (p *Proxy) Connections() map[string]Connections {
	p.counts.mu.Lock()
	defer p.counts.mu.Unlock()
	return maps.Clone(p.counts.byPrefix)
}

// SetDraining asks clients to close after each response, or no longer; listeners stay open.
func (p *Proxy) SetDraining(on bool) { p.draining.Store(on) }

// record gives a record away.
func (p *Proxy) record(c *engine.Chain, r *observe.Request) {
	if s, ok := p.opt.Sink.(ChainSink); ok {
		s.RecordOn(c, r)
		return
	}
	p.opt.Sink.Record(r)
}
