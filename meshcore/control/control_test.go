package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cenkalti/backoff/v5"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Resources.

func pack(t tester, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
}

func cluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       durationpb.New(1e9),
	}
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func endpoints(cluster string, port uint32) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: cluster,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: address("127.0.0.1", port)}},
		}}}},
	}
}

func listener(t tester, name, routes string, port uint32) *listenerv3.Listener {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
			Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: routes}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{
		Name:    name,
		Address: address("127.0.0.1", port),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, hcm)},
		}}}},
	}
}

func routes(name string, clusters ...string) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: name}
	for _, c := range clusters {
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name: c, Domains: []string{c + ".example"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c}}},
			}},
		})
	}
	return rc
}

// mesh is a snapshot with one listener whose routes lead to these clusters.
func mesh(t tester, clusters ...string) *xds.Snapshot {
	s := xds.NewSnapshot()
	for i, c := range clusters {
		s.Clusters[c] = cluster(c)
		s.Endpoints[c] = endpoints(c, uint32(9000+i))
	}
	s.Routes["8080"] = routes("8080", clusters...)
	s.Listeners["0.0.0.0_8080"] = listener(t, "0.0.0.0_8080", "8080", 0)
	return s
}

// target is a data plane that keeps what it is given and checks that it hangs together.
type target struct {
	mu      sync.Mutex
	got     *xds.Snapshot
	updates int
	broken  error                     // the first snapshot that did not hang together
	refuse  func(proto.Message) error // nil: accepts all
	hold    chan struct{}             // Update waits for it when not nil
	updated chan struct{}             // closed by the next update, when not nil
}

func (x *target) Check(m proto.Message) error {
	if x.refuse == nil {
		return nil
	}
	return x.refuse(m)
}

func (x *target) Update(s *xds.Snapshot) error {
	x.mu.Lock()
	hold := x.hold
	x.mu.Unlock()
	if hold != nil {
		<-hold
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := hangsTogether(s); err != nil && x.broken == nil {
		x.broken = err
	}
	x.got = s
	x.updates++
	if x.updated != nil {
		close(x.updated)
		x.updated = nil
	}
	return nil
}

// setHold has updates wait until c is closed.
func (x *target) setHold(c chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hold = c
}

// notify returns a channel that is closed by the next update.
func (x *target) notify() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := make(chan struct{})
	x.updated = c
	return c
}

func (x *target) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.updates
}

func (x *target) snapshot() *xds.Snapshot {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.got
}

// takeBroken returns what broken is, and forgets it.
func (x *target) takeBroken() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.broken
	x.broken = nil
	return err
}

func (x *target) check(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken != nil {
		t.Error(x.broken)
	}
}

func hangsTogether(s *xds.Snapshot) error {
	for n, c := range s.Clusters {
		if e, ok := xds.EndpointName(c); ok && s.Endpoints[e] == nil {
			return fmt.Errorf("cluster %s without its endpoints", n)
		}
	}
	for n, l := range s.Listeners {
		names, err := xds.RouteNames(l)
		if err != nil {
			return err
		}
		for _, r := range names {
			if s.Routes[r] == nil {
				return fmt.Errorf("listener %s without its routes", n)
			}
		}
	}
	for n, rc := range s.Routes {
		for _, vh := range rc.VirtualHosts {
			for _, r := range vh.Routes {
				if c := r.GetRoute().GetCluster(); s.Clusters[c] == nil {
					return fmt.Errorf("routes %s lead to cluster %s, which is not there", n, c)
				}
			}
		}
	}
	return nil
}

// same reports how a target's snapshot differs from the wanted one.
func same(got, want *xds.Snapshot) error {
	if got == nil {
		return errors.New("no snapshot")
	}
	return errors.Join(
		sameMap("clusters", got.Clusters, want.Clusters),
		sameMap("endpoints", got.Endpoints, want.Endpoints),
		sameMap("listeners", got.Listeners, want.Listeners),
		sameMap("routes", got.Routes, want.Routes),
		sameMap("secrets", got.Secrets, want.Secrets))
}

