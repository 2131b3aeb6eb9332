package names_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/names"
)

// serve starts a server with two names.
func serve(t *testing.T) (*names.Server, func(name string) (*dns.Msg, error)) {
	t.Helper()
	p, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	now := int64(0)
	s := names.New(func() int64 { now++; return now })
	s.Set(names.Table{
		Addrs: map[string][]netip.Addr{
			"reviews.default.svc.cluster.local": {netip.MustParseAddr("10.96.0.10")},
		},
		Alias: map[string]string{"old.default.svc.cluster.local": "reviews.default.svc.cluster.local"},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.ServeOn(ctx, p, l) }() //nolint:errcheck // it is stopped
	t.Cleanup(func() { cancel(); <-done })
	return s, func(name string) (*dns.Msg, error) {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		c := dns.Client{Timeout: 200 * time.Millisecond}
		r, _, err := c.Exchange(m, p.LocalAddr().String())
		return r, err
	}
}

// address is what an answer says.
func address(m *dns.Msg) string {
	if m == nil || len(m.Answer) != 1 {
		return ""
	}
	return m.Answer[0].(*dns.A).A.String()
}

func TestNames(t *testing.T) {
	_, ask := serve(t)
	for name, want := range map[string]string{
		"reviews.default.svc.cluster.local.": "10.96.0.10",
		"Reviews.default.SVC.cluster.local.": "10.96.0.10",
		"old.default.svc.cluster.local.":     "10.96.0.10",
		"example.com.":                       "",
	} {
		m, err := ask(name)
		if err != nil || address(m) != want || (m.Rcode == dns.RcodeNameError) != (want == "") {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// TestFaults: each breaks what it names, for who it names, and counts; afterwards all is well.
func TestFaults(t *testing.T) {
	s, ask := serve(t)
	const name = "reviews.default.svc.cluster.local."
	me, other := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.244.0.9")
	for what, c := range map[string]struct {
		fault names.Fault
		check func(*dns.Msg, error) bool
		fired uint64
	}{
		"silent": {names.Fault{Silent: true, Pods: []netip.Addr{me}},
			func(_ *dns.Msg, err error) bool { return err != nil }, 1},
		"fail": {names.Fault{Fail: true, Names: []string{"reviews"}},
			func(m *dns.Msg, _ error) bool { return m.Rcode == dns.RcodeServerFailure }, 1},
		"wrong": {names.Fault{Wrong: netip.MustParseAddr("192.0.2.1")},
			func(m *dns.Msg, _ error) bool { return address(m) == "192.0.2.1" }, 1},
		"slow": {names.Fault{Delay: time.Nanosecond},
			func(m *dns.Msg, _ error) bool { return address(m) == "10.96.0.10" }, 1},
		"another's": {names.Fault{Silent: true, Pods: []netip.Addr{other}},
			func(m *dns.Msg, _ error) bool { return address(m) == "10.96.0.10" }, 0},
		"another name": {names.Fault{Fail: true, Names: []string{"details"}},
			func(m *dns.Msg, _ error) bool { return address(m) == "10.96.0.10" }, 0},
	} {
		c.fault.ID = what
		s.Break(c.fault)
		m, err := ask(name)
		if !c.check(m, err) {
			t.Errorf("%s: %v, %v", what, m, err)
		}
		n, err := s.Count(what)
		if err != nil || n.Answers != c.fired || (n.First > 0) != (c.fired > 0) {
			t.Errorf("%s: counted %+v, %v", what, n, err)
		}
		s.Heal(what)
		if m, err := ask(name); err != nil || address(m) != "10.96.0.10" || len(s.Faults()) > 0 {
			t.Errorf("%s, healed: %v, %v, %v", what, m, err, s.Faults())
		}
	}
}
