package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// secured is one case: a client, a proxy with TLS on one side or both, and an upstream.
type secured struct {
	name    string
	server  *tlsv3.DownstreamTlsContext // of the listener; nil: plain
	client  *tlsv3.UpstreamTlsContext   // of the cluster; nil: plain
	hcm     string                      // further fields of the connection manager
	match   string                      // further fields of the route's match
	filters string                      // HTTP filters in front of the router
	opts    string                      // HttpProtocolOptions of the cluster
	tcp     bool
	// down is how the client connects; nil: plain. up is how the upstream answers; nil: plain.
	down, up *tls.Config
	raw      string // sent by the client instead of a request, and without TLS
	xfcc     string // the client's own header
	times    int    // connections one behind the other; 0: one
	metadata string // of the endpoint
	racy     bool   // Envoy has begun to connect upstream, or not, when the client is turned away
	more     string // further fields of the cluster
	matches  bool   // client's context is in transport_socket_matches, not in transport_socket
}

// tlsLog is what both proxies write of each exchange, and of each connection.
const tlsLog = `code=%RESPONSE_CODE% flags=%RESPONSE_FLAGS% details=%RESPONSE_CODE_DETAILS%
  upstream: host=%UPSTREAM_HOST% failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%
    version=%UPSTREAM_TLS_VERSION% group=%UPSTREAM_TLS_GROUP% subject=%UPSTREAM_PEER_SUBJECT% issuer=%UPSTREAM_PEER_ISSUER%
    uri=%UPSTREAM_PEER_URI_SAN% dns=%UPSTREAM_PEER_DNS_SAN% local=%UPSTREAM_LOCAL_URI_SAN%
  downstream: sni=%REQUESTED_SERVER_NAME% failure=%DOWNSTREAM_TRANSPORT_FAILURE_REASON%
    version=%DOWNSTREAM_TLS_VERSION% group=%DOWNSTREAM_TLS_GROUP% subject=%DOWNSTREAM_PEER_SUBJECT%
    issuer=%DOWNSTREAM_PEER_ISSUER% serial=%DOWNSTREAM_PEER_SERIAL%
    uri=%DOWNSTREAM_PEER_URI_SAN% dns=%DOWNSTREAM_PEER_DNS_SAN%
    local=%DOWNSTREAM_LOCAL_URI_SAN% subject=%DOWNSTREAM_LOCAL_SUBJECT% dns=%DOWNSTREAM_LOCAL_DNS_SAN%
`

// failureLog is what Envoy's listener writes of each connection.
const failureLog = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"

func (c *secured) logTo(path, format string) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{{Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: typed(&filelogv3.FileAccessLog{
			Path: path, AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{
				LogFormat: &corev3.SubstitutionFormatString{
					Format: &corev3.SubstitutionFormatString_TextFormat{TextFormat: format}}}})}}}
}

func socketOf(m proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(m)}}
}

// listener makes the case's listener; dir is where logs go.
func (c *secured) listener(t *testing.T, i int, dir string) *listenerv3.Listener {
	t.Helper()
	name := fmt.Sprintf("case-%d", i)
	chain := &listenerv3.FilterChain{Name: "chain",
		TransportSocketConnectTimeout: durationpb.New(15 * time.Second)}
	if c.server != nil {
		chain.TransportSocket = socketOf(c.server)
	}
	path := filepath.Join(dir, name)
	var filter proto.Message = &tcpv3.TcpProxy{StatPrefix: name, AccessLog: c.logTo(path, tlsLog),
		ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: name}}
	if !c.tcp {
		h := &hcmv3.HttpConnectionManager{}
		decode(t, fmt.Sprintf(`{"statPrefix":%[1]q,"routeConfig":{"name":"r","virtualHosts":[{"name":"vh",
			"domains":["*"],"routes":[{"match":{"prefix":"/"%[2]s},"route":{"cluster":%[1]q}}]}]},
			"httpFilters":[%[3]s{"name":"envoy.filters.http.router","typedConfig":{
			"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}`, name, c.match, c.filters), h)
		if c.hcm != "" {
			more := &hcmv3.HttpConnectionManager{}
			decode(t, c.hcm, more)
			proto.Merge(more, h)
			h = more
		}
		h.AccessLog = c.logTo(path, tlsLog)
		filter = h
	}
	chain.Filters = []*listenerv3.Filter{{Name: "f",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(filter)}}}
	l := &listenerv3.Listener{Name: name, FilterChains: []*listenerv3.FilterChain{chain},
		Address: socket("127.0.0.1", uint32(20000+i))}
	if c.server != nil {
		l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "tls",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{
				TypedConfig: typed(&tlsinspectorv3.TlsInspector{})}}}
	}
	return l
}

