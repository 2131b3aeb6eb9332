package host

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"
)

// soOriginalDst is SO_ORIGINAL_DST of the kernel's linux/netfilter_ipv4.h and
// IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h.
const soOriginalDst = 80

// originalDst asks the connection tracker for the address before REDIRECT or DNAT.
func originalDst(c *net.TCPConn) (to netip.AddrPort, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return to, false
	}
	v6 := !addrPort(c.LocalAddr()).Addr().Is4()
	err = raw.Control(func(fd uintptr) {
		if v6 {
			var a syscall.RawSockaddrInet6
			if ok = sockopt(fd, syscall.SOL_IPV6, unsafe.Pointer(&a), unsafe.Sizeof(a)); ok {
				to = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), port(a.Port))
			}
			return
		}
		var a syscall.RawSockaddrInet4
		if ok = sockopt(fd, syscall.SOL_IP, unsafe.Pointer(&a), unsafe.Sizeof(a)); ok {
			to = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), port(a.Port))
		}
	})
	return to, ok && err == nil
}

// sockopt reads SO_ORIGINAL_DST into p, which is size bytes.
func sockopt(fd uintptr, level int, p unsafe.Pointer, size uintptr) bool {
	n := uint32(size)
	_, _, no := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, uintptr(level), soOriginalDst,
		uintptr(p), uintptr(unsafe.Pointer(&n)), 0)
	return no == 0
}

// port turns a port of a socket address, which is in network order, into a number.
func port(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}
