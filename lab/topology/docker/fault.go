package docker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Able says why Docker can not do a fault.
func (w *world) Able(f topology.Fault) error {
	switch f.Kind {
	case topology.FaultLink:
		if l := f.Link.Loss; l < 0 || l > 1 || l == 0 && onlyLoss(f) {
			return fmt.Errorf("docker: loss %g: want more than 0 and at most 1", l)
		}
		if onlyLoss(f) {
			return nil
		}
		f.Link.Loss = 0
		if err := link.Able(f); err != nil {
			return err
		}
		return w.unheld
	case topology.FaultDNS:
		if f.DNS.Wrong != "" {
			if _, err := netip.ParseAddr(f.DNS.Wrong); err != nil {
				return fmt.Errorf("dns: answer %q: want an address", f.DNS.Wrong)
			}
		}
	case topology.FaultStarve:
		if f.CPU <= 0 || f.CPU > 1 {
			return fmt.Errorf("starve: cpu %g: want more than 0 and at most 1", f.CPU)
		}
	}
	return nil
}

// effect is a fault, as the places where it acts tell of it.
type effect struct {
	receipt func(context.Context) (topology.Receipt, error)
	change  func(context.Context, topology.Fault) error
	heal    func(context.Context) error

	mu   sync.Mutex
	last *topology.Receipt // at the end
}

// Receipt says what it has done.
func (e *effect) Receipt(ctx context.Context) (topology.Receipt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != nil {
		return *e.last, nil
	}
	return e.receipt(ctx)
}

// Change gives it another strength.
func (e *effect) Change(ctx context.Context, f topology.Fault) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.change == nil {
		return fmt.Errorf("docker: %s has one strength", f.Kind)
	}
	return e.change(ctx, f)
}

// Heal ends it.
func (e *effect) Heal(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != nil {
		return nil
	}
	r, err := e.receipt(ctx)
	if err := errors.Join(err, e.heal(ctx)); err != nil {
		return err
	}
	e.last = &r
	return nil
}

// parts are the containers of a part of the pod.
func (p *pod) parts(part topology.Part) ([]*engine.Container, error) {
	switch part {
	case topology.PartApp:
		if p.app == nil {
			return nil, fmt.Errorf("pod %s has no app of its own", p.Spec().ID())
		}
		return []*engine.Container{p.app}, nil
	case topology.PartProxy:
		if p.proxy == nil {
			return nil, fmt.Errorf("pod %s has no sidecar", p.Spec().ID())
		}
		return []*engine.Container{p.proxy}, nil
	}
	var all []*engine.Container
	for _, c := range []*engine.Container{p.app, p.proxy} {
		if c != nil {
			all = append(all, c)
		}
	}
	return all, nil
}