func sameMap[M proto.Message](what string, got, want map[string]M) error {
	for n, w := range want {
		if g, ok := got[n]; !ok || !proto.Equal(g, w) {
			return fmt.Errorf("%s %s: got %v, want %v", what, n, g, w)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s: got %d, want %d", what, len(got), len(want))
	}
	return nil
}

// lab is a server with clients in one process.
type lab struct {
	*control.Server
	t      tester
	local  *control.LocalServer
	world  bool
	pool   subscribe.Pool
	mu     sync.Mutex
	pushes []observe.Push
	pushed *sync.Cond

	stops    []func()
	endServe func()
	answers  int
}

func newLab(t tester, world bool) *lab {
	l := &lab{t: t, world: world}
	l.pushed = sync.NewCond(&l.mu)
	l.local = control.Local(clock.NewReal(), l)
	l.Server = l.local.Server
	t.Cleanup(l.end)
	return l
}

// end stops clients and server.
func (l *lab) end() {
	for _, stop := range l.stops {
		stop()
	}
	l.local.Close()
}

// tester is what tests, benchmarks and properties have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
	Context() context.Context
}

// Push keeps a record.
func (l *lab) Push(p observe.Push) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pushes = append(l.pushes, p)
	l.pushed.Broadcast()
}

// both runs a test in the state of the world and in delta.
func both(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Run("state of the world", func(t *testing.T) { f(t, newLab(t, true)) })
	t.Run("delta", func(t *testing.T) { f(t, newLab(t, false)) })
}

func nodeID(pod string) *corev3.Node {
	id := xds.NodeID{Role: "sidecar", IP: "10.244.0.2", Pod: pod, Namespace: "default"}
	return &corev3.Node{Id: id.String()}
}

// connected says whether the server has a stream of a node.
func (l *lab) connected(node string) bool {
	return slices.ContainsFunc(l.Status(), func(s control.NodeStatus) bool {
		return s.Node == node && s.Connected
	})
}

// connect starts a client; stop ends it and waits for its end.
func (l *lab) connect(pod string, x *target) (stop func()) { return l.connectTarget(pod, x) }

func (l *lab) connectTarget(pod string, x subscribe.Target) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c := &subscribe.Client{
		Node: nodeID(pod), Conn: l.local.Conn, Target: x, Delta: !l.world, Pool: &l.pool,
		Backoff: &backoff.ZeroBackOff{},
	}
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	l.stops = append(l.stops, stop)
	return stop
}

func (l *lab) set(snapshots map[string]*xds.Snapshot, o ...control.Option) control.Result {
	l.t.Helper()
	r, err := l.Set(l.t.Context(), snapshots, o...)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

type snapshots = map[string]*xds.Snapshot

func TestSetGivesEveryProxyItsSnapshot(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		a, b := &target{}, &target{}
		l.connect("a", a)
		l.connect("b", b)
		sa, sb := mesh(t, "one", "two"), mesh(t, "three")
		r := l.set(snapshots{"a.default": sa, "b.default": sb})
		if r.Nodes != 2 || r.Changed != 2 || r.Stages != 2 {
			t.Errorf("got %+v", r)
		}
		if err := errors.Join(same(a.snapshot(), sa), same(b.snapshot(), sb)); err != nil {
			t.Error(err)
		}
		a.check(t)
		for _, n := range l.Status() {
			for kind, s := range n.Types {
				if s.Sent == "" || s.Sent != s.Acked || s.Nack != "" {
					t.Errorf("%s %s: %+v", n.Node, kind, s)
				}
			}
			if len(n.Types) != 4 || !n.Connected {
				t.Errorf("%+v", n)
			}
		}
		if r = l.set(snapshots{"a.default": sa, "b.default": sb}); r.Changed != 0 || r.Stages != 0 {
			t.Errorf("the same again: %+v", r)
		}
	})
}

func TestSetWaitsForThoseWhoConnectLater(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		want := mesh(t, "one")
		done := make(chan error, 1)
		go func() {
			_, err := l.Set(t.Context(), snapshots{"late.default": want})
			done <- err
		}()
		x := &target{}
		l.connect("late", x)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := same(x.snapshot(), want); err != nil {
			t.Error(err)
		}
	})
}

func TestSetEndsWithItsContext(t *testing.T) {
	l := newLab(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Set(ctx, snapshots{"nobody.default": mesh(t, "one")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	l.set(snapshots{"nobody.default": mesh(t, "one")}, control.Optional("nobody.default"))
}
