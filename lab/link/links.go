package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Way is who opened a connection, whom to, and the port there.
type Way struct {
	From, To string // pods, POD.NAMESPACE, or topology.Outside
	Port     uint16
}

// Links are the connections of a lab and the faults that they suffer. Its methods are safe for
// concurrent use.
type Links struct {
	clock  clock.Clock
	relays atomic.Uint64 // ever
	any    atomic.Bool   // there are faults
	wg     sync.WaitGroup
	// tallies are those of all faults that ever were, by ID.
	tallies sync.Map

	mu      sync.Mutex
	last    uint64 // ID
	faults  []*Fault
	open    map[*Conn]struct{} // that no relay carries
	carried map[*relay]struct{}
	changed chan struct{} // closed when faults change
	closed  bool
}

// New returns links without connections or faults. Close ends them.
func New(c clock.Clock) *Links {
	return &Links{clock: c, open: map[*Conn]struct{}{}, carried: map[*relay]struct{}{},
		changed: make(chan struct{})}
}

// strikes returns what a way suffers. Caller must hold mu.
func (l *Links) strikes(w Way) (forth, back []Strike) {
	for _, f := range l.faults {
		there, here := f.match(w)
		if there {
			forth = append(forth, Strike{f.id, f.toxic})
		}
		if here {
			back = append(back, Strike{f.id, f.toxic})
		}
	}
	return forth, back
}

// connectTimeout bounds how long a connection that finds nobody is tried for, as the lab's dialers
// do: Linux would take two minutes.
const connectTimeout = 30 * time.Second

// Dial opens a connection by dial. What new connections suffer on this way, it suffers; it goes on
// to suffer what its bytes do, and what faults that begin later have it suffer.
func (l *Links) Dial(
	ctx context.Context, w Way, dial func(context.Context) (net.Conn, error),
) (net.Conn, error) {
	if l.any.Load() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, connectTimeout, errTimeout)
		defer cancel()
		if err := l.passage(ctx, w); err != nil {
			return nil, err
		}
	}
	raw, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return l.keep(w, raw, false)
}

// errTimeout is what the kernel says when nobody answers.
var errTimeout = &net.OpError{Op: "dial", Net: "tcp",
	Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}

// passage waits until what opens a connection has gone there and back.
func (l *Links) passage(ctx context.Context, w Way) error {
	began, struck := l.clock.Now(), map[uint64]bool{}
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return errClosed
		}
		forth, back := l.strikes(w)
		changed := l.changed
		lost, delay := false, time.Duration(0)
		for _, s := range append(forth, back...) {
			if s.Lost && !struck[s.ID] {
				struck[s.ID] = true
				l.miss(s.ID)
			}
			lost, delay = lost || s.Lost, delay+s.Delay
		}
		l.mu.Unlock()
		due := began.Add(delay)
		if now := l.clock.Now(); !lost && due <= now {
			return nil
		}
		if lost {
			due = clock.Never
		}
		if err := l.pause(ctx, due, changed); err != nil {
			return err
		}
	}
}

// pause waits until an instant, or until something changes.
func (l *Links) pause(ctx context.Context, until clock.Instant, changed <-chan struct{}) error {
	var enough chan struct{}
	if until != clock.Never {
		enough = make(chan struct{})
		stop := l.clock.AfterFunc(until.Sub(l.clock.Now()), func() { close(enough) })
		defer stop()
	}
	select {
	case <-enough:
	case <-changed:
	case <-ctx.Done():
		if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
			return cause
		}
		return &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	return nil
}

// keep makes a connection known, and diverts it when a fault is about it already.
func (l *Links) keep(w Way, raw net.Conn, taken bool) (net.Conn, error) {
	c := l.wrap(w, raw, taken)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, errors.Join(errClosed, raw.Close())
	}
	l.open[c] = struct{}{}
	forth, back := l.strikes(w)
	l.mu.Unlock()
	if len(forth)+len(back) > 0 {
		if err := l.divert(c); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

var errClosed = errors.New("link: the lab is down")

// divert has a relay carry a connection, if it has not ended.
func (l *Links) divert(c *Conn) error {
	r, err := c.divert()
	if r == nil {
		return err
	}
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	return l.carry(r)
}

// carry starts a relay.
func (l *Links) carry(r *relay) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.Join(errClosed, r.near.Close(), r.far.Close())
	}
	l.carried[r] = struct{}{}
	r.set(l.strikes(r.way))
	r.start()
	return nil
}

// Carry carries a connection that has come, near, to where dial leads, with all that a Dial of this
// way suffers. It returns at once; both ends are closed when the connection ends.
func (l *Links) Carry(
	ctx context.Context, w Way, near net.Conn, dial func(context.Context) (net.Conn, error),
) error {
	if err := l.passage(ctx, w); err != nil {
		abort(near)
		return errors.Join(err, near.Close())
	}
	far, err := dial(ctx)
	if err != nil {
		abort(near)
		return errors.Join(err, near.Close())
	}
	return l.carry(l.newRelay(w, near, far))
}

func (l *Links) drop(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *Links) forget(r *relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.carried, r)
}

// apply has everything suffer what the faults are now. Caller must hold mu, and gets the
// connections that are to be diverted once it does not.
func (l *Links) apply() (divert []*Conn) {
	l.any.Store(len(l.faults) > 0)
	close(l.changed)
	l.changed = make(chan struct{})
	for r := range l.carried {
		r.set(l.strikes(r.way))
	}
	for c := range l.open {
		if forth, back := l.strikes(c.way); len(forth)+len(back) > 0 {
			divert = append(divert, c)
		}
	}
	return divert
}

// miss notes that an attempt to connect has found nobody. Caller must hold mu.
func (l *Links) miss(id uint64) {
	for _, f := range l.faults {
		if f.id == id {
			f.lost++
			f.tally.note(l.clock.Now(), 1, 0)
		}
	}
}

// Whole says which faults have not been healed; nil: none.
func (l *Links) Whole() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.faults {
		errs = append(errs, fmt.Errorf("the links still suffer %s", f.name))
	}
	return errors.Join(errs...)
}

// Close ends every connection and waits for what carries them.
func (l *Links) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.changed) // apply is not called any more
		l.changed = make(chan struct{})
	}
	var over []*relay
	for r := range l.carried {
		over = append(over, r)
	}
	l.mu.Unlock()
	for _, r := range over {
		r.finish(false)
	}
	l.wg.Wait()
	return nil
}
