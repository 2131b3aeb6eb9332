package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Dial opens a connection as a workload's app would: names are resolved as in its namespace, and a
// sidecar captures what leaves the pod.
func (m *mesh) Dial(ctx context.Context, from, address string) (net.Conn, error) {
	src, err := m.client(from)
	if err != nil {
		return nil, err
	}
	if src.pod != nil && isLocalhost(address) {
		return m.dialOwnApp(ctx, src.pod, address)
	}
	to, err := m.resolve(src.namespace, address)
	if err != nil {
		return nil, err
	}
	return m.dialAs(ctx, src, to)
}

// client is who opens a connection.
type client struct {
	addr      netip.Addr
	namespace string
	pod       *pod // nil for outside
}

// client finds a pod by its ID; Outside is a client without a pod.
func (m *mesh) client(from string) (client, error) {
	if from == topology.Outside {
		return client{addr: topology.OutsideAddr, namespace: "default"}, nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := m.pods[from]
	if p == nil {
		return client{}, fmt.Errorf("no pod %q in the lab", from)
	}
	s := p.spec.Load()
	return client{addr: s.IP, namespace: s.Namespace, pod: p}, nil
}

// dialAs connects a client to a logical address.
func (m *mesh) dialAs(ctx context.Context, c client, to netip.AddrPort) (net.Conn, error) {
	from := netip.AddrPortFrom(c.addr, 0)
	if c.pod != nil && c.pod.spec.Load().Role == translate.Sidecar {
		if at := c.pod.socket(outboundPort); at != "" {
			if m.envoys != nil {
				m.envoys.reachable(to)
			}
			t := target{address: at, proxy: true, envoy: m.envoys != nil}
			return m.net.connect(ctx, t, from, to)
		}
		return nil, errRefused // the sidecar is not there: nothing leaves the pod
	}
	return m.dialPod(ctx, from, m.balance(to))
}

// dialPod connects to whatever stands at a pod's logical address.
func (m *mesh) dialPod(ctx context.Context, from, to netip.AddrPort) (net.Conn, error) {
	t, err := m.net.route(to)
	if err != nil {
		return nil, err
	}
	return m.net.connect(ctx, t, from, to)
}

// balance does what kube-proxy does for connections that no sidecar takes: a Service's address
// becomes that of one of its ready pods, at random.
func (m *mesh) balance(to netip.AddrPort) netip.AddrPort {
	reg := m.Registry()
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

// resolve turns HOST:PORT into a logical address.
func (m *mesh) resolve(namespace, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: not a number from 0 to 65535", port)
	}
	addrs, err := m.current().dns.lookup(namespace, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	at := addrs[rand.IntN(len(addrs))].Unmap()
	if !at.Is4() {
		return netip.AddrPort{}, fmt.Errorf(
			"address %s: IPv6 is not carried out yet (only IPv4): %w", at, syscall.EHOSTUNREACH)
	}
	return netip.AddrPortFrom(at, uint16(n)), nil
}

// isLocalhost says whether an address is the pod's own loopback.
func isLocalhost(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || host == "127.0.0.1")
}

// dialOwnApp connects a pod to its own app, past the sidecar.
func (m *mesh) dialOwnApp(ctx context.Context, p *pod, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: not a number from 0 to 65535", port)
	}
	t, err := m.net.app(netip.AddrPortFrom(p.spec.Load().IP, uint16(n)))
	if err != nil {
		return nil, err
	}
	return m.net.connect(ctx, t, netip.AddrPort{}, netip.AddrPort{})
}
