package request

import (
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// collector finds the records of the requests that were sent: the first proxy's by the connection that it
// accepted, the others by the x-request-id that the first one gave (an edge proxy replaces the client's).
type collector struct {
	cancel func()

	mu   sync.Mutex
	ring []observe.Request // the last records, oldest first, then overwritten in turn
	next int
	came chan struct{} // closed and replaced with each record
}

// ringSize bounds what is kept; other traffic passes through the same proxies.
const ringSize = 1 << 14

func newCollector(r *observe.Recorder) *collector {
	c := &collector{came: make(chan struct{})}
	c.cancel = r.Subscribe(c)
	return c
}

func (c *collector) close() { c.cancel() }

// find returns the records of the request that began at an instant on a connection from remote, or
// that carries the ID; and a channel that is closed when the next record comes.
func (c *collector) find(remote, id string, since clock.Instant) (
	found []observe.Request, more <-chan struct{},
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.ring {
		r := &c.ring[i]
		if remote != "" && r.Remote == remote && r.Start >= since && r.ID != "" {
			id = r.ID
		}
	}
	for i := range c.ring {
		if r := &c.ring[i]; r.ID == id && id != "" && r.Start >= since {
			found = append(found, *r)
		}
	}
	return found, c.came
}

// Request takes a record as it is made.
func (c *collector) Request(r *observe.Request) {
	k := *r
	k.Attempts, k.Mirrors = slices.Clone(r.Attempts), slices.Clone(r.Mirrors)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ring) < ringSize {
		c.ring = append(c.ring, k)
	} else {
		c.ring[c.next%ringSize] = k
	}
	c.next++
	close(c.came)
	c.came = make(chan struct{})
}

// Client takes nothing: the sender knows its own requests.
func (c *collector) Client(*observe.Client) {}

// Change takes nothing.
func (c *collector) Change(*observe.Change) {}
