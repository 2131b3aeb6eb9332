package als

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// self is the proxy of both data planes.
var self = Proxy{Name: "a-1.default", Workload: observe.Workload{
	Pod: "a-1", Workload: "a", Service: "a", Version: "v1", Namespace: "default"}}

var keepHeaders = []string{"x-user", "x-multi"}

// plane is one data plane with a snapshot: where its listeners are, and what it records.
type plane struct {
	addr map[string]string // of listeners

	mu      sync.Mutex
	records []observe.Request
	come    chan struct{}
}

// Record keeps a record. It is borrowed, so its slices are copied.
func (p *plane) Record(r *observe.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := *r
	c.Attempts, c.Mirrors = slices.Clone(r.Attempts), slices.Clone(r.Mirrors)
	p.records = append(p.records, c)
	select {
	case p.come <- struct{}{}:
	default:
	}
}

// await returns the records of a listener, as soon as there are n.
func (p *plane) await(t *testing.T, listener string, n int) []observe.Request {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		var out []observe.Request
		for _, r := range p.records {
			if r.Listener == listener {
				out = append(out, r)
			}
		}
		p.mu.Unlock()
		if len(out) >= n {
			return out
		}
		select {
		case <-p.come:
		case <-late:
			t.Errorf("%s: %d records, want %d", listener, len(out), n)
			return out
		}
	}
}

// direct is the network of our proxy: every listener gets a port of its own.
type direct struct{}

func (direct) Listen(ctx context.Context, _ engine.Address) (net.Listener, bool, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	return l, false, err
}

func (direct) Dial(ctx context.Context, _ netip.Addr, to engine.Address) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
}

// startProxy runs our own proxy.
func startProxy(t *testing.T, s *xds.Snapshot) *plane {
	t.Helper()
	return startEjecting(t, s, nil)
}

// startEjecting runs our own proxy and tells of ejections.
func startEjecting(t *testing.T, s *xds.Snapshot, changes chan<- observe.Change) *plane {
	t.Helper()
	var p *proxy.Proxy
	pl := &plane{addr: map[string]string{}, come: make(chan struct{}, 1)}
	c := clock.NewReal()
	p = proxy.New(proxy.Options{
		Engine: engine.New(engine.Options{Node: self.Name, Workload: self.Workload,
			KeepHeaders: keepHeaders, Removed: proxy.Removed, Wall: c.Wall,
			Wake:    func(at clock.Instant) { p.Wake(at) },
			Changed: func(c observe.Change) { changes <- c }}),
		Network: direct{}, Clock: c, Seed: 1, Sink: pl,
	})
	t.Cleanup(func() { p.Close() })
	if err := p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for name, l := range s.Listeners {
		pl.addr[name] = p.Addr(engine.Address{AddrPort: addrOf(l.GetAddress())}).String()
	}
	return pl
}

func addrOf(a *corev3.Address) netip.AddrPort {
	s := a.GetSocketAddress()
	return netip.AddrPortFrom(netip.MustParseAddr(s.GetAddress()), uint16(s.GetPortValue()))
}

// envoy is a real Envoy and the access log service that it reports to.
type envoy struct {
	*plane
	s     *Server
	admin string
	raw   *tap
}

// envoyBinary finds the real Envoy, or skips the test; where it is required, its absence is a
// failure.
func envoyBinary(t testing.TB) string {
	t.Helper()
	binary, err := exec.LookPath(cmp.Or(os.Getenv("MESHLAB_ENVOY"), "envoy"))
	if err != nil {
		if strings.Contains(os.Getenv("MESHLAB_REQUIRE"), "envoy") {
			t.Fatal("envoy is required: ", err)
		}
		t.Skip("no envoy (set MESHLAB_ENVOY to its path): ", err)
	}
	return binary
}

// startEnvoy runs a real Envoy with the snapshot made static.
func startEnvoy(t testing.TB, s *xds.Snapshot, tune ...func(*bootstrapv3.Bootstrap)) *envoy {
	t.Helper()
	binary := envoyBinary(t)
	e := &envoy{plane: &plane{addr: map[string]string{}, come: make(chan struct{}, 1)}}
	places := map[netip.AddrPort]netip.AddrPort{}
	e.s = New(Options{
		Clock: clock.NewReal(), Sink: e, KeepHeaders: keepHeaders,
		Node: func(id string) (Proxy, bool) { return self, id == "sidecar~10.244.0.1~a-1.default~x" },
		Place: func(a netip.AddrPort) netip.AddrPort {
			if l, ok := places[a]; ok {
				return l
			}
			return a
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.raw = &tap{}
	g := grpc.NewServer(grpc.StreamInterceptor(e.raw.intercept))
	e.s.Register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	b := static(t, s, addrOf(socket(l.Addr().String())))
	for _, f := range tune {
		f(b)
	}
	e.run(t, binary, b)
	for name, l := range s.Listeners {
		if at, err := netip.ParseAddrPort(e.addr[name]); err == nil {
			places[at] = addrOf(l.GetAddress())
		}
	}
	return e
}

// static makes a snapshot a bootstrap that reports to als; Envoy chooses the listeners' ports.
func static(t testing.TB, s *xds.Snapshot, als netip.AddrPort) *bootstrapv3.Bootstrap {
	t.Helper()
	res := &bootstrapv3.Bootstrap_StaticResources{}
	for _, l := range s.Listeners {
		l, err := Instrument(l, "xds", keepHeaders)
		if err != nil {
			t.Fatal(err)
		}
		l.Address = socket("127.0.0.1:0")
		inline(t, l)
		res.Listeners = append(res.Listeners, l)
	}
	for name, c := range s.Clusters {
		c = proto.CloneOf(c)
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.EdsClusterConfig, c.LoadAssignment = nil, s.Endpoints[name]
		res.Clusters = append(res.Clusters, c)
	}
	res.Clusters = append(res.Clusters, &clusterv3.Cluster{
		Name:           "xds",
		LoadAssignment: endpoints("xds", als.String()),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
					}},
			})},
	})
	return &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "sidecar~10.244.0.1~a-1.default~x", Cluster: "a"},
		Admin:           &bootstrapv3.Admin{Address: socket("127.0.0.1:0")},
		StaticResources: res,
	}
}

