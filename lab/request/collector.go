package request

import (
	"net/netip"
	"slices"
	"strings"
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
	awaits [3]string        // the keys that come is for
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
	c.awaits = [3]string{s.remote, id}
	for i := range found[:len(found):len(found)] {
		found = append(found, c.beyond(&found[i])...)
	}
	if tcp != nil {
		found = append(found, *tcp)
		found = append(found, c.behind(tcp)...)
		c.awaits[0] = anyTCP
	}
	return found, c.come
}

// beyond returns the records of a request at the proxy that it was sent to where they have not its
// ID: a gateway gives it another one, and a listener without a chain for the connection none.
// Caller must hold mu.
func (c *collector) beyond(hop *observe.Request) []observe.Request {
	to, err := netip.ParseAddrPort(hop.Upstream)
	if err != nil || hop.Reporter != observe.Source {
		return nil
	}
	for name, addr := range c.gateways {
		if addr != to.Addr() || name == hop.Proxy {
			continue
		}
		c.awaits[2] = name
		for _, at := range c.index[name] {
			r := &c.ring[at]
			if r.ID != hop.ID && r.Start >= hop.Start && r.Method == hop.Method &&
				r.Start <= hop.Start.Add(hop.Duration) && c.from(r.Remote, hop) {
				return c.withID(r)
			}
		}
	}
	if !strings.Contains(hop.Flags, "UC") {
		return nil
	}
	c.awaits[2] = anyTCP
	for _, at := range c.index[anyTCP] {
		r := &c.ring[at]
		if r.Reporter == observe.Destination && r.Start >= hop.Start && r.Local == hop.Upstream &&
			strings.Contains(r.Flags, "NR") && c.from(r.Remote, hop) {
			return []observe.Request{*r}
		}
	}
	return nil
}

// unseen says whether an address is a gateway's that has none of the records.
func (c *collector) unseen(a netip.Addr, records []observe.Request) bool {
	for name, addr := range c.gateways {
		if addr == a {
			return !slices.ContainsFunc(records, func(r observe.Request) bool {
				return r.Proxy == name
			})
		}
	}
	return false
}

// withID returns the records that have the ID of one of them, from that one on. Caller must hold
// mu.
func (c *collector) withID(first *observe.Request) []observe.Request {
	var out []observe.Request
	for _, at := range c.index[first.ID] {
		if r := &c.ring[at]; r.Start >= first.Start {
			out = append(out, *r)
		}
	}
	return out
}

// behind returns the record of the proxy at the other end of a TCP hop: that of a connection from
// the same address to the same place, begun after it. Caller must hold mu.
func (c *collector) behind(hop *observe.Request) []observe.Request {
	for _, at := range c.index[anyTCP] {
		r := &c.ring[at]
		if r.Reporter == observe.Destination && r.Start >= hop.Start && hop.Upstream != "" &&
			r.Upstream == hop.Upstream && c.from(r.Remote, hop) {
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
func keys(r *observe.Request) [4]string {
	k := [4]string{r.ID, r.Remote, "", r.Proxy}
	if r.Protocol == anyTCP {
		k[2] = anyTCP
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
	for _, key := range keys(&k) {
		if key == "" {
			continue
		}
		c.index[key] = append(c.index[key], at)
		told = told || slices.Contains(c.awaits[:], key)
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
	for _, key := range keys(&c.ring[at]) {
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
