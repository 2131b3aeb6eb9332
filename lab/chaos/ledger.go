// Package chaos breaks things in a mesh by schedule, keeps account of it, and heals it all in the
// end, whatever happens.
//
//	scenarios.Fault ─▶ Orders ─▶ Ledger.Begin ─▶ topology.Breaker ─▶ Broken ─┐
//	                                  │                                      │ Receipt
//	                                  └── Heal, Close (last begun first) ────┴▶ observe.Fault
//
// When what happens is decided by Schedule, which is given the time.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Recorder takes what is broken and healed.
type Recorder interface {
	Fault(f observe.Fault)
	Change(c observe.Change)
}

// Order is a fault, when it is to be in effect, and how records call what it breaks.
type Order struct {
	Fault    topology.Fault
	Schedule Schedule
	Target   string
}

// State says whether a fault is in effect.
type State string

// The states of a fault.
const (
	Waiting  State = "waiting"   // its moment has not come, or it comes again
	InEffect State = "in effect" // it lasts
	Healed   State = "healed"    // it is over
)

// Status is a fault with its receipt so far.
type Status struct {
	observe.Fault
	State State `json:"state"`
}

// ErrClosed says that a ledger takes no more orders.
var ErrClosed = errors.New("everything is being healed: nothing is broken any more")

// Ledger knows what is broken. Its methods are safe for concurrent use.
type Ledger struct {
	breaker topology.Breaker
	clock   clock.Clock
	rec     Recorder
	seed    uint64

	ctx    context.Context // of what is done by schedule
	cancel context.CancelFunc

	mu      sync.Mutex
	entries []*entry // in the order in which they were ordered
	status  []Status // of the entries, as last seen
	errs    []error  // of what was done by schedule
	closed  bool
}

