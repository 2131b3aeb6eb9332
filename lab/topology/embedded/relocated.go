package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy/als"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy/relocate"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// linker makes what real Envoys are sent of the snapshots of one configuration. What pods share
// they still share afterwards.
type linker struct {
	e         *envoys
	relocate  *relocate.Linker
	listeners map[*listenerv3.Listener]*listenerv3.Listener
	routes    map[*routev3.RouteConfiguration]*routev3.RouteConfiguration
	called    map[netip.Addr][]uint16 // the ports of pods that any proxy may call
}

// link makes what real Envoys are sent of all snapshots of a configuration.
func (e *envoys) link(
	reg *translate.Registry, snaps map[string]*xds.Snapshot,
) (map[string]*xds.Snapshot, error) {
	k := e.linker(reg)
	for _, s := range snaps {
		k.call(s)
	}
	out := make(map[string]*xds.Snapshot, len(snaps))
	for _, p := range reg.Pods {
		s := snaps[p.ID()]
		if s == nil {
			continue
		}
		var err error
		if out[p.ID()], err = k.snapshot(p, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// call notes the ports of a snapshot's endpoints: some are declared by nobody but an EndpointSlice.
func (k *linker) call(s *xds.Snapshot) {
	for _, a := range s.Endpoints {
		for _, group := range a.Endpoints {
			for _, ep := range group.LbEndpoints {
				at := ep.GetEndpoint().GetAddress().GetSocketAddress()
				ip, err := netip.ParseAddr(at.GetAddress())
				port := uint16(at.GetPortValue())
				if err == nil && !slices.Contains(k.called[ip], port) {
					k.called[ip] = append(k.called[ip], port)
				}
			}
		}
	}
}

// linker returns one for the pods of a registry. A gateway has no app: beside its address the lab
// takes what other Envoys send, and adds a PROXY protocol header.
func (e *envoys) linker(reg *translate.Registry) *linker {
	n := e.w.net
	gateways := map[netip.Addr]bool{}
	var pods []netip.Addr
	for _, p := range reg.Pods {
		gateways[p.IP] = p.Role == translate.Gateway
		pods = append(pods, p.IP)
	}
	dial := func(a netip.AddrPort) netip.AddrPort {
		if gateways[a.Addr()] {
			return n.placeApp(a)
		}
		if at, ok := e.door(a); ok {
			return at
		}
		return n.place(a)
	}
	return &linker{
		e: e, relocate: relocate.New(n.place, dial, pods...),
		listeners: map[*listenerv3.Listener]*listenerv3.Listener{},
		routes:    map[*routev3.RouteConfiguration]*routev3.RouteConfiguration{},
		called:    map[netip.Addr][]uint16{},
	}
}

// snapshot adds access logs and moves everything to where it is bound.
func (k *linker) snapshot(p *translate.Pod, s *xds.Snapshot) (*xds.Snapshot, error) {
	if k.e.w.tamper != nil {
		s = k.e.w.tamper(s)
	}
	out := *s
	out.Listeners = make(map[string]*listenerv3.Listener, len(s.Listeners))
	for name, l := range s.Listeners {
		told := k.listeners[l]
		if told == nil {
			var err error
			told, err = als.Instrument(l, envoy.ReportsCluster, k.e.w.spec.KeepHeaders)
			if err != nil {
				return nil, err
			}
			k.listeners[l] = told
		}
		out.Listeners[name] = told
	}
	out.Routes = make(map[string]*routev3.RouteConfiguration, len(s.Routes))
	for name, r := range s.Routes {
		if k.routes[r] == nil {
			k.routes[r] = als.InstrumentRoutes(r)
		}
		out.Routes[name] = k.routes[r]
	}
	moved, err := k.relocate.Snapshot(&out, relocate.Proxy{
		IP: p.IP, Gateway: p.Role == translate.Gateway, Outbound: k.e.outbound(p.ID()),
		App: k.e.w.net.placeApp, Ports: append(containerPorts(p), k.called[p.IP]...),
	})
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", p.ID(), err)
	}
	return moved, nil
}

// open has apps that answer on any port listen where Envoys may call them: at what Services lead
// to.
func (w *world) open(reg *translate.Registry) error {
	var errs []error
	for _, s := range reg.Services {
		for _, sp := range s.Spec.Spec.Ports {
			for _, at := range reg.Endpoints(s, uint16(sp.Port)) {
				if _, err := w.net.app(at); err != nil && !errors.Is(err, errRefused) {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// bound notes what the Envoys listen on once they have ACKed it.
func (w *world) bound(ctx context.Context, snaps map[string]*xds.Snapshot) error {
	var errs []error
	for _, p := range w.running() {
		side, ok := p.proxy().(*envoySidecar)
		if !ok || p.holds(hold{topology.FaultPause, topology.PartProxy}) {
			continue
		}
		s := snaps[p.spec.Load().ID()]
		if s == nil {
			continue
		}
		if err := side.process.Ready(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, side.bound(s))
	}
	return errors.Join(errs...)
}

// bound leads connections to the listeners of a snapshot that is in effect.
func (s *envoySidecar) bound(snap *xds.Snapshot) error {
	p := s.pod
	spec := p.spec.Load()
	sockets := map[uint16]string{}
	for _, l := range snap.Listeners {
		if l.BindToPort != nil && !l.BindToPort.Value {
			continue
		}
		port := uint16(l.GetAddress().GetSocketAddress().GetPortValue())
		sockets[port] = p.w.net.place(netip.AddrPortFrom(spec.IP, port)).String()
	}
	if spec.Role == translate.Sidecar {
		sockets[outboundPort] = p.w.envoys.outbound(spec.ID())
	}
	p.w.net.mu.Lock()
	p.w.net.host(spec.IP).sockets = sockets
	p.w.net.mu.Unlock()
	if spec.Role != translate.Gateway {
		return nil
	}
	return s.publish(slices.Collect(maps.Keys(sockets)))
}

// publish opens a gateway's ports, and no others, twice: on 127.0.0.1 for the user's own clients,
// who come from outside, and for the Envoys of other pods, which send no PROXY header, so that the
// gateway sees their logical addresses (and appends them to x-forwarded-for).
func (s *envoySidecar) publish(ports []uint16) error {
	p := s.pod
	s.mu.Lock()
	defer s.mu.Unlock()
	for port, r := range s.published {
		if !slices.Contains(ports, port) {
			r[0].Close()
			r[1].Close()
			delete(s.published, port)
			p.mu.Lock()
			delete(p.published, port)
			p.mu.Unlock()
		}
	}
	for _, port := range ports {
		if _, ok := s.published[port]; ok {
			continue
		}
		l, err := p.w.outside(p.servicePort(port))
		if err != nil {
			return err
		}
		to := netip.AddrPortFrom(p.spec.Load().IP, port)
		door, err := p.w.net.listen(to, p.w.net.placeApp(to))
		if err != nil {
			return errors.Join(err, l.Close())
		}
		out := link.Pass(l, func(ctx context.Context, c net.Conn) (net.Conn, error) {
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Port()
			return p.w.dialPod(ctx, netip.AddrPortFrom(topology.OutsideAddr, from), to)
		})
		in := link.Pass(door, func(ctx context.Context, c net.Conn) (net.Conn, error) {
			from := p.w.net.logical(c.RemoteAddr().(*net.TCPAddr).AddrPort())
			return p.w.dialPod(ctx, from, to)
		})
		s.published[port] = [2]*link.Passing{out, in}
		p.mu.Lock()
		p.published[port] = l
		p.mu.Unlock()
	}
	return nil
}

// reachable sees to it that an Envoy finds what its pod's app connects to, when no listener takes
// it: what would be kube-proxy's to balance, ports of pods that nobody declared but iptables would
// capture, and servers outside that listen on any port.
func (e *envoys) reachable(to netip.AddrPort) {
	e.w.net.app(to) //nolint:errcheck // who is not there refuses
	if at := e.w.net.captures(to); at != nil {
		e.listen(to, func(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
			return e.w.dialPod(ctx, from, to)
		})
		return
	}
	reg := e.w.mesh.Registry()
	for _, s := range reg.Services {
		if s.VIP == to.Addr() && len(reg.Endpoints(s, to.Port())) > 0 {
			e.listen(to, func(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
				return e.w.dialPod(ctx, from, e.w.balance(to))
			})
		}
	}
}

// listen takes connections to a logical address and passes them on, until the next change. Where a
// proxy or an app listens already, it does.
func (e *envoys) listen(
	at netip.AddrPort, dial func(ctx context.Context, from netip.AddrPort) (net.Conn, error),
) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.virtual[at] != nil {
		return
	}
	l, err := e.w.net.bind(at.Addr(), at.Port())
	if err != nil {
		return
	}
	e.virtual[at] = link.Pass(l, func(ctx context.Context, c net.Conn) (net.Conn, error) {
		return dial(ctx, e.w.net.logical(c.RemoteAddr().(*net.TCPAddr).AddrPort()))
	})
}

// captures returns where connections to a pod arrive that has an Envoy; nil for other addresses.
func (n *network) captures(to netip.AddrPort) *target {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[to.Addr()]
	if h == nil || !h.envoy || !h.proxied || h.sockets[inboundPort] == "" {
		return nil
	}
	return &target{address: h.sockets[inboundPort], proxy: true, envoy: true}
}
