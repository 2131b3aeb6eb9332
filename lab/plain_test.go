package lab_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// plainConfig is an Envoy configuration without a control plane. Captured connections come with a
// PROXY header to a pipe, and are handed to listeners that bind nothing.
const plainConfig = `
node: {id: plain, cluster: plain}
admin: {address: {pipe: {path: {{.Dir}}/admin}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: {{.Front}}}}
    additional_addresses: [{address: {pipe: {path: {{.Dir}}/front, mode: 384}}}]
    filter_chains: [{filters: [{{template "hcm" "front"}}]}]
  - name: capture
    address: {pipe: {path: {{.Dir}}/capture}}
    use_original_dst: true
    listener_filters:
    - name: envoy.filters.listener.proxy_protocol
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: passed, cluster: passed}
  - name: 0.0.0.0_9080
    address: {socket_address: {address: 0.0.0.0, port_value: 9080}}
    bind_to_port: false
    filter_chains: [{filters: [{{template "hcm" "captured"}}]}]
  - name: 240.0.0.9_3306
    address: {socket_address: {address: 240.0.0.9, port_value: 3306}}
    bind_to_port: false
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: mysql, cluster: app}
  clusters:
  - {name: passed, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}
  {{template "cluster" .STATIC}}
  {{template "cluster" .STRICT}}
  {{template "cluster" .LOGICAL}}
  {{template "cluster" .NONE}}
  {{template "cluster" .BOUND}}
  - name: pipe
    connect_timeout: 1s
    load_assignment: {cluster_name: pipe, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: {{.Dir}}/app}}}}]}]}
{{define "cluster"}}- name: {{.name}}
    type: {{.type}}
    connect_timeout: 1s
    {{if .family}}dns_lookup_family: V4_ONLY{{end}}
    {{if .bind}}upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}}{{end}}
    load_assignment: {cluster_name: {{.name}}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: {{.host}}, port_value: {{.port}}}}}}]}]}
{{end}}
{{define "hcm"}}{name: envoy.filters.network.http_connection_manager, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
  stat_prefix: {{.}}, generate_request_id: false, use_remote_address: {{eq . "front"}},
  http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
  route_config: {name: local, virtual_hosts: [{name: all, domains: ["*"], routes: [
    {match: {path: /direct}, direct_response: {status: 201, body: {inline_string: "from {{.}}"}}},
    {match: {path: /redirect}, redirect: {path_redirect: /other}},
    {match: {prefix: /static}, route: {cluster: app, prefix_rewrite: /rewritten}},
    {match: {prefix: /strict}, route: {cluster: strict}},
    {match: {prefix: /logical}, route: {cluster: logical}},
    {match: {prefix: /pipe}, route: {cluster: pipe}},
    {match: {prefix: /bound}, route: {cluster: bound}},
    {match: {prefix: /none}, route: {cluster: none}}]}]}}}{{end}}
`

// plainCase is a connection and what is sent on it.
type plainCase struct {
	name, network, address, text string
}

// TestPlainConfiguration gives one configuration without a control plane to both binaries: they
// validate it alike and answer alike, byte for byte but for dates and times.
func TestPlainConfiguration(t *testing.T) {
	envoy.Binary(t)
	got := map[string][]string{}
	var cases []plainCase
	for _, kind := range []string{"envoy", "ours"} {
		t.Run(kind, func(t *testing.T) {
			var file string
			file, cases = plain(t)
			args := []string{"mesh-lab", "proxy"}
			if kind == "envoy" {
				args = []string{envoy.Binary(t).Path}
			}
			v := launch(t, "validate", append(args, "-c", file, "--mode", "validate")...)
			if v.await(".*OK"); v.exit() != 0 {
				t.Error("validate: exit status ", v.exit())
			}
			d := dataPlane(t, kind, kind, file, filepath.Join(filepath.Dir(file), "admin"))
			for _, c := range cases {
				got[kind] = append(got[kind], c.play(t))
			}
			if kind == "ours" {
				admin(t, filepath.Join(filepath.Dir(file), "admin"))
			}
			d.signal(os.Interrupt)
			if code := d.exit(); code != 0 {
				t.Error("exit status ", code)
			}
		})
	}
	if t.Failed() {
		return
	}
	for i, c := range cases {
		if got["envoy"][i] != got["ours"][i] {
			t.Errorf("%s:\nenvoy %q\nours  %q", c.name, got["envoy"][i], got["ours"][i])
		}
	}
}

