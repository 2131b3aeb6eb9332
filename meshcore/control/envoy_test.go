package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

const bootstrap = `
node: {id: sidecar~10.244.0.2~real.default~default.svc.cluster.local, cluster: real}
dynamic_resources:
  ads_config:
    api_type: %s
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
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address:
        {address: 127.0.0.1, port_value: %d}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// realEnvoy is a server with one real Envoy.
type realEnvoy struct {
	*control.Server
	t        *testing.T
	dir      string
	upstream uint32
	client   *http.Client
}

func startEnvoy(t *testing.T, api string) *realEnvoy {
	binary := envoy.Binary(t).Path
	e := &realEnvoy{t: t, Server: control.New(control.Options{Clock: clock.NewReal()})}
	var err error
	if e.dir, err = os.MkdirTemp("", "ads"); err != nil { // short: the path of a socket is limited
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(e.dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(control.GRPCOptions()...)
	e.Register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })

	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "served")
	}))
	t.Cleanup(up.Close)
	_, port, _ := net.SplitHostPort(up.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	e.upstream = uint32(n)

	file := filepath.Join(e.dir, "envoy.yaml")
	text := fmt.Sprintf(bootstrap, api, l.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.run(binary, file)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(e.dir, "listener"))
	}}
	e.client = &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	return e
}

func (e *realEnvoy) run(binary, file string) {
	var log bytes.Buffer
	c := exec.Command(binary, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	c.Stderr = &log
	if err := c.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
		if e.t.Failed() {
			e.t.Log(log.String())
		}
	})
}

// mesh is a snapshot that serves on a unix socket.
func (e *realEnvoy) mesh(clusters ...string) *xds.Snapshot {
	s := mesh(e.t, clusters...)
	for n := range s.Endpoints {
		s.Endpoints[n] = endpoints(n, e.upstream)
	}
	for i, vh := range s.Routes["8080"].VirtualHosts {
		if i == 0 {
			vh.Domains = []string{"*"}
		}
	}
	s.Listeners["0.0.0.0_8080"].Address = &corev3.Address{Address: &corev3.Address_Pipe{
		Pipe: &corev3.Pipe{Path: filepath.Join(e.dir, "listener")}}}
	return s
}

func (e *realEnvoy) set(s *xds.Snapshot, o ...control.Option) {
	e.t.Helper()
	if _, err := e.Set(e.t.Context(), snapshots{"real.default": s}, o...); err != nil {
		e.t.Fatal(err)
	}
	for k, st := range e.Status()[0].Types {
		if st.Sent != st.Acked || st.Sent == "" || st.Nack != "" {
			e.t.Errorf("%s: %+v", k, st)
		}
	}
}

func (e *realEnvoy) refuse(s *xds.Snapshot, kind, reason string) {
	e.t.Helper()
	var nack *control.NackError
	_, err := e.Set(e.t.Context(), snapshots{"real.default": s})
	if !errors.As(err, &nack) || nack.Type != kind || !strings.Contains(nack.Message, reason) {
		e.t.Errorf("got %v, want a refusal of %s: %s", err, kind, reason)
	}
}

// TestRealEnvoy serves the real Envoy: all kinds are ACKed, what warms is warmed, what is bad is
// refused once and can be mended, and renames under load lose no request.
func TestRealEnvoy(t *testing.T) {
	for name, api := range map[string]string{"state of the world": "GRPC", "delta": "DELTA_GRPC"} {
		t.Run(name, func(t *testing.T) {
			e := startEnvoy(t, api)
			e.set(e.mesh("one", "two"))
			if n := len(e.Status()[0].Types); n != 4 {
				t.Errorf("%d kinds", n)
			}
			changes(e)
			refusals(e)
			renames(e)
		})
	}
}

// changes are updates of what is there; a changed cluster or listener warms before it takes over.
func changes(e *realEnvoy) {
	s := e.mesh("one", "two")
	s.Clusters["one"].AltStatName = "changed"
	e.set(s)
	s = e.mesh("one", "two")
	s.Listeners["0.0.0.0_8080"].StatPrefix = "changed"
	e.set(s)
	s = e.mesh("two", "three")
	s.Listeners["second"] = pipeListener(e, "second", "9090")
	s.Routes["9090"] = routes("9090", "three")
	e.set(s)
	// A listener under another name at the same address.
	s = e.mesh("one")
	s.Listeners["renamed"] = s.Listeners["0.0.0.0_8080"]
	delete(s.Listeners, "0.0.0.0_8080")
	s.Listeners["renamed"].Name = "renamed"
	e.set(s)
	e.set(xds.NewSnapshot())
	e.set(e.mesh("one"), control.OneStep())
}

func pipeListener(e *realEnvoy, name, routes string) *listenerv3.Listener {
	l := listener(e.t, name, routes, 0)
	l.Address = &corev3.Address{Address: &corev3.Address_Pipe{
		Pipe: &corev3.Pipe{Path: filepath.Join(e.dir, name)}}}
	return l
}

func refusals(e *realEnvoy) {
	bad := e.mesh("one", "two")
	bad.Routes["8080"].VirtualHosts[1].Domains = []string{"*"}
	e.refuse(bad, "RDS", "Only a single wildcard domain")
	e.refuse(bad, "RDS", "Only a single wildcard domain")
	e.set(e.mesh("one", "two"))

	bad = e.mesh("one", "three")
	spoil["CDS"](bad)
	e.refuse(bad, "CDS", "duration")
	e.set(e.mesh("three", "four"))

	bad = e.mesh("three")
	bad.Listeners["bad"] = listener(e.t, "bad", "8080", 0)
	bad.Listeners["bad"].Address = address("203.0.113.1", 1)
	e.refuse(bad, "LDS", "cannot bind")
	e.set(e.mesh("one"))
}

// renames moves the routes from cluster to cluster under load.
func renames(e *realEnvoy) {
	stop, done := make(chan struct{}), make(chan string, 1)
	go func() {
		served, lost := 0, ""
		for {
			select {
			case <-stop:
				done <- lost
				return
			default:
			}
			status, body := e.get()
			if status == 200 {
				served++
			} else if served > 0 && lost == "" { // the workers may not have taken the listener on yet
				lost = fmt.Sprintf("after %d requests: %d %s", served, status, body)
			}
		}
	}()
	for i := range 30 {
		e.set(e.mesh(fmt.Sprint("v", i)))
	}
	close(stop)
	if lost := <-done; lost != "" {
		e.t.Error(lost)
	}
}

func (e *realEnvoy) get() (status int, body string) {
	res, err := e.client.Get("http://any/")
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}
