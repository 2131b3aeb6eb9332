package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// guarded is one file of testdata/security: a listener with security filters, and requests. What
// both proxies answer to them, hand upstream and log stands in envoy-security.golden.
type guarded struct {
	name string
	HTTP []any `yaml:"http_filters"` // in front of the router
	// Network filters stand in front of tcp_proxy, or of the connection manager when HTTP is there.
	Network []any          `yaml:"network_filters"`
	Routes  []any          // instead of one route to the upstream
	HCM     map[string]any // further fields of the connection manager
	Vhost   map[string]any // and of the virtual host
	Log     string         // what is logged beside what always is
	// Requests are sent one after the other, each on its own connection.
	Requests []struct {
		Name string
		// Send is the head of a request, without Host and Connection where they do not matter; or
		// what a TCP client sends.
		Send  string
		Proxy string // the PROXY header, unless the usual one
		Raw   bool   // Send is all that is sent
		Half  bool   // the client closes its sending side when the upstream is connected
	}
}

const usualProxy = "PROXY TCP4 192.0.2.7 10.96.0.10 40000 8080"

func guardedCases(t *testing.T) []*guarded {
	t.Helper()
	files, err := filepath.Glob("testdata/security/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var out []*guarded
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		g := &guarded{name: strings.TrimSuffix(filepath.Base(file), ".yaml")}
		d := yaml.NewDecoder(strings.NewReader(string(text)))
		d.KnownFields(true)
		if err := d.Decode(g); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if *only == "" || strings.Contains("security/"+g.name, *only) {
			out = append(out, g)
		}
	}
	return out
}

const guardedLog = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% " +
	"%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %ROUTE_NAME% %UPSTREAM_CLUSTER% " +
	"%BYTES_RECEIVED% %BYTES_SENT%"

