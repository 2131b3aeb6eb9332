package request

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// collector finds the records of the requests that were sent: the first proxy's by the connection
// that it accepted, the others by the x-request-id that the first one gave (an edge proxy replaces
// the client's). A TCP proxy's record has no such ID; it is found by its connection's ends.
type collector struct {
	cancel   func()
	gateways map[string]netip.Addr // addresses, by the proxy's name in records

	mu     sync.Mutex
	ring   []observe.Request // the last records, oldest first, then overwritten in turn
	next   int
	index  map[string][]int // places in the ring, by ID and by the client's address
	awaits []string         // the keys that come is for
	come   chan struct{}    // told of records under these keys
}

// ringSize bounds what is kept; other traffic passes through the same proxies.
const ringSize = 1 << 14

// anyTCP is the key of records of TCP connections.
const anyTCP = "TCP"

func newCollector(m topology.Mesh) *collector {
	c := &collector{index: map[string][]int{}, come: make(chan struct{}, 1),
		gateways: map[string]netip.Addr{}}
	for _, p := range m.Registry().Pods {
		if p.Role == translate.Gateway {
			c.gateways[p.ID()] = p.IP
		}
	}
	c.cancel = m.Recorder().Subscribe(c)
	return c
}

func (c *collector) close() { c.cancel() }

// sender is what a request's records are found by.
type sender struct {
	remote string // its connection, as the first proxy sees it; empty when there is none
	id     string // its x-request-id
	since  clock.Instant
	until  clock.Instant // it had its answer by then; 0: not said
}

// find returns the records of a request so far; more is told when another may have come.
func (c *collector) find(s sender) (found []observe.Request, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := s.id
	var tcp, first *observe.Request // first: later requests of the connection may be there, too
	for _, at := range c.index[s.remote] {
		switch r := &c.ring[at]; {
		case s.remote == "" || r.Start < s.since || s.until != 0 && r.Start > s.until:
		case r.ID != "":
			if first == nil || r.Start < first.Start {
				first, id = r, r.ID
			}
		case r.Protocol == anyTCP:
			tcp = r
		default: // refused before its head was understood
			found = append(found, *r)
		}
	}
	for _, at := range c.index[id] {
		if r := &c.ring[at]; id != "" && r.Start >= s.since {
			found = append(found, *r)
		}
	}
	c.awaits = append(c.awaits[:0], s.remote, id)
	if tcp != nil {
		found = append(found, *tcp)
		found = append(found, c.behind(tcp)...)
		c.awaits[0] = anyTCP
	}
	return c.beyond(found), c.come
}

// beyond adds what proxies recorded under another name of what a hop sent them: a gateway may give
// a request an ID of its own, and a connection that no filter chain takes has none. Caller must
// hold mu.
func (c *collector) beyond(found []observe.Request) []observe.Request {
	for i := 0; i < len(found); i++ {
		hop := found[i]
		if hop.Reporter != observe.Source {
			continue
		}
		for _, a := range append(slices.Clone(hop.Attempts), hop.Mirrors...) {
			r := c.arrived(&hop, &a)
			if r == nil || slices.ContainsFunc(found, func(x observe.Request) bool {
				return x.Proxy == r.Proxy && x.Start == r.Start && x.Remote == r.Remote
			}) {
				continue
			}
			c.awaits = append(c.awaits, r.ID)
			if found = append(found, *r); r.ID == "" {
				continue
			}
			for _, at := range c.index[r.ID] {
				if x := &c.ring[at]; x.Start > r.Start {
					found = append(found, *x)
				}
			}
		}
	}
	return found
}

// arrived returns the record of what came to a gateway, or to no filter chain, with an attempt.
func (c *collector) arrived(hop *observe.Request, a *observe.Attempt) *observe.Request {
	key := arrival(a.Upstream)
	c.awaits = append(c.awaits, key)
	for _, at := range c.index[key] {
		r := &c.ring[at]
		if r.Start >= a.Start && r.Start <= a.Start.Add(a.Duration) && r.Proxy != hop.Proxy &&
			c.from(r.Remote, hop) {
			return r
		}
	}
	return nil
}

// arrival is the key of records by the address that was called.
func arrival(address string) string { return "to " + address }

// behind returns the record of the proxy at the other end of a TCP hop: that of a connection from
// the same address to the same place, begun after it. Caller must hold mu.
func (c *collector) behind(hop *observe.Request) []observe.Request {
	for _, at := range c.index[anyTCP] {
		r := &c.ring[at]
		if r.Reporter == observe.Destination && r.Start >= hop.Start && hop.Upstream != "" &&
			(r.Upstream == hop.Upstream || r.Upstream == "" && r.Local == hop.Upstream) &&
			c.from(r.Remote, hop) {
			return []observe.Request{*r}
		}
	}
	return nil
}

// from says whether a proxy dialled from an address: a sidecar from its client's, a gateway from
// its own.
func (c *collector) from(remote string, hop *observe.Request) bool {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	if g, ok := c.gateways[hop.Proxy]; ok {
		return g == a.Addr()
	}
	b, err := netip.ParseAddrPort(hop.Remote)
	return err == nil && a.Addr() == b.Addr()
}

// keys are what a record is found by.
func (c *collector) keys(r *observe.Request) [4]string {
	k := [4]string{r.ID, r.Remote}
	if r.Protocol == anyTCP {
		k[2] = anyTCP
	}
	if _, gateway := c.gateways[r.Proxy]; gateway || r.ID == "" && r.Upstream == "" {
		k[3] = arrival(r.Local)
	}
	return k
}

// Request takes a record as it is made.
func (c *collector) Request(r *observe.Request) {
	k := *r
	k.Attempts, k.Mirrors = slices.Clone(r.Attempts), slices.Clone(r.Mirrors)
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.next % ringSize
	c.next++
	if at < len(c.ring) {
		c.forget(at)
		c.ring[at] = k
	} else {
		c.ring = append(c.ring, k)
	}
	told := false
	for _, key := range c.keys(&k) {
		if key == "" {
			continue
		}
		c.index[key] = append(c.index[key], at)
		told = told || slices.Contains(c.awaits, key)
	}
	if told {
		select {
		case c.come <- struct{}{}:
		default: // it has been told, and has not looked yet
		}
	}
}

// forget takes the record at a place out of the index: there it is the oldest of its keys. Caller
// must hold mu.
func (c *collector) forget(at int) {
	for _, key := range c.keys(&c.ring[at]) {
		if key == "" {
			continue
		}
		if left := c.index[key][1:]; len(left) > 0 {
			c.index[key] = left
		} else {
			delete(c.index, key)
		}
	}
}

// Client takes nothing: the sender knows its own requests.
func (c *collector) Client(*observe.Client) {}

// Change takes nothing.
func (c *collector) Change(*observe.Change) {}
