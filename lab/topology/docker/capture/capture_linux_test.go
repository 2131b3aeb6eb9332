package capture_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy/host"
	"github.com/mesh-lab/mesh-lab/testdata/netns"
)

// pair is two pods: a, whose rules are tested, and b. Each has listeners that say their name, where
// the connection was going, and who it is from.
func pair(t *testing.T) (a, b *netns.Namespace) {
	lan := netns.LAN(t, 2)
	for _, ns := range lan {
		ns.Do(func() {
			eth, err := netlink.LinkByName("eth0")
			check(t, err)
			check(t, netlink.RouteAdd(&netlink.Route{
				LinkIndex: eth.Attrs().Index, Dst: netlink.NewIPNet(net.IPv4(10, 96, 0, 0)),
			}))
		})
	}
	return lan[0], lan[1]
}

const (
	aIP = "172.31.0.2"
	bIP = "172.31.0.3"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers on a port of a namespace with "NAME to ORIGINAL from PEER".
func serve(t *testing.T, ns *netns.Namespace, name string, port int) {
	t.Helper()
	var l net.Listener
	var err error
	ns.Do(func() { l, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port)) })
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to, ok := host.Network{}.OriginalDst(c)
			if !ok {
				to = host.Network{}.Local(c)
			}
			peer, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s to %s from %s\n", name, to, peer)
			c.Close()
		}
	}()
}

// ask connects as a user and returns what the listener says, or the error.
func ask(ns *netns.Namespace, uid, gid int, address string, from ...string) string {
	var text string
	ns.As(uid, gid, func() {
		d := net.Dialer{Timeout: time.Second}
		if len(from) > 0 {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from[0] + ":0"))
		}
		c, err := d.Dial("tcp4", address)
		if err != nil {
			text = why(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		if text, err = bufio.NewReader(c).ReadString('\n'); err != nil {
			text = why(err)
		}
	})
	return strings.TrimSpace(text)
}

func why(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silence"
	}
	return err.Error()
}