func (c *secured) cluster(t *testing.T, i int, port int) *clusterv3.Cluster {
	t.Helper()
	name := fmt.Sprintf("case-%d", i)
	out := &clusterv3.Cluster{}
	opts, meta := "", ""
	if c.opts != "" {
		opts = `"typedExtensionProtocolOptions":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{
			"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"explicitHttpConfig":{"httpProtocolOptions":{}},` + c.opts + `}},`
	}
	if c.metadata != "" {
		meta = `"metadata":{"filterMetadata":{"envoy.transport_socket_match":` + c.metadata + `}},`
	}
	decode(t, fmt.Sprintf(`{"name":%q,"type":"STATIC","connectTimeout":"5s",%s%[5]s"loadAssignment":{
		"clusterName":%[1]q,"endpoints":[{"lbEndpoints":[{%[3]s"endpoint":{"hostname":"host.example.com",
		"address":{"socketAddress":{
		"address":"127.0.0.1","portValue":%[4]d}}}}]}]}}`, name, opts, meta, port, c.more), out)
	if c.client == nil {
		return out
	}
	if !c.matches {
		out.TransportSocket = socketOf(c.client)
		return out
	}
	out.TransportSocketMatches = append(out.TransportSocketMatches,
		&clusterv3.Cluster_TransportSocketMatch{}, &clusterv3.Cluster_TransportSocketMatch{})
	decode(t, `{"name":"tls","match":{"tlsMode":"istio"}}`, out.TransportSocketMatches[0])
	decode(t, `{"name":"plain","match":{},"transportSocket":{"name":"raw","typedConfig":{"@type":
		"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}`,
		out.TransportSocketMatches[1])
	out.TransportSocketMatches[0].TransportSocket = socketOf(c.client)
	return out
}

// tlsUpstream is what a case's cluster leads to.
type tlsUpstream struct {
	c    *secured
	l    net.Listener
	mu   sync.Mutex
	seen []string
	done sync.WaitGroup
}

func newTLSUpstream(t *testing.T, c *secured) *tlsUpstream {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u := &tlsUpstream{c: c, l: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			u.done.Add(1)
			go u.serve(conn)
		}
	}()
	return u
}

func (u *tlsUpstream) note(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, fmt.Sprintf(format, args...))
}

func (u *tlsUpstream) serve(conn net.Conn) {
	defer u.done.Done()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if u.c.up != nil {
		secure := tls.Server(conn, u.c.up)
		if err := secure.Handshake(); err != nil {
			u.note("handshake: %v", err)
			return
		}
		s := secure.ConnectionState()
		peer := "-"
		if len(s.PeerCertificates) > 0 {
			peer = s.PeerCertificates[0].Subject.String()
		}
		u.note("secured: %s sni=%q alpn=%q peer=%s resumed=%v", tls.VersionName(s.Version),
			s.ServerName, s.NegotiatedProtocol, peer, s.DidResume)
		conn = secure
		defer secure.Close()
	}
	if u.c.tcp && u.c.up == nil && u.c.client != nil {
		io.ReadFull(conn, make([]byte, 1))              //nolint:errcheck // what comes is no text
		io.WriteString(conn, "this does not speak TLS") //nolint:errcheck // the proxy may be gone
		return
	}
	if u.c.tcp {
		data, err := io.ReadAll(conn)
		if err != nil {
			u.note("read: %v", err)
			return
		}
		u.note("got %q to its end", data)
		fmt.Fprintf(conn, "you said %q", data)
		return
	}
	for r := bufio.NewReader(conn); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n") //nolint:errcheck // likewise
			}
			return
		}
		io.Copy(io.Discard, req.Body) //nolint:errcheck // the proxy may be gone
		u.note("%s %s xfp=%s xfcc=%q", req.Method, req.URL, req.Header.Get("x-forwarded-proto"),
			req.Header.Get("x-forwarded-client-cert"))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") //nolint:errcheck // likewise
	}
}

// play is the client; what it sees is returned.
func (c *secured) play(addr string) string {
	var b strings.Builder
	for range max(1, c.times) {
		c.connect(&b, addr)
	}
	return b.String()
}

