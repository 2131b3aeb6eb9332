package embedded

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Dial connects a client to a logical address: a sidecar captures what leaves its pod.
func (w *world) Dial(ctx context.Context, c live.Client, to netip.AddrPort) (net.Conn, error) {
	from := netip.AddrPortFrom(c.Addr, 0)
	p := w.successor(c)
	switch {
	case p == nil || p.Spec().Role != translate.Sidecar && to.Addr() != localhost:
		return w.dialPod(ctx, from, w.balance(to))
	case to.Addr() == localhost:
		return w.dialOwnApp(ctx, p, to.Port())
	}
	at := p.socket(outboundPort)
	if at == "" {
		return nil, errRefused // the sidecar is not there: nothing leaves the pod
	}
	if w.envoys != nil {
		w.envoys.reachable(to)
	}
	t := target{address: at, proxy: true, envoy: w.envoys != nil}
	return w.net.connect(ctx, t, from, to)
}

// successor is the client's pod, or what has taken its place since.
func (w *world) successor(c live.Client) *pod {
	p, _ := c.Pod.(*pod)
	if p == nil || p.ended.Err() == nil {
		return p
	}
	if now, ok := w.mesh.Pod(p.Spec().ID()).(*pod); ok {
		return now
	}
	return p
}

// balance does what kube-proxy does for connections that no sidecar takes: a Service's address
// becomes that of one of its ready pods, at random.
func (w *world) balance(to netip.AddrPort) netip.AddrPort {
	reg := w.mesh.Registry()
	for _, s := range reg.Services {
		if s.VIP != to.Addr() {
			continue
		}
		ends := reg.Endpoints(s, to.Port())
		if len(ends) > 0 {
			return ends[rand.IntN(len(ends))] // kube-proxy's choice is nobody's verdict
		}
	}
	return to
}

// dialOwnApp connects a pod to its own app, past the sidecar.
func (w *world) dialOwnApp(ctx context.Context, p *pod, port uint16) (net.Conn, error) {
	t, err := w.net.call(netip.AddrPortFrom(p.Spec().IP, port))
	if err != nil {
		return nil, err
	}
	return w.net.connect(ctx, t, netip.AddrPort{}, netip.AddrPort{})
}
