package capture

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Hits is what a fault has hit, and when. Instants are the kernel's monotonic time in ns, and as
// exact as the book looks often; 0: never.
type Hits struct {
	Count
	First int64 `json:"first,omitempty"`
	Last  int64 `json:"last,omitempty"`
}

// Book keeps the faults of one network namespace, and what they have hit, also after their end and
// through changes of their strength. Its methods are safe for concurrent use; they act in the
// namespace of the process.
type Book struct {
	kernel kernel
	now    func() int64
	look   func(stop <-chan struct{}) (again bool) // waits for the next look

	mu     sync.Mutex
	faults map[string]*entry
	stop   chan struct{} // ends the looking; nil while nobody looks
	done   chan struct{}
}

// kernel is what a book tells and asks.
type kernel struct {
	set    func(Fault) error
	clear  func(id string) error
	count  func(id string) (Count, error)
	faults func() ([]string, error)
}

// entry is one fault. Its Hits are those of all of its strengths; now is what the kernel has
// counted since the last change.
type entry struct {
	hits Hits
	now  Count
	on   bool
}

// lookEvery is how exact First and Last are.
const lookEvery = 10 * time.Millisecond

// NewBook returns an empty book. now is the kernel's monotonic time in ns.
func NewBook(now func() int64) *Book {
	return &Book{
		kernel: kernel{Break, Heal, Counted, Faults}, now: now, faults: map[string]*entry{},
		look: func(stop <-chan struct{}) bool {
			select {
			case <-time.After(lookEvery):
				return true
			case <-stop:
				return false
			}
		},
	}
}

// Set has a fault begin, or go on with other rules; then its hits add up.
func (b *Book) Set(f Fault) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.faults[f.ID]
	if e != nil && e.on {
		if err := b.update(f.ID, e); err != nil {
			return err
		}
	}
	if err := b.kernel.set(f); err != nil {
		return err
	}
	if e == nil || !e.on {
		e = &entry{on: true}
		b.faults[f.ID] = e
	}
	e.now = Count{}
	if b.stop == nil {
		b.stop, b.done = make(chan struct{}), make(chan struct{})
		go b.watch(b.stop, b.done)
	}
	return nil
}

// Clear ends a fault, and returns what it has hit. It may be called again; a fault that the book
// does not know is removed, too.
func (b *Book) Clear(id string) (Hits, error) {
	b.mu.Lock()
	e := b.faults[id]
	if e == nil {
		e = &entry{}
	}
	var errs []error
	if e.on {
		errs = append(errs, b.update(id, e))
	}
	err := b.kernel.clear(id)
	errs = append(errs, err)
	if err == nil {
		e.on = false
	}
	done := b.rest()
	hits := e.hits
	b.mu.Unlock()
	if done != nil {
		<-done
	}
	return hits, errors.Join(errs...)
}

// rest ends the looking when no fault is on; it returns what is closed then. Caller must hold mu.
func (b *Book) rest() <-chan struct{} {
	for _, e := range b.faults {
		if e.on {
			return nil
		}
	}
	if b.stop == nil {
		return nil
	}
	close(b.stop)
	b.stop = nil
	return b.done
}

// Count returns what a fault has hit so far, or had at its end.
func (b *Book) Count(id string) (Hits, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.faults[id]
	if e == nil {
		return Hits{}, fmt.Errorf("fault %q: there was none", id)
	}
	if e.on {
		if err := b.update(id, e); err != nil {
			return Hits{}, err
		}
	}
	return e.hits, nil
}

// List returns the faults that the kernel has, whoever has set them.
func (b *Book) List() ([]string, error) { return b.kernel.faults() }

// Close ends all faults of the book.
func (b *Book) Close() error {
	b.mu.Lock()
	var ids []string
	for id, e := range b.faults {
		if e.on {
			ids = append(ids, id)
		}
	}
	b.mu.Unlock()
	var errs []error
	for _, id := range ids {
		_, err := b.Clear(id)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// update takes in what the kernel has counted. Caller must hold mu.
func (b *Book) update(id string, e *entry) error {
	c, err := b.kernel.count(id)
	if err != nil {
		return err
	}
	if c.Packets > e.now.Packets {
		at := b.now()
		e.hits.First, e.hits.Last = cmp.Or(e.hits.First, at), at
	}
	e.hits.Packets += c.Packets - e.now.Packets
	e.hits.Bytes += c.Bytes - e.now.Bytes
	e.now = c
	return nil
}

// watch notes when faults hit something.
func (b *Book) watch(stop <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	for b.look(stop) {
		b.mu.Lock()
		for id, e := range b.faults {
			if e.on {
				b.update(id, e) //nolint:errcheck // who asks for the count is told
			}
		}
		b.mu.Unlock()
	}
}
