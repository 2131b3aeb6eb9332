package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is what one nftables rule matches and does, in order. Register 1 holds what is compared.
type rule []expr.Any

// and returns the rule with more conditions or its end; the receiver stays as it is.
func (r rule) and(more ...rule) rule {
	out := append(rule{}, r...)
	for _, m := range more {
		out = append(out, m...)
	}
	return out
}

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }
func other(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data} }
func meta(key expr.MetaKey) expr.Any {
	return &expr.Meta{Key: key, Register: 1}
}

func tcp() rule {
	return rule{meta(expr.MetaKeyL4PROTO), equal([]byte{unix.IPPROTO_TCP})}
}

// port16 is a port as packets have it.
func port16(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

// loadPort loads the port that is so far into TCP's header: 0, the one it is from, or 2, the one it
// is to.
func loadPort(offset uint32) expr.Any {
	return &expr.Payload{
		DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2,
	}
}

// toPort matches TCP packets to a port; notToPort the others.
func toPort(p uint16) rule    { return tcp().and(rule{loadPort(2), equal(port16(p))}) }
func notToPort(p uint16) rule { return tcp().and(rule{loadPort(2), other(port16(p))}) }

// fromPort matches TCP packets from a port.
func fromPort(p uint16) rule { return tcp().and(rule{loadPort(0), equal(port16(p))}) }

// openedTo matches packets, either way, of connections that were opened to a port, whatever they
// were redirected to.
func openedTo(p uint16) rule {
	return tcp().and(rule{
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: 1, Direction: 0}, equal(port16(p)),
	})
}

// direction matches what who opened a connection sends; back: what is answered.
func direction(back bool) rule {
	d := []byte{0} // IP_CT_DIR_ORIGINAL
	if back {
		d[0] = 1
	}
	return rule{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, equal(d)}
}

// opens matches the first packet of a connection (SYN without ACK).
func opens() rule {
	const syn, ack, flags = 2, 16, 13
	return tcp().and(rule{
		&expr.Payload{
			DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1,
		},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack},
			Xor: []byte{0}},
		equal([]byte{syn}),
	})
}

// Where the addresses are in an IPv4 header.
const (
	source      = 12
	destination = 16
)

// in matches packets whose address at a place is in a range; out the others.
func in(place uint32, p netip.Prefix) rule {
	return rule(masked(place, p)).and(rule{equal(first(p))})
}

func out(place uint32, p netip.Prefix) rule {
	return rule(masked(place, p)).and(rule{other(first(p))})
}

func first(p netip.Prefix) []byte { return p.Masked().Addr().AsSlice() }

func masked(place uint32, p netip.Prefix) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	load := &expr.Payload{
		DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: place, Len: 4,
	}
	if p.Bits() == 32 {
		return []expr.Any{load}
	}
	return []expr.Any{load, &expr.Bitwise{
		SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4),
	}}
}

// whole is the range of one address.
func whole(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// name16 is an interface's name as the kernel compares it.
func name16(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func leavesBy(name string) rule { return rule{meta(expr.MetaKeyOIFNAME), equal(name16(name))} }
func comesBy(name string) rule  { return rule{meta(expr.MetaKeyIIFNAME), equal(name16(name))} }

func sentBy(key expr.MetaKey, id uint32) rule {
	return rule{meta(key), equal(binaryutil.NativeEndian.PutUint32(id))}
}

func notSentBy(key expr.MetaKey, id uint32) rule {
	return rule{meta(key), other(binaryutil.NativeEndian.PutUint32(id))}
}

func marked(mark uint32) rule {
	return rule{meta(expr.MetaKeyMARK), equal(binaryutil.NativeEndian.PutUint32(mark))}
}

// chance matches one of n packets: at random, each for itself.
func chance(n uint32) rule {
	return rule{
		&expr.Numgen{Register: 1, Modulus: n, Type: unix.NFT_NG_RANDOM},
		equal(binaryutil.NativeEndian.PutUint32(0)),
	}
}

// share matches a part of the packets, at random.
func share(part float64) rule {
	const parts = 1 << 20
	return rule{
		&expr.Numgen{Register: 1, Modulus: parts, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{
			SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4,
		},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1,
			Data: binary.BigEndian.AppendUint32(nil, uint32(part*parts))},
	}
}

// What a rule ends with.
func verdict(k expr.VerdictKind) rule { return rule{&expr.Verdict{Kind: k}} }

// hits is the counter of a fault's table.
const hits = "hits"

func count() rule { return rule{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: hits}} }

func redirect(port uint16) rule {
	return tcp().and(rule{
		&expr.Immediate{Register: 1, Data: port16(port)}, &expr.Redir{RegisterProtoMin: 1},
	})
}

func dnat(to netip.AddrPort) rule {
	return rule{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: port16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1,
			RegProtoMin: 2},
	}
}

func reset() rule { return rule{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// table writes a table of ours in one transaction, in the place of what it was.
type table struct {
	conn *nftables.Conn
	t    *nftables.Table
}

// write begins to replace a table; end ends it.
func write(name string) (table, error) {
	c, err := nftables.New()
	if err != nil {
		return table{}, err
	}
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	return table{c, c.AddTable(t)}, nil
}

func (t table) chain(
	name string, typ nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority,
) func(rule) {
	c := t.conn.AddChain(&nftables.Chain{
		Name: name, Table: t.t, Type: typ, Hooknum: hook, Priority: &priority,
	})
	return func(r rule) { t.conn.AddRule(&nftables.Rule{Table: t.t, Chain: c, Exprs: r}) }
}

func (t table) end() error { return t.conn.Flush() }