// New returns an empty ledger. What is random is drawn from seed.
func New(b topology.Breaker, c clock.Clock, rec Recorder, seed uint64) *Ledger {
	l := &Ledger{breaker: b, clock: c, rec: rec, seed: seed}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// able says why the topology can not do a fault; nil: it can.
func (l *Ledger) able(f topology.Fault) error {
	if err := l.breaker.Able(f); err != nil {
		return fmt.Errorf("%s: %w", f.Kind, err)
	}
	return nil
}

// Begin takes an order. A fault that begins at once is in effect when it returns; on an error
// nothing is. settled is closed when it has begun or, where its end is known, when it has ended.
func (l *Ledger) Begin(ctx context.Context, o Order) (settled <-chan struct{}, err error) {
	if err := l.able(o.Fault); err != nil {
		return nil, err
	}
	e, err := l.enter(o)
	if err != nil {
		return nil, err
	}
	e.act.Lock()
	defer e.act.Unlock()
	for {
		m, ok := e.o.Schedule.moment(e.n, e.seed)
		if !ok || e.over || e.due(m) > 0 {
			break
		}
		if err := e.do(ctx, m); err != nil {
			return nil, errors.Join(err, e.finish(context.WithoutCancel(ctx), err.Error()))
		}
	}
	e.plan()
	return e.settled, nil
}

// enter makes an entry of an order.
func (l *Ledger) enter(o Order) (*entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	now := l.clock.Now()
	e := &entry{
		l: l, o: o, at: len(l.entries), ordered: now, settled: make(chan struct{}),
		seed: clock.Sub(l.seed, "fault", o.Fault.Name, fmt.Sprint(len(l.entries))),
	}
	e.o.Fault.Seed = e.seed
	e.record = observe.Fault{
		ID: e.at + 1, From: now, Name: o.Fault.Name, Kind: string(o.Fault.Kind), Target: o.Target,
	}
	l.entries = append(l.entries, e)
	l.status = append(l.status, Status{e.record, Waiting})
	return e, nil
}

// Name returns name, or one that is not taken: delay, delay-2, delay-3.
func (l *Ledger) Name(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := func(name string) bool {
		return slices.ContainsFunc(l.status, func(s Status) bool {
			return s.Name == name && s.State != Healed
		})
	}
	for n, free := 2, name; ; n++ {
		if !taken(free) {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// Heal ends the faults that are called so. It is no error if one has ended already.
func (l *Ledger) Heal(ctx context.Context, names ...string) error {
	if err := l.Known(names...); err != nil {
		return err
	}
	return l.heal(ctx, l.known(func(e *entry) bool {
		return slices.Contains(names, e.o.Fault.Name)
	}))
}

// Known says which name no fault has; nil: there are faults of all names.
func (l *Ledger) Known(names ...string) error {
	for _, n := range names {
		if len(l.known(func(e *entry) bool { return e.o.Fault.Name == n })) == 0 {
			return l.unknown(n)
		}
	}
	return nil
}

// unknown is the error for a name that no fault has.
func (l *Ledger) unknown(name string) error {
	var names []string
	for _, e := range l.known(func(*entry) bool { return true }) {
		if n := e.o.Fault.Name; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	switch near := istio.Suggest(name, names); {
	case len(names) == 0:
		return fmt.Errorf("no fault is called %q: nothing was broken", name)
	case near != "":
		return fmt.Errorf("no fault is called %q; is %s meant?", name, near)
	}
	return fmt.Errorf("no fault is called %q; there are %s", name, strings.Join(names, ", "))
}

// HealAll ends all faults, those begun last first.
func (l *Ledger) HealAll(ctx context.Context) error {
	return l.heal(ctx, l.known(func(*entry) bool { return true }))
}

// EndOf ends the faults of a kind that a pod has, and says whether there were any.
func (l *Ledger) EndOf(ctx context.Context, kind topology.FaultKind, pod string) (bool, error) {
	all := l.Status()
	has := l.known(func(e *entry) bool {
		return e.o.Fault.Kind == kind && slices.Contains(e.o.Fault.Pods, pod) &&
			e.at < len(all) && all[e.at].State != Healed
	})
	return len(has) > 0, l.heal(ctx, has)
}

// known lists the entries of which f is true, in the order in which they were ordered.
func (l *Ledger) known(f func(*entry) bool) []*entry {
	l.mu.Lock()
	all := slices.Clone(l.entries)
	l.mu.Unlock()
	return slices.DeleteFunc(all, func(e *entry) bool { return !f(e) })
}

// heal ends entries, the last first.
func (l *Ledger) heal(ctx context.Context, all []*entry) error {
	var errs []error
	for _, e := range slices.Backward(all) {
		e.act.Lock()
		errs = append(errs, e.finish(ctx, "it was healed before its moment came"))
		e.act.Unlock()
	}
	return errors.Join(errs...)
}

// Status returns all faults, in the order in which they were ordered, as last seen.
func (l *Ledger) Status() []Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.status)
}

// Update asks for the receipts of the faults in effect, records them, and returns all faults.
func (l *Ledger) Update(ctx context.Context) []Status {
	for _, e := range l.known(func(*entry) bool { return true }) {
		if !e.act.TryLock() {
			continue // it begins or ends just now, and says so itself
		}
		if was := receiptOf(&e.record); e.broken != nil {
			if e.receipt(ctx); !reflect.DeepEqual(was, receiptOf(&e.record)) {
				e.publish(InEffect)
			}
		}
		e.act.Unlock()
	}
	return l.Status()
}

// Err says what could not be done by schedule.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

// Whole says what is still broken, by the places where faults act.
func (l *Ledger) Whole(ctx context.Context) error {
	if err := l.breaker.Whole(ctx); err != nil {
		return fmt.Errorf("not everything is healed: %w", err)
	}
	return nil
}

// Close ends all faults, those begun last first, takes no more, and says what is not whole then. It
// may be called again.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel() // of what is about to break something
	return errors.Join(l.HealAll(ctx), l.Whole(ctx))
}