func (c *secured) connect(b *strings.Builder, addr string) {
	conn, err := dial(addr)
	if err != nil {
		fmt.Fprintf(b, "dial: %v\n", err)
		return
	}
	defer conn.Close()
	if c.down != nil {
		secure := tls.Client(conn, c.down)
		if err := secure.Handshake(); err != nil {
			fmt.Fprintf(b, "client handshake: %v\n", reduced(err))
			return
		}
		s := secure.ConnectionState()
		fmt.Fprintf(b, "client: %s alpn=%q server=%s resumed=%v", tls.VersionName(s.Version),
			s.NegotiatedProtocol, s.PeerCertificates[0].Subject, s.DidResume)
		if s.Version == tls.VersionTLS12 {
			fmt.Fprintf(b, " %s", tls.CipherSuiteName(s.CipherSuite))
		}
		b.WriteString("\n")
		conn = secure
		defer secure.Close()
	}
	switch {
	case c.raw != "":
		io.WriteString(conn, c.raw) //nolint:errcheck // the answer says
	case c.tcp:
		io.WriteString(conn, "ping pong") //nolint:errcheck // the answer says
		if h, ok := conn.(interface{ CloseWrite() error }); ok {
			h.CloseWrite() //nolint:errcheck // the answer says
		}
	default:
		x := ""
		if c.xfcc != "" {
			x = "x-forwarded-client-cert: " + c.xfcc + "\r\n"
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nhost: svc.example.com\r\n"+x+ //nolint:errcheck // the answer says
			"connection: close\r\n\r\n")
	}
	data, err := io.ReadAll(conn)
	text := strings.ReplaceAll(string(data), "\r", "")
	if head, body, ok := strings.Cut(text, "\n\n"); ok {
		first, _, _ := strings.Cut(head, "\n")
		text = first + " " + body
	}
	fmt.Fprintf(b, "client got %q", text)
	if err != nil && (reduced(err) != "reset" || !c.tcp) { // which is a matter of who is faster
		fmt.Fprintf(b, " then %v", reduced(err))
	}
	b.WriteString("\n")
}

var ports = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// reduced takes ports out of an error, and what depends on timing.
func reduced(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "NOTHING HAPPENS"
	}
	text := ports.ReplaceAllString(err.Error(), "<at>")
	if strings.Contains(text, "reset by peer") || strings.Contains(text, "broken pipe") {
		return "reset"
	}
	return text
}

// tlsText is what one case shows.
func tlsText(c *secured, u *tlsUpstream, client string, log func(suffix string) string) string {
	u.l.Close()
	u.done.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	var b strings.Builder
	b.WriteString(client)
	for _, s := range u.seen {
		if c.racy {
			continue
		}
		fmt.Fprintf(&b, "upstream %s\n", ports.ReplaceAllString(s, "<at>"))
	}
	fmt.Fprintf(&b, "log %s", ports.ReplaceAllString(orNothing(log("")), "<at>"))
	if c.server != nil {
		fmt.Fprintf(&b, "handshake %s", orNothing(log("-handshake")))
	}
	if c.racy {
		return strings.ReplaceAll(b.String(), "host=<at>", "host=-")
	}
	text := hashes.ReplaceAllString(b.String(), "Hash=<hash>")
	return encoded.ReplaceAllStringFunc(text, certificatesIn)
}

// encoded is a certificate, or several, in x-forwarded-client-cert as the upstream's note has it.
var encoded = regexp.MustCompile(`-----BEGIN[^"\\]*`)

// certificatesIn names what is encoded, which is different in each run.
func certificatesIn(text string) string {
	plain, err := url.PathUnescape(text)
	if err != nil || encoding.Replace(plain) != text {
		return text
	}
	out := ""
	for block, rest := pem.Decode([]byte(plain)); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return text
		}
		out += "<" + c.Subject.String() + ">"
	}
	return out
}

// encoding is what is done to a certificate in a header.
var encoding = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")

var hashes = regexp.MustCompile(`Hash=[0-9a-f]{64}`)

func orNothing(s string) string {
	if s == "" {
		return "nothing\n"
	}
	return s
}

// tlsNames are the names of cases, in order.
func tlsNames(cases []secured) []string {
	var out []string
	for i := range cases {
		out = append(out, cases[i].name)
	}
	return out
}

// late has secrets come from a server that nobody can reach, instead of over ADS: Envoy waits a
// moment for them.
func late(list []*tlsv3.SdsSecretConfig) {
	for _, s := range list {
		s.SdsConfig = &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3,
			InitialFetchTimeout: durationpb.New(time.Millisecond),
			ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{
				ApiConfigSource: &corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_GRPC,
					TransportApiVersion: corev3.ApiVersion_V3,
					GrpcServices: []*corev3.GrpcService{{
						TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
							EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "nowhere"}}}}}}}
	}
}

