package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// network binds the lab's logical addresses to loopback. It is the only place that knows where a
// pod's address really is: xDS resources, hashing and records see logical addresses alone.
//
//	logical 10.244.0.2:8080  ── Linux ──▶ 127.BLOCK.0.2:8080   (an address for each pod)
//	                         ── others ─▶ 127.0.0.1:EPHEMERAL  (one table, as a linker relocates)
type network struct {
	block byte         // second octet of this lab's loopback addresses; 0: one shared address
	lock  net.Listener // holds the block while the lab lives

	low uint16 // ports below this one are not this user's to bind

	mu     sync.Mutex
	hosts  map[netip.Addr]*host
	byReal map[netip.Addr]netip.Addr // logical addresses
	reals  map[netip.Addr]netip.Addr // real ones: whoever gets a logical one again finds the same
	extra  uint16                    // next address for logical ones outside of the pods' range
	ends   uint16                    // numbers the client's ends of captured connections
}

// host is what stands at one logical address.
type host struct {
	real    netip.Addr
	pod     *pod
	sockets map[uint16]string // logical port → address that is bound for it
	apps    map[uint16]string // the same for the pod's own app
	anyApp  func(port uint16) (string, error)
	dial    func(ctx context.Context, port uint16) (net.Conn, error) // to an app elsewhere
	proxied bool                                                     // a sidecar takes what arrives
	gateway bool
	envoy   bool // the proxy knows real addresses
}

// The first and last second octet of loopback addresses that labs take, and the port that is bound
// to hold one.
const (
	firstBlock = 64
	lastBlock  = 127
	blockPort  = 15010
)

// newNetwork takes a free block of loopback addresses. Several labs on one machine get different
// ones; a block is free again when its process ends, however it ends. A shared network has one
// loopback address alone.
func newNetwork(shared bool) (*network, error) {
	n := &network{hosts: map[netip.Addr]*host{}, byReal: map[netip.Addr]netip.Addr{},
		reals: map[netip.Addr]netip.Addr{}}
	if shared || !distinctLoopback() {
		return n, nil
	}
	n.low = privilegedPorts()
	return n, n.take(firstBlock, lastBlock)
}

// take holds the first block that is free.
func (n *network) take(first, last int) error {
	for b := first; b <= last; b++ {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.%d.255.254:%d", b, blockPort))
		if err == nil {
			n.block, n.lock = byte(b), l
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("embedded: bind loopback: %w", err)
		}
	}
	return fmt.Errorf("embedded: all %d loopback blocks are taken by other labs: %w", last-first+1,
		syscall.EADDRINUSE)
}

// distinctLoopback says whether all of 127/8 can be bound. macOS and the BSDs have 127.0.0.1 alone.
func distinctLoopback() bool { return runtime.GOOS == "linux" }

// close gives the block back.
func (n *network) close() {
	if n.lock != nil {
		n.lock.Close()
	}
}

// host returns what stands at a logical address, making it when needed. Caller must hold mu.
func (n *network) host(a netip.Addr) *host {
	h := n.hosts[a]
	if h != nil {
		return h
	}
	h = &host{sockets: map[uint16]string{}, apps: map[uint16]string{}}
	b := a.As16() // IPv4 in its last four
	switch b := b[12:]; {
	case n.block == 0:
		h.real = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case n.reals[a].IsValid():
		h.real = n.reals[a]
	case a.Is4() && b[0] == 10 && b[1] == 244 && b[2] < 200:
		h.real = netip.AddrFrom4([4]byte{127, n.block, b[2], b[3]})
	default:
		h.real = netip.AddrFrom4(
			[4]byte{127, n.block, 200 + byte(n.extra/250%50), byte(n.extra%250) + 1})
		n.extra++
	}
	n.hosts[a] = h
	if n.block != 0 {
		n.byReal[h.real], n.reals[a] = a, h.real
	}
	return h
}

// settle gives a logical address to a pod.
func (n *network) settle(a netip.Addr, p *pod, role translate.Role, envoy bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.host(a)
	h.pod, h.proxied, h.gateway = p, role == translate.Sidecar, role == translate.Gateway
	h.envoy = envoy && (h.proxied || h.gateway)
}

// forget takes a pod's logical address away.
func (n *network) forget(a netip.Addr, p *pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[a]; h != nil && h.pod == p {
		delete(n.hosts, a)
	}
}

// vacate has nobody answer in the app's place.
func (n *network) vacate(a netip.Addr, p *pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[a]; h != nil && h.pod == p {
		h.apps, h.anyApp, h.dial = map[uint16]string{}, nil, nil
	}
}

// unplug has nobody answer in the proxy's place.
func (n *network) unplug(a netip.Addr, p *pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[a]; h != nil && h.pod == p {
		h.sockets = map[uint16]string{}
	}
}

// bind opens a socket for a logical address and port; port 0 asks for any.
func (n *network) bind(a netip.Addr, port uint16) (net.Listener, error) {
	n.mu.Lock()
	real := n.host(a).real
	n.mu.Unlock()
	return n.listen(netip.AddrPortFrom(a, port), netip.AddrPortFrom(real, n.shift(port)))
}

