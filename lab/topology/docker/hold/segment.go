package hold

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// segment is a packet of TCP over IPv4, from its IP header on.
type segment []byte

// Flags of TCP.
const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// What an IPv4 header and one of TCP have at least.
const (
	ipHeader  = 20
	tcpHeader = 20
	tcp       = 6 // the protocol
)

// ok says whether it is one.
func (s segment) ok() bool {
	return len(s) >= ipHeader+tcpHeader && s[0]>>4 == 4 && s[9] == tcp && s.ip() >= ipHeader &&
		len(s) >= s.ip()+tcpHeader && s.header() >= s.ip()+tcpHeader && s.total() >= s.header() &&
		len(s) >= s.total()
}

func (s segment) ip() int          { return int(s[0]&15) * 4 }
func (s segment) total() int       { return int(binary.BigEndian.Uint16(s[2:])) }
func (s segment) tcp() []byte      { return s[s.ip():] }
func (s segment) header() int      { return s.ip() + int(s.tcp()[12]>>4)*4 } // of both
func (s segment) payload() int     { return s.total() - s.header() }
func (s segment) seq() uint32      { return binary.BigEndian.Uint32(s.tcp()[4:]) }
func (s segment) ack() uint32      { return binary.BigEndian.Uint32(s.tcp()[8:]) }
func (s segment) has(f uint8) bool { return s.tcp()[13]&f != 0 }

// end is the sequence number that follows it.
func (s segment) end() uint32 {
	n := uint32(s.payload())
	if s.has(flagSYN) {
		n++
	}
	if s.has(flagFIN) {
		n++
	}
	return s.seq() + n
}

func (s segment) from() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[12:16])),
		binary.BigEndian.Uint16(s.tcp()))
}

func (s segment) to() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[16:20])),
		binary.BigEndian.Uint16(s.tcp()[2:]))
}

// cut returns the packet with n bytes of its payload, and no end.
func (s segment) cut(n int) segment {
	c := slices.Clone(s[:s.header()+n])
	binary.BigEndian.PutUint16(c[2:], uint16(len(c)))
	c.tcp()[13] &^= flagFIN
	c.sum()
	return c
}

// reset is the packet that ends a connection at an end which awaits the byte seq.
func reset(from, to netip.AddrPort, seq, ack uint32) segment {
	s := make(segment, ipHeader+tcpHeader)
	s[0] = 4<<4 | ipHeader/4
	binary.BigEndian.PutUint16(s[2:], uint16(len(s)))
	s[8], s[9] = 64, tcp
	copy(s[12:], from.Addr().AsSlice())
	copy(s[16:], to.Addr().AsSlice())
	t := s.tcp()
	binary.BigEndian.PutUint16(t, from.Port())
	binary.BigEndian.PutUint16(t[2:], to.Port())
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = tcpHeader/4<<4, flagRST|flagACK
	s.sum()
	return s
}

// sum writes both checksums.
func (s segment) sum() {
	s[10], s[11] = 0, 0
	binary.BigEndian.PutUint16(s[10:], fold(add(0, s[:s.ip()])))
	t := s.tcp()
	t[16], t[17] = 0, 0
	pseudo := add(0, s[12:20]) + tcp + uint32(len(t))
	binary.BigEndian.PutUint16(t[16:], fold(add(pseudo, t)))
}

func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
