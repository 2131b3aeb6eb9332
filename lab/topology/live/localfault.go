package live

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
)

// Break has the control plane be slow, partial, or gone. While it is gone a change is at once
// withheld from everybody: nobody waits for it.
func (l Local) Break(_ context.Context, f topology.ControlFault) (topology.Broken, error) {
	if err := controlAble(f); err != nil {
		return nil, err
	}
	streams := l.Server.Streams()
	b := &localFault{l: l, f: f, trouble: l.Server.Trouble(trouble(f))}
	if f.Down {
		l.LocalServer.Stop()
		b.trouble.Cut(streams)
	}
	return b, nil
}

// Whole says whether the control plane does badly, or is gone.
func (l Local) Whole(context.Context) error {
	var errs []error
	if n := l.Server.Troubles(); n > 0 {
		errs = append(errs, fmt.Errorf("the control plane still has %d faults", n))
	}
	if !l.LocalServer.Running() {
		errs = append(errs, errors.New("the control plane is down"))
	}
	return errors.Join(errs...)
}

// controlAble says what is wrong with a fault of the control plane.
func controlAble(f topology.ControlFault) error {
	switch {
	case !f.Down && f.Slow == 0 && len(f.Withhold) == 0:
		return errors.New("control plane: says nothing: want down, slow or withhold")
	case f.Slow < 0:
		return fmt.Errorf("control plane: slow %s: must not be negative", f.Slow)
	}
	return nil
}

func trouble(f topology.ControlFault) control.Trouble {
	return control.Trouble{Slow: f.Slow, Withhold: f.Withhold, All: f.Down}
}

// localFault is one fault of a control plane in this process.
type localFault struct {
	l       Local
	trouble *control.Troubled

	mu     sync.Mutex
	f      topology.ControlFault
	healed bool
}

// Change gives it another strength. What is gone stays gone, what is there is there.
func (b *localFault) Change(_ context.Context, f topology.Fault) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := controlAble(f.Control); err != nil {
		return err
	}
	if b.f.Down != f.Control.Down {
		return errors.New("control plane: down can not change while it lasts: heal it instead")
	}
	b.f = f.Control
	b.trouble.Change(trouble(f.Control))
	return nil
}

// Heal brings the control plane back, as a process that has been restarted: with an empty memory.
// Who holds what proxies are to have gives it to them again.
func (b *localFault) Heal(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.healed {
		return nil
	}
	if b.f.Down {
		b.l.Server.Forget()
		if err := b.l.LocalServer.Start(); err != nil {
			return err
		}
	}
	b.healed = true
	b.trouble.End()
	if b.f.Down {
		return nil
	}
	_, err := b.l.Server.Resume(ctx)
	return err
}

// Receipt counts at the server.
func (b *localFault) Receipt(context.Context) (topology.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.trouble.Count()
	r := topology.Receipt{First: c.First, Last: c.Last}
	switch {
	case b.f.Down:
		r.Fired, r.Unit = c.Cut, "streams cut"
		if c.Withheld > 0 {
			r.Evidence = append(r.Evidence, fmt.Sprintf("%d pushes did not happen", c.Withheld))
		}
	case len(b.f.Withhold) > 0:
		r.Fired, r.Unit = c.Withheld, "pushes withheld"
		if c.Delayed > 0 {
			r.Evidence = append(r.Evidence, fmt.Sprintf("%d pushes delayed", c.Delayed))
		}
	default:
		r.Fired, r.Unit = c.Delayed, "pushes delayed"
	}
	return r, nil
}

var _ ControlBreaker = Local{}
