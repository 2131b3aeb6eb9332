package embedded_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// podOf is the first pod of a workload.
func podOf(t *testing.T, m topology.Mesh, workload string) string {
	t.Helper()
	for _, p := range m.Registry().Pods {
		if p.Workload == workload {
			return p.ID()
		}
	}
	t.Fatalf("no workload %q", workload)
	return ""
}

func breakIt(t *testing.T, m topology.Mesh, f topology.Fault) topology.Broken {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := m.(topology.Breaker).Break(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Heal(context.Background()) }) // again, or after a failure
	return b
}

func receipt(t *testing.T, b topology.Broken) topology.Receipt {
	t.Helper()
	r, err := b.Receipt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fired(t *testing.T, b topology.Broken) {
	t.Helper()
	wait.Until(t, func() string { return "the fault has fired" },
		func() bool { return receipt(t, b).Fired > 0 })
}

func heal(t *testing.T, b topology.Broken) {
	t.Helper()
	if err := b.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var toCustomer = request.Spec{From: "curl", URL: "http://customer:8080/"}

// answered sends a request whose answer comes in its own time.
func answered(t *testing.T, m topology.Mesh, s request.Spec) <-chan []request.Result {
	out := make(chan []request.Result, 1)
	go func() { out <- ask(t, m, s) }()
	return out
}

// silent has a request hang while a partition lasts, whatever meanwhile does, and be answered when
// it is over.
func silent(
	t *testing.T, m topology.Mesh, b topology.Broken, s request.Spec, meanwhile func(),
) {
	t.Helper()
	done := answered(t, m, s)
	fired(t, b)
	meanwhile()
	select {
	case r := <-done:
		t.Errorf("answered through a partition: %+v", r)
	default:
	}
	heal(t, b)
	if r := <-done; len(r) != 1 || r[0].Status != 200 {
		t.Errorf("after the partition: %+v", r)
	}
}

// TestPartition has a request hang while what customer sends to preference is dropped, and be
// answered when the partition is over: nothing is lost, whether connections were open or not.
func TestPartition(t *testing.T) { onBoth(t, testPartition) }

func testPartition(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t))
	if r := ask(t, m, toCustomer); r[0].Status != 200 { // leaves open connections behind
		t.Fatalf("%+v", r)
	}
	f := topology.Fault{Kind: topology.FaultPartition, From: []string{podOf(t, m, "customer")},
		To: []string{podOf(t, m, "preference")}}
	for range 2 {
		silent(t, m, breakIt(t, m, f), toCustomer, func() {
			other := request.Spec{From: "curl", URL: "http://recommendation:8080/"}
			if r := ask(t, m, other); r[0].Status != 200 {
				t.Errorf("who has nothing to do with it: %+v", r)
			}
		})
		if err := m.(topology.Breaker).Whole(t.Context()); err != nil {
			t.Error(err)
		}
		f.Both = true
	}
	if _, err := m.(topology.Breaker).Break(t.Context(), topology.Fault{Kind: topology.FaultPartition,
		From: []string{"nobody.x"}}); err == nil || !strings.Contains(err.Error(), "nobody.x") {
		t.Errorf("a pod that is not there: %v", err)
	}
}

// TestLink delays, changes and cuts the link between two, and nobody else's; records say logical
// addresses all the while.
func TestLink(t *testing.T) { onBoth(t, testLink) }

func testLink(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t))
	ask(t, m, toCustomer)
	const delay = 150 * time.Millisecond
	f := topology.Fault{Kind: topology.FaultLink, From: []string{podOf(t, m, "customer")},
		To: []string{podOf(t, m, "preference")}, Link: topology.Link{Delay: delay}}
	b := breakIt(t, m, f)
	began := time.Now()
	r := ask(t, m, toCustomer)
	if took := time.Since(began); r[0].Status != 200 || took < delay {
		t.Errorf("took %s: %+v", took, r)
	}
	if len(r[0].Hops) != 6 {
		t.Errorf("want a record of each of 6 proxies, got %d", len(r[0].Hops))
	}
	for _, h := range r[0].Hops {
		if at, err := netip.ParseAddrPort(h.Upstream); err != nil || !logical(at.Addr()) {
			t.Errorf("%s: upstream host %s", h.Pod, h.Upstream)
		}
	}
	if got := receipt(t, b); got.Fired == 0 || got.Bytes == 0 || got.Unit != "connections slowed" {
		t.Errorf("%+v", got)
	}
	none := int64(0)
	f.Link = topology.Link{ResetAfter: &none}
	if err := b.Change(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, m, toCustomer); r[0].Status == 200 {
		t.Errorf("answered by links that are cut: %+v", r)
	}
	if got := receipt(t, b); got.Unit != "connections reset" {
		t.Errorf("%+v", got)
	}
	heal(t, b)
	if r := ask(t, m, toCustomer); r[0].Status != 200 {
		t.Errorf("after healing: %+v", r)
	}
	f.Link = topology.Link{Loss: 0.1}
	if _, err := m.(topology.Breaker).Break(t.Context(), f); err == nil ||
		!strings.Contains(err.Error(), "packets") {
		t.Errorf("loss: %v", err)
	}
}

