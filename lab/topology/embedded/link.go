package embedded

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Faults of what is between pods. Every connection from one pod to another, and from outside, is
// one of w.links: our own data plane and gateways dial through it. Real Envoys dial by themselves:
// doors stand before the pods that a fault is about.

// ableBetween says which faults between pods can not be.
func (w *world) ableBetween(f topology.Fault) error {
	if f.Kind == topology.FaultDNS {
		return nil
	}
	return link.Able(f)
}

// breakBetween has a partition or a link's fault begin, or look-ups go wrong.
func (w *world) breakBetween(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	if f.Kind == topology.FaultDNS {
		return w.mesh.BreakNames(ctx, f)
	}
	reg := w.mesh.Registry()
	for _, name := range slices.Concat(f.From, f.To) {
		known := name == topology.Outside
		for _, p := range reg.Pods {
			known = known || p.ID() == name
		}
		if !known {
			return nil, fmt.Errorf("no pod %q in the lab", name)
		}
	}
	if w.envoys != nil {
		if err := w.envoys.standBefore(ctx, acceptors(f)); err != nil {
			return nil, err
		}
	}
	return w.links.Break(f)
}

// acceptors are the pods that take connections that a fault is about; nil: all.
func acceptors(f topology.Fault) []string {
	if len(f.To) == 0 || f.Kind == topology.FaultPartition && len(f.From) == 0 {
		return nil
	}
	if f.Kind == topology.FaultPartition {
		return slices.Concat(f.From, f.To)
	}
	return f.To
}

// way says who calls whom, for two logical addresses.
func (w *world) way(from, to netip.AddrPort) link.Way {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	return link.Way{From: w.net.name(from.Addr()), To: w.net.name(to.Addr()), Port: to.Port()}
}

// name is who has a logical address. Caller must hold mu.
func (n *network) name(a netip.Addr) string {
	if a == topology.OutsideAddr {
		return topology.Outside
	}
	if h := n.hosts[a]; h != nil && h.pod != nil {
		return h.pod.Spec().ID()
	}
	return a.String()
}

// dialPod connects to whatever stands at a pod's logical address, over the link between the two.
func (w *world) dialPod(ctx context.Context, from, to netip.AddrPort) (net.Conn, error) {
	way := w.way(from, to)
	dial := func(ctx context.Context) (net.Conn, error) {
		t, err := w.net.route(to)
		if err != nil {
			return nil, err
		}
		return w.net.connect(ctx, t, from, to)
	}
	if way.From == way.To {
		return dial(ctx) // within a pod there is no link
	}
	return w.links.Dial(ctx, way, dial)
}

// fromOutside has what comes to a gateway's socket on this machine come over the link from outside.
func (p *pod) fromOutside(l net.Listener, port uint16) net.Listener {
	return p.w.links.Listen(l, link.Way{From: topology.Outside, To: p.Spec().ID(), Port: port})
}
