package docker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/hold"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/names"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
)

var dnsIP = part.DNSIP

// hits is what the kernel tells of a fault in one pod.
type hits struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
}

// id names a fault in the kernel: two of one name are two.
func (w *world) id(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults++
	return strconv.Itoa(w.faults) + " " + name[:min(len(name), 100)]
}

// rules are what the kernel of a pod does that From sends to.
func (w *world) rules(f topology.Fault) ([]capture.FaultRule, error) {
	peers, err := w.addressesOf(f.From)
	if err != nil {
		return nil, err
	}
	r := capture.FaultRule{Peers: peers, Ports: ports(f.Ports), Action: capture.Drop}
	if f.Kind == topology.FaultLink {
		r.Action, r.Share = capture.Lose, f.Link.Loss
	}
	if !f.Both {
		return []capture.FaultRule{r}, nil
	}
	back := r
	back.Out = true
	return []capture.FaultRule{r, back}, nil
}

// ports are ports as packets have them.
func ports(list []int) (out []uint16) {
	for _, p := range list {
		out = append(out, uint16(p))
	}
	return out
}

// addressesOf are the addresses of pods.
func (w *world) addressesOf(ids []string) (out []netip.Addr, err error) {
	for _, id := range ids {
		at, err := w.addressOf(id)
		if err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	return out, nil
}

// addressOf is the address of a pod, or of who is outside.
func (w *world) addressOf(id string) (netip.Addr, error) {
	if id == topology.Outside {
		return topology.OutsideAddr, nil
	}
	for _, p := range w.mesh.Registry().Pods {
		if p.ID() == id {
			return p.IP, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no pod %q in the lab", id)
}

// Break breaks what is between pods: the kernel of each pod of To drops, or DNS answers otherwise.
func (w *world) Break(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	if err := w.Able(f); err != nil {
		return nil, err
	}
	switch {
	case f.Kind == topology.FaultDNS:
		return w.breakNames(ctx, f)
	case f.Kind == topology.FaultLink && !onlyLoss(f):
		return w.breakLink(ctx, f)
	}
	rules, err := w.rules(f)
	if err != nil {
		return nil, err
	}
	at := f.To
	if len(at) == 0 {
		for _, p := range w.mesh.Registry().Pods {
			at = append(at, p.ID())
		}
	}
	n := &netFault{w: w, id: w.id(f.Name), at: at, rules: rules, unit: "packets dropped"}
	if f.Kind == topology.FaultLink {
		n.unit = "packets lost"
	}
	if err := n.begin(ctx); err != nil {
		return nil, err
	}
	return n.effect(), nil
}

// onlyLoss says that a link's fault is one that the kernel has a filter for.
func onlyLoss(f topology.Fault) bool { return f.Link == topology.Link{Loss: f.Link.Loss} }

// Refuse has new connections to the app's ports refused.
func (p *pod) Refuse(ctx context.Context, of []int) (topology.Broken, error) {
	r := capture.FaultRule{Action: capture.Refuse, Ports: ports(of)}
	n := &netFault{w: p.w, id: p.w.id("refuse"), at: []string{p.Spec().ID()},
		rules: []capture.FaultRule{r}, unit: "connections refused"}
	if err := n.begin(ctx); err != nil {
		return nil, err
	}
	return n.effect(), nil
}

// netFault is a fault in the kernels of pods. A pod that is started while it lasts has it, too.
type netFault struct {
	w     *world
	id    string
	at    []string // pods, or topology.Outside
	rules []capture.FaultRule
	held  *hold.Fault // in the place of rules: what the agents hold
	unit  string
}

// place is where a fault acts.
type place struct {
	id    string
	agent netip.Addr // none: the hub
	local netip.Addr
}

// begin tells the kernels.
func (n *netFault) begin(ctx context.Context) error {
	if n.held == nil {
		if err := (capture.Fault{ID: n.id, Rules: n.rules}).Check(); err != nil {
			return err
		}
	}
	n.w.mu.Lock()
	n.w.netFaults = append(n.w.netFaults, n)
	n.w.mu.Unlock()
	if err := n.tell(ctx); err != nil {
		return errors.Join(err, n.end(context.WithoutCancel(ctx)))
	}
	return nil
}

// tell tells every place what there is.
func (n *netFault) tell(ctx context.Context) error {
	var errs []error
	for _, p := range n.places() {
		errs = append(errs, n.tellOne(ctx, p))
	}
	return errors.Join(errs...)
}

func (n *netFault) tellOne(ctx context.Context, p place) error {
	if n.held == nil {
		return n.w.door.Call(ctx, p.agent, "break", capture.Fault{ID: n.id, Rules: n.rules}, nil)
	}
	f := *n.held
	f.ID, f.Local = n.id, p.local
	return n.w.door.Call(ctx, p.agent, "hold", f, nil)
}

// places are the pods that run, and the hub for who is outside.
func (n *netFault) places() []place {
	var out []place
	for _, p := range n.w.running() {
		at := p.Spec().IP
		if slices.Contains(n.at, p.Spec().ID()) && p.infra != nil && !p.isDead() {
			out = append(out, place{p.Spec().ID(), at, at})
		}
	}
	if slices.Contains(n.at, topology.Outside) {
		out = append(out, place{id: topology.Outside, local: topology.OutsideAddr})
	}
	return out
}

// end has the kernels forget it.
func (n *netFault) end(ctx context.Context) error {
	n.w.mu.Lock()
	n.w.netFaults = slices.DeleteFunc(n.w.netFaults, func(o *netFault) bool { return o == n })
	n.w.mu.Unlock()
	how := "heal"
	if n.held != nil {
		how = "release"
	}
	var errs []error
	for _, p := range n.places() {
		errs = append(errs, n.w.door.Call(ctx, p.agent, how, n.id, nil))
	}
	return errors.Join(errs...)
}

func (n *netFault) effect() *effect {
	return &effect{
		receipt: func(ctx context.Context) (topology.Receipt, error) {
			r := topology.Receipt{Unit: n.unit}
			for _, p := range n.places() {
				var h hits
				if err := n.w.door.Call(ctx, p.agent, "count", n.id, &h); err != nil {
					return r, err
				}
				one := topology.Receipt{Fired: int64(h.Packets), Bytes: int64(h.Bytes),
					First: n.w.instant(h.First), Last: n.w.instant(h.Last)}
				if h.Packets > 0 {
					one.Evidence = []string{
						fmt.Sprintf("nftables of %s: %d packets", p.id, h.Packets)}
				}
				r = r.Plus(one)
			}
			return r, nil
		},
		change: func(ctx context.Context, f topology.Fault) error {
			rules, err := n.w.rules(f)
			if err != nil {
				return err
			}
			n.rules = rules
			return n.tell(ctx)
		},
		heal: n.end,
	}
}

// suffer tells the kernel of a pod that is started what lasts.
func (p *pod) suffer(ctx context.Context) error {
	p.w.mu.Lock()
	all := slices.Clone(p.w.netFaults)
	p.w.mu.Unlock()
	var errs []error
	for _, n := range all {
		if slices.Contains(n.at, p.Spec().ID()) && n.unit != "connections refused" {
			at := p.Spec().IP
			errs = append(errs, n.tellOne(ctx, place{p.Spec().ID(), at, at}))
		}
	}
	return errors.Join(errs...)
}

// isDead says that the whole pod was killed.
func (p *pod) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.infra.Exits()) > 0 || p.ended.Err() != nil
}

// breakNames has DNS answer otherwise.
func (w *world) breakNames(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	d := names.Fault{ID: w.id(f.Name), Names: f.Names, Silent: f.DNS.Silent, Fail: f.DNS.Fail,
		Delay: f.DNS.Delay}
	if f.DNS.Wrong != "" {
		d.Wrong, _ = netip.ParseAddr(f.DNS.Wrong) // Able has read it
	}
	for _, id := range f.Pods {
		at, err := w.addressOf(id)
		if err != nil {
			return nil, err
		}
		d.Pods = append(d.Pods, at)
	}
	unit := "answers delayed"
	switch {
	case d.Silent:
		unit = "answers withheld"
	case d.Fail:
		unit = "look-ups failed"
	case d.Wrong.IsValid():
		unit = "answers forged"
	}
	if err := w.door.Call(ctx, dnsIP, "dns break", d, nil); err != nil {
		return nil, err
	}
	return &effect{
		receipt: func(ctx context.Context) (topology.Receipt, error) {
			var c names.Count
			err := w.door.Call(ctx, dnsIP, "dns count", d.ID, &c)
			return topology.Receipt{Unit: unit, Fired: int64(c.Answers), First: w.instant(c.First),
				Last: w.instant(c.Last)}, err
		},
		heal: func(ctx context.Context) error {
			return w.door.Call(ctx, dnsIP, "dns heal", d.ID, nil)
		},
	}, nil
}

var _ live.Refuser = (*pod)(nil)
