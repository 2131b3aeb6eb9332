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
}

func (e *envoys) linker() *linker {
	return &linker{
		e: e, relocate: relocate.New(e.m.net.place),
		listeners: map[*listenerv3.Listener]*listenerv3.Listener{},
		routes:    map[*routev3.RouteConfiguration]*routev3.RouteConfiguration{},
	}
}

// snapshot adds access logs and moves everything to where it is bound.
func (k *linker) snapshot(p *translate.Pod, s *xds.Snapshot) (*xds.Snapshot, error) {
	if k.e.m.tamper != nil {
		s = k.e.m.tamper(s)
	}
	out := *s
	out.Listeners = make(map[string]*listenerv3.Listener, len(s.Listeners))
	for name, l := range s.Listeners {
		told := k.listeners[l]
		if told == nil {
			var err error
			told, err = als.Instrument(l, envoy.ReportsCluster, k.e.m.spec.KeepHeaders)
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
		App: k.e.m.net.placeApp, Ports: containerPorts(p),
	})
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", p.ID(), err)
	}
	return moved, nil
}

// containerPorts are the TCP ports that a pod's containers declare.
func containerPorts(s *translate.Pod) []uint16 {
	var ports []uint16
	for _, c := range s.Containers {
		for _, cp := range c.Ports {
			if cp.Protocol == "" || cp.Protocol == "TCP" {
				ports = append(ports, uint16(cp.ContainerPort))
			}
		}
	}
	return ports
}

// open has apps that answer on any port listen where Envoys may call them: at what Services lead
// to.
func (m *mesh) open(reg *translate.Registry) error {
	var errs []error
	for _, s := range reg.Services {
		for _, sp := range s.Spec.Spec.Ports {
			for _, at := range reg.Endpoints(s, uint16(sp.Port)) {
				if _, err := m.net.app(at); err != nil && !errors.Is(err, errRefused) {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// bound notes what the Envoys listen on once they have ACKed it.
func (m *mesh) bound(ctx context.Context, snaps map[string]*xds.Snapshot) error {
	var errs []error
	for _, p := range m.running() {
		side, ok := p.side.(*envoySidecar)
		if !ok {
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
		sockets[port] = p.m.net.place(netip.AddrPortFrom(spec.IP, port)).String()
	}
	if spec.Role == translate.Sidecar {
		sockets[outboundPort] = p.m.envoys.outbound(spec.ID())
	}
	p.m.net.mu.Lock()
	p.m.net.host(spec.IP).sockets = sockets
	p.m.net.mu.Unlock()
	if spec.Role != translate.Gateway {
		return nil
	}
	return s.publish(slices.Collect(maps.Keys(sockets)))
}

// publish opens a gateway's ports, and no others, on 127.0.0.1 for the user's own clients, who come
// from outside.
func (s *envoySidecar) publish(ports []uint16) error {
	p := s.pod
	s.mu.Lock()
	defer s.mu.Unlock()
	for port, r := range s.published {
		if !slices.Contains(ports, port) {
			r.close()
			delete(s.published, port)
			p.mu.Lock()
			delete(p.published, port)
			p.mu.Unlock()
		}
	}
	for _, port := range ports {
		if s.published[port] != nil {
			continue
		}
		l, err := p.m.outside(p.servicePort(port))
		if err != nil {
			return err
		}
		to := netip.AddrPortFrom(p.spec.Load().IP, port)
		s.published[port] = p.m.relay(l, func(ctx context.Context, c net.Conn) (net.Conn, error) {
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Port()
			return p.m.dialPod(ctx, netip.AddrPortFrom(topology.OutsideAddr, from), to)
		})
		p.mu.Lock()
		p.published[port] = l
		p.mu.Unlock()
	}
	return nil
}

// reachable sees to it that an Envoy finds what its pod's app connects to, when no listener takes
// it: what would be kube-proxy's to balance, and servers outside that listen on any port.
func (e *envoys) reachable(to netip.AddrPort) {
	e.m.net.app(to) //nolint:errcheck // who is not there refuses
	reg := e.m.Registry()
	for _, s := range reg.Services {
		if s.VIP == to.Addr() && len(reg.Endpoints(s, to.Port())) > 0 {
			if err := e.kubeProxy(to); err != nil {
				e.m.log.Warn("kube-proxy", "address", to, "err", err)
			}
		}
	}
}

// kubeProxy listens at a Service's address and passes connections on to one of its pods.
func (e *envoys) kubeProxy(at netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.virtual[at] != nil {
		return nil
	}
	l, err := e.m.net.bind(at.Addr(), at.Port())
	if err != nil {
		return err
	}
	m := e.m
	e.virtual[at] = m.relay(l, func(ctx context.Context, c net.Conn) (net.Conn, error) {
		from := m.net.logical(c.RemoteAddr().(*net.TCPAddr).AddrPort())
		return m.dialPod(ctx, from, m.balance(at))
	})
	return nil
}
