package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// exchange is one connection of the access log test.
type logged struct {
	name, listener string
	raw            string
	// gone: the client closes as soon as the upstream has the request.
	gone bool
	// half: the client closes its sending side and waits for the end.
	half bool
	more int // records beyond one
}

// loggedExchanges are played one after the other.
func loggedExchanges() []logged {
	const h = " HTTP/1.1\r\nHost: svc:80\r\nConnection: close\r\n"
	big := strings.Repeat("x", 100000)
	var out []logged
	for _, l := range []string{"http", "bytes"} {
		out = append(out, []logged{
			{name: "chunks", raw: "GET /ok/chunk?q=v%20&z=1&q=2" + h +
				"X-B: \"bee\"\r\nUser-Agent: a\\b\xff\r\n\r\n"},
			{name: "post", raw: "POST /ok/x" + h + "Content-Length: 3\r\nx-a: 1\r\nx-a: 2\r\n\r\nabc"},
			{name: "chunked request", raw: "POST /ok/x" + h + "Transfer-Encoding: chunked\r\n\r\n" +
				"3\r\nabc\r\n0\r\n\r\n"},
			{name: "no cluster", raw: "GET /nocluster" + h + "\r\n"},
			{name: "no route", raw: "GET /none" + h + "\r\n"},
			{name: "no endpoints", raw: "GET /empty" + h + "\r\n"},
			{name: "refused", raw: "GET /refused" + h + "\r\n"},
			{name: "direct", raw: "GET /direct" + h + "\r\n"},
			{name: "redirect", raw: "GET /redirect?a=b" + h + "\r\n"},
			{name: "reset", raw: "GET /ok/reset" + h + "\r\n"},
			{name: "timeout", raw: "GET /ok/slow" + h + "\r\n"},
			{name: "rewrite", raw: "GET /rw/x?y=1&%6b=%41+%zz%2" + h + "x-b: é€\r\n\r\n"},
			{name: "bad", raw: "BAD\r\n\r\n"},
			{name: "trailers", raw: "GET /ok/trailer" + h + "te: trailers\r\n\r\n"},
			{name: "grpc", raw: "POST /ok/grpc" + h +
				"Content-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"},
			{name: "grpc refused", raw: "POST /refused" + h +
				"Content-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"},
			{name: "head", raw: "HEAD /ok/x" + h + "\r\n"},
			{name: "abort", raw: "GET /abort" + h + "\r\n"},
			{name: "retried", raw: "GET /ok/flaky" + h + "\r\n"},
			{name: "two requests", more: 1, raw: "GET /ok/1 HTTP/1.1\r\nHost: h\r\n\r\n" +
				"GET /direct" + h + "\r\n"},
			{name: "old", raw: "GET /ok/x HTTP/1.0\r\nHost: h\r\n\r\n"},
			{name: "client gone", raw: "GET /ok/hang" + h + "\r\n", gone: true},
			{name: "large", raw: "POST /ok/x" + h + "Content-Length: 100000\r\n\r\n" + big},
		}...)
		for i := range out {
			if out[i].listener == "" {
				out[i].listener = l
			}
		}
	}
	return append(out,
		logged{name: "tcp", listener: "tcp", raw: "GET /ok/x HTTP/1.1\r\nHost: a\r\n\r\n", half: true},
		logged{name: "tcp refused", listener: "tcp-refused", raw: "x"},
		logged{name: "tcp no cluster", listener: "tcp-none", raw: "x"},
		logged{name: "no filter chain", listener: "nochain", raw: "x"},
	)
}

// logServer answers by path.
type logServer struct {
	l     net.Listener
	hang  chan struct{} // a request came that is not answered
	mu    sync.Mutex
	flaky int
}

func newLogServer(t *testing.T) *logServer {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &logServer{l: l, hang: make(chan struct{}, 1)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *logServer) serve(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body) //nolint:errcheck // the proxy may be gone
		answer := "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-resp: a\r\nx-resp: b\r\n\r\nhello"
		switch req.URL.Path {
		case "/ok/reset":
			return
		case "/ok/hang":
			s.hang <- struct{}{}
			fallthrough
		case "/ok/slow":
			io.Copy(io.Discard, r) //nolint:errcheck // until the proxy gives up
			return
		case "/ok/flaky":
			s.mu.Lock()
			if s.flaky++; s.flaky%3 != 0 {
				answer = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"
			}
			s.mu.Unlock()
		case "/ok/trailer":
			answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: t\r\n\r\n"
		case "/ok/chunk":
			answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nX-R:  r\"esp\\\xe9 \r\n\r\n" +
				"2\r\nhi\r\n3\r\nhey\r\n0\r\n\r\n"
		}
		if req.Method == http.MethodHead {
			answer, _, _ = strings.Cut(answer, "hello")
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// playLogged plays an exchange to its end.
func (s *logServer) play(addr string, x logged) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, x.raw); err != nil {
		return err
	}
	if x.gone {
		select {
		case <-s.hang:
			return nil
		case <-time.After(patience):
			return fmt.Errorf("the request does not arrive")
		}
	}
	if x.half {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, conn)
	if err != nil && broken(err) == "cut" {
		err = nil
	}
	return err
}

