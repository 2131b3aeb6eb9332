// Package accept_test shows that what the control plane makes is accepted, by a real Envoy and by
// our own data plane, and that the two refuse the same broken resources.
//
//	TestAccepted   golden cases, recorded configurations, random ones: all ACKed
//	TestBroken     a table of broken and odd resources: who refuses what (testdata/broken.txt)
//	TestMutations  random changes of good resources: the same answer from both
//	TestPartly     what of a response with one bad resource takes effect
package accept_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// envoyBinary finds the real Envoy, or skips the test; where it is required, its absence is a
// failure.
func envoyBinary(t *testing.T) string {
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

const bootstrap = `
node: {id: sidecar~10.244.0.2~real.default~default.svc.cluster.local, cluster: real}
admin: {address: {pipe: {path: %[2]s/admin}}}
dynamic_resources:
  ads_config:
    api_type: %[1]s
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{envoy_grpc: {cluster_name: xds}}]
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 5s
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[2]s/ads}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// node is how the control plane names the Envoy of these tests.
const node = "real.default"

// apis are the two variants of ADS.
var apis = map[string]string{"state of the world": "GRPC", "delta": "DELTA_GRPC"}

// process is a running Envoy.
type process struct {
	dir    string
	log    bytes.Buffer
	exited chan struct{} // closed when it has ended
	admin  *http.Client
}

// startEnvoy serves ADS from register's services to a new Envoy.
func startEnvoy(t *testing.T, api string, register func(*grpc.Server), options ...grpc.ServerOption) *process {
	binary := envoyBinary(t)
	dir := listen(t, register, options...)
	p := &process{dir: dir, exited: make(chan struct{})}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, bootstrap, api, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "critical",
		"--drain-time-s", "1", "--drain-strategy", "immediate") // what was replaced goes at once
	c.Stderr, c.Dir = &p.log, t.TempDir() // what resources name as files is made there
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.exited); _ = c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Log("Envoy's log: ", p.log.String())
		}
	})
	p.admin = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin"))
		},
		DisableKeepAlives: true,
	}}
	return p
}

// listen serves ADS on the socket "ads" of a folder.
func listen(t *testing.T, register func(*grpc.Server), options ...grpc.ServerOption) (dir string) {
	dir, err := os.MkdirTemp("", "accept") // short: the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "ads"))
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(options...)
	register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	return dir
}

// get asks the admin interface.
func (p *process) get(t *testing.T, path string) string {
	t.Helper()
	res, err := p.admin.Get("http://admin" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %d %v %s", path, res.StatusCode, err, b)
	}
	return string(b)
}

// unbound returns a snapshot whose listeners open no port.
func unbound(s *xds.Snapshot) *xds.Snapshot {
	out := *s
	out.Listeners = make(map[string]*listenerv3.Listener, len(s.Listeners))
	for name, l := range s.Listeners {
		if l.GetBindToPort() == nil || l.GetBindToPort().GetValue() {
			l = proto.Clone(l).(*listenerv3.Listener)
			l.BindToPort = wrapperspb.Bool(false)
		}
		out.Listeners[name] = l
	}
	return &out
}
