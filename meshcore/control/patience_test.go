package control_test

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
)

// TestPatience: one proxy refuses, one does not answer; the others get everything, in all stages.
func TestPatience(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		good, bad, slow := &target{}, &target{}, &target{}
		l.connect("good", good)
		l.connect("bad", bad)
		l.connect("slow", slow)
		first, second := mesh(t, "one"), mesh(t, "two")
		l.set(snapshots{"good.default": first, "bad.default": first, "slow.default": first})
		hold := make(chan struct{})
		slow.setHold(hold)
		bad.refuse = func(m proto.Message) error {
			if c, ok := m.(*clusterv3.Cluster); ok && c.Name == "two" {
				return errors.New("no two")
			}
			return nil
		}
		// The control plane knows nobody's name beforehand: all are waited for while they are there.
		all := snapshots{"good.default": second, "bad.default": second, "slow.default": second,
			"gone.default": second}
		r := l.set(all, control.Patience(50*time.Millisecond),
			control.Optional("good.default", "bad.default", "slow.default", "gone.default"))
		if err := same(good.snapshot(), second); err != nil {
			t.Error(err)
		}
		good.check(t)
		// Who refuses keeps what it had.
		if err := same(bad.snapshot(), first); err != nil {
			t.Error(err)
		}
		if len(r.Refused) != 1 || r.Refused[0].Node != "bad.default" || r.Refused[0].Message == "" {
			t.Errorf("refused: %v", r.Refused)
		}
		if !slices.Equal(r.Late, []string{"slow.default"}) {
			t.Errorf("late: %v", r.Late)
		}
		close(hold)
		r = l.set(all, control.Patience(time.Minute), control.Optional("gone.default"))
		if err := same(slow.snapshot(), second); err != nil || len(r.Late) != 0 {
			t.Errorf("%v %+v", err, r)
		}
		slow.check(t)
	})
}

// TestConnected: who connects is told of, by the name that Key gives, and whether it comes back.
func TestConnected(t *testing.T) {
	type seen struct {
		key, id string
		back    bool
	}
	events := make(chan any, 20)
	s := control.New(control.Options{
		Key: func(n *corev3.Node) (string, error) {
			if n.GetId() == "" {
				return "", errors.New("nobody")
			}
			return "<" + n.GetId() + ">", nil
		},
		Connected: func(key string, n *corev3.Node, back bool) {
			events <- seen{key, n.GetId(), back}
		},
		Disconnected: func(key string) { events <- key },
	})
	expect := func(want ...any) {
		t.Helper()
		for _, w := range want {
			if got := <-events; got != w {
				t.Errorf("got %v, want %v", got, w)
			}
		}
	}
	l := serve(t, s)
	ask := func(id, version string) {
		t.Helper()
		w := l.worldStream(t)
		w.node = &corev3.Node{Id: id}
		w.request(&discoveryv3.DiscoveryRequest{TypeUrl: clusters, VersionInfo: version})
	}
	ask("a", "")
	expect(seen{"<a>", "a", false})
	ask("b", "v")
	expect(seen{"<b>", "b", true})
	ask("a", "v") // in the place of the stream before
	expect("<a>", seen{"<a>", "a", true})
	d := l.deltaStream(t)
	d.node = &corev3.Node{Id: "c"}
	d.request(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: clusters, InitialResourceVersions: map[string]string{"x": "v"}})
	expect(seen{"<c>", "c", true})
	if err := d.CloseSend(); err != nil {
		t.Fatal(err)
	}
	expect("<c>")
	nobody := l.worldStream(t)
	nobody.node = &corev3.Node{}
	nobody.ask(clusters)
	if _, err := nobody.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

// serve is a lab on a server with options of its own.
func serve(t *testing.T, s *control.Server) *lab {
	t.Helper()
	on, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(control.GRPCOptions()...)
	s.Register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(on) }()
	conn, err := grpc.NewClient("passthrough:///"+on.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); g.Stop(); <-served })
	return &lab{t: t, Server: s, local: &control.LocalServer{Server: s, Conn: conn}}
}
