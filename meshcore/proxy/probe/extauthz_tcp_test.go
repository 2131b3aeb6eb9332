package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	fileaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	networkextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// gated is a TCP connection whose authorizer is asked first.
type gated struct {
	name  string
	send  string // empty: the client closes its side at once
	check func(context.Context, *checkRequest) (*checkResponse, error)
	set   func(*networkextauthzv3.ExtAuthz)
}

func gatedCases() []gated {
	fine := says(&checkResponse{})
	fails := func(context.Context, *checkRequest) (*checkResponse, error) {
		return nil, grpcstatus.Error(codes.Unavailable, "not now")
	}
	return []gated{
		{name: "allowed", send: "hello", check: fine},
		{name: "denied", send: "hello", check: denies(&authv3.DeniedHttpResponse{Body: "no"})},
		{name: "denied without a word", send: "hello", check: says(&checkResponse{Status: &status.Status{Code: 7}})},
		{name: "error", send: "hello", check: fails},
		{name: "error, allowed", send: "hello", check: fails,
			set: func(e *networkextauthzv3.ExtAuthz) { e.FailureModeAllow = true }},
		{name: "unreachable", send: "hello", check: fine, set: func(e *networkextauthzv3.ExtAuthz) {
			e.GrpcService.GetEnvoyGrpc().ClusterName = "refused"
		}},
		{name: "no such cluster", send: "hello", check: fine, set: func(e *networkextauthzv3.ExtAuthz) {
			e.GrpcService.GetEnvoyGrpc().ClusterName = "nobody"
		}},
		{name: "slow", send: "hello", check: func(ctx context.Context, _ *checkRequest) (*checkResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, set: func(e *networkextauthzv3.ExtAuthz) { e.GrpcService.Timeout = durationpb.New(3 * time.Second) }},
		{name: "metadata does not hold", send: "hello", check: denies(nil), set: func(e *networkextauthzv3.ExtAuthz) {
			e.FilterEnabledMetadata = shadowed
		}},
		{name: "nothing is sent", check: fine},
		{name: "nothing is sent, denied", check: denies(nil)},
		{name: "session and certificate without TLS", send: "hello", check: fine, set: func(e *networkextauthzv3.ExtAuthz) {
			e.IncludePeerCertificate, e.IncludeTlsSession = true, true
		}},
	}
}

// gatedBed is the upstream and authorizer of each case.
type gatedBed struct {
	cases []gated
	dir   string
	ups   []*sink
	auth  []*checker
}

// sink answers what it is sent, once that has ended or five bytes have come.
type sink struct {
	net.Listener
	mu  sync.Mutex
	got []string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 5)
				n, _ := io.ReadFull(c, b)
				s.mu.Lock()
				if n > 0 {
					s.got = append(s.got, string(b[:n]))
				}
				s.mu.Unlock()
				fmt.Fprintf(c, "%s back", b[:n])
			}()
		}
	}()
	return s
}

func newGatedBed(t *testing.T) *gatedBed {
	t.Helper()
	b := &gatedBed{dir: t.TempDir()}
	for _, g := range gatedCases() {
		if !strings.Contains(g.name, *only) {
			continue
		}
		b.cases = append(b.cases, g)
		b.ups = append(b.ups, newSink(t))
		b.auth = append(b.auth, newChecker(t, g.check, nil))
	}
	return b
}