// TestTLSEnvoy has the real Envoy show what the golden file says.
func TestTLSEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	cases := securedCases(t)
	dir := t.TempDir()
	boot := &bootstrapv3.Bootstrap{Admin: &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{}}
	var ups []*tlsUpstream
	for i := range cases {
		c := &cases[i]
		late(c.server.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs())
		late(c.client.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs())
		u := newTLSUpstream(t, c)
		ups = append(ups, u)
		l := c.listener(t, i, dir)
		l.Address = socket("127.0.0.1", 0)
		if c.server != nil {
			l.AccessLog = c.logTo(filepath.Join(dir, l.GetName()+"-handshake"), failureLog)
		}
		boot.StaticResources.Listeners = append(boot.StaticResources.Listeners, l)
		boot.StaticResources.Clusters = append(boot.StaticResources.Clusters,
			c.cluster(t, i, u.l.Addr().(*net.TCPAddr).Port))
	}
	nowhere := cluster("nowhere")
	nowhere.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	nowhere.EdsClusterConfig, nowhere.LoadAssignment = nil, endpoints("nowhere", 1)
	boot.StaticResources.Clusters = append(boot.StaticResources.Clusters, nowhere)
	boot.Node = &corev3.Node{Id: "probe", Cluster: "probe"}
	at, stop := runEnvoy(t, binary, boot)
	seen := make([]string, len(cases))
	for i := range cases {
		seen[i] = cases[i].play(at[fmt.Sprintf("case-%d", i)])
	}
	stop()
	got := map[string]string{}
	for i := range cases {
		got[cases[i].name] = tlsText(&cases[i], ups[i], seen[i], func(suffix string) string {
			data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("case-%d%s", i, suffix)))
			if err != nil {
				t.Error(err)
			}
			if suffix != "" {
				return strings.ReplaceAll(string(data), "-\n", "")
			}
			return string(data)
		})
	}
	if *update {
		writeGolden(t, "envoy-tls", tlsNames(cases), got)
		return
	}
	want := readGolden(t, "envoy-tls").text
	for _, n := range tlsNames(cases) {
		if got[n] != want[n] {
			t.Errorf("%s: Envoy shows something else than before:\n%s", n, diffLines(want[n], got[n]))
		}
	}
}

// tlsWorld is the network and sinks of our proxy.
type tlsWorld struct {
	world
	mu    sync.Mutex
	lines map[string]string
}

// AccessLog keeps the line.
func (w *tlsWorld) AccessLog(path string, line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines[path] += string(line)
}

func (w *tlsWorld) Listen(ctx context.Context, a engine.Address) (net.Listener, bool, error) {
	return w.world.Listen(ctx, a)
}

// HandshakeFailed keeps the reason as a line of the chain's case.
func (w *tlsWorld) HandshakeFailed(c *engine.Chain, reason string) {
	if reason != "" {
		w.AccessLog(c.StatPrefix+"-handshake", []byte(strings.ReplaceAll(reason, " ", "_")+"\n"))
	}
}

// TestTLS has our proxy show what Envoy shows.
func TestTLS(t *testing.T) {
	cases := securedCases(t)
	c := clock.NewReal()
	w := &tlsWorld{lines: map[string]string{}}
	p := proxy.New(proxy.Options{
		Engine:  engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall}),
		Network: w, Clock: c, Seed: 1, Sink: w, AccessLog: w,
	})
	t.Cleanup(func() { p.Close() })
	s := xds.NewSnapshot()
	var ups []*tlsUpstream
	for i := range cases {
		u := newTLSUpstream(t, &cases[i])
		ups = append(ups, u)
		l := cases[i].listener(t, i, "")
		s.Listeners[l.GetName()] = l
		s.Clusters[l.GetName()] = cases[i].cluster(t, i, u.l.Addr().(*net.TCPAddr).Port)
	}
	if err := p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	seen := make([]string, len(cases))
	for i := range cases {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20000+i))
		seen[i] = cases[i].play(p.Addr(engine.Address{AddrPort: at}).String())
	}
	p.Close()
	want, ours := readGolden(t, "envoy-tls").text, readGolden(t, "ours-tls").text
	got := map[string]string{}
	for i := range cases {
		n := cases[i].name
		got[n] = tlsText(&cases[i], ups[i], seen[i], func(suffix string) string {
			return w.lines[fmt.Sprintf("case-%d%s", i, suffix)]
		})
		expected, differs := ours[n]
		if !differs {
			expected = want[n]
		} else if got[n] == want[n] {
			t.Errorf("%s: does what Envoy does; strike it from ours-tls.golden", n)
		}
		if got[n] != expected && !*update {
			t.Errorf("%s: (-wanted +ours)\n%s", n, diffLines(expected, got[n]))
		}
	}
	if *update {
		var names []string
		for _, n := range tlsNames(cases) {
			if got[n] != want[n] {
				names = append(names, n)
			}
		}
		writeGolden(t, "ours-tls", names, got)
	}
}