// inline has the routes in the listener report, too.
func inline(t testing.TB, l *listenerv3.Listener) {
	for _, c := range l.GetFilterChains() {
		a := c.GetFilters()[0].GetTypedConfig()
		m := &hcmv3.HttpConnectionManager{}
		if !a.MessageIs(m) {
			continue
		}
		if err := a.UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
		r := m.GetRouteSpecifier().(*hcmv3.HttpConnectionManager_RouteConfig)
		r.RouteConfig = InstrumentRoutes(r.RouteConfig)
		c.GetFilters()[0].GetConfigType().(*listenerv3.Filter_TypedConfig).TypedConfig = pack(m)
	}
}

func (e *envoy) run(t testing.TB, binary string, b *bootstrapv3.Bootstrap) {
	t.Helper()
	dir := t.TempDir()
	config, admin := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	data, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, data, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "-c", config, "--concurrency", "1",
		"--disable-hot-restart", "--admin-address-path", admin, "-l", "info",
		"--file-flush-interval-msec", "20")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	drained := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-drained
		_ = cmd.Wait() // it was killed
		http.DefaultClient.CloseIdleConnections()
	})
	var said []string
	for !strings.Contains(strings.Join(said, ""), "starting workers") {
		if !lines.Scan() {
			close(drained)
			t.Fatalf("envoy ended:\n%s", strings.Join(said, "\n"))
		}
		said = append(said, lines.Text())
	}
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, log) }()
	addr, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	e.admin = "http://" + string(addr)
	e.addresses(t)
}

// get asks the admin port.
func (e *envoy) get(t testing.TB, path string) []byte {
	t.Helper()
	r, err := http.Get(e.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// addresses asks where the listeners are bound.
func (e *envoy) addresses(t testing.TB) {
	var got struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				SocketAddress struct {
					Address string `json:"address"`
					Port    uint32 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(e.get(t, "/listeners?format=json"), &got); err != nil {
		t.Fatal(err)
	}
	for _, s := range got.Statuses {
		a := s.Address.SocketAddress
		e.addr[s.Name] = fmt.Sprintf("%s:%d", a.Address, a.Port)
	}
}

// written returns Envoy's count of the entries that it has sent.
func (e *envoy) written(t testing.TB) (n uint64) {
	t.Helper()
	for line := range strings.Lines(string(e.get(t, "/stats?filter=logs_(written|dropped)"))) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case strings.HasSuffix(name, "logs_written"):
			if _, err := fmt.Sscan(value, &n); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(name, "logs_dropped") && value != "0":
			t.Errorf("envoy dropped %s entries", value)
		}
	}
	return n
}

// tap keeps what Envoy sends, to be shown when a test fails.
type tap struct {
	mu   sync.Mutex
	http []*datav3.HTTPAccessLogEntry
	tcp  []*datav3.TCPAccessLogEntry
}

func (p *tap) intercept(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo,
	h grpc.StreamHandler) error {
	return h(srv, tapped{s, p})
}

type tapped struct {
	grpc.ServerStream
	tap *tap
}

func (s tapped) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.tap.mu.Lock()
		defer s.tap.mu.Unlock()
		m := proto.CloneOf(m.(*alsv3.StreamAccessLogsMessage))
		s.tap.http = append(s.tap.http, m.GetHttpLogs().GetLogEntry()...)
		s.tap.tcp = append(s.tap.tcp, m.GetTcpLogs().GetLogEntry()...)
	}
	return err
}

// show prints the entries of a listener, and those of copies.
func (p *tap) show(t *testing.T, listener string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	show := func(c *datav3.AccessLogCommon, m proto.Message) {
		if tag, _ := tagOf(c); tag[tagListener] == listener || c.GetUpstreamCluster() == listener+"-mirror" {
			t.Log(protojson.Format(m))
		}
	}
	for _, e := range p.http {
		show(e.GetCommonProperties(), e)
	}
	for _, e := range p.tcp {
		show(e.GetCommonProperties(), e)
	}
}