// masks hide what differs from run to run: times, ports and ids.
var masks = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}`), "<time>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{2,}`), "127.0.0.1:<port>"},
	{regexp.MustCompile(`(?m)^((?:\w+_)?(?:PORT|DURATION|CONNECTION_ID)(?:\(.*\))?=)[1-9]\d*$`), "$1<n>"},
	{regexp.MustCompile(`(?m)^((?:\w+_)?DURATION(?:\(.*\))?=)\d+$`), "$1<n>"},
	{regexp.MustCompile(`(?m)^(\w+_IDS_ATTEMPTED=)\d+(,\d+)*$`), "$1<ids>"},
	{regexp.MustCompile(`("\w*(?:PORT|duration|DURATION|CONNECTION_ID|service_time)(?:\([^"]*\))?":"?)[1-9]\d*`), "$1<n>"},
	{regexp.MustCompile(`("\w*(?:duration|DURATION|service_time)(?:\([^"]*\))?":"?)0`), "$1<n>"},
	{regexp.MustCompile(`("\w+_IDS_ATTEMPTED":)"\d+(,\d+)*"`), "$1<ids>"},
	// The texts of Istio and Envoy: duration and service time.
	{regexp.MustCompile(`(?m)^(\[<time>.* )\d+ (\d+|-) ("(?:-|[^"]*)" "(?:-|[^"]*)" "(?:-|<uuid>)")`), "$1<n> <$2> $3"},
	{regexp.MustCompile(`<\d+>`), "<n>"},
}

func maskLog(s string) string {
	for _, m := range masks {
		s = m.find.ReplaceAllString(s, m.put)
	}
	return s
}

// logBed is what both proxies are given.
type logBed struct {
	dir string
	s   *logServer
}

func newLogBed(t *testing.T) *logBed {
	t.Helper()
	t.Setenv("MESHLAB_PROBE", "a \"value\"")
	return &logBed{dir: t.TempDir(), s: newLogServer(t)}
}

// read joins the logs into one text.
func (b *logBed) text(read func(path string) string) map[string]string {
	out := map[string]string{}
	for _, name := range logNames() {
		out[name] = maskLog(read(filepath.Join(b.dir, name)))
	}
	return out
}

// TestAccessLogEnvoy has the real Envoy write what the golden file says.
func TestAccessLogEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	b := newLogBed(t)
	s := b.snapshot(t)
	boot := &bootstrapv3.Bootstrap{Admin: &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{}}
	for _, l := range s.Listeners {
		l.Address = socket("127.0.0.1", 0)
		boot.StaticResources.Listeners = append(boot.StaticResources.Listeners, l)
	}
	for _, c := range s.Clusters {
		boot.StaticResources.Clusters = append(boot.StaticResources.Clusters, c)
	}
	at, stop := runEnvoy(t, binary, boot)
	for _, x := range loggedExchanges() {
		if err := b.s.play(at[x.listener], x); err != nil {
			t.Errorf("%s %s: %v", x.listener, x.name, err)
		}
	}
	stop()
	got := b.text(func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(data)
	})
	if *update {
		writeGolden(t, "envoy-accesslog", logNames(), got)
		return
	}
	want := readGolden(t, "envoy-accesslog").text
	for _, n := range logNames() {
		if got[n] != want[n] {
			t.Errorf("%s: Envoy writes something else than before:\n%s", n, diffLines(want[n], got[n]))
		}
	}
}

func diffLines(a, b string) string {
	return cmp.Diff(strings.Split(a, "\n"), strings.Split(b, "\n"))
}

// logWorld is the network and sinks of our proxy.
type logWorld struct {
	mu    sync.Mutex
	lines map[string]*strings.Builder
	ended chan struct{} // one for each record
}

func (*logWorld) Listen(ctx context.Context, a engine.Address) (net.Listener, bool, error) {
	return world{}.Listen(ctx, a)
}

func (*logWorld) Dial(ctx context.Context, from netip.Addr, to engine.Address) (net.Conn, error) {
	return world{}.Dial(ctx, from, to)
}

// Record tells that an exchange has ended.
func (w *logWorld) Record(*observe.Request) { w.ended <- struct{}{} }

// AccessLog keeps the line.
func (w *logWorld) AccessLog(path string, line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lines[path] == nil {
		w.lines[path] = &strings.Builder{}
	}
	w.lines[path].Write(line)
}

// TestAccessLog has our proxy write, byte for byte, what Envoy writes.
func TestAccessLog(t *testing.T) {
	b := newLogBed(t)
	c := clock.NewReal()
	w := &logWorld{lines: map[string]*strings.Builder{}, ended: make(chan struct{}, 8)}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.New(proxy.Options{
		Engine: engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall,
			Workload: observe.Workload{Pod: hostname}, Getenv: os.LookupEnv}),
		Network: w, Clock: c, Seed: 1, Sink: w, AccessLog: w,
	})
	t.Cleanup(func() { p.Close() })
	s := b.snapshot(t)
	if err := p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, x := range loggedExchanges() {
		a := s.Listeners[x.listener].GetAddress().GetSocketAddress()
		at := netip.AddrPortFrom(netip.MustParseAddr(a.GetAddress()), uint16(a.GetPortValue()))
		if err := b.s.play(p.Addr(engine.Address{AddrPort: at}).String(), x); err != nil {
			t.Errorf("%s %s: %v", x.listener, x.name, err)
		}
		for range 1 + x.more {
			select {
			case <-w.ended:
			case <-time.After(patience):
				t.Fatalf("%s %s: not recorded", x.listener, x.name)
			}
		}
	}
	p.Close()
	got := b.text(func(path string) string {
		if w.lines[path] == nil {
			return ""
		}
		return w.lines[path].String()
	})
	want := readGolden(t, "envoy-accesslog").text
	for _, n := range logNames() {
		if got[n] != want[n] {
			t.Errorf("%s: (-Envoy +ours)\n%s", n, diffLines(want[n], got[n]))
		}
	}
}