// mark notes that a part is broken, or not any more.
func (p *pod) mark(part topology.Part, by int) {
	if part == "" {
		part = topology.PartPod
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken[part] += by
}

// Kill ends containers at once. The evidence is their exit events.
func (p *pod) Kill(ctx context.Context, part topology.Part) (topology.Broken, error) {
	boxes, err := p.parts(part)
	if err != nil {
		return nil, err
	}
	whole := part == "" || part == topology.PartPod
	p.mark(part, 1)
	r := topology.Receipt{Fired: 1, Unit: "killed"}
	for _, c := range boxes {
		x, err := c.Kill(ctx)
		if err != nil {
			p.mark(part, -1)
			return nil, err
		}
		at := p.w.clock.Instant(x.At)
		if r.First == 0 {
			r.First = at
		}
		r.Last = max(r.Last, at)
		r.Evidence = append(r.Evidence,
			fmt.Sprintf("Docker: the %s of %s %s", c.Part(), c.Pod(), x))
	}
	return &effect{
		receipt: func(context.Context) (topology.Receipt, error) { return r, nil },
		heal: func(ctx context.Context) error {
			if whole || p.ended.Err() != nil {
				return nil // another pod takes its place
			}
			defer p.mark(part, -1)
			return p.again(ctx, boxes)
		},
	}, nil
}

// again starts containers anew, and returns when they are what they were.
func (p *pod) again(ctx context.Context, boxes []*engine.Container) error {
	before := 0
	if p.app != nil {
		before = len(p.app.Exits())
	}
	for _, c := range boxes {
		if err := c.Again(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(boxes, p.app) && len(p.ports) > 0 {
		if err := p.listens(ctx, p.ports[0], before); err != nil {
			return err
		}
	}
	if !slices.Contains(boxes, p.proxy) {
		return nil
	}
	return p.configured(ctx)
}

// configured waits until the proxy, which has begun anew, has what it is to have.
func (p *pod) configured(ctx context.Context) error {
	if p.w.control.isDown() {
		return nil // nobody tells it anything
	}
	for {
		for _, s := range p.w.control.Status() {
			if l, ok := s.Types["LDS"]; s.Node == p.Spec().ID() && s.Connected && ok &&
				l.Sent != "" && l.Sent == l.Acked {
				return p.serves(ctx)
			}
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return fmt.Errorf("the proxy of %s has not come back: %w", p.Spec().ID(), ctx.Err())
		}
	}
}

// Pause stops containers. The evidence is what Docker says of their state.
func (p *pod) Pause(ctx context.Context, part topology.Part) (topology.Broken, error) {
	boxes, err := p.parts(part)
	if err != nil {
		return nil, err
	}
	p.mark(part, 1)
	at := p.w.clock.Now()
	r := topology.Receipt{Fired: 1, Unit: "paused", First: at, Last: at}
	for i, c := range boxes {
		if err := c.Pause(ctx); err != nil {
			for _, c := range boxes[:i] {
				err = errors.Join(err, c.Unpause(context.WithoutCancel(ctx)))
			}
			p.mark(part, -1)
			return nil, err
		}
	}
	states, err := p.w.lab.Running(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range boxes {
		if states[c] != "paused" {
			r.Fired = 0
			continue
		}
		r.Evidence = append(r.Evidence,
			fmt.Sprintf("Docker: the %s of %s is paused", c.Part(), c.Pod()))
	}
	return &effect{
		receipt: func(context.Context) (topology.Receipt, error) { return r, nil },
		heal: func(ctx context.Context) error {
			defer p.mark(part, -1)
			if p.ended.Err() != nil {
				return nil
			}
			var errs []error
			for _, c := range boxes {
				errs = append(errs, c.Unpause(ctx))
			}
			return errors.Join(errs...)
		},
	}, nil
}

// Starve leaves the pod's containers a share of one core. The receipt is the kernel's own count of
// the periods in which they had to wait.
func (p *pod) Starve(ctx context.Context, cpu float64) (topology.Broken, error) {
	boxes, err := p.parts(topology.PartPod)
	if err != nil {
		return nil, err
	}
	before := map[*engine.Container]uint64{}
	for _, c := range boxes {
		if before[c], _, err = c.Throttled(ctx); err != nil {
			return nil, err
		}
	}
	limit := func(ctx context.Context, cpu float64) error {
		var errs []error
		for _, c := range boxes {
			errs = append(errs, c.Limit(ctx, cpu/float64(len(boxes))))
		}
		return errors.Join(errs...)
	}
	if err := limit(ctx, cpu); err != nil {
		return nil, errors.Join(err, limit(context.WithoutCancel(ctx), 0))
	}
	began := p.w.clock.Now()
	return &effect{
		receipt: func(ctx context.Context) (topology.Receipt, error) {
			r := topology.Receipt{Unit: "periods of 100 ms cut short"}
			for _, c := range boxes {
				n, waited, err := c.Throttled(ctx)
				if err != nil {
					return r, err
				}
				r.Fired += int64(n - before[c])
				r.Evidence = append(r.Evidence, fmt.Sprintf(
					"the kernel had the %s of %s wait %s in all", c.Part(), c.Pod(), waited))
			}
			if r.Fired > 0 {
				r.First, r.Last = began, p.w.clock.Now()
			}
			return r, nil
		},
		change: func(ctx context.Context, f topology.Fault) error { return limit(ctx, f.CPU) },
		heal: func(ctx context.Context) error {
			if p.ended.Err() != nil {
				return nil
			}
			return limit(ctx, 0)
		},
	}, nil
}

// Whole says what is still broken, from the places where faults act: Docker's containers, the
// kernel's rules in each pod, and DNS.
func (w *world) Whole(ctx context.Context) error {
	states, err := w.lab.Running(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for c, state := range states {
		if state != "running" && c.Wanted() {
			what := strings.TrimSpace(c.Part() + " " + c.Pod())
			errs = append(errs, fmt.Errorf("docker: container %s is %s", what, state))
		}
	}
	var left []string
	ask := func(who string, agent netip.Addr) {
		if err := w.door.Call(ctx, agent, "faults", nil, &left); err != nil {
			errs = append(errs, fmt.Errorf("the kernel of %s can not be asked: %w", who, err))
		}
		for _, id := range left {
			errs = append(errs, fmt.Errorf("nftables of %s still have %s", who, id))
		}
	}
	ask(topology.Outside, netip.Addr{}) // the hub, where it comes from
	for _, p := range w.running() {
		ask(p.Spec().ID(), p.Spec().IP)
	}
	if err := w.door.Call(ctx, dnsIP, "dns faults", nil, &left); err != nil {
		errs = append(errs, fmt.Errorf("DNS can not be asked: %w", err))
	}
	for _, id := range left {
		errs = append(errs, fmt.Errorf("DNS still has the fault %s", id))
	}
	return errors.Join(errs...)
}

// instant is the lab's instant of a time inside; 0 stays 0.
func (w *world) instant(mono int64) clock.Instant {
	if mono == 0 {
		return 0
	}
	return w.door.Instant(mono)
}

var (
	_ live.Killer  = (*pod)(nil)
	_ live.Pauser  = (*pod)(nil)
	_ live.Starver = (*pod)(nil)
	_ live.Breaker = (*world)(nil)
)
