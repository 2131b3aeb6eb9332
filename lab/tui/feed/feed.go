// Package feed is what a watcher of a lab is told: batches of what has happened since the last one,
// and what the configuration means for it. A Tap makes batches of a Recorder's records. It is
// bounded: where more comes than it may keep, it keeps whole requests, one in so many, and says so.
//
//	observe.Recorder ─▶ Tap ─▶ Batch ─┬─▶ lab/tui, in process
//	                                  └─▶ lab/remote ══ Writer, Reader ══▶ lab/tui
package feed

import (
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Batch is what happened between the batch before and At.
type Batch struct {
	At clock.Instant `json:"at_ns"` // the lab's time
	// Every says that of the requests one in so many is here, with the records of all its hops; 1:
	// all of them.
	Every    int               `json:"every"`
	Requests []observe.Request `json:"requests,omitempty"`
	Changes  []observe.Change  `json:"changes,omitempty"`
	Pushes   []observe.Push    `json:"pushes,omitempty"`
	Faults   []observe.Fault   `json:"faults,omitempty"` // also those known by their ID, changed
	Lab      *Lab              `json:"lab,omitempty"`    // in the first one
	Proxies  []Proxy           `json:"proxies,omitempty"`
	// Config is in the first batch, and where it has changed; Story is a run's, where it has.
	Config *Config `json:"config,omitempty"`
	Story  *Story  `json:"story,omitempty"`
}

// Lab says which lab is watched.
type Lab struct {
	Name     string `json:"name"`
	Topology string `json:"topology"`
	Proxy    string `json:"proxy"`
	Seed     string `json:"seed"`
}

// Proxy is what one proxy was sent and what it ACKed: all proxies come together, when one of them
// has changed.
type Proxy struct {
	Node  string      `json:"node"`
	Types []TypeState `json:"types"`
}

// TypeState is the state of one resource type at one proxy.
type TypeState struct {
	Type  string `json:"type"` // CDS, EDS, LDS, RDS, SDS
	Sent  string `json:"sent"`
	Acked string `json:"acked"`
	Nack  string `json:"nack,omitempty"` // the last refusal
}

// Tap takes a Recorder's records until they are taken from it as a Batch. It is safe for concurrent
// use.
type Tap struct {
	mu    sync.Mutex
	limit int
	every int
	all   Batch
}

// NewTap returns a tap that holds at most limit records of requests at a time.
func NewTap(limit int) *Tap { return &Tap{limit: max(limit, 1), every: 1} }

// Request takes a copy of a record, if its request is one of those that are kept.
func (t *Tap) Request(r *observe.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !Kept(r, t.every) {
		return
	}
	for len(t.all.Requests) >= t.limit {
		t.every *= 2
		t.thin()
		if !Kept(r, t.every) {
			return
		}
		if t.every > 1<<20 { // records that name no request are all kept, or none
			t.all.Requests = t.all.Requests[:0]
		}
	}
	t.all.Requests = append(t.all.Requests, *r)
}

// Kept says whether a request is one of those, one in so many, that are kept. It depends on its ID,
// so that all its hops share their lot.
func Kept(r *observe.Request, every int) bool {
	return every == 1 || xxhash.Sum64String(r.ID)%uint64(every) == 0
}

// thin drops what is not kept any more. Caller must hold mu.
func (t *Tap) thin() {
	left := t.all.Requests[:0]
	for i := range t.all.Requests {
		if Kept(&t.all.Requests[i], t.every) {
			left = append(left, t.all.Requests[i])
		}
	}
	t.all.Requests = left
}

// Client takes nothing: what a sender sees, its proxy does.
func (t *Tap) Client(*observe.Client) {}

// Change takes a change.
func (t *Tap) Change(c *observe.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Changes = append(latest(t.all.Changes), *c)
}

// Push takes an update of a proxy.
func (t *Tap) Push(p *observe.Push) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Pushes = append(latest(t.all.Pushes), *p)
}

// Fault takes a fault, or what has become of it.
func (t *Tap) Fault(f *observe.Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Faults = append(latest(t.all.Faults), *f)
}

// most bounds what is kept of the kinds that are rare.
const most = 5000

// latest drops the older half of too much.
func latest[T any](all []T) []T {
	if len(all) < most {
		return all
	}
	return append([]T(nil), all[most/2:]...)
}

// Take returns what has come since the last call. Where there was little, more is kept from now on.
func (t *Tap) Take(at clock.Instant) Batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.all
	out.At, out.Every = at, t.every
	t.all = Batch{}
	if t.every > 1 && len(out.Requests) < t.limit/4 {
		t.every /= 2
	}
	return out
}