// TestCapture shows each rule of istio-init by where a connection ends.
func TestCapture(t *testing.T) {
	a, b := pair(t)
	for port, name := range map[int]string{
		9080: "app", 15001: "outbound", 15006: "inbound", 15008: "tunnel", 15021: "health",
		15301: "agent", 25: "mail",
	} {
		serve(t, a, name, port)
	}
	serve(t, b, "peer", 9080)
	serve(t, b, "peer mail", 25)

	prefix := netip.MustParsePrefix
	rules := func(change func(*intercept.Rules)) *intercept.Rules {
		r := intercept.Default()
		if change != nil {
			change(r)
		}
		return r
	}
	const app, proxy = 1000, 1337
	for _, c := range []struct {
		name     string
		rules    *intercept.Rules
		from     *netns.Namespace
		uid, gid int
		address  string
		bind     string
		want     string
	}{
		{name: "app to a pod", from: a, uid: app, gid: app, address: bIP + ":9080",
			want: "outbound to " + bIP + ":9080 from " + aIP},
		{name: "app to a Service", from: a, uid: app, gid: app, address: "10.96.0.10:80",
			want: "outbound to 10.96.0.10:80 from " + aIP},
		{name: "root is an app, too", from: a, address: bIP + ":9080",
			want: "outbound to " + bIP + ":9080 from " + aIP},
		{name: "sidecar to a pod", from: a, uid: proxy, gid: proxy, address: bIP + ":9080",
			want: "peer to " + bIP + ":9080 from " + aIP},
		{name: "the sidecar's group", from: a, uid: app, gid: proxy, address: bIP + ":9080",
			want: "peer to " + bIP + ":9080 from " + aIP},
		{name: "app to localhost", from: a, uid: app, gid: app, address: "127.0.0.1:9080",
			want: "app to 127.0.0.1:9080 from 127.0.0.1"},
		{name: "app to its own pod", from: a, uid: app, gid: app, address: aIP + ":9080",
			want: "app to " + aIP + ":9080 from " + aIP},
		{name: "sidecar to its own pod", from: a, uid: proxy, gid: proxy, address: aIP + ":9080",
			want: "inbound to " + aIP + ":9080 from " + aIP},
		{name: "inbound side to its app", from: a, uid: proxy, gid: proxy, address: aIP + ":9080",
			bind: "127.0.0.6", want: "app to " + aIP + ":9080 from 127.0.0.6"},
		{name: "sidecar to localhost", from: a, uid: proxy, gid: proxy, address: "127.0.0.1:9080",
			want: "app to 127.0.0.1:9080 from 127.0.0.1"},
		{name: "from another pod", from: b, address: aIP + ":9080",
			want: "inbound to " + aIP + ":9080 from " + bIP},
		{name: "from another pod to nobody", from: b, address: aIP + ":1",
			want: "inbound to " + aIP + ":1 from " + bIP},
		{name: "health", from: b, address: aIP + ":15021",
			want: "health to " + aIP + ":15021 from " + bIP},
		{name: "tunnel", from: b, address: aIP + ":15008",
			want: "tunnel to " + aIP + ":15008 from " + bIP},
		{name: "agent", from: b, address: aIP + ":15301",
			want: "agent to " + aIP + ":15301 from " + bIP},
		{name: "excluded inbound port", from: b, address: aIP + ":9080",
			rules: rules(func(r *intercept.Rules) { r.ExcludeInbound = []uint16{9080} }),
			want:  "app to " + aIP + ":9080 from " + bIP},
		{name: "inbound list: in it", from: b, address: aIP + ":9080",
			rules: rules(func(r *intercept.Rules) {
				r.Inbound = intercept.Ports{List: []uint16{9080}}
			}), want: "inbound to " + aIP + ":9080 from " + bIP},
		{name: "inbound list: not in it", from: b, address: aIP + ":25",
			rules: rules(func(r *intercept.Rules) {
				r.Inbound = intercept.Ports{List: []uint16{9080}}
			}), want: "mail to " + aIP + ":25 from " + bIP},
		{name: "excluded outbound port", from: a, uid: app, gid: app, address: bIP + ":25",
			rules: rules(func(r *intercept.Rules) { r.ExcludePorts = []uint16{25} }),
			want:  "peer mail to " + bIP + ":25 from " + aIP},
		{name: "excluded range", from: a, uid: app, gid: app, address: bIP + ":9080",
			rules: rules(func(r *intercept.Rules) {
				r.ExcludeOutbound = []netip.Prefix{prefix("172.31.0.0/24")}
			}), want: "peer to " + bIP + ":9080 from " + aIP},
		{name: "outside of the ranges", from: a, uid: app, gid: app, address: bIP + ":9080",
			rules: rules(func(r *intercept.Rules) {
				r.Outbound = intercept.Ranges{List: []netip.Prefix{prefix("10.96.0.0/12")}}
			}), want: "peer to " + bIP + ":9080 from " + aIP},
		{name: "in the ranges", from: a, uid: app, gid: app, address: "10.96.0.10:80",
			rules: rules(func(r *intercept.Rules) {
				r.Outbound = intercept.Ranges{List: []netip.Prefix{prefix("10.96.0.0/12")}}
			}), want: "outbound to 10.96.0.10:80 from " + aIP},
		{name: "included port beside the ranges", from: a, uid: app, gid: app,
			address: bIP + ":25", rules: rules(func(r *intercept.Rules) {
				r.Outbound, r.OutboundPorts = intercept.Ranges{}, []uint16{25}
			}), want: "outbound to " + bIP + ":25 from " + aIP},
		{name: "excluded interface, in", from: b, address: aIP + ":9080",
			rules: rules(func(r *intercept.Rules) { r.ExcludeInterfaces = []string{"eth0"} }),
			want:  "app to " + aIP + ":9080 from " + bIP},
		{name: "excluded interface, out", from: a, uid: app, gid: app, address: bIP + ":9080",
			rules: rules(func(r *intercept.Rules) { r.ExcludeInterfaces = []string{"eth0"} }),
			want:  "peer to " + bIP + ":9080 from " + aIP},
		{name: "loopback in the ranges", from: a, uid: app, gid: app, address: aIP + ":9080",
			rules: rules(func(r *intercept.Rules) {
				r.Outbound = intercept.Ranges{
					List: []netip.Prefix{prefix("127.0.0.0/8"), prefix("172.31.0.0/24")},
				}
			}), want: "outbound to " + aIP + ":9080 from " + aIP},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.rules == nil {
				c.rules = rules(nil)
			}
			var err error
			a.Do(func() { err = capture.Install(c.rules) })
			check(t, err)
			var from []string
			if c.bind != "" {
				from = append(from, c.bind)
			}
			if got := ask(c.from, c.uid, c.gid, c.address, from...); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	var err error
	a.Do(func() { err = capture.Remove() })
	check(t, err)
	if got := ask(a, app, app, bIP+":9080"); !strings.HasPrefix(got, "peer to") {
		t.Errorf("rules are removed, and an app's connection ends at: %s", got)
	}
}

// TestVIPs shows what kube-proxy does: Services lead to their pods, all of them, and changes count
// at once.
func TestVIPs(t *testing.T) {
	a, b := pair(t)
	serve(t, b, "one", 8080)
	serve(t, b, "two", 8081)
	serve(t, a, "self", 9080)
	set := func(ends ...string) {
		v := capture.VIP{Addr: netip.MustParseAddr("10.96.0.10"), Port: 80}
		for _, e := range ends {
			v.Ends = append(v.Ends, netip.MustParseAddrPort(e))
		}
		var err error
		a.Do(func() { err = capture.SetVIPs([]capture.VIP{v}) })
		check(t, err)
	}
	set(bIP+":8080", bIP+":8081")
	seen := map[string]int{}
	for range 64 {
		seen[ask(a, 1000, 1000, "10.96.0.10:80")]++
	}
	one, two := "one to "+bIP+":8080 from "+aIP, "two to "+bIP+":8081 from "+aIP
	if seen[one] == 0 || seen[two] == 0 || seen[one]+seen[two] != 64 {
		t.Errorf("64 connections went to %v", seen)
	}
	set(bIP + ":8081")
	if got := ask(a, 1000, 1000, "10.96.0.10:80"); got != two {
		t.Errorf("with one pod: %s", got)
	}
	set()
	if got := ask(a, 1000, 1000, "10.96.0.10:80"); got != "refused" {
		t.Errorf("without pods: %s", got)
	}
	set(aIP + ":9080")
	if got := ask(a, 1000, 1000, "10.96.0.10:80"); !strings.HasPrefix(got, "self to") {
		t.Errorf("a pod's own Service: %s", got)
	}
	// The sidecar takes what it takes, and what it does not leads to a pod.
	serve(t, a, "outbound", 15001)
	var err error
	a.Do(func() { err = capture.Install(intercept.Default()) })
	check(t, err)
	set(bIP + ":8080")
	if got := ask(a, 1000, 1000, "10.96.0.10:80"); got != "outbound to 10.96.0.10:80 from "+aIP {
		t.Errorf("with a sidecar: %s", got)
	}
	if got := ask(a, 1337, 1337, "10.96.0.10:80"); got != one {
		t.Errorf("from the sidecar: %s", got)
	}
}

// TestFaults breaks the way between two pods and counts what was hit.
func TestFaults(t *testing.T) {
	a, b := pair(t)
	serve(t, a, "app", 9080)
	serve(t, b, "peer", 9080)
	serve(t, b, "other", 9081)
	peer := []netip.Addr{netip.MustParseAddr(bIP)}
	const out, back = bIP + ":9080", aIP + ":9080"
	for _, c := range []struct {
		name  string
		rules []capture.FaultRule
		out   string // what a hears of b's port 9080
		back  string // what b hears of a's
		hit   bool
	}{
		{"drop out", []capture.FaultRule{{Out: true, Peers: peer, Action: capture.Drop}},
			"silence", "silence", true},
		{"drop out to a port", []capture.FaultRule{
			{Out: true, Peers: peer, Ports: []uint16{9080}, Action: capture.Drop}},
			"silence", "silence", true},
		{"drop in", []capture.FaultRule{{Peers: peer, Action: capture.Drop}},
			"silence", "silence", true},
		{"drop all", []capture.FaultRule{{Action: capture.Drop}}, "silence", "silence", true},
		{"drop another port", []capture.FaultRule{
			{Out: true, Peers: peer, Ports: []uint16{9081}, Action: capture.Drop}},
			"peer", "app", false},
		{"drop another peer", []capture.FaultRule{
			{Peers: []netip.Addr{netip.MustParseAddr("172.31.0.9")}, Action: capture.Drop}},
			"peer", "app", false},
		{"refuse", []capture.FaultRule{{Ports: []uint16{9080}, Action: capture.Refuse}},
			"peer", "refused", true},
		{"lose all", []capture.FaultRule{{Peers: peer, Action: capture.Lose, Share: 1}},
			"silence", "silence", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			a.Do(func() { err = capture.Break(capture.Fault{ID: c.name, Rules: c.rules}) })
			check(t, err)
			for _, x := range []struct {
				from       *netns.Namespace
				to, wanted string
			}{{a, out, c.out}, {b, back, c.back}} {
				if got := ask(x.from, 1000, 1000, x.to); !strings.HasPrefix(got, x.wanted) {
					t.Errorf("to %s: %q, want %q", x.to, got, x.wanted)
				}
			}
			var n capture.Count
			var there []string
			a.Do(func() {
				n, err = capture.Counted(c.name)
				check(t, err)
				there, err = capture.Faults()
			})
			check(t, err)
			if (n.Packets > 0) != c.hit || !slices.Equal(there, []string{c.name}) {
				t.Errorf("hit %+v, want %v; there is %v", n, c.hit, there)
			}
			a.Do(func() {
				check(t, capture.Heal(c.name))
				check(t, capture.Heal(c.name)) // again
				there, err = capture.Faults()
			})
			if got := ask(a, 1000, 1000, out); !strings.HasPrefix(got, "peer") || len(there) > 0 {
				t.Errorf("healed, and still: %q, %v, %v", got, there, err)
			}
		})
	}
	if err := (capture.Fault{ID: "x", Rules: []capture.FaultRule{{Action: "eat"}}}).Check(); err == nil {
		t.Error("an unknown action passes")
	}
}

// TestLoss loses a share of many packets.
func TestLoss(t *testing.T) {
	a, b := pair(t)
	var in net.PacketConn
	var out net.Conn
	var err error
	b.Do(func() { in, err = net.ListenPacket("udp4", bIP+":53") })
	check(t, err)
	defer in.Close()
	a.Do(func() {
		check(t, capture.Break(capture.Fault{ID: "l", Rules: []capture.FaultRule{
			{Out: true, Action: capture.Lose, Share: 0.25}}}))
		out, err = net.Dial("udp4", bIP+":53")
	})
	check(t, err)
	defer out.Close()
	const sent = 4000
	for range sent {
		out.Write([]byte("x")) //nolint:errcheck // EPERM: it was lost
	}
	var n capture.Count
	a.Do(func() { n, err = capture.Counted("l") })
	check(t, err)
	if n.Packets < sent/5 || n.Packets > sent*3/10 { // 6 standard deviations are 4 points
		t.Errorf("%d of %d packets are lost, want about a quarter", n.Packets, sent)
	}
}
