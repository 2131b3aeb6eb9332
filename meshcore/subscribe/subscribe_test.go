package subscribe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a stream on which a test plays the server; it writes down what the client says.
type script struct {
	client *Client
	said   []string
}

func (s *script) recv() (*response, bool, error) { panic("the test calls handle") }

func (s *script) ask(k kind, add, remove []string) error {
	line := "ask " + short[k]
	for _, n := range add {
		line += " +" + n
	}
	for _, n := range remove {
		line += " -" + n
	}
	s.said = append(s.said, line)
	return nil
}

func (s *script) answer(r *response, refusal error) error {
	line := "ack " + short[r.kind]
	if refusal != nil {
		line = "nack " + short[r.kind] + " " + refusal.Error()
	}
	s.said = append(s.said, line)
	return nil
}

var short = [kinds]string{"CDS", "EDS", "SDS", "LDS", "RDS"}

// plane is a data plane that writes down each snapshot: "cluster/version ... listener/version ...".
type plane struct {
	inEffect string
	updates  int
	fail     error
}

func (p *plane) Check(m proto.Message) error {
	if c, ok := m.(*clusterv3.Cluster); ok && c.AltStatName == "bad" {
		return errors.New("alt_stat_name: is bad")
	}
	return nil
}

func (p *plane) Update(s *xds.Snapshot) error {
	if p.fail != nil {
		return p.fail
	}
	if err := s.Consistent(); err != nil {
		return fmt.Errorf("handed over an inconsistent snapshot: %w", err)
	}
	var words []string
	for _, n := range slices.Sorted(maps.Keys(s.Clusters)) {
		words = append(words, n+"/"+s.Clusters[n].AltStatName)
	}
	for _, n := range slices.Sorted(maps.Keys(s.Listeners)) {
		words = append(words, n+"/"+s.Listeners[n].StatPrefix)
	}
	p.inEffect = strings.Join(words, " ")
	p.updates++
	return nil
}

type play struct {
	t *testing.T
	c *Client
	s *script
	p *plane
}

func newPlay(t *testing.T) *play {
	p := &plane{}
	c := &Client{Node: &corev3.Node{Id: "n"}, Target: p, Delta: true, active: &active{}, Pool: &Pool{}}
	c.defaults()
	return &play{t, c, &script{client: c}, p}
}

// gets has the client receive a response and checks what it says, and what is then in effect.
func (y *play) gets(k kind, removed []string, says, inEffect string, ms ...proto.Message) {
	y.t.Helper()
	r := &response{kind: k, removed: removed}
	for _, m := range ms {
		a, err := anypb.New(m)
		if err != nil {
			y.t.Fatal(err)
		}
		r.resources = append(r.resources, versioned{"v", a})
	}
	y.s.said = nil
	if err := y.c.handle(y.s, r); err != nil {
		y.t.Fatal(err)
	}
	if got := strings.Join(y.s.said, ", "); got != says {
		y.t.Errorf("said %q, want %q", got, says)
	}
	if y.p.inEffect != inEffect {
		y.t.Errorf("in effect %q, want %q", y.p.inEffect, inEffect)
	}
}

func cluster(name, version, service string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, AltStatName: version,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{ServiceName: service},
	}
}

func endpoints(name string) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: name}
}

func listener(t *testing.T, name, version string, routes ...string) *listenerv3.Listener {
	l := &listenerv3.Listener{Name: name, StatPrefix: version}
	for _, r := range routes {
		a, err := anypb.New(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: r}}})
		if err != nil {
			t.Fatal(err)
		}
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: a}}}})
	}
	return l
}

func route(name string) *routev3.RouteConfiguration { return &routev3.RouteConfiguration{Name: name} }

func TestOrderAndWarming(t *testing.T) {
	y := newPlay(t)
	// Envoy's order; nothing is in effect before the first listeners are warm.
	y.gets(cds, nil, "ask EDS +a +b, ack CDS", "", cluster("a", "1", ""), cluster("b", "1", ""))
	y.gets(eds, nil, "ack EDS", "", endpoints("a"))
	y.gets(eds, nil, "ask LDS, ack EDS", "", endpoints("b"))
	y.gets(lds, nil, "ask RDS +r1 +r2, ack LDS", "", listener(t, "l", "1", "r1", "r2", "r1"))
	y.gets(rds, nil, "ack RDS", "", route("r1"))
	y.gets(rds, nil, "ack RDS", "a/1 b/1 l/1", route("r2"))

	// A changed cluster that needs other endpoints warms; the old one works on, and keeps its own.
	y.gets(cds, nil, "ask EDS +a2, ack CDS", "a/1 b/1 l/1", cluster("a", "2", "a2"))
	y.gets(eds, nil, "ack EDS", "a/1 b/1 l/1", endpoints("a"))
	y.gets(eds, nil, "ask EDS -a, ack EDS", "a/2 b/1 l/1", endpoints("a2"))
	// So does a listener, while others change at once.
	y.gets(lds, nil, "ask RDS +r3, ack LDS", "a/2 b/1 l/1 m/1",
		listener(t, "l", "2", "r3"), listener(t, "m", "1", "r1"))
	y.gets(rds, nil, "ask RDS -r2, ack RDS", "a/2 b/1 l/2 m/1", route("r3"))
	// A cluster whose endpoints are not known to the server is one without endpoints.
	y.gets(cds, nil, "ask EDS +c, ack CDS", "a/2 b/1 l/2 m/1", cluster("c", "1", ""))
	y.gets(eds, []string{"c"}, "ack EDS", "a/2 b/1 c/1 l/2 m/1")
	// Removals act at once, and end subscriptions; what is in use is not removed from below.
	y.gets(rds, []string{"r1"}, "ack RDS", "a/2 b/1 c/1 l/2 m/1")
	y.gets(cds, []string{"b", "none"}, "ask EDS -b, ack CDS", "a/2 c/1 l/2 m/1")
	y.gets(lds, []string{"m"}, "ask RDS -r1, ack LDS", "a/2 c/1 l/2")
	// The answer to a subscription that was taken back meanwhile changes nothing.
	updates := y.p.updates
	y.gets(eds, nil, "ack EDS", "a/2 c/1 l/2", endpoints("b"))
	y.gets(cds, nil, "ack CDS", "a/2 c/1 l/2", cluster("c", "1", ""))
	if y.p.updates != updates {
		t.Error("an update although nothing changed")
	}
}

