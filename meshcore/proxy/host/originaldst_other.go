//go:build !linux

package host

import (
	"net"
	"net/netip"
)

// originalDst is unknown: only Linux' connection tracker tells.
func originalDst(*net.TCPConn) (netip.AddrPort, bool) { return netip.AddrPort{}, false }