// plain writes the configuration and starts what is behind it.
func plain(t *testing.T) (file string, cases []plainCase) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ml") // short: the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	app := httptest.NewServer(http.HandlerFunc(seen))
	t.Cleanup(app.Close)
	l, err := net.Listen("unix", filepath.Join(dir, "app"))
	if err != nil {
		t.Fatal(err)
	}
	behind := httptest.NewUnstartedServer(http.HandlerFunc(seen))
	behind.Listener.Close()
	behind.Listener = l
	behind.Start()
	t.Cleanup(behind.Close)
	ports := freePorts(t, 2)
	port := app.Listener.Addr().(*net.TCPAddr).Port
	cluster := func(name, kind, host string, port int) map[string]any {
		return map[string]any{"name": name, "type": kind, "host": host, "port": port,
			"family": strings.HasSuffix(kind, "DNS"), "bind": name == "bound"}
	}
	var text bytes.Buffer
	err = template.Must(template.New("").Parse(plainConfig)).Execute(&text, map[string]any{
		"Dir": dir, "Front": ports[0],
		"STATIC":  cluster("app", "STATIC", "127.0.0.1", port),
		"STRICT":  cluster("strict", "STRICT_DNS", "localhost", port),
		"LOGICAL": cluster("logical", "LOGICAL_DNS", "localhost", port),
		"BOUND":   cluster("bound", "STATIC", "127.0.0.1", port),
		"NONE":    cluster("none", "STATIC", "127.0.0.1", ports[1]),
	})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, plainCases(dir, ports[0], port)
}

// seen answers with what an app can see of where a request comes from.
func seen(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(w, "%s %s from %s\n%q\n", r.Method, r.URL.Path, host, r.Header["X-Forwarded-For"])
}

func plainCases(dir string, front, app int) []plainCase {
	get := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
	}
	at := fmt.Sprintf("127.0.0.1:%d", front)
	var out []plainCase
	for _, path := range []string{"/direct", "/redirect", "/static/x", "/strict", "/logical",
		"/pipe", "/bound", "/none", "/nowhere"} {
		out = append(out, plainCase{path, "tcp", at, get(path)})
	}
	capture := filepath.Join(dir, "capture")
	v1 := func(to string) string { return "PROXY TCP4 192.0.2.7 " + to + "\r\n" }
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xc0\x00\x02\x07" + "\xf0\x00\x00\x08" +
		"\x9c\x40" + "\x23\x78" // 192.0.2.7:40000 to 240.0.0.8:9080
	return append(out,
		plainCase{"pipe", "unix", filepath.Join(dir, "front"), get("/direct")},
		plainCase{"pipe, to the app", "unix", filepath.Join(dir, "front"), get("/static")},
		plainCase{"captured, v1", "unix", capture, v1("240.0.0.7 40000 9080") + get("/direct")},
		plainCase{"captured, v2", "unix", capture, v2 + get("/static")},
		plainCase{"captured, to a TCP proxy", "unix", capture,
			v1("240.0.0.9 40000 3306") + get("/tcp")},
		plainCase{"captured, for anybody", "unix", capture,
			v1(fmt.Sprintf("127.0.0.1 40000 %d", app)) + get("/passed")},
		plainCase{"captured, for nobody", "unix", capture, v1("127.0.0.1 40000 1") + get("/")},
		plainCase{"captured, address unknown", "unix", capture, "PROXY UNKNOWN\r\n" + get("/")},
		plainCase{"no PROXY header", "unix", capture, get("/direct")},
		plainCase{"bad v1 port", "unix", capture, v1("240.0.0.7 40000 99999") + get("/direct")},
		plainCase{"v1 of two families", "unix", capture,
			"PROXY TCP4 ::1 240.0.0.7 40000 9080\r\n" + get("/direct")},
		plainCase{"v1 too long", "unix", capture, "PROXY " + strings.Repeat("x", 200)},
	)
}

// varying is what two answers may differ in.
var varying = regexp.MustCompile(`(?m)^(date|x-envoy-upstream-service-time): .*\n`)

