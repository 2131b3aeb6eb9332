package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// spoil makes one resource of a snapshot one that refuses will not take.
var spoil = map[string]func(s *xds.Snapshot){
	"CDS": func(s *xds.Snapshot) { s.Clusters["one"].ConnectTimeout = durationpb.New(-1) },
	"EDS": func(s *xds.Snapshot) { s.Endpoints["one"].NamedEndpoints = map[string]*endpointv3.Endpoint{"": nil} },
	"LDS": func(s *xds.Snapshot) { s.Listeners["0.0.0.0_8080"].StatPrefix = "bad" },
	"RDS": func(s *xds.Snapshot) { s.Routes["8080"].VirtualHosts[0].Domains[0] = "(" },
}

var fieldOf = map[string]string{
	"CDS": "one: connect_timeout", "EDS": "one: named_endpoints", "LDS": "0.0.0.0_8080: stat_prefix",
	"RDS": "8080: virtual_hosts[0].domains[0]",
}

func refuses(m proto.Message) error {
	bad, field := false, ""
	switch m := m.(type) {
	case *clusterv3.Cluster:
		bad, field = m.ConnectTimeout.AsDuration() < 0, "connect_timeout"
	case *endpointv3.ClusterLoadAssignment:
		bad, field = m.NamedEndpoints != nil, "named_endpoints"
	case *listenerv3.Listener:
		bad, field = m.StatPrefix == "bad", "stat_prefix"
	case *routev3.RouteConfiguration:
		bad, field = len(m.VirtualHosts) > 0 && m.VirtualHosts[0].Domains[0] == "(", "virtual_hosts[0].domains[0]"
	}
	if bad {
		return fmt.Errorf("%s: is not good", field)
	}
	return nil
}

func TestRefusal(t *testing.T) {
	for kind := range spoil {
		t.Run(kind, func(t *testing.T) {
			both(t, func(t *testing.T, l *lab) { testRefusal(t, l, kind) })
		})
	}
}

func testRefusal(t *testing.T, l *lab, kind string) {
	good, other := &target{}, &target{refuse: refuses}
	l.connect("good", good)
	l.connect("strict", other)
	first := mesh(t, "one", "two")
	l.set(snapshots{"good.default": first, "strict.default": first})

	bad := mesh(t, "one", "two", "three")
	spoil[kind](bad)
	_, err := l.Set(t.Context(), snapshots{"good.default": mesh(t, "one"), "strict.default": bad})
	var nack *control.NackError
	if !errors.As(err, &nack) {
		t.Fatalf("got %v", err)
	}
	if nack.Node != "strict.default" || nack.Type != kind || !strings.Contains(nack.Message, fieldOf[kind]) {
		t.Errorf("got %+v", nack)
	}
	if s := other.snapshot(); s.Clusters["one"].ConnectTimeout.AsDuration() < 0 || s.Listeners["0.0.0.0_8080"].StatPrefix != "" {
		t.Error("what was refused is in effect")
	}
	for _, n := range l.Status() {
		got := n.Types[kind]
		if refused := n.Node == "strict.default"; (got.Nack != "") != refused ||
			refused && (got.Acked == got.Sent || got.Acked == "") {
			t.Errorf("%s: %+v", n.Node, got)
		}
	}
	want := mesh(t, "two", "four")
	l.set(snapshots{"good.default": want, "strict.default": want})
	if err := errors.Join(same(good.snapshot(), want), same(other.snapshot(), want)); err != nil {
		t.Error(err)
	}
	good.check(t)
	other.check(t)
	for _, n := range l.Status() {
		if got := n.Types[kind]; got.Nack != "" || got.Sent != got.Acked {
			t.Errorf("mended: %s: %+v", n.Node, got)
		}
	}
}

func (l *lab) nacks() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pushes {
		if p.Nack != "" {
			n++
		}
	}
	return n
}

// TestRefusalIsNotRepeated is the loop that a server falls into which answers every request: it
// must not send anew what was refused until it has something else.
func TestRefusalIsNotRepeated(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{refuse: refuses}
		l.connect("a", x)
		bad := mesh(t, "one")
		spoil["RDS"](bad)
		for range 3 {
			if _, err := l.Set(t.Context(), snapshots{"a.default": bad}); err == nil {
				t.Fatal("accepted")
			}
		}
		if n := l.nacks(); n != 1 {
			t.Errorf("refused %d times", n)
		}
		want := mesh(t, "one")
		l.set(snapshots{"a.default": want})
		if err := same(x.snapshot(), want); err != nil {
			t.Error(err)
		}
	})
}

// TestRefusalByUpdate: what only shows when all is put together is refused as well, and leaves no
// trace.
func TestRefusalByUpdate(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &refusingTarget{}
		l.connectTarget("a", x)
		good := mesh(t, "one")
		l.set(snapshots{"a.default": good})
		_, err := l.Set(t.Context(), snapshots{"a.default": mesh(t, "bad")})
		if err == nil || !strings.Contains(err.Error(), "RDS: no bad routes") {
			t.Errorf("got %v", err)
		}
		if x.got.Routes["8080"].VirtualHosts[0].Name != "one" {
			t.Error("what was refused is in effect")
		}
		want := mesh(t, "one", "two")
		l.set(snapshots{"a.default": want})
		if err := same(x.snapshot(), want); err != nil {
			t.Error(err)
		}
		x.check(t)
	})
}

// refusingTarget refuses to put routes to cluster bad into effect.
type refusingTarget struct{ target }

func (x *refusingTarget) Update(s *xds.Snapshot) error {
	for _, rc := range s.Routes {
		if rc.VirtualHosts[0].Name == "bad" {
			return errors.New("no bad routes")
		}
	}
	return x.target.Update(s)
}

func TestInconsistentSnapshotsAreNotServed(t *testing.T) {
	l := newLab(t, false)
	for name, spoil := range map[string]func(*xds.Snapshot){
		"CDS one refers to EDS one":       func(s *xds.Snapshot) { delete(s.Endpoints, "one") },
		"LDS 0.0.0.0_8080 refers to RDS":  func(s *xds.Snapshot) { delete(s.Routes, "8080") },
		`EDS "one" is kept as "other"`:    func(s *xds.Snapshot) { s.Endpoints["other"] = s.Endpoints["one"] },
		"CDS one refers to EDS somewhere": func(s *xds.Snapshot) { s.Clusters["one"].EdsClusterConfig.ServiceName = "somewhere" },
	} {
		s := mesh(t, "one")
		spoil(s)
		_, err := l.Set(context.Background(), snapshots{"a.default": s})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "a.default") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
