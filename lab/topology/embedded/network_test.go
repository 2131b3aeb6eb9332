package embedded

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
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
	m := &mesh{spec: topology.Spec{FixedPorts: true}}
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
	n := &network{block: 64, hosts: map[netip.Addr]*host{}, byReal: map[netip.Addr]netip.Addr{}}
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