// listen opens the socket for a logical address.
func (n *network) listen(logical, at netip.AddrPort) (net.Listener, error) {
	if n.block == 0 {
		at = netip.AddrPortFrom(at.Addr(), 0)
	}
	l, err := net.Listen("tcp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("embedded: listen for %s: %w", logical, err)
	}
	return l, nil
}

// publish makes a proxy's bound listener known under its logical port, as long as it is open.
func (n *network) publish(a netip.Addr, port uint16, l net.Listener) net.Listener {
	at := l.Addr().String()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(a).sockets[port] = at
	return &known{Listener: l, closed: sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if h := n.hosts[a]; h != nil && h.sockets[port] == at {
			delete(h.sockets, port)
		}
	})}
}

// known is a listener that others are led to.
type known struct {
	net.Listener
	closed func()
}

// Close makes it unknown first.
func (k *known) Close() error {
	k.closed()
	return k.Listener.Close()
}

// target is where a connection to a logical address really goes.
type target struct {
	address string                                  // of TCP, or the path of a unix socket
	proxy   bool                                    // begins with a PROXY protocol header
	envoy   bool                                    // the header has the real destination
	dial    func(context.Context) (net.Conn, error) // in the place of all that
}

// network tells unix sockets by their paths.
func (t target) network() string {
	if t.address[0] == '@' || t.address[0] == '/' {
		return "unix"
	}
	return "tcp4"
}

// errRefused is what a port without a listener answers.
var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// app returns where the app of a pod really listens for a port.
func (n *network) app(to netip.AddrPort) (target, error) {
	n.mu.Lock()
	h := n.hosts[to.Addr()]
	if h == nil {
		n.mu.Unlock()
		return target{}, errRefused
	}
	at, ok := h.apps[to.Port()]
	open, dial, p := h.anyApp, h.dial, h.pod
	n.mu.Unlock()
	if p != nil && p.refuses(to.Port()) {
		return target{}, errRefused
	}
	if dial != nil {
		return target{dial: func(ctx context.Context) (net.Conn, error) {
			return dial(ctx, to.Port())
		}}, nil
	}
	if ok {
		return target{address: at}, nil
	}
	if open == nil {
		return target{}, errRefused
	}
	at, err := open(to.Port())
	return target{address: at}, err
}

// call is app for who connects: a refusal counts.
func (n *network) call(to netip.AddrPort) (target, error) {
	n.mu.Lock()
	h := n.hosts[to.Addr()]
	n.mu.Unlock()
	if h != nil && h.pod != nil && h.pod.refuse(to.Port()) {
		return target{}, errRefused
	}
	return n.app(to)
}

// route returns where a connection from another pod to a pod's logical address arrives: at its
// sidecar's inbound socket, at a gateway's listener, or at the app itself.
func (n *network) route(to netip.AddrPort) (target, error) {
	n.mu.Lock()
	h := n.hosts[to.Addr()]
	if h == nil {
		n.mu.Unlock()
		return target{}, fmt.Errorf("embedded: %s is not in the lab: %w", to, syscall.EHOSTUNREACH)
	}
	var at string
	var ok bool
	switch {
	case h.gateway:
		at, ok = h.sockets[to.Port()]
	case h.proxied:
		at, ok = h.sockets[inboundPort]
	default:
		n.mu.Unlock()
		return n.call(to)
	}
	envoy := h.envoy
	n.mu.Unlock()
	if !ok {
		return target{}, errRefused
	}
	return target{address: at, proxy: true, envoy: envoy}, nil
}

// connect dials a target. from is bound as the source when this lab has addresses of its own.
func (n *network) connect(
	ctx context.Context, t target, from, to netip.AddrPort,
) (net.Conn, error) {
	if t.dial != nil {
		return t.dial(ctx)
	}
	d := net.Dialer{Timeout: 30 * time.Second}
	if from.Addr().IsLoopback() && n.block != 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from.Addr(), 0))
	}
	c, err := d.DialContext(ctx, t.network(), t.address)
	if err != nil {
		return nil, err
	}
	if !t.proxy {
		return c, nil
	}
	if u, ok := c.(*net.UnixConn); ok {
		from = netip.AddrPortFrom(from.Addr(), n.end())
		c = captured{u, net.TCPAddrFromAddrPort(from)}
	} else if from.Port() == 0 {
		from = netip.AddrPortFrom(from.Addr(), uint16(c.LocalAddr().(*net.TCPAddr).Port))
	}
	if t.envoy {
		to = n.place(to)
	}
	if _, err := c.Write(proxyHeader(from, to)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// proxyHeader is a PROXY protocol version 2 header for TCP over IPv4
// (haproxy.org, proxy-protocol.txt, section 2.2).
func proxyHeader(from, to netip.AddrPort) []byte {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	src, dst := from.Addr().As4(), to.Addr().As4()
	b = append(append(b, src[:]...), dst[:]...)
	return append(b, byte(from.Port()>>8), byte(from.Port()), byte(to.Port()>>8), byte(to.Port()))
}