// listener is the case's listener; it logs to a file of its name in dir.
func (g *guarded) listener(t *testing.T, i int, dir string, tokens *tokens) *listenerv3.Listener {
	t.Helper()
	logs := []any{map[string]any{"name": "file", "typed_config": map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
		"path":  filepath.Join(dir, g.name),
		"log_format": map[string]any{"text_format_source": map[string]any{
			"inline_string": guardedLog + " " + g.Log + "\n"}}}}}
	var last map[string]any
	if g.HTTP == nil {
		last = map[string]any{"name": "tcp", "typed_config": map[string]any{
			"@type":       "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
			"stat_prefix": "x", "cluster": "up", "access_log": logs}}
	} else {
		last = map[string]any{"name": "hcm", "typed_config": g.manager(logs)}
	}
	v := map[string]any{
		"name": g.name, "traffic_direction": "INBOUND",
		"address": map[string]any{"socket_address": map[string]any{
			"address": fmt.Sprintf("10.96.9.%d", i+1), "port_value": 80}},
		"listener_filters": []any{map[string]any{"name": "envoy.filters.listener.proxy_protocol",
			"typed_config": map[string]any{"@type": "type.googleapis.com/" +
				"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}},
		"filter_chains": []any{map[string]any{"filters": append(slices.Clone(g.Network), last)}},
	}
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	l := &listenerv3.Listener{}
	if err := protojson.Unmarshal([]byte(tokens.in(string(j))), l); err != nil {
		t.Fatalf("%s: %v", g.name, err)
	}
	return l
}

func (g *guarded) manager(logs []any) map[string]any {
	routes := g.Routes
	if routes == nil {
		routes = []any{map[string]any{"name": "default", "match": map[string]any{"prefix": "/"},
			"route": map[string]any{"cluster": "up"}}}
	}
	vhost := map[string]any{"name": "all", "domains": []any{"*"}, "routes": routes}
	for k, v := range g.Vhost {
		vhost[k] = v
	}
	m := map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.filters.network." +
			"http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "x", "access_log": logs, "normalize_path": true,
		"delayed_close_timeout": "0s",
		"route_config":          map[string]any{"name": "r", "virtual_hosts": []any{vhost}},
		"http_filters": append(slices.Clone(g.HTTP), map[string]any{
			"name": "envoy.filters.http.router", "typed_config": map[string]any{
				"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}),
	}
	for k, v := range g.HCM {
		m[k] = v
	}
	return m
}

// teller is an upstream; accepted has something for each connection.
type teller struct {
	net.Listener
	accepted chan struct{}
}

// newTeller starts an upstream that answers a request with its head, and any other connection with
// what it sends.
func newTeller(t *testing.T) *teller {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u := &teller{l, make(chan struct{}, 100)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.accepted <- struct{}{}
			go tell(c)
		}
	}()
	return u
}

func tell(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		if b, _ := r.Peek(6); string(b) == "hello\n" {
			io.WriteString(c, "hello back") //nolint:errcheck // the client sees
			return
		}
		m, err := readHead(r)
		if m == nil || err != nil {
			return
		}
		body := m.first + "\n" + strings.Join(m.fields, "\n")
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
	}
}

// ask sends one request and returns what comes back.
func (g *guarded) ask(t *testing.T, addr string, i int, tokens *tokens, up *teller) string {
	t.Helper()
	r := g.Requests[i]
	for len(up.accepted) > 0 {
		<-up.accepted
	}
	conn, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := r.Proxy
	if head == "" {
		head = usualProxy
	}
	text := tokens.in(r.Send)
	switch {
	case g.HTTP == nil:
	case r.Raw:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	default:
		text = strings.TrimRight(text, "\n")
		if !strings.Contains(strings.ToLower(text), "\nhost:") {
			text += "\nHost: svc"
		}
		text = strings.ReplaceAll(text+"\nConnection: close\n\n", "\n", "\r\n")
	}
	io.WriteString(conn, head+"\r\n"+text) //nolint:errcheck // the answer may have come first
	if r.Half {
		<-up.accepted
		conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // as above
	}
	back, err := io.ReadAll(conn)
	if g.HTTP == nil && !r.Half {
		<-up.accepted
	}
	out := strings.TrimRight(strings.ReplaceAll(string(back), "\r\n", "\n"), "\n")
	if err != nil && broken(err) != "cut" {
		t.Errorf("%s/%s: nothing happens", g.name, r.Name)
	}
	if out == "" {
		out = "closed"
	}
	return tokens.out(maskGuarded(out))
}

var guardedMasks = []struct{ find, put string }{
	{`(?m)^date: .*\n`, ""}, {`(?m)^x-envoy-upstream-service-time: .*\n`, ""},
	{`(?m)^x-request-id: .*\n`, ""}, {`(?m)^connection: close\n`, ""},
	{`(?m)^content-length: \d+\n`, ""}, {`(?m)^x-envoy-expected-rq-timeout-ms: .*\n`, ""},
	{`(?m)^server: envoy\n`, ""}, {`(?m)^x-forwarded-proto: http\n?`, ""},
}

// maskGuarded leaves out what no case is about.
func maskGuarded(s string) string {
	for _, m := range guardedMasks {
		s = regexp.MustCompile(m.find).ReplaceAllString(s, m.put)
	}
	return s
}

// guardedText is what the golden file says of each case.
func guardedText(t *testing.T, cases []*guarded, at func(*guarded) string, tokens *tokens, up *teller,
	ended func(*guarded), logs func(*guarded) string) (names []string, text map[string]string) {
	t.Helper()
	text = map[string]string{}
	for _, g := range cases {
		for i, r := range g.Requests {
			n := g.name + "/" + r.Name
			if text[n] != "" {
				t.Errorf("two requests are called %s", n)
			}
			names = append(names, n)
			text[n] = g.ask(t, at(g), i, tokens, up) + "\n"
			ended(g)
		}
	}
	for _, g := range cases {
		n := g.name + "/log"
		names = append(names, n)
		text[n] = tokens.out(logs(g))
	}
	return names, text
}

// TestSecurityEnvoy has the real Envoy show what the golden file says.
func TestSecurityEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	cases, tokens, dir := guardedCases(t), newTokens(t), t.TempDir()
	boot := &bootstrapv3.Bootstrap{Admin: &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{}}
	up := newTeller(t)
	s := guardedSnapshot(t, cases, dir, tokens, up)
	for _, g := range cases {
		l := proto.CloneOf(s.Listeners[g.name])
		l.Address = socket("127.0.0.1", 0)
		boot.StaticResources.Listeners = append(boot.StaticResources.Listeners, l)
	}
	for _, c := range s.Clusters {
		boot.StaticResources.Clusters = append(boot.StaticResources.Clusters, c)
	}
	at, stop := runEnvoy(t, binary, boot)
	stopped := false
	names, text := guardedText(t, cases, func(g *guarded) string { return at[g.name] }, tokens, up,
		func(*guarded) {}, func(g *guarded) string {
			if !stopped {
				stop()
				stopped = true
			}
			data, err := os.ReadFile(filepath.Join(dir, g.name))
			if err != nil {
				t.Error(err)
			}
			return string(data)
		})
	if *only != "" {
		for _, n := range names {
			t.Logf("%s\n%s", n, text[n])
		}
		return
	}
	if *update {
		writeGolden(t, "envoy-security", names, text)
		return
	}
	compareGuarded(t, "Envoy shows something else than before", names, text)
}

func compareGuarded(t *testing.T, what string, names []string, text map[string]string) {
	t.Helper()
	want := readGolden(t, "envoy-security")
	if *only == "" && !slices.Equal(names, want.names) {
		t.Error("testdata/envoy-security.golden does not list the cases: run with -update")
	}
	for _, n := range names {
		got, wanted := text[n], want.text[n]
		if strings.HasSuffix(n, "/log") { // a connection is logged when both its ends have closed
			got, wanted = sortedLines(got), sortedLines(wanted)
		}
		if got != wanted {
			t.Errorf("%s: %s:\n%s", n, what, diffLines(want.text[n], text[n]))
		}
	}
}

func sortedLines(s string) string {
	return strings.Join(slices.Sorted(strings.Lines(s)), "")
}

func guardedSnapshot(t *testing.T, cases []*guarded, dir string, tokens *tokens,
	up *teller) *xds.Snapshot {
	t.Helper()
	s := xds.NewSnapshot()
	for i, g := range cases {
		s.Listeners[g.name] = g.listener(t, i, dir, tokens)
	}
	for _, name := range []string{"up", "other"} {
		c := cluster(name)
		c.ClusterDiscoveryType, c.EdsClusterConfig = nil, nil
		c.LoadAssignment = endpoints(name, uint32(up.Addr().(*net.TCPAddr).Port))
		s.Clusters[name] = c
	}
	return s
}

// TestSecurity has our proxy show, byte for byte, what Envoy shows.
func TestSecurity(t *testing.T) {
	cases, tokens, dir := guardedCases(t), newTokens(t), t.TempDir()
	c := clock.NewReal()
	w := &logWorld{lines: map[string]*strings.Builder{}, ended: make(chan struct{}, 8)}
	p := proxy.New(proxy.Options{
		Engine:  engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall}),
		Network: w, Clock: c, Seed: 1, Sink: w, AccessLog: w,
	})
	t.Cleanup(func() { p.Close() })
	up := newTeller(t)
	s := guardedSnapshot(t, cases, dir, tokens, up)
	if err := p.Update(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	names, text := guardedText(t, cases, func(g *guarded) string {
		a := s.Listeners[g.name].GetAddress().GetSocketAddress()
		at := netip.AddrPortFrom(netip.MustParseAddr(a.GetAddress()), uint16(a.GetPortValue()))
		return p.Addr(engine.Address{AddrPort: at}).String()
	}, tokens, up, func(g *guarded) {
		if g.HTTP != nil && g.Network != nil {
			return // what is refused before the first request is not recorded
		}
		select {
		case <-w.ended:
		case <-time.After(patience):
			t.Fatalf("%s: not recorded", g.name)
		}
	}, func(g *guarded) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if b := w.lines[filepath.Join(dir, g.name)]; b != nil {
			return b.String()
		}
		return ""
	})
	compareGuarded(t, "(-Envoy +ours)", names, text)
}