// logical says whether an address is one of a pod's, or a pod's own loopback.
func logical(a netip.Addr) bool {
	return netip.MustParsePrefix("10.0.0.0/8").Contains(a) || a == netip.MustParseAddr("127.0.0.1")
}

// TestDNS has an app's look-ups fail, wait, and lead astray; others' go on.
func TestDNS(t *testing.T) {
	m := up(t, customer(t))
	f := topology.Fault{Kind: topology.FaultDNS, Pods: []string{podOf(t, m, "curl")},
		Names: []string{"customer"}, DNS: topology.DNSFault{Fail: true}}
	b := breakIt(t, m, f)
	if r := ask(t, m, toCustomer); r[0].Status == 200 || !strings.Contains(r[0].Error, "misbehaving") {
		t.Errorf("%+v", r)
	}
	for _, other := range []request.Spec{
		{From: "curl", URL: "http://preference:8080/"},
		{From: "preference", URL: "http://recommendation:8080/"},
	} {
		if r := ask(t, m, other); r[0].Status != 200 {
			t.Errorf("%s: %+v", other.URL, r)
		}
	}
	if got := receipt(t, b); got.Fired != 1 || got.Unit != "look-ups failed" {
		t.Errorf("%+v", got)
	}
	f.DNS = topology.DNSFault{Silent: true}
	if err := b.Change(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	done := answered(t, m, toCustomer)
	wait.Until(t, func() string { return "a look-up waits" },
		func() bool { return receipt(t, b).Fired == 2 })
	heal(t, b)
	if r := <-done; len(r) != 1 || r[0].Status != 200 {
		t.Errorf("after healing: %+v", r)
	}
	f.DNS = topology.DNSFault{Wrong: "192.0.2.1", Delay: 20 * time.Millisecond}
	b = breakIt(t, m, f)
	began := time.Now()
	if c, err := m.Dial(t.Context(), f.Pods[0], "customer:8080"); err == nil {
		c.Close() // its sidecar took it
	}
	if took := time.Since(began); took < f.DNS.Delay {
		t.Errorf("answered after %s", took)
	}
	if got := receipt(t, b); got.Fired != 1 || got.Unit != "look-ups answered wrongly" {
		t.Errorf("%+v", got)
	}
	if err := m.(topology.Breaker).Whole(t.Context()); err == nil {
		t.Error("whole, with a fault")
	}
}

// TestControlFault withholds a change from one proxy, slows another change down, and takes the
// control plane away: each says how often, and afterwards everybody has everything.
func TestControlFault(t *testing.T) { onBoth(t, testControlFault) }

func testControlFault(t *testing.T, d embedded.Driver) {
	m := upOn(t, d, customer(t))
	fault := func(c topology.ControlFault) topology.Broken {
		return breakIt(t, m, topology.Fault{Kind: topology.FaultControl, Control: c})
	}
	version := func() string {
		r := ask(t, m, request.Spec{From: "preference", URL: "http://recommendation:8080/"})
		return r[0].Body
	}
	preference := podOf(t, m, "preference")
	apply := func(only string) topology.Applied {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, err := m.Apply(ctx, customer(t, fmt.Sprintf(v2only, only)))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	apply("v1")
	b := fault(topology.ControlFault{Withhold: []string{preference}})
	if a := apply("v2"); len(a.Withheld) != 1 || a.Withheld[0] != preference {
		t.Errorf("withheld from %v", a.Withheld)
	}
	if _, err := m.(topology.Rotator).RotateCertificates(t.Context()); err != nil {
		t.Errorf("rotation: %v", err)
	}
	if got := version(); !strings.Contains(got, "v1") {
		t.Errorf("without the push: %q", got)
	}
	if r := receipt(t, b); r.Fired < 2 || r.Unit != "pushes withheld" {
		t.Errorf("%+v", r)
	}
	heal(t, b)
	if got := version(); !strings.Contains(got, "v2") {
		t.Errorf("with the push: %q", got)
	}
	b = fault(topology.ControlFault{Slow: 20 * time.Millisecond})
	if a := apply("v1"); a.Took < 20*time.Millisecond || a.Withheld != nil {
		t.Errorf("%+v", a)
	}
	if r := receipt(t, b); r.Fired == 0 || r.Unit != "pushes delayed" {
		t.Errorf("%+v", r)
	}
	heal(t, b)
	b = fault(topology.ControlFault{Down: true})
	if a := apply("v2"); len(a.Withheld) != a.Total {
		t.Errorf("withheld from %v of %d", a.Withheld, a.Total)
	}
	if got := version(); !strings.Contains(got, "v1") {
		t.Errorf("while it is away: %q", got)
	}
	if r := receipt(t, b); r.Fired == 0 || r.Unit != "streams cut" {
		t.Errorf("%+v", r)
	}
	heal(t, b)
	if got := version(); !strings.Contains(got, "v2") {
		t.Errorf("when it is back: %q", got)
	}
	if err := m.(topology.Breaker).Whole(t.Context()); err != nil {
		t.Error(err)
	}
}
