package embedded

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// TestBlocks gives each lab on a machine a block, and says so when there is none left.
func TestBlocks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("one loopback address alone")
	}
	const first, last = 130, 131 // beyond those of labs
	a, b, c := &network{}, &network{}, &network{}
	for _, n := range []*network{a, b} {
		if err := n.take(first, last); err != nil {
			t.Fatal(err)
		}
	}
	if a.block == b.block {
		t.Errorf("both have block %d", a.block)
	}
	if err := c.take(first, last); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	a.close()
	if err := c.take(first, last); err != nil {
		t.Error(err)
	}
	b.close()
	c.close()
}

// TestOutside publishes a port where it is free, and next to it where it is not.
func TestOutside(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := netip.MustParseAddrPort(taken.Addr().String()).Port()
	m := &world{spec: topology.Spec{FixedPorts: true}}
	for _, free := range []bool{false, true} {
		if free {
			taken.Close()
		}
		l, err := m.outside(port)
		if err != nil {
			t.Fatal(err)
		}
		if same := l.Addr().String() == taken.Addr().String(); same != free {
			t.Errorf("free %v: published at %s", free, l.Addr())
		}
		l.Close()
	}
}

// TestManyHosts gives addresses outside of the pods' range real ones of their own.
func TestManyHosts(t *testing.T) {
	n := testNetwork()
	seen := map[netip.Addr]bool{}
	at := netip.MustParseAddr("198.51.100.1")
	for range 3000 {
		real := n.host(at).real
		if seen[real] {
			t.Fatalf("%s is given twice", real)
		}
		seen[real] = true
		at = at.Next()
	}
}

func testNetwork() *network {
	return &network{
		block: 64, hosts: map[netip.Addr]*host{}, byReal: map[netip.Addr]netip.Addr{},
		reals: map[netip.Addr]netip.Addr{},
	}
}

// TestSameAddress: configuration that was made for a pod leads to the one that takes its place, and
// an IPv6 address to nobody.
func TestSameAddress(t *testing.T) {
	n := testNetwork()
	for _, text := range []string{"10.244.0.2", "198.51.100.7", "2001:db8::1"} {
		at := netip.MustParseAddr(text)
		before := n.host(at).real
		n.forget(at, nil)
		n.host(netip.MustParseAddr("203.0.113.1"))
		if after := n.host(at).real; after != before || !after.Is4() {
			t.Errorf("%s was at %s and is at %s", at, before, after)
		}
	}
}

// TestSocketName: names of pods that are too long for a socket stay different.
func TestSocketName(t *testing.T) {
	n := testNetwork()
	long := strings.Repeat("a", 253)
	a, b := n.socketName(long+"b"), n.socketName(long+"c")
	if len(a) != 107 || a == b {
		t.Errorf("%q (%d) and %q", a, len(a), b)
	}
	if short := n.socketName("outbound.a-0.default"); !strings.HasSuffix(short, "/outbound.a-0.default") {
		t.Errorf("got %q", short)
	}
}
