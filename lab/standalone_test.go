package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
)

// halves is a mesh of two gateways, through which requests go to an app that has two versions: every
// port is a real one on loopback, so that no redirection is needed.
type halves struct {
	t                *testing.T
	dir              string
	Front, Back, App int // ports
	FrontIP, BackIP  string
	V1IP, V2IP       string
	Version          string // that the route leads to
	mesh             string // file
}

const halvesMesh = `
apiVersion: v1
kind: Service
metadata: {name: back}
spec:
  selector: {app: back}
  ports: [{name: http, port: 80, targetPort: {{.Back}}}]
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: {{.App}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front}
spec:
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec: {containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: back}
spec:
  selector: {matchLabels: {app: back}}
  template:
    metadata: {labels: {app: back}}
    spec: {containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: app-v1
  labels: {app: app, version: v1, sidecar.istio.io/inject: "false"}
  annotations: {mesh-lab.dev/ip: {{.V1IP}}}
spec: {containers: [{name: app, image: mesh-lab/echo}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: app-v2
  labels: {app: app, version: v2, sidecar.istio.io/inject: "false"}
  annotations: {mesh-lab.dev/ip: {{.V2IP}}}
spec: {containers: [{name: app, image: mesh-lab/echo}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {app: front}
  servers: [{port: {number: {{.Front}}, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: back}
spec:
  selector: {app: back}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{route: [{destination: {host: back, port: {number: 80}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: back}
spec:
  hosts: ["*"]
  gateways: [back]
  http: [{name: to-app, route: [{destination: {host: app, subset: {{.Version}}}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app}
spec:
  host: app
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`

