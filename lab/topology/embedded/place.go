package embedded

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// appOffset is how far the second octet of an app's address is from that of its pod, where a real
// Envoy has the pod's own.
const appOffset = 64

// place says where a logical address and port are bound, for proxies that dial by themselves. It
// needs an address for each pod.
func (n *network) place(a netip.AddrPort) netip.AddrPort {
	at := a.Addr()
	if !at.IsUnspecified() && !at.IsLoopback() {
		n.mu.Lock()
		at = n.host(at).real
		n.mu.Unlock()
	}
	return netip.AddrPortFrom(at, n.shift(a.Port()))
}

// placeApp says where the app of a pod with a real Envoy is bound.
func (n *network) placeApp(a netip.AddrPort) netip.AddrPort {
	at := n.place(a)
	b := at.Addr().As4()
	b[1] += appOffset
	return netip.AddrPortFrom(netip.AddrFrom4(b), at.Port())
}

// logical is place backwards; what is not the lab's stays as it is.
func (n *network) logical(real netip.AddrPort) netip.AddrPort {
	n.mu.Lock()
	a, ok := n.byReal[real.Addr()]
	if !ok && real.Addr().Is4() {
		for _, offset := range []byte{appOffset, doorOffset} {
			b := real.Addr().As4()
			b[1] -= offset
			if a, ok = n.byReal[netip.AddrFrom4(b)]; ok {
				break
			}
		}
	}
	n.mu.Unlock()
	if !ok {
		return real
	}
	port := real.Port()
	if port >= shifted && n.low > 0 && port-shifted < n.low {
		port -= shifted
	}
	return netip.AddrPortFrom(a, port)
}

// shifted is where the ports begin that stand for those that only root may bind.
const shifted = 64_000

// shift returns the port that is bound for a port.
func (n *network) shift(port uint16) uint16 {
	if port != 0 && port < n.low {
		return port + shifted
	}
	return port
}

// privilegedPorts returns the first port that everybody may bind, or 0 when this user may bind all.
func privilegedPorts() uint16 {
	if os.Geteuid() == 0 {
		return 0
	}
	first := 1024
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			first = min(n, first)
		}
	}
	return uint16(first)
}

// bindApp opens a socket for a port of a pod's app: at the pod's address, or beside it where a real
// Envoy takes the address.
func (n *network) bindApp(a netip.Addr, port uint16) (net.Listener, error) {
	n.mu.Lock()
	envoy := n.host(a).envoy
	n.mu.Unlock()
	if !envoy {
		return n.bind(a, port)
	}
	at := netip.AddrPortFrom(a, port)
	return n.listen(at, n.placeApp(at))
}

// captured is a connection through a unix socket, with the ends that its PROXY header says.
type captured struct {
	*net.UnixConn
	local *net.TCPAddr
}

// LocalAddr is the client's end as the sidecar sees it.
func (c captured) LocalAddr() net.Addr { return c.local }

// The ports of clients' ends: those that Linux would choose from.
const (
	firstEnd = 32_768
	ends     = 28_232
)

// end returns a port for the client's end of a captured connection. It comes again only after many
// others.
func (n *network) end() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends = (n.ends + 1) % ends
	return firstEnd + n.ends
}
