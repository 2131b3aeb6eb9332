package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// entry is one fault of the ledger.
type entry struct {
	l       *Ledger
	o       Order
	at      int // its place in the ledger
	ordered clock.Instant
	seed    uint64
	settled chan struct{}
	once    sync.Once // closes settled

	act    sync.Mutex // held while something is done; guards what follows
	n      int        // the next moment
	broken topology.Broken
	began  clock.Instant // when it was in effect, the last time
	past   topology.Receipt
	record observe.Fault
	stop   func() bool
	over   bool
}

// due is how long it is until a moment.
func (e *entry) due(m moment) time.Duration {
	from := e.began
	if m.do == begin {
		from = e.ordered
	}
	return from.Add(m.after).Sub(e.l.clock.Now())
}

// plan has the next moment done when it comes. act is held.
func (e *entry) plan() {
	m, ok := e.o.Schedule.moment(e.n, e.seed)
	if !ok || e.over {
		if e.broken == nil && !e.over {
			e.over = true
			e.publish(Healed)
		}
		e.settle()
		return
	}
	if e.n > 0 && !e.o.Schedule.bounded() {
		e.settle()
	}
	e.stop = e.l.clock.AfterFunc(max(0, e.due(m)), e.run)
}

func (e *entry) settle() { e.once.Do(func() { close(e.settled) }) }

// run does what is due by schedule.
func (e *entry) run() {
	e.act.Lock()
	defer e.act.Unlock()
	m, ok := e.o.Schedule.moment(e.n, e.seed)
	if !ok || e.over {
		return
	}
	if err := e.do(e.l.ctx, m); err != nil {
		if e.l.ctx.Err() == nil { // otherwise everything is being healed
			e.l.mu.Lock()
			e.l.errs = append(e.l.errs, err)
			e.l.mu.Unlock()
		}
		e.finish(context.WithoutCancel(e.l.ctx), err.Error()) //nolint:errcheck // Whole will tell
		return
	}
	e.plan()
}

// do does what a moment asks for. act is held.
func (e *entry) do(ctx context.Context, m moment) (err error) {
	e.n++
	switch m.do {
	case begin:
		err = e.begin(ctx)
	case change:
		err = e.broken.Change(ctx, between(e.o.Fault, e.o.Schedule.To, m.share))
	case end:
		err = e.mend(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.record.Title(), err)
	}
	return nil
}

func (e *entry) begin(ctx context.Context) error {
	from := e.l.clock.Now()
	b, err := e.l.breaker.Break(ctx, e.o.Fault)
	if err != nil {
		return err
	}
	if e.broken, e.began = b, e.l.clock.Now(); e.n == 1 {
		e.record.From = from
	}
	e.record.Until = 0
	e.l.rec.Change(observe.Change{At: from, Kind: "fault", What: e.record.Title()})
	e.receipt(ctx)
	e.publish(InEffect)
	return nil
}

// mend heals what is broken. On an error it still is.
func (e *entry) mend(ctx context.Context) error {
	at := e.l.clock.Now()
	err := e.broken.Heal(ctx)
	e.receipt(ctx)
	if err != nil {
		e.publish(InEffect)
		return fmt.Errorf("heal: %w", err)
	}
	e.past, e.broken = receiptOf(&e.record), nil
	e.record.Until = e.l.clock.Now()
	e.l.rec.Change(observe.Change{At: at, Kind: "heal", What: e.record.Title()})
	e.publish(Waiting)
	return nil
}

// finish ends the fault and its schedule; why is told of one that never began. act is held.
func (e *entry) finish(ctx context.Context, why string) error {
	e.over = true
	if e.stop != nil {
		e.stop()
	}
	defer e.settle()
	if e.broken != nil {
		if err := e.mend(ctx); err != nil {
			return fmt.Errorf("%s: %w", e.record.Title(), err)
		}
	}
	if e.record.Until == 0 { // it never began
		e.record.Until, e.record.Skipped = e.l.clock.Now(), why
	}
	e.publish(Healed)
	return nil
}

// publish records how it stands.
func (e *entry) publish(s State) {
	if s != Waiting || e.record.Until != 0 {
		e.l.rec.Fault(e.record)
	}
	e.l.mu.Lock()
	e.l.status[e.at] = Status{e.record, s}
	e.l.mu.Unlock()
}

// receipt asks how often it took effect, and adds what it did the times before.
func (e *entry) receipt(ctx context.Context) {
	r, err := e.broken.Receipt(context.WithoutCancel(ctx))
	if err != nil {
		r.Evidence = append(r.Evidence, "no receipt: "+err.Error())
	}
	r = sum(e.past, r)
	e.record.Fired, e.record.Unit, e.record.Bytes = r.Fired, r.Unit, r.Bytes
	e.record.First, e.record.Last, e.record.Evidence = r.First, r.Last, r.Evidence
}

// receiptOf takes the receipt out of a record.
func receiptOf(f *observe.Fault) topology.Receipt {
	return topology.Receipt{
		Fired: f.Fired, Unit: f.Unit, Bytes: f.Bytes, First: f.First, Last: f.Last,
		Evidence: f.Evidence,
	}
}

// maxEvidence bounds what a place may say.
const maxEvidence = 20

// sum adds two receipts, the earlier first.
func sum(a, b topology.Receipt) topology.Receipt {
	if a.Fired == 0 {
		a.First = b.First
	}
	a.Fired, a.Bytes = a.Fired+b.Fired, a.Bytes+b.Bytes
	a.Last = max(a.Last, b.Last)
	if b.Unit != "" {
		a.Unit = b.Unit
	}
	a.Evidence = slices.Concat(a.Evidence, b.Evidence)
	if len(a.Evidence) > maxEvidence {
		a.Evidence = a.Evidence[:maxEvidence]
	}
	return a
}
