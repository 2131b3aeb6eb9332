package request

import (
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// collector keeps the records of the requests that are asked for, by x-request-id.
type collector struct {
	cancel func()

	mu    sync.Mutex
	byID  map[string][]observe.Request
	count map[string]int // requests under way with an ID: the user may give one ID to many
}

func newCollector(r *observe.Recorder) *collector {
	c := &collector{byID: map[string][]observe.Request{}, count: map[string]int{}}
	c.cancel = r.Subscribe(c)
	return c
}

func (c *collector) close() { c.cancel() }

// want says that records with an ID are to be kept.
func (c *collector) want(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[id]++
}

// take returns the records with an ID.
func (c *collector) take(id string) []observe.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.byID[id])
	if c.count[id]--; c.count[id] <= 0 {
		delete(c.byID, id)
		delete(c.count, id)
	}
	return out
}

// Request takes a record as it is made.
func (c *collector) Request(r *observe.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[r.ID] > 0 {
		k := *r
		k.Attempts, k.Mirrors = slices.Clone(r.Attempts), slices.Clone(r.Mirrors)
		c.byID[r.ID] = append(c.byID[r.ID], k)
	}
}

// Client takes nothing: the sender knows its own requests.
func (c *collector) Client(*observe.Client) {}

// Change takes nothing.
func (c *collector) Change(*observe.Change) {}
