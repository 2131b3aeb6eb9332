package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// hold is what faults do to one part of a pod, until the last of them is healed.
type hold struct {
	kind topology.FaultKind
	part topology.Part
}

// holds says whether a fault holds a part.
func (p *pod) holds(h hold) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken[h] > 0
}

// count notes that one fault more or less holds a part; it returns how many do.
func (p *pod) count(h hold, by int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken[h] += by
	return p.broken[h]
}

var errNoApp = errors.New("it is a gateway, which has no app")

// parts are those of a pod that a fault is about.
func (p *pod) parts(part topology.Part) ([]topology.Part, error) {
	spec, err := ownSpec(p.Spec())
	if err != nil {
		return nil, err
	}
	app := spec != nil || p.Spec().Role != translate.Gateway
	proxy := p.Spec().Role == translate.Sidecar || p.Spec().Role == translate.Gateway
	if app && spec != nil && spec.Command == "" && part != topology.PartProxy {
		return nil, fmt.Errorf("its app runs elsewhere (%s): it is not the lab's to stop",
			spec.What())
	}
	switch {
	case part == topology.PartApp && !app:
		return nil, errNoApp
	case part == topology.PartProxy && !proxy:
		return nil, errors.New("it has no sidecar")
	case part == topology.PartApp || !proxy:
		return []topology.Part{topology.PartApp}, nil
	case part == topology.PartProxy || !app:
		return []topology.Part{topology.PartProxy}, nil
	}
	return []topology.Part{topology.PartApp, topology.PartProxy}, nil
}

// effect is a fault in effect on a pod.
type effect struct {
	mu      sync.Mutex
	r       topology.Receipt
	heal    func(context.Context) error // nil once it is healed
	receipt func(context.Context, *topology.Receipt) error
}

// fired is the receipt of what has happened once.
func (p *pod) fired(evidence string) topology.Receipt {
	now := p.w.clock.Now()
	return topology.Receipt{
		Fired: 1, First: now, Last: now, Evidence: []string{p.Spec().ID() + ": " + evidence},
	}
}

// Receipt says what it did.
func (e *effect) Receipt(ctx context.Context) (topology.Receipt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.look(ctx)
}

// look brings the receipt up to date. Caller must hold mu.
func (e *effect) look(ctx context.Context) (topology.Receipt, error) {
	var err error
	if e.receipt != nil {
		err = e.receipt(ctx, &e.r)
	}
	return e.r, err
}

// Change has nothing to change.
func (e *effect) Change(context.Context, topology.Fault) error {
	return errors.New("it has no strength that could change")
}

// Heal ends it.
func (e *effect) Heal(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heal == nil {
		return nil
	}
	_, lerr := e.look(ctx)
	if err := e.heal(ctx); err != nil {
		return errors.Join(err, lerr)
	}
	e.heal, e.receipt = nil, nil
	return lerr
}

// Kill ends a part, or all of the pod, at once.
func (p *pod) Kill(ctx context.Context, part topology.Part) (topology.Broken, error) {
	parts, err := p.parts(part)
	if err != nil {
		return nil, err
	}
	if part == topology.PartPod { // who calls ends it
		conns := 0
		if l := p.living(); l != nil {
			conns = l.gate.open()
		}
		if side := p.proxy(); side != nil {
			n, _ := side.open(ctx) //nolint:errcheck // it is about to end anyway
			conns += n
		}
		return &effect{r: p.fired(fmt.Sprintf("killed with %d connections", conns))}, nil
	}
	e := &effect{}
	h := hold{topology.FaultKill, parts[0]}
	if p.count(h, 1) == 1 {
		how, err := p.endPart(ctx, parts[0])
		if err != nil {
			p.count(h, -1)
			return nil, err
		}
		e.r = p.fired(how)
	}
	e.heal = func(context.Context) error {
		if p.count(h, -1) > 0 || p.ended.Err() != nil {
			return nil
		}
		if err := p.revive(parts[0]); err != nil {
			p.count(h, 1)
			return err
		}
		return nil
	}
	return e, nil
}

// endPart ends one part; it says how.
func (p *pod) endPart(ctx context.Context, part topology.Part) (string, error) {
	ip := p.Spec().IP
	now, cancel := context.WithCancel(ctx)
	cancel() // it has no time to end in order
	if part == topology.PartApp {
		p.mu.Lock()
		l := p.life
		p.life = nil
		p.mu.Unlock()
		p.w.net.vacate(ip, p)
		conns, err := l.close(now)
		return fmt.Sprintf("app killed with %d connections", conns), err
	}
	p.mu.Lock()
	side := p.side
	p.side = nil
	p.mu.Unlock()
	p.w.net.unplug(ip, p)
	conns, err := side.open(ctx)
	how := fmt.Sprintf("proxy killed with %d connections", conns)
	if err != nil {
		how = "proxy killed"
	}
	return how, side.close(now)
}

// revive starts one part again, with an empty memory.
func (p *pod) revive(part topology.Part) error {
	s := p.Spec()
	var err error
	if part == topology.PartApp {
		if err = p.startApp(s); err == nil && p.holds(hold{topology.FaultPause, part}) {
			p.living().gate.pause()
		}
		return err
	}
	if err = p.startProxy(s); err == nil && p.holds(hold{topology.FaultPause, part}) {
		err = p.proxy().pause()
	}
	return err
}

// Pause stops parts of the pod.
func (p *pod) Pause(ctx context.Context, part topology.Part) (topology.Broken, error) {
	parts, err := p.parts(part)
	if err != nil {
		return nil, err
	}
	e := &effect{r: p.fired("paused: " + string(part))}
	var held []topology.Part
	e.heal = func(context.Context) error {
		var errs []error
		for _, one := range held {
			if p.count(hold{topology.FaultPause, one}, -1) == 0 {
				errs = append(errs, p.stopped(one, false))
			}
		}
		held = nil
		return errors.Join(errs...)
	}
	for _, one := range slices.Backward(parts) { // the proxy first: it is what others see
		held = append(held, one)
		if p.count(hold{topology.FaultPause, one}, 1) == 1 {
			err = errors.Join(err, p.stopped(one, true))
		}
	}
	if err != nil {
		return nil, errors.Join(err, e.heal(ctx))
	}
	return e, nil
}

// stopped has a part stop or go on, where it runs.
func (p *pod) stopped(part topology.Part, stop bool) error {
	if part == topology.PartProxy {
		side := p.proxy()
		switch {
		case side == nil:
			return nil
		case stop:
			return side.pause()
		}
		return side.resume()
	}
	l := p.living()
	if l == nil {
		return nil
	}
	if a, ok := l.app.(*ownApp); ok {
		return a.service.Stopped(stop)
	}
	if stop {
		l.gate.pause()
	} else {
		l.gate.resume()
	}
	return nil
}

// Problem says what is wrong with the pod that nobody has broken.
func (p *pod) Problem() error {
	if p.w.envoys != nil {
		if err := p.w.envoys.diedOf(p.Spec().ID()); err != nil {
			return err
		}
	}
	if l := p.living(); l != nil {
		if a, ok := l.app.(*ownApp); ok {
			return a.service.Problem()
		}
	}
	return nil
}

var (
	_ live.Killer  = (*pod)(nil)
	_ live.Pauser  = (*pod)(nil)
	_ live.Refuser = (*pod)(nil)
	_ live.Awaiter = (*pod)(nil)
	_ live.Patient = (*pod)(nil)
)