func (b *gatedBed) snapshot() *xds.Snapshot {
	s := xds.NewSnapshot()
	s.Clusters["refused"], s.Endpoints["refused"] = http2(cluster("refused")), endpoints("refused", 1)
	for i, g := range b.cases {
		name, check := fmt.Sprintf("case-%d", i), fmt.Sprintf("checker-%d", i)
		filter := &networkextauthzv3.ExtAuthz{StatPrefix: "x", TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{Timeout: durationpb.New(patience / 2),
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.
					GrpcService_EnvoyGrpc{ClusterName: check}}}}
		if g.set != nil {
			g.set(filter)
		}
		network := func(name string, m proto.Message) *listenerv3.Filter {
			return &listenerv3.Filter{Name: name,
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(m)}}
		}
		log := &fileaccesslogv3.FileAccessLog{Path: filepath.Join(b.dir, name),
			AccessLogFormat: &fileaccesslogv3.FileAccessLog_LogFormat{LogFormat: &corev3.
				SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
				TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
					InlineString: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% " +
						"%CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %UPSTREAM_CLUSTER%\n"}}}}}}
		at := listenerAddr(i)
		s.Listeners[name] = &listenerv3.Listener{Name: name,
			Address: socket(at.Addr().String(), uint32(at.Port())),
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
				network("envoy.filters.network.ext_authz", filter),
				network("envoy.filters.network.tcp_proxy", &tcpproxyv3.TcpProxy{StatPrefix: "x",
					ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: name},
					AccessLog: []*accesslogv3.AccessLog{{Name: "file",
						ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: typed(log)}}}}),
			}}}}
		up := uint32(b.ups[i].Addr().(*net.TCPAddr).Port)
		s.Clusters[name], s.Endpoints[name] = cluster(name), endpoints(name, up)
		s.Clusters[check] = http2(cluster(check))
		s.Endpoints[check] = endpoints(check, b.auth[i].port())
	}
	return s
}

// play plays all cases; ended waits until the n-th is logged.
func (b *gatedBed) play(t *testing.T, addr func(i int) string, ended func()) []string {
	t.Helper()
	var out []string
	for i, g := range b.cases {
		conn, err := dial(addr(i))
		if err != nil {
			t.Fatal(err)
		}
		if g.send == "" {
			conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // the answer says
		} else {
			io.WriteString(conn, g.send) //nolint:errcheck // the answer may have come first
		}
		back, err := io.ReadAll(conn)
		if err != nil && broken(err) != "cut" {
			t.Errorf("%s: nothing happens", g.name)
		}
		conn.Close()
		ended()
		var w strings.Builder
		fmt.Fprintf(&w, "client %q\nauthorizer\n", back)
		b.auth[i].write(&w)
		b.ups[i].mu.Lock()
		fmt.Fprintf(&w, "upstream %q\n", b.ups[i].got)
		b.ups[i].mu.Unlock()
		out = append(out, w.String())
	}
	return out
}

// finish puts the logs behind what was seen, and compares.
func (b *gatedBed) finish(t *testing.T, got []string, log func(path string) string, write bool) {
	t.Helper()
	like := &askedBed{}
	for i, g := range b.cases {
		like.cases = append(like.cases, asked{probe: probe{name: g.name}})
		got[i] += "log " + log(filepath.Join(b.dir, fmt.Sprintf("case-%d", i)))
	}
	like.compare(t, got, "envoy-extauthz-tcp", write)
}

// TestExtAuthzTCPEnvoy has the real Envoy show what the golden file says.
func TestExtAuthzTCPEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	b := newGatedBed(t)
	at, stop := runEnvoy(t, binary, static(b.snapshot()))
	got := b.play(t, func(i int) string { return at[fmt.Sprintf("case-%d", i)] }, func() {})
	stop()
	b.finish(t, got, func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}, *update)
}

// TestExtAuthzTCP has our proxy show what Envoy shows.
func TestExtAuthzTCP(t *testing.T) {
	b := newGatedBed(t)
	c := clock.NewReal()
	w := &logWorld{lines: map[string]*strings.Builder{}, ended: make(chan struct{}, 8)}
	p := proxy.New(proxy.Options{
		Engine:  engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall}),
		Network: w, Clock: c, Seed: 1, Sink: w, AccessLog: w,
	})
	t.Cleanup(func() { p.Close() })
	if err := p.Update(t.Context(), b.snapshot()); err != nil {
		t.Fatal(err)
	}
	got := b.play(t, func(i int) string {
		return p.Addr(engine.Address{AddrPort: netip.AddrPort(listenerAddr(i))}).String()
	}, func() {
		select {
		case <-w.ended:
		case <-time.After(patience):
			t.Fatal("not recorded")
		}
	})
	p.Close()
	b.finish(t, got, func(path string) string {
		if w.lines[path] == nil {
			return "nothing\n"
		}
		return w.lines[path].String()
	}, false)
}