// play sends a case and returns what comes back.
func (c plainCase) play(t *testing.T) string {
	t.Helper()
	conn, err := net.Dial(c.network, c.address)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	defer conn.Close()
	io.WriteString(conn, c.text) //nolint:errcheck // it may be refused half-way
	b, _ := io.ReadAll(bufio.NewReader(conn))
	text := strings.ReplaceAll(string(b), "\r\n", "\n")
	return varying.ReplaceAllString(regexp.MustCompile(`(?m)^Date: .*\n`).ReplaceAllString(text, ""), "")
}

// admin asks our admin port for what tools ask, after all cases have been played.
func admin(t *testing.T, path string) {
	t.Helper()
	c := adminClient(path)
	for _, row := range []struct {
		method, url string
		status      int
		want        []string
	}{
		{"GET", "/ready", 200, []string{"LIVE\n"}},
		{"GET", "/server_info", 200, []string{`"state": "LIVE"`, `"id": "plain"`,
			`"mode": "Serve"`, `"config_path"`}},
		{"GET", "/config_dump", 200, []string{`"@type": "type.googleapis.com/envoy.admin.v3.` +
			`BootstrapConfigDump"`, `"static_listeners"`, `"name": "capture"`, `"static_clusters"`,
			`"static_route_configs"`}},
		{"GET", "/config_dump?resource=static_clusters&mask=cluster.name&name_regex=str.*", 200,
			[]string{`"name": "strict"`}},
		{"GET", "/config_dump?resource=nonsense", 404, []string{"nonsense not found"}},
		{"GET", "/config_dump?mask=bootstrap.node.id.x", 400, []string{"id has no fields"}},
		{"GET", "/clusters", 200, []string{"strict::127.0.0.1:", "::rq_success::1\n",
			"none::127.0.0.1:", "::cx_connect_fail::1\n", "pipe::/"}},
		{"GET", "/clusters?format=json", 200, []string{`"cluster_statuses"`, `"pipe": {`}},
		{"GET", "/listeners", 200, []string{"front::127.0.0.1:", "capture::/"}},
		{"GET", "/listeners?format=json", 200, []string{`"additional_local_addresses"`}},
		{"GET", "/stats", 200, []string{"server.state: 0\n", "cluster.strict.upstream_rq_2xx: 1\n",
			"cluster.none.upstream_cx_connect_fail: 1\n", "http.captured.downstream_rq_2xx: 2\n",
			"cluster.strict.upstream_rq_200: 1\n", "tcp.passed.downstream_cx_total: ",
			"listener_manager.workers_started: 1\n"}},
		{"GET", "/stats?filter=^server\\.state", 200, []string{"server.state: 0\n"}},
		{"GET", "/stats?format=json&filter=^server.live$", 200,
			[]string{`{"stats":[{"name":"server.live","value":1}]}`}},
		{"GET", "/stats?filter=(", 400, []string{"Invalid re2 regex"}},
		{"GET", "/stats/prometheus", 200, []string{
			"# TYPE envoy_cluster_upstream_rq_xx counter\n", "envoy_cluster_upstream_rq_xx{" +
				`envoy_cluster_name="strict",envoy_response_code_class="2"} 1`}},
		{"GET", "/logging", 405, nil},
		{"POST", "/logging?level=debug", 200, []string{"mesh-lab: debug"}},
		{"POST", "/logging?level=loud", 400, []string{"unknown logger level"}},
		{"POST", "/healthcheck/fail", 200, []string{"OK\n"}},
		{"GET", "/ready", 503, []string{"DRAINING\n"}},
		{"POST", "/healthcheck/ok", 200, []string{"OK\n"}},
		{"GET", "/ready", 200, []string{"LIVE\n"}},
		{"GET", "/certs", 200, []string{`"certificates": []`}},
		{"GET", "/memory", 200, []string{`"allocated"`}},
		{"GET", "/nonsense", 404, []string{"invalid path. admin commands are:\n  /certs"}},
		{"GET", "/help", 200, []string{"/quitquitquit: exit the server"}},
		{"POST", "/drain_listeners", 200, []string{"OK\n"}},
		{"GET", "/listeners", 200, nil},
	} {
		q, err := http.NewRequest(row.method, "http://admin"+row.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != row.status {
			t.Errorf("%s %s: %s %v %s", row.method, row.url, r.Status, err, tail(string(b), 500))
		}
		for _, want := range row.want {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s %s: no %q in %s", row.method, row.url, want, tail(string(b), 3000))
			}
		}
	}
}
