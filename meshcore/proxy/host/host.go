// Package host is the operating system's network: listeners bind the addresses that they say,
// endpoints are where their addresses say, and the kernel knows where a redirected connection was
// going. The engine and the proxy know nothing of it.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// Network is the machine's own network.
type Network struct{}

// Listen binds an address: a TCP socket, or a unix socket. A unix socket that nobody answers on any
// more is replaced (Envoy replaces any), and removed when it is closed. A path that begins with @
// is in Linux' abstract name space.
func (Network) Listen(ctx context.Context, a engine.Address) (net.Listener, bool, error) {
	if a.Path != "" {
		l, err := listenPipe(ctx, a)
		return l, false, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, family(a.Addr()), a.String())
	return l, false, err
}

// family keeps an IPv4 listener from taking IPv6 connections, and the other way round.
func family(a netip.Addr) string {
	if a.Is4() {
		return "tcp4"
	}
	return "tcp6"
}

func listenPipe(ctx context.Context, a engine.Address) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", a.Path)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(ctx, a.Path) {
		if err = os.Remove(a.Path); err == nil {
			l, err = lc.Listen(ctx, "unix", a.Path)
		}
	}
	if err != nil || a.Mode == 0 || a.Path[0] == '@' {
		return l, err
	}
	if err := os.Chmod(a.Path, fs.FileMode(a.Mode)); err != nil {
		return nil, errors.Join(fmt.Errorf("mode %#o: %w", a.Mode, err), l.Close())
	}
	return l, nil
}

// abandoned says whether a path is a socket that nobody listens on.
func abandoned(ctx context.Context, path string) bool {
	i, err := os.Lstat(path)
	if err != nil || i.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Dial connects to an endpoint; from is bound as the source when it is valid.
func (Network) Dial(ctx context.Context, from netip.Addr, to engine.Address) (net.Conn, error) {
	var d net.Dialer
	if to.Path != "" {
		return d.DialContext(ctx, "unix", to.Path)
	}
	// Envoy binds a source of the endpoint's family only (source/common/upstream/upstream_impl.cc
	// UpstreamLocalAddressSelector).
	if from.IsValid() && from.Is4() == to.Addr().Is4() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, "tcp", to.String())
}

// Own returns the machine's own IPv4 address: the first that is not loopback, as Envoy chooses it
// (source/common/network/utility.cc getLocalAddress); 127.0.0.1 when there is no other.
func Own() netip.Addr {
	list, _ := net.InterfaceAddrs() // none, when they can not be had
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			if ip = ip.Unmap(); ip.Is4() && !ip.IsLoopback() {
				return ip
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Local returns the address at which a connection arrived; the zero value for unix sockets.
func (Network) Local(c net.Conn) netip.AddrPort { return addrPort(c.LocalAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// OriginalDst returns where a connection was going before the kernel redirected it; false when it
// was not redirected, or where the kernel can not tell.
func (n Network) OriginalDst(c net.Conn) (netip.AddrPort, bool) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return netip.AddrPort{}, false
	}
	to, ok := originalDst(t)
	return to, ok && to != n.Local(c)
}
