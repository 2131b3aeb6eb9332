package echo_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/echo"
)

// serve starts the app and returns where it listens.
func serve(t *testing.T, env app.Env) (address string, server *http.Server) {
	t.Helper()
	handler, err := echo.Handler(env)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server = &http.Server{Handler: handler, ConnContext: app.ConnContext}
	go server.Serve(handler.(app.Taker).Take(l, 7000))
	t.Cleanup(func() { server.Close() })
	return l.Addr().String(), server
}

var pod = app.Env{Pod: "a-0", Workload: "a", Namespace: "default", Version: "v2"}

// answer is what both answers have.
type answer struct {
	Protocol, Body, Pod, Version string
	Path                         string
	Port                         int
	TLS                          *echo.TLS
}

// ask sends bytes, each string as a segment of its own, and returns the answer to its end.
func ask(t *testing.T, c net.Conn, segments ...string) (a answer) {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	for _, s := range segments {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(c)
	var body io.Reader = r
	if first, err := r.Peek(5); err == nil && string(first) == "HTTP/" {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body = resp.Body
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return a
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestFirstBytes(t *testing.T) {
	address, _ := serve(t, pod)
	long := "/" + strings.Repeat("x", 10_000)
	for _, c := range []struct {
		name     string
		segments []string
		want     answer
	}{
		{"HTTP", []string{"GET /p HTTP/1.1\r\nHost: a\r\n\r\n"}, answer{Protocol: "HTTP/1.1", Path: "/p"}},
		{"HTTP in pieces", []string{"G", "ET /p HT", "TP/1.1\r\nHost: a\r\n\r\n"},
			answer{Protocol: "HTTP/1.1", Path: "/p"}},
		{"long path", []string{"GET " + long + " HTTP/1.1\r\nHost: a\r\n\r\n"},
			answer{Protocol: "HTTP/1.1", Path: long}},
		{"a line", []string{"hello there\n"}, answer{Protocol: "TCP", Body: "hello there"}},
		{"a line in pieces", []string{"x", "y", "\r\nmore"}, answer{Protocol: "TCP", Body: "xy"}},
		{"an empty line", []string{"\n"}, answer{Protocol: "TCP"}},
		{"a word of HTTP", []string{"GET out\n"}, answer{Protocol: "TCP", Body: "GET out"}},
		{"a long line", []string{strings.Repeat("abc ", 5000) + "\n"},
			answer{Protocol: "TCP", Body: strings.Repeat("abc ", 5000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, secured := range []bool{false, true} {
				conn := dial(t, address)
				if secured {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "s"})
				}
				got := ask(t, conn, c.segments...)
				if got.Protocol != c.want.Protocol || got.Body != c.want.Body ||
					got.Path != c.want.Path || got.Pod != "a-0" || got.Version != "v2" ||
					(got.TLS != nil) != secured {
					t.Errorf("TLS %v: got %+v, want %+v", secured, got, c.want)
				}
				if secured && (got.TLS.SNI != "s" || got.TLS.Version != "TLS 1.3") {
					t.Errorf("got %+v", got.TLS)
				}
			}
		})
	}
}

// TestUnfinishedLine answers a client that ends without a line break, and closes on one that says
// nothing.
func TestUnfinishedLine(t *testing.T) {
	address, _ := serve(t, pod)
	c := dial(t, address)
	io.WriteString(c, "half")
	c.(*net.TCPConn).CloseWrite()
	if got := ask(t, c); got.Body != "half" || got.Port != 7000 {
		t.Errorf("got %+v", got)
	}
	c = dial(t, address)
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestCertificate is about the names on both sides.
func TestCertificate(t *testing.T) {
	outside := pod
	outside.Host = "api.example.com"
	for want, env := range map[string]app.Env{"a.lab": pod, "api.example.com": outside} {
		address, _ := serve(t, env)
		for _, alpn := range [][]string{nil, {"istio"}, {"h2", "http/1.1"}} {
			for peer, cert := range map[string]*x509.Certificate{
				"":                   nil,
				"spiffe://td/ns/n/x": {URIs: []*url.URL{{Scheme: "spiffe", Host: "td", Path: "/ns/n/x"}}},
				"b.example.com":      {DNSNames: []string{"b.example.com"}},
				"CN=clerk":           {Subject: pkix.Name{CommonName: "clerk"}},
			} {
				config := &tls.Config{InsecureSkipVerify: true, NextProtos: alpn}
				if cert != nil {
					config.Certificates = []tls.Certificate{signed(t, cert)}
				}
				c := tls.Client(dial(t, address), config)
				got := ask(t, c, "x\n")
				if names := c.ConnectionState().PeerCertificates[0].DNSNames; names[0] != want {
					t.Errorf("certificate of %v, want %s", names, want)
				}
				if got.TLS == nil || got.TLS.Peer != peer {
					t.Errorf("peer: got %+v, want %q", got.TLS, peer)
				}
				if alpn := len(alpn) == 2; alpn != (got.TLS.ALPN == "http/1.1") {
					t.Errorf("ALPN: got %+v", got.TLS)
				}
			}
		}
	}
}

func signed(t *testing.T, c *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestEnd closes connections that have said nothing, or half of a handshake.
func TestEnd(t *testing.T) {
	address, server := serve(t, pod)
	silent, half := dial(t, address), dial(t, address)
	io.WriteString(half, "\x16\x03\x01")
	ask(t, dial(t, address), "x\n") // the others have been accepted before this one
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{silent, half} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("got %v", err)
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// TestTrouble closes without an answer where the environment says so, and waits.
func TestTrouble(t *testing.T) {
	env := pod
	env.Vars = map[string]string{"ECHO_RESET": "true"}
	address, _ := serve(t, env)
	c := dial(t, address)
	io.WriteString(c, "x\n")
	if b, err := io.ReadAll(c); len(b) > 0 || isTimeout(err) {
		t.Errorf("got %q, %v", b, err)
	}
	env.Vars = map[string]string{"ECHO_DELAY": "1h"}
	waiting := make(clock, 1)
	env.Clock = waiting
	address, _ = serve(t, env)
	c = dial(t, address)
	io.WriteString(c, "x\n")
	f := <-waiting
	f()
	if got := ask(t, c); got.Body != "x" {
		t.Errorf("got %+v", got)
	}
}

// clock hands out what is to be called later.
type clock chan func()

func (c clock) AfterFunc(_ time.Duration, f func()) (stop func() bool) {
	c <- f
	return func() bool { return true }
}
