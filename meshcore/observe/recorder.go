package observe

import (
	"slices"
	"sync"
)

// Recorder collects the records of a run. It is safe for concurrent use. Records are kept in slabs,
// so that taking one costs no allocation of its own.
type Recorder struct {
	mu       sync.Mutex
	requests slabs[Request]
	attempts slabs[Attempt]
	clients  slabs[Client]
	pushes   []Push
	faults   []Fault
	changes  []Change
	watchers []*watcher
	keep     int
}

// Watcher sees records as they come, in the order of the History. It is called while the recorder
// is locked: it must be quick and must not call the recorder. What it is given it may not keep.
type Watcher interface {
	Request(*Request)
	Client(*Client)
	Change(*Change)
}

// PushWatcher is a Watcher that sees updates of proxies too, also what changed of one.
type PushWatcher interface{ Push(*Push) }

// FaultWatcher is a Watcher that sees faults too, also what became of one.
type FaultWatcher interface{ Fault(*Fault) }

type watcher struct{ Watcher }

// NewRecorder returns an empty recorder that keeps everything.
func NewRecorder() *Recorder { return &Recorder{} }

// Keep bounds the memory of a recorder that runs on and on: at least the last n records of each
// kind are kept, older ones go.
func (c *Recorder) Keep(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep = n
}

// Subscribe shows w every record from now on, until cancel is called.
func (c *Recorder) Subscribe(w Watcher) (cancel func()) {
	x := &watcher{w}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, x)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.watchers, x); i >= 0 {
			c.watchers = slices.Delete(c.watchers, i, i+1)
		}
	}
}

// Record takes a copy of r.
func (c *Recorder) Record(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.requests.add(r, c.keep)
	k.Attempts = c.attempts.addAll(r.Attempts, c.keep)
	k.Mirrors = c.attempts.addAll(r.Mirrors, c.keep)
	for _, w := range c.watchers {
		w.Request(k)
	}
}

// Client takes a load generator's or request command's view of a request.
func (c *Recorder) Client(r *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.clients.add(r, c.keep)
	for _, w := range c.watchers {
		w.Client(k)
	}
}

// Push records an update of a proxy, or changes the one that has the same proxy, type and version
// (its Acked or Nack).
func (c *Recorder) Push(p Push) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.pushes) - 1; i >= 0; i-- {
		q := &c.pushes[i]
		if q.Proxy == p.Proxy && q.Type == p.Type {
			if q.Version == p.Version {
				q.Acked, q.Nack = p.Acked, p.Nack
				c.showPush(q)
				return
			}
			break
		}
	}
	c.pushes = append(c.pushes, p)
	c.pushes = latest(c.pushes, c.keep)
	c.showPush(&p)
}

// showPush shows an update to those who want to see it. Caller must hold mu.
func (c *Recorder) showPush(p *Push) {
	for _, w := range c.watchers {
		if pw, ok := w.Watcher.(PushWatcher); ok {
			pw.Push(p)
		}
	}
}

// Fault records something that was broken, or changes the one that has the same ID.
func (c *Recorder) Fault(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watchers {
		if fw, ok := w.Watcher.(FaultWatcher); ok {
			fw.Fault(&f)
		}
	}
	if f.ID != 0 {
		for i := range c.faults {
			if c.faults[i].ID == f.ID {
				c.faults[i] = f
				return
			}
		}
	}
	c.faults = latest(append(c.faults, f), c.keep)
}

// Change records something that the run did.
func (c *Recorder) Change(ch Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = latest(append(c.changes, ch), c.keep)
	for _, w := range c.watchers {
		w.Change(&ch)
	}
}

// Snapshot returns a copy of everything so far.
func (c *Recorder) Snapshot() History {
	c.mu.Lock()
	defer c.mu.Unlock()
	return History{
		Requests: c.requests.all(),
		Clients:  c.clients.all(),
		Pushes:   slices.Clone(c.pushes),
		Faults:   slices.Clone(c.faults),
		Changes:  slices.Clone(c.changes),
	}
}

// latest drops the older half when there is twice as much as is to be kept.
func latest[T any](s []T, keep int) []T {
	if keep == 0 || len(s) < 2*keep {
		return s
	}
	return slices.Clone(s[len(s)-keep:])
}

// slabSize is how many records are allocated at once.
const slabSize = 1024

// slabs is a list that grows without copying.
type slabs[T any] struct{ list [][]T }

// room returns a slab with place for n more. Slabs that are older than what is to be kept go.
func (s *slabs[T]) room(n, keep int) *[]T {
	if last := len(s.list) - 1; last >= 0 {
		if l := &s.list[last]; cap(*l)-len(*l) >= n {
			return l
		}
	}
	if most := keep/slabSize + 2; keep > 0 && len(s.list) >= most {
		s.list = slices.Delete(s.list, 0, len(s.list)-most+1)
	}
	s.list = append(s.list, make([]T, 0, max(slabSize, n)))
	return &s.list[len(s.list)-1]
}

func (s *slabs[T]) add(v *T, keep int) *T {
	l := s.room(1, keep)
	*l = append(*l, *v)
	return &(*l)[len(*l)-1]
}

func (s *slabs[T]) addAll(v []T, keep int) []T {
	if len(v) == 0 {
		return nil
	}
	l := s.room(len(v), keep)
	*l = append(*l, v...)
	return (*l)[len(*l)-len(v) : len(*l) : len(*l)]
}

func (s *slabs[T]) all() []T { return slices.Concat(s.list...) }