const halvesBootstrap = `
node: {id: "router~%[1]s~%[2]s-0.default~default.svc.cluster.local", cluster: %[2]s.default}
admin: {address: {pipe: {path: %[3]s/%[2]s.admin}}}
dynamic_resources:
  ads_config:
    api_type: %[4]s
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: xds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[3]s/ads}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// freePorts returns ports that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

func newHalves(t *testing.T) *halves {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	dir, err := os.MkdirTemp("", "ml") // short: the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, 3)
	h := &halves{
		t: t, dir: dir, Front: ports[0], Back: ports[1], App: ports[2], Version: "v1",
		FrontIP: "127.60.0.1", BackIP: "127.60.0.2", V1IP: "127.60.0.3", V2IP: "127.60.0.4",
		mesh: filepath.Join(dir, "mesh.yaml"),
	}
	h.app(h.V1IP, "v1")
	h.app(h.V2IP, "v2")
	h.write("v1")
	return h
}

// app serves one version of the app.
func (h *halves) app(ip, version string) {
	l, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", ip, h.App))
	if err != nil {
		h.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, version)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	h.t.Cleanup(s.Close)
}

// write writes the mesh's files.
func (h *halves) write(version string) {
	h.t.Helper()
	h.Version = version
	var text bytes.Buffer
	if err := template.Must(template.New("").Parse(halvesMesh)).Execute(&text, h); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.mesh, text.Bytes(), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *halves) controlPlane() *daemon {
	h.t.Helper()
	d := launch(h.t, "control plane", "mesh-lab", "control-plane", "-f", h.mesh,
		"--listen", "unix:"+filepath.Join(h.dir, "ads"), "-v")
	d.await("control plane on unix:.*: ADS for 2 proxies")
	return d
}

// proxy starts a gateway's proxy.
func (h *halves) proxy(kind, name, ip, api string) *daemon {
	h.t.Helper()
	file := filepath.Join(h.dir, name+".yaml")
	text := fmt.Sprintf(halvesBootstrap, ip, name, h.dir, api)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return dataPlane(h.t, kind, name, file, filepath.Join(h.dir, name+".admin"))
}

// load sends requests without a pause until it is stopped.
type load struct {
	mu     sync.Mutex
	served map[string]int
	total  int
	failed []string
	grown  *sync.Cond
	stop   func()
}

// load sends requests to the front gateway from several connections.
func (h *halves) load() *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{served: map[string]int{}}
	l.grown = sync.NewCond(&l.mu)
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				l.add(get(client, fmt.Sprintf("http://127.0.0.1:%d/", h.Front)))
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); transport.CloseIdleConnections() })
	h.t.Cleanup(l.stop)
	return l
}

func get(c *http.Client, url string) (string, error) {
	r, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, b)
	}
	return string(b), err
}

func (l *load) add(body string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if err != nil {
		l.failed = append(l.failed, err.Error())
	} else {
		l.served[body]++
	}
	l.grown.Broadcast()
}

// more waits for some more requests and says what has been served since the last call.
func (l *load) more(n int) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = map[string]int{}
	for until := l.total + n; l.total < until; {
		l.grown.Wait()
	}
	return maps.Clone(l.served)
}

// lost checks that no request has failed.
func (l *load) lost(t *testing.T) {
	t.Helper()
	l.stop()
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed; the first: %s", len(l.failed), l.total, l.failed[0])
	}
}

// bothConnected matches the log when both proxies are connected.
const bothConnected = `(?s)connected node=front-0.*connected node=back-0|` +
	`connected node=back-0.*connected node=front-0`

// TestEachHalfStandsAlone serves both data planes from our control plane: it is killed and started
// again, and given another configuration, under load, and no request is lost.
func TestEachHalfStandsAlone(t *testing.T) {
	for _, row := range []struct{ name, front, back, api string }{
		{"ours", "ours", "ours", "DELTA_GRPC"},
		{"ours, state of the world", "ours", "ours", "GRPC"},
		{"envoy", "envoy", "envoy", "DELTA_GRPC"},
		{"envoy, state of the world", "envoy", "envoy", "GRPC"},
		{"ours before envoy", "ours", "envoy", "DELTA_GRPC"},
		{"envoy before ours", "envoy", "ours", "GRPC"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHalves(t)
			cp := h.controlPlane()
			front := h.proxy(row.front, "front", h.FrontIP, row.api)
			back := h.proxy(row.back, "back", h.BackIP, row.api)
			// The back's address is known with its connection.
			cp.await(bothConnected)
			cp.await("msg=pushed proxies=2")
			l := h.load()
			if got := l.more(200); got["v2"] > 0 {
				t.Errorf("before the change: %v", got)
			}
			cp.kill()
			if got := l.more(200); got["v2"] > 0 {
				t.Errorf("without a control plane: %v", got)
			}
			cp = h.controlPlane()
			cp.await(bothConnected)
			cp.await("msg=pushed proxies=2")
			l.more(200)

			h.write("v2")
			cp.signal(syscall.SIGHUP)
			cp.await("read again: ADS for 2 proxies")
			cp.await("msg=ACK node=back-0.default type=RDS")
			cp.await("msg=pushed proxies=2")
			l.more(8) // those under way
			if got := l.more(200); got["v1"] > 0 || got["v2"] == 0 {
				t.Errorf("after the change: %v", got)
			}
			// A bad file changes nothing.
			if err := os.WriteFile(h.mesh, []byte("kind: Nonsense\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cp.signal(syscall.SIGHUP)
			cp.await("the configuration stays as it was")
			if got := l.more(200); got["v1"] > 0 {
				t.Errorf("after the bad file: %v", got)
			}
			l.lost(t)
			for _, d := range []*daemon{front, back} {
				d.signal(syscall.SIGTERM)
				if code := d.exit(); code != 0 {
					t.Errorf("%s: exit status %d", d.name, code)
				}
			}
			cp.signal(os.Interrupt)
			if code := cp.exit(); code != 130 || cp.has("NACK") || cp.has("has not answered") {
				t.Errorf("control plane: exit status %d", code)
			}
			if left, _ := os.ReadDir(h.dir); strings.Contains(fmt.Sprint(left), " ads") {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
