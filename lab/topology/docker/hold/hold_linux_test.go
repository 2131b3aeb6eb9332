package hold_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/hold"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/testdata/netns"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

var (
	aIP = netip.MustParseAddr("172.31.0.2")
	bIP = netip.MustParseAddr("172.31.0.3")
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mono is the kernel's monotonic time.
func mono() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) //nolint:errcheck // it is there
	return t.Nano()
}

// lab is two pods: a, which calls, and b, whose sidecar is called.
type lab struct {
	t      *testing.T
	a, b   *netns.Namespace
	holder *hold.Holder // of b
	l      net.Listener
}

func newLab(t *testing.T) *lab {
	lan := netns.LAN(t, 2)
	x := &lab{t: t, a: lan[0], b: lan[1], holder: hold.New(mono)}
	var err error
	x.b.Do(func() {
		if err = capture.Install(intercept.Default()); err == nil {
			x.l, err = net.Listen("tcp4", "0.0.0.0:15006")
		}
	})
	check(t, err)
	t.Cleanup(func() { x.l.Close() })
	return x
}

// open opens a connection from a to b, both of whose ends it returns.
func (x *lab) open() (client, server *net.TCPConn) {
	x.t.Helper()
	var c net.Conn
	var err error
	x.a.Do(func() { c, err = net.DialTimeout("tcp4", bIP.String()+":9080", 5*time.Second) })
	check(x.t, err)
	s, err := x.l.Accept()
	check(x.t, err)
	x.t.Cleanup(func() { c.Close(); s.Close() })
	for _, e := range []net.Conn{c, s} {
		check(x.t, e.SetDeadline(time.Now().Add(10*time.Second)))
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// suffer has b hold what comes from a.
func (x *lab) suffer(t link.Toxic) {
	x.t.Helper()
	var err error
	x.b.Do(func() {
		err = x.holder.Set(hold.Fault{ID: "f", Local: bIP, Peers: []netip.Addr{aIP},
			Ports: []uint16{9080}, Toxic: t})
	})
	check(x.t, err)
}

// holds waits until so many bytes have been held.
func (x *lab) holds(bytes int64) {
	x.t.Helper()
	var n hold.Count
	wait.Until(x.t, func() string { return fmt.Sprintf("%+v", n) }, func() bool {
		var err error
		n, err = x.holder.Count("f")
		check(x.t, err)
		return n.Bytes == bytes
	})
}

// heal ends it, and says what it did.
func (x *lab) heal() hold.Count {
	x.t.Helper()
	var err error
	var left []string
	x.b.Do(func() {
		if err = x.holder.Heal("f"); err == nil {
			left, err = capture.Faults()
		}
	})
	check(x.t, err)
	if len(left) > 0 {
		x.t.Errorf("the kernel still has %v", left)
	}
	c, err := x.holder.Count("f")
	check(x.t, err)
	return c
}

// echo sends a text there and back, and says how long that took.
func echo(t *testing.T, client, server net.Conn, text string) time.Duration {
	t.Helper()
	began := time.Now()
	buf := make([]byte, len(text))
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		_, err := way[0].Write([]byte(text))
		check(t, err)
		_, err = io.ReadFull(way[1], buf)
		check(t, err)
		if string(buf) != text {
			t.Fatalf("%q has become %q", text, buf)
		}
	}
	return time.Since(began)
}

// TestDelay delays what is sent on a connection that is open, and the making of one.
func TestDelay(t *testing.T) {
	x := newLab(t)
	client, server := x.open()
	echo(t, client, server, "before")
	const d = 150 * time.Millisecond
	x.suffer(link.Toxic{Delay: d})
	if took := echo(t, client, server, "during"); took < d {
		t.Errorf("an open connection: %s, want %s", took, d)
	}
	began := time.Now()
	c2, s2 := x.open()
	if took := time.Since(began); took < d {
		t.Errorf("a connection is made in %s, want %s", took, d)
	}
	if took := echo(t, c2, s2, "new"); took < d {
		t.Errorf("a new connection: %s, want %s", took, d)
	}
	x.suffer(link.Toxic{Delay: time.Hour})
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	x.holds(10)
	if n := x.heal(); len(n.Flows) != 2 || n.First == 0 || n.Last <= n.First {
		t.Errorf("counted %+v, want 2 connections", n)
	}
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil { // what was held
		t.Error(err)
	}
	echo(t, client, server, "after")
}

// TestReset resets connections, one that is open and one that is not, after so many bytes exactly.
func TestReset(t *testing.T) {
	x := newLab(t)
	client, server := x.open()
	echo(t, client, server, "before")
	x.suffer(link.Toxic{Reset: true, After: 3000})
	sends := func(client, server net.Conn) {
		t.Helper()
		echo(t, client, server, "it passes")
		_, err := client.Write(make([]byte, 5000))
		check(t, err)
		n, err := io.Copy(io.Discard, server)
		if n += int64(len("it passes")); n != 3000 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server had %d bytes, want 3000; then %v", n, err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client: %v", err)
		}
	}
	sends(client, server)
	sends(x.open())
	if n := x.heal(); len(n.Flows) != 2 {
		t.Errorf("counted %+v, want 2 connections", n)
	}
	c3, s3 := x.open()
	echo(t, c3, s3, "after")
}

// TestSilence lets connections be made, and nothing pass until it is healed.
func TestSilence(t *testing.T) {
	x := newLab(t)
	client, server := x.open()
	x.suffer(link.Toxic{Silent: true})
	c2, s2 := x.open()
	for _, c := range []net.Conn{client, c2} {
		_, err := c.Write([]byte("held"))
		check(t, err)
	}
	for _, s := range []net.Conn{server, s2} {
		check(t, s.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		if n, err := s.Read(make([]byte, 4)); err == nil {
			t.Errorf("%d bytes passed", n)
		}
		check(t, s.SetReadDeadline(time.Now().Add(5*time.Second)))
	}
	x.holds(8)
	if n := x.heal(); len(n.Flows) != 2 {
		t.Errorf("counted %+v, want 2 connections", n)
	}
	for _, s := range []net.Conn{server, s2} {
		if _, err := io.ReadFull(s, make([]byte, 4)); err != nil {
			t.Error(err)
		}
	}
}

// TestBandwidth lets so many bytes a second pass, and every byte in the end.
func TestBandwidth(t *testing.T) {
	x := newLab(t)
	client, server := x.open()
	x.suffer(link.Toxic{Bandwidth: 1 << 20})
	const size = 1 << 18 // a quarter of a second
	began := time.Now()
	go func() {
		client.Write(make([]byte, size)) //nolint:errcheck // who reads sees
		client.CloseWrite()              //nolint:errcheck // likewise
	}()
	n, err := io.Copy(io.Discard, server)
	if took := time.Since(began); n != size || err != nil || took < 200*time.Millisecond {
		t.Errorf("%d bytes, want %d, in %s; %v", n, size, took, err)
	}
	if n := x.heal(); len(n.Flows) != 1 {
		t.Errorf("counted %+v, want 1 connection", n)
	}
}
