package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/hold"
)

// linkFault is a fault of links that the kernel has no filter for. What is asked suffers where it
// comes to, in the pods that are called; what is answered, too, in those that call.
type linkFault struct {
	w     *world
	forth *netFault
	back  *netFault // nil: answers are let alone
	loss  *netFault // nil: nothing is lost
	unit  string
}

// breakLink has a link's fault begin, also for connections that are open.
func (w *world) breakLink(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	callers, err := w.addressesOf(f.From)
	if err != nil {
		return nil, err
	}
	called, err := w.addressesOf(f.To)
	if err != nil {
		return nil, err
	}
	toxic := link.ToxicOf(f)
	x := &linkFault{w: w, unit: toxic.Unit()}
	x.forth = &netFault{w: w, id: w.id(f.Name), at: w.named(f.To), unit: x.unit,
		held: &hold.Fault{Peers: callers, Ports: ports(f.Ports), Toxic: toxic}}
	if f.Both || f.Link.HalfOpen {
		x.back = &netFault{w: w, id: w.id(f.Name), unit: x.unit, at: w.named(f.From),
			held: &hold.Fault{Peers: called, Ports: ports(f.Ports), Toxic: toxic, Back: true}}
		if len(f.From) == 0 {
			x.back.at = append(x.back.at, topology.Outside)
		}
	}
	if f.Link.Loss > 0 {
		rules, err := w.rules(f)
		if err != nil {
			return nil, err
		}
		x.loss = &netFault{w: w, id: w.id(f.Name), at: x.forth.at, rules: rules,
			unit: "packets lost"}
	}
	for _, n := range x.all() {
		if err := n.begin(ctx); err != nil {
			return nil, errors.Join(err, x.end(context.WithoutCancel(ctx)))
		}
	}
	return &effect{receipt: x.receipt, change: x.change, heal: x.end}, nil
}

// named are the pods of a list; all where it is empty.
func (w *world) named(ids []string) []string {
	if len(ids) > 0 {
		return ids
	}
	var all []string
	for _, p := range w.mesh.Registry().Pods {
		all = append(all, p.ID())
	}
	return all
}

// all are its parts.
func (x *linkFault) all() (out []*netFault) {
	for _, n := range []*netFault{x.forth, x.back, x.loss} {
		if n != nil {
			out = append(out, n)
		}
	}
	return out
}

// receipt says how many connections it has had an effect on: one that suffers at both ends is one.
func (x *linkFault) receipt(ctx context.Context) (topology.Receipt, error) {
	r, flows := topology.Receipt{Unit: x.unit}, map[uint64]bool{}
	for _, n := range []*netFault{x.forth, x.back} {
		if n == nil {
			continue
		}
		for _, p := range n.places() {
			var c hold.Count
			if err := x.w.door.Call(ctx, p.agent, "held", n.id, &c); err != nil {
				return r, err
			}
			for _, f := range c.Flows {
				flows[f] = true
			}
			one := topology.Receipt{Bytes: c.Bytes,
				First: x.w.instant(c.First), Last: x.w.instant(c.Last)}
			if len(c.Flows) > 0 {
				one.Evidence = []string{
					fmt.Sprintf("the agent of %s: %d connections", p.id, len(c.Flows))}
			}
			r = r.Plus(one)
		}
	}
	r.Fired = int64(len(flows))
	if x.loss != nil {
		lost, err := x.loss.effect().receipt(ctx)
		if err != nil {
			return r, err
		}
		r.Evidence = append(r.Evidence, lost.Evidence...)
	}
	return r, nil
}

// change gives it another strength.
func (x *linkFault) change(ctx context.Context, f topology.Fault) error {
	f.Kind = topology.FaultLink
	if err := x.w.Able(f); err != nil {
		return err
	}
	var errs []error
	for _, n := range x.all() {
		if n.held == nil {
			n.rules = changed(n.rules, f.Link.Loss)
		} else {
			held := *n.held
			held.Toxic = link.ToxicOf(f)
			n.held = &held
		}
		errs = append(errs, n.tell(ctx))
	}
	return errors.Join(errs...)
}

// changed are rules that lose another share.
func changed(rules []capture.FaultRule, share float64) []capture.FaultRule {
	out := slices.Clone(rules)
	for i := range out {
		out[i].Share = share
	}
	return out
}

// end heals it.
func (x *linkFault) end(ctx context.Context) error {
	var errs []error
	for _, n := range x.all() {
		errs = append(errs, n.end(ctx))
	}
	return errors.Join(errs...)
}
