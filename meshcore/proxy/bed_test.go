package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings is the configuration of a test bed.
type settings struct {
	logged   bool           // with an access log
	format   string         // of it; empty: Envoy's default
	lines    engine.LogSink // takes its lines; nil: nobody does
	retries  int
	timeout  time.Duration
	delay    time.Duration
	breaker  *limits
	mirror   bool
	tcp      bool
	refuse   bool          // nobody listens upstream
	proxy100 bool          // the upstream answers Expect: 100-continue
	idle     time.Duration // stream_idle_timeout
	portable bool
	tls      bool // both sides, mutual
	late     *late
}

type limits struct{ connections, pending, requests uint32 }

// bed is one proxy between raw sockets.
type bed struct {
	t       testing.TB
	p       *Proxy
	addr    string
	up      net.Listener
	mirror  net.Listener
	records chan observe.Request
	tls     *tls.Config // of clients; nil: plain
	id      identity    // of everybody, with TLS
	late    *late
}

// logical addresses of the bed.
var (
	bedBind   = engine.Address{AddrPort: netip.MustParseAddrPort("10.244.0.2:8080")}
	bedUp     = engine.Address{AddrPort: netip.MustParseAddrPort("10.244.0.3:9000")}
	bedMirror = engine.Address{AddrPort: netip.MustParseAddrPort("10.244.0.4:9000")}
)

// both runs a test with each way to watch for hang-ups, and with TLS.
func both(t *testing.T, s settings, f func(t *testing.T, b *bed)) {
	t.Helper()
	for _, name := range []string{"epoll", "portable", "tls"} {
		s.portable, s.tls = name == "portable", name == "tls"
		t.Run(name, func(t *testing.T) { f(t, newBed(t, s)) })
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newBed(t testing.TB, s settings) *bed {
	t.Helper()
	b := &bed{t: t, up: listen(t), mirror: listen(t), records: make(chan observe.Request, 10000),
		late: s.late}
	if s.refuse {
		b.up.Close()
	}
	if s.tls {
		b.id = newIdentity(t, "first")
		b.tls = &tls.Config{Certificates: []tls.Certificate{b.id.pair(t)}, InsecureSkipVerify: true}
		b.up = tlsListener{b.up.(*net.TCPListener), &tls.Config{
			Certificates: b.tls.Certificates, ClientAuth: tls.RequireAnyClientCert}}
	}
	b.start(s, b.snapshot(s))
	return b
}

// snapshot makes the bed's resources.
func (b *bed) snapshot(s settings) *xds.Snapshot {
	out := snapshot(s)
	if b.tls != nil {
		mutual(out, b.id)
	}
	return out
}

// start runs the bed's proxy.
func (b *bed) start(s settings, config *xds.Snapshot) {
	t := b.t
	t.Helper()
	c := clock.NewReal()
	var now clock.Clock = c
	if b.late != nil {
		b.late.Clock = c
		now = b.late
	}
	b.p = New(Options{
		Engine: newEngine(t, c), Network: b, Clock: now, Seed: 1, Sink: b,
		portable: s.portable, AccessLog: s.lines,
	})
	t.Cleanup(func() { b.p.Close() })
	if err := b.p.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	b.addr = b.p.Addr(bedBind).String()
}

// Record keeps a record. It is borrowed, so its slices are copied.
func (b *bed) Record(r *observe.Request) {
	c := *r
	c.Attempts = append([]observe.Attempt(nil), r.Attempts...)
	b.records <- c
}

// Listen binds the bed's only listener.
func (b *bed) Listen(_ context.Context, addr engine.Address) (net.Listener, bool, error) {
	if addr != bedBind {
		return nil, false, fmt.Errorf("unexpected listener %s", addr)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	return l, false, err
}

// Dial connects to the bed's upstreams.
func (b *bed) Dial(ctx context.Context, _ netip.Addr, to engine.Address) (net.Conn, error) {
	l := b.up
	if to == bedMirror {
		l = b.mirror
	} else if to != bedUp {
		return nil, fmt.Errorf("unexpected upstream %s", to)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", l.Addr().String())
	if err == nil && b.late != nil {
		c = lateConn{c, b.late}
	}
	return c, err
}

// peer is a raw connection of a test: the client, or the upstream.
type peer struct {
	*bufio.Reader
	net.Conn
	t testing.TB
}

func (p *peer) Read(b []byte) (int, error) { return p.Reader.Read(b) }

func newPeer(t testing.TB, c net.Conn) *peer {
	t.Cleanup(func() { c.Close() })
	// A test that waits for what never comes fails, not hangs.
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &peer{bufio.NewReader(c), c, t}
}

// dial connects as a client.
func (b *bed) dial() *peer {
	b.t.Helper()
	if b.tls != nil {
		p, _ := b.dialTLS(nil)
		return p
	}
	c, err := net.Dial("tcp4", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return newPeer(b.t, c)
}

// accept takes the next upstream connection.
func (b *bed) accept() *peer { return acceptFrom(b.t, b.up) }

func acceptFrom(t testing.TB, l net.Listener) *peer {
	t.Helper()
	l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(30 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, c)
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) sendf(format string, args ...any) {
	p.t.Helper()
	p.send(fmt.Sprintf(format, args...))
}

// head reads a head as text.
func (p *peer) head() string {
	p.t.Helper()
	var b strings.Builder
	for {
		line, err := p.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			p.t.Fatalf("head %q: %v", b.String(), err)
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// want reads exactly a text.
func (p *peer) want(text string) {
	p.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(p, got)
	if err != nil || string(got) != text {
		p.t.Fatalf("got %q (%v), want %q", got[:n], err, text)
	}
}

// eof wants the end of the connection.
func (p *peer) eof() {
	p.t.Helper()
	if b, err := io.ReadAll(p); len(b) > 0 || err != nil && !isReset(err) {
		p.t.Fatalf("got %q, %v; want the end", b, err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset by peer") }

// answer reads a response with net/http, as the control.
func (p *peer) answer(method string) (*http.Response, string) {
	p.t.Helper()
	r, err := http.ReadResponse(p.Reader, &http.Request{Method: method})
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatalf("body %q: %v", b, err)
	}
	return r, string(b)
}

// status wants a response with a status and a body.
func (p *peer) status(status int, body string) *http.Response {
	p.t.Helper()
	r, got := p.answer("GET")
	if r.StatusCode != status || got != body {
		p.t.Fatalf("got %d %q, want %d %q", r.StatusCode, got, status, body)
	}
	return r
}

// request reads a request with net/http.
func (p *peer) request() (*http.Request, string) {
	p.t.Helper()
	r, err := http.ReadRequest(p.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatalf("body %q: %v", b, err)
	}
	return r, string(b)
}

// reply sends a response with a body.
func (p *peer) reply(status int, body string) {
	p.t.Helper()
	p.sendf("HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// record waits for the next record.
func (b *bed) record() observe.Request {
	b.t.Helper()
	select {
	case r := <-b.records:
		return r
	case <-time.After(30 * time.Second):
		b.t.Fatal("no record")
		return observe.Request{}
	}
}

// echo serves the upstream: each request is answered with its method, path and body.
func (b *bed) echo(l net.Listener) {
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header()["Date"] = nil
		fmt.Fprintf(w, "%s %s %d %s", r.Method, r.URL.Path, len(body), body[:min(len(body), 50)])
	}))
}
