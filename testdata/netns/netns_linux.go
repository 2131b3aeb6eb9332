// Package netns gives tests network namespaces of their own, as pods have them: a bridge with
// interfaces on it, without Docker. It needs root; where that is not given tests are skipped, or
// fail when MESHLAB_REQUIRE has netns or docker.
package netns

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one network namespace. It ends with the test.
type Namespace struct {
	t      *testing.T
	handle netns.NsHandle
}

// LAN makes n namespaces whose eth0 are on one bridge, at 172.31.0.2/24 and so on, with the bridge
// at 172.31.0.1 as their default route: what Docker gives to containers.
func LAN(t *testing.T, n int) []*Namespace {
	t.Helper()
	bridge := New(t)
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	bridge.Do(func() {
		must(t, netlink.LinkAdd(b))
		must(t, netlink.AddrAdd(b, address(t, "172.31.0.1/24")))
		must(t, netlink.LinkSetUp(b))
	})
	var out []*Namespace
	for i := range n {
		ns := New(t)
		port := fmt.Sprintf("port%d", i)
		bridge.Do(func() {
			v := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0",
				PeerNamespace: netlink.NsFd(ns.handle),
			}
			must(t, netlink.LinkAdd(v))
			must(t, netlink.LinkSetMaster(v, b))
			must(t, netlink.LinkSetUp(v))
		})
		ns.Do(func() {
			eth, err := netlink.LinkByName("eth0")
			must(t, err)
			must(t, netlink.AddrAdd(eth, address(t, fmt.Sprintf("172.31.0.%d/24", i+2))))
			must(t, netlink.LinkSetUp(eth))
			must(t, netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(172, 31, 0, 1)}))
		})
		out = append(out, ns)
	}
	return out
}

// New makes a namespace that has loopback alone.
func New(t *testing.T) *Namespace {
	t.Helper()
	ns := &Namespace{t: t}
	var err error
	apart(func() {
		if ns.handle, err = netns.New(); err != nil {
			return
		}
		var lo netlink.Link
		if lo, err = netlink.LinkByName("lo"); err == nil {
			err = netlink.LinkSetUp(lo)
		}
	})
	if err != nil {
		refuse(t, err)
	}
	t.Cleanup(func() { ns.handle.Close() })
	return ns
}

// refuse skips a test, or fails it where namespaces are required.
func refuse(t *testing.T, err error) {
	t.Helper()
	for word := range strings.FieldsFuncSeq(os.Getenv("MESHLAB_REQUIRE"), func(r rune) bool {
		return r == ',' || r == ' '
	}) {
		if word == "netns" || word == "docker" {
			t.Fatalf("MESHLAB_REQUIRE has %s: no network namespace: %v", word, err)
		}
	}
	t.Skipf("no network namespace: %v", err)
}

// Do calls f in the namespace, as root. Sockets that it opens stay there; goroutines that it starts
// do not.
func (n *Namespace) Do(f func()) { n.As(0, 0, f) }

// As calls f in the namespace as a user and a group. It waits for it.
func (n *Namespace) As(uid, gid int, f func()) {
	n.t.Helper()
	var err error
	apart(func() {
		if err = netns.Set(n.handle); err != nil {
			return
		}
		// The kernel's calls are about the thread alone, which ends with this.
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
		f()
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// apart calls f on a thread of its own, which ends with it.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never back: Go ends the thread
		f()
	}()
	<-done
}

func address(t *testing.T, s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	must(t, err)
	return a
}

func must(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
}