func TestRefusals(t *testing.T) {
	y := newPlay(t)
	// Of clusters the good ones are taken.
	y.gets(cds, nil, "ask EDS +a, nack CDS b: alt_stat_name: is bad; d: alt_stat_name: is bad", "",
		cluster("a", "1", ""), cluster("b", "bad", ""), cluster("d", "bad", ""))
	y.gets(cds, nil, "ack CDS", "", cluster("a", "1", ""))
	y.gets(eds, nil, "ask LDS, ack EDS", "", endpoints("a"))
	y.gets(lds, nil, "ack LDS", "a/1 l/1", listener(t, "l", "1"))
	y.gets(cds, nil, "nack CDS e: duplicate resource", "a/1 l/1",
		cluster("e", "1", ""), cluster("e", "2", ""))
	y.gets(cds, nil, `nack CDS ?: a resource of type "type.googleapis.com/`+
		`envoy.config.route.v3.RouteConfiguration" in a response of type `+
		`type.googleapis.com/envoy.config.cluster.v3.Cluster`, "a/1 l/1", route("r"))
	y.p.fail = errors.New("listeners l and m have one address")
	y.gets(lds, nil, "nack LDS listeners l and m have one address", "a/1 l/1", listener(t, "m", "1"))
	y.p.fail = nil
	y.gets(lds, nil, "ack LDS", "a/1 l/2", listener(t, "l", "2"))
}

func TestUndecodable(t *testing.T) {
	y := newPlay(t)
	r := &response{kind: cds, resources: []versioned{{"1", &anypb.Any{
		TypeUrl: xds.ClusterType, Value: []byte{0xff}}}}}
	if err := y.c.handle(y.s, r); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(y.s.said[0], "nack CDS ?: proto:") {
		t.Errorf("said %q", y.s.said)
	}
}

// TestNothingToServe: a proxy without clusters or listeners is served all the same.
func TestNothingToServe(t *testing.T) {
	y := newPlay(t)
	y.gets(cds, nil, "ask LDS, ack CDS", "")
	y.gets(lds, nil, "ack LDS", "")
	if y.p.updates != 1 {
		t.Errorf("%d updates", y.p.updates)
	}
}

func TestPool(t *testing.T) {
	var p Pool
	body, err := anypb.New(cluster("a", "1", "service"))
	if err != nil {
		t.Fatal(err)
	}
	one, err := p.decode(cds, body)
	if err != nil {
		t.Fatal(err)
	}
	two, _ := p.decode(cds, proto.Clone(body).(*anypb.Any))
	if one != two || one.name != "a" || !slices.Equal(one.refs[eds], []string{"service"}) {
		t.Errorf("%p %+v, %p", one, one, two)
	}
	runtime.KeepAlive(one)
	runtime.KeepAlive(two)
	runtime.GC()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.known {
		if w.Value() != nil {
			t.Error("held although nobody has it")
		}
	}
}

// refusing is a connection without a server.
type refusing struct{ streams int }

func (r *refusing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	panic("ADS has no unary calls")
}

var errNobody = errors.New("nobody there")

func (r *refusing) NewStream(
	context.Context, *grpc.StreamDesc, string, ...grpc.CallOption,
) (grpc.ClientStream, error) {
	r.streams++
	return nil, errNobody
}

// counted is a back-off that gives up.
type counted struct{ left, resets int }

func (c *counted) NextBackOff() time.Duration {
	if c.left--; c.left < 0 {
		return backoff.Stop
	}
	return 0
}
func (c *counted) Reset() { c.resets++ }

func TestBackoff(t *testing.T) {
	for _, delta := range []bool{true, false} {
		conn, pause := &refusing{}, &counted{left: 3}
		c := &Client{Node: &corev3.Node{}, Conn: conn, Target: &plane{}, Delta: delta, Backoff: pause}
		if err := c.Run(t.Context()); !errors.Is(err, errNobody) {
			t.Errorf("got %v", err)
		}
		if d := cmp.Diff([]int{4, 1}, []int{conn.streams, pause.resets}); d != "" {
			t.Error(d)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &Client{Node: &corev3.Node{}, Conn: &refusing{}, Target: &plane{}}
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
