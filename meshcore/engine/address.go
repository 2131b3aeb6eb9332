package engine

import (
	"cmp"
	"net/netip"
)

// Address is where a listener listens or an endpoint is: an IP address with a port, or a unix
// socket (a pipe, in Envoy's words).
type Address struct {
	netip.AddrPort
	Path string // of a unix socket; the AddrPort is the zero value then
	Mode uint32 // permissions of a unix socket that is bound; 0: as the process has it
}

// String returns the address as Envoy writes it.
func (a Address) String() string {
	if a.Path != "" {
		return a.Path
	}
	return a.AddrPort.String()
}

// Compare orders addresses: sockets by address and port, then pipes by path.
func (a Address) Compare(b Address) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), a.AddrPort.Compare(b.AddrPort),
		cmp.Compare(a.Mode, b.Mode))
}
