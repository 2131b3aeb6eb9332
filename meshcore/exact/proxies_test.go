package exact_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// clusters are those of testdata/routes.yaml; each has one server.
var clusters = []string{"a", "b", "c", "d", "shadow", "other", "every"}

// servers answer for the clusters and count.
type servers struct {
	at map[string]netip.AddrPort

	mu   sync.Mutex
	came map[string]int
	leak []string // draws that came upstream
	more sync.Cond
}

func newServers(t *testing.T) *servers {
	s := &servers{at: map[string]netip.AddrPort{}, came: map[string]int{}}
	s.more.L = &s.mu
	for _, name := range clusters {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.came[name]++
			s.more.Broadcast()
			for h := range r.Header {
				if strings.HasPrefix(h, "X-Mesh-Lab-Draw") {
					s.leak = append(s.leak, r.URL.Path+" "+h)
				}
			}
			if r.URL.Path == "/retry" && r.Header.Get("x-envoy-attempt-count") == "1" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		t.Cleanup(up.Close)
		s.at[name] = netip.MustParseAddrPort(up.Listener.Addr().String())
	}
	return s
}

// wait returns when a server has got so many requests.
func (s *servers) wait(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.came[name] < n {
		s.more.Wait()
	}
}

// mesh is the snapshot of testdata with the servers' addresses.
func (s *servers) mesh(t *testing.T) *xds.Snapshot {
	out := snapshot(t)
	out.Routes["80"].VirtualHosts[0].IncludeRequestAttemptCount = true
	for name, at := range s.at {
		out.Clusters[name] = &clusterv3.Cluster{Name: name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name,
				Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
						Endpoint: &endpointv3.Endpoint{Address: socket(at)}}}}}}}}
	}
	return out
}

func socket(at netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       at.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())}}}}
}

func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}

// seen is what a proxy's record says of one request.
type seen struct {
	Cluster, Flags string
	Status         int
	Exact          map[string]string
}

// dataPlane is a proxy under test: do sends one request, end stops it and tells what it saw.
type dataPlane interface {
	do(t *testing.T, path string, header ...string)
	preflight(t *testing.T, path string)
	end(t *testing.T) []seen
}

// send is one request over a client's connection.
func send(t *testing.T, c *http.Client, path string, header []string) {
	t.Helper()
	method := http.MethodGet
	if len(header) > 0 && header[0] == "origin" {
		method = http.MethodOptions
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://svc"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// preflight are the headers of a CORS preflight, which the proxy answers.
var preflight = []string{"origin", "http://a", "access-control-request-method", "GET"}

// clientOf returns a client whose connections all lead to one place.
func clientOf(t *testing.T, network, address string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// ours is our data plane, told to be exact.
type ours struct {
	p      *proxy.Proxy
	client *http.Client

	mu   sync.Mutex
	came []seen
}

func (o *ours) Listen(ctx context.Context, _ engine.Address) (net.Listener, bool, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	return l, false, err
}

func (o *ours) Dial(ctx context.Context, _ netip.Addr, to engine.Address) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
}

func (o *ours) Record(r *observe.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.came = append(o.came, seen{r.Cluster, r.Flags, r.Status, r.Exact})
}

func startOurs(t *testing.T, s *xds.Snapshot) dataPlane {
	c, o := clock.NewReal(), &ours{}
	o.p = proxy.New(proxy.Options{Engine: engine.New(engine.Options{Node: "a.b", Exact: true,
		Removed: proxy.Removed, Wall: c.Wall}), Network: o, Clock: c, Seed: 1, Sink: o})
	t.Cleanup(func() { o.p.Close() })
	if err := o.p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	at := engine.Address{AddrPort: netip.MustParseAddrPort("10.96.0.10:80")}
	o.client = clientOf(t, "tcp", o.p.Addr(at).String())
	return o
}

func (o *ours) do(t *testing.T, path string, header ...string) { send(t, o.client, path, header) }

func (o *ours) preflight(t *testing.T, path string) { send(t, o.client, path, preflight) }

func (o *ours) end(t *testing.T) []seen {
	if err := o.p.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.p.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.came
}

// envoy is the real one, with the snapshot lowered.
type envoy struct {
	cmd    *exec.Cmd
	log    string
	client *http.Client
	said   bytes.Buffer
}

const logged = `["%UPSTREAM_CLUSTER_RAW%", "%RESPONSE_FLAGS%", %RESPONSE_CODE%, ` +
	`%DYNAMIC_METADATA(mesh-lab.exact)%]` + "\n"

func startEnvoy(t *testing.T, binary string, s *xds.Snapshot) dataPlane {
	low, err := exact.Lower(s)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "exact") // short: the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := &envoy{log: filepath.Join(dir, "log")}
	config, sock := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "sock")
	data, err := protojson.Marshal(static(t, low, sock, e.log))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, data, 0o600); err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.Command(binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l",
		"info")
	e.start(t)
	// The main thread answers when it has started the workers, whose sockets listen then.
	send(t, clientOf(t, "unix", sock+".admin"), "/ready", nil)
	e.client = clientOf(t, "unix", sock)
	return e
}

// start waits until Envoy serves.
func (e *envoy) start(t *testing.T) {
	stderr, err := e.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait() // it was killed, or has ended
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		fmt.Fprintln(&e.said, lines.Text())
		if strings.Contains(lines.Text(), "starting workers") {
			go io.Copy(io.Discard, stderr) //nolint:errcheck // until it ends
			return
		}
	}
	t.Fatalf("envoy ended:\n%s", e.said.String())
}

// static puts routes into the listener, and the listener onto a socket with an access log.
func static(t *testing.T, s *xds.Snapshot, sock, log string) *bootstrapv3.Bootstrap {
	b := &bootstrapv3.Bootstrap{Admin: &bootstrapv3.Admin{Address: pipe(sock + ".admin")},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{}}
	for _, name := range clusters {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, s.Clusters[name])
	}
	l, m := proto.CloneOf(s.Listeners["out"]), &hcmv3.HttpConnectionManager{}
	l.Address = pipe(sock)
	f := l.FilterChains[0].Filters[0]
	if err := f.GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: s.Routes["80"]}
	file := typed(t, &filelogv3.FileAccessLog{Path: log,
		AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: logged}}}}}})
	m.AccessLog = []*accesslogv3.AccessLog{{Name: "file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: file}}}
	f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: typed(t, m)}
	b.StaticResources.Listeners = []*listenerv3.Listener{l}
	return b
}

func typed(t *testing.T, m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (e *envoy) do(t *testing.T, path string, header ...string) { send(t, e.client, path, header) }

func (e *envoy) preflight(t *testing.T, path string) { send(t, e.client, path, preflight) }

// end has Envoy write its log out, which it does when it ends.
func (e *envoy) end(t *testing.T) []seen {
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	var out []seen
	for line := range strings.Lines(string(text)) {
		line = strings.ReplaceAll(strings.ReplaceAll(line, `"-"`, `""`), ", -]", ", null]")
		var s seen
		if err := json.Unmarshal([]byte(line), &[]any{&s.Cluster, &s.Flags, &s.Status,
			&s.Exact}); err != nil {
			t.Fatal(line, err)
		}
		out = append(out, s)
	}
	return out
}

// sorts counts requests of one sort.
func sorts(list []seen) map[string]int {
	out := map[string]int{}
	for _, s := range list {
		key := cmp.Or(s.Cluster, "-") + " " + strconv.Itoa(s.Status)
		if s.Flags != "" {
			key += " " + s.Flags
		}
		out[key]++
	}
	return out
}
