package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Dial opens a connection as a workload's app would: names are resolved as in its namespace, and a
// sidecar captures what leaves the pod.
func (m *Mesh) Dial(ctx context.Context, from, address string) (net.Conn, error) {
	c, to, err := m.called(ctx, from, address)
	if err != nil {
		return nil, err
	}
	return m.world.Dial(ctx, c, to)
}

// Capture opens a socket whose connections are the pod's connections to an address.
func (m *Mesh) Capture(from, address string) (network, at string, release func(), err error) {
	c, to, err := m.called(m.ended, from, address)
	if err != nil {
		return "", "", nil, err
	}
	return m.world.Capture(c, to)
}

// called finds out who calls whom.
func (m *Mesh) called(
	ctx context.Context, from, address string,
) (c Client, to netip.AddrPort, err error) {
	if c, err = m.client(from); err == nil {
		to, err = m.resolve(ctx, c, address)
	}
	return c, to, err
}

// client finds a pod by its ID; Outside is a client without a pod.
func (m *Mesh) client(from string) (Client, error) {
	if from == topology.Outside {
		return Client{Addr: topology.OutsideAddr, Namespace: "default"}, nil
	}
	p := m.Pod(from)
	if p == nil {
		return Client{}, fmt.Errorf("no pod %q in the lab", from)
	}
	s := p.Spec()
	return Client{Addr: s.IP, Namespace: s.Namespace, Pod: p}, nil
}

// resolve turns HOST:PORT into a logical address; a pod's own localhost is no name.
func (m *Mesh) resolve(ctx context.Context, from Client, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: not a number from 0 to 65535", port)
	}
	if from.Pod != nil && host == "localhost" {
		return netip.AddrPortFrom(localhost, uint16(n)), nil
	}
	addrs, err := m.lookup(ctx, from, host)
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

// lookup finds the addresses of a name, one at least.
func (m *Mesh) lookup(ctx context.Context, from Client, name string) ([]netip.Addr, error) {
	if r, ok := m.world.(Resolver); ok {
		return r.Lookup(ctx, from, name)
	}
	return m.ask(ctx, from, name)
}
