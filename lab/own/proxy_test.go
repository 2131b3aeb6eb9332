package own_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/own"
)

// mesh is a proxy whose upstreams are in this test: what is dialled is noted.
type mesh struct {
	t      *testing.T
	proxy  *own.Proxy
	at     string
	dialed chan string
}

// newMesh serves a proxy that leads every address to a server, but gone:80.
func newMesh(t *testing.T, server string) *mesh {
	t.Helper()
	m := &mesh{t: t, dialed: make(chan string, 100)}
	m.proxy = own.NewProxy(func(ctx context.Context, address string) (net.Conn, error) {
		m.dialed <- address
		if address == "gone:80" {
			return nil, errors.New("no such host")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", server)
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(m.proxy.Close)
	m.at = m.listen(func(l net.Listener) { m.proxy.ServeProxy(l) })
	return m
}

func (m *mesh) listen(serve func(net.Listener)) string {
	m.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	serve(l)
	return l.Addr().String()
}

// dial connects to the proxy, or to a local port.
func (m *mesh) dial(at string) (net.Conn, *bufio.Reader) {
	m.t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		m.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// scripted is a server that gives every connection the same answer, and tells what it was sent up
// to the end of the head.
func scripted(t *testing.T, answer string) (at string, heads chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	heads = make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			head := ""
			in := bufio.NewReader(c)
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := in.ReadString('\n')
				if err != nil {
					break
				}
				head += line
			}
			heads <- head
			io.WriteString(c, answer) //nolint:errcheck // the client may be gone
			c.Close()
		}
	}()
	return l.Addr().String(), heads
}

// TestProxyIsTransparent: a request arrives as it was sent, and so does its answer, but for what
// concerns the client's connection alone.
func TestProxyIsTransparent(t *testing.T) {
	const answer = "HTTP/1.1 418 I'm a teapot\r\nX-One: 1\r\nX-One: 2\r\nKeep-Alive: timeout=1\r\n" +
		"Content-Length: 3\r\nConnection: close\r\n\r\npot"
	at, heads := scripted(t, answer)
	m := newMesh(t, at)
	c, in := m.dial(m.at)
	io.WriteString(c, "PUT http://reviews:9080/a//b/%2F?x;y&z=%zz HTTP/1.1\r\n"+ //nolint:errcheck // read says
		"Host: reviews:9080\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=me\r\nX-Mine: a\r\n"+
		"X-Mine: b\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n"+
		"Connection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nContent-Length: 2\r\n\r\nhi")
	if to := <-m.dialed; to != "reviews:9080" {
		t.Errorf("dialled %s", to)
	}
	head := <-heads
	wantLines(t, head, "PUT /a//b/%2F?x;y&z=%zz HTTP/1.1", "Host: reviews:9080",
		"X-Forwarded-For: 1.2.3.4", "Forwarded: for=me", "X-Mine: a", "X-Mine: b",
		"Content-Length: 2", "Te: trailers", "") // the proxy can do that
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusTeapot || string(body) != "pot" {
		t.Errorf("%s %q %v", r.Status, body, err)
	}
	for name, v := range r.Header {
		if name != "X-One" && name != "Content-Length" {
			t.Errorf("the answer has %s: %v", name, v)
		}
	}
	if got := r.Header.Values("X-One"); len(got) != 2 {
		t.Errorf("X-One: %v", got)
	}
}

// wantLines compares a head with lines in any order.
func wantLines(t *testing.T, head string, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSuffix(head, "\r\n"), "\r\n")
	if got[0] != want[0] {
		t.Errorf("%q, want %q", got[0], want[0])
	}
	left := map[string]int{}
	for _, l := range got {
		left[l]++
	}
	for _, l := range want {
		left[l]--
	}
	for l, n := range left {
		if n != 0 {
			t.Errorf("%q: %+d", l, n)
		}
	}
}

// TestProxyStreams: an answer's pieces come as they are sent.
func TestProxyStreams(t *testing.T) {
	more := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "one")
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "two")
	}))
	defer s.Close()
	m := newMesh(t, s.Listener.Addr().String())
	c, in := m.dial(m.at)
	fmt.Fprint(c, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "one" {
		t.Fatalf("%q %v", b, err)
	}
	close(more)
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != "two" {
		t.Errorf("%q %v", b, err)
	}
	if to := <-m.dialed; to != "a:80" {
		t.Errorf("dialled %s", to)
	}
}

// echoes takes what comes after a line "HELLO", or an upgrade, and sends it back.
func echoes(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for line := "x"; strings.TrimSpace(line) != ""; {
					var err error
					if line, err = in.ReadString('\n'); err != nil {
						return
					}
					if line == "HELLO\r\n" {
						break
					}
					if strings.TrimSpace(line) == "" {
						fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n"+
							"Connection: Upgrade\r\n\r\n")
					}
				}
				io.Copy(c, in) //nolint:errcheck // until the client ends
				fmt.Fprint(c, ".")
			}()
		}
	}()
	return l.Addr().String()
}

// TestProxyTunnels: CONNECT, a raw local port and an upgrade each give a connection in both
// directions, whose halves end alone.
func TestProxyTunnels(t *testing.T) {
	m := newMesh(t, echoes(t))
	raw := m.listen(func(l net.Listener) {
		m.proxy.ServeUpstream(l, own.Upstream{Address: "mysql:3306"})
	})
	for _, test := range []struct{ name, at, first, status, hello, to string }{
		{"CONNECT", m.at, "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n", "200", "HELLO\r\n",
			"db:5432"},
		{"raw", raw, "", "", "HELLO\r\n", "mysql:3306"},
		{"upgrade", m.at, "GET http://a:81/ HTTP/1.1\r\nHost: a:81\r\nConnection: Upgrade\r\n" +
			"Upgrade: echo\r\n\r\n", "101", "", "a:81"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, in := m.dial(test.at)
			fmt.Fprint(c, test.first)
			if test.status != "" {
				r, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
				if err != nil || fmt.Sprint(r.StatusCode) != test.status {
					t.Fatalf("%v %v", r, err)
				}
			}
			fmt.Fprint(c, test.hello+"some bytes")
			if to := <-m.dialed; to != test.to {
				t.Errorf("dialled %s", to)
			}
			b := make([]byte, len("some bytes"))
			if _, err := io.ReadFull(in, b); err != nil || string(b) != "some bytes" {
				t.Fatalf("%q %v", b, err)
			}
			if test.name == "upgrade" {
				return // net/http ends both halves together
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(in); err != nil || string(b) != "." {
				t.Errorf("after its end: %q %v", b, err)
			}
		})
	}
}

// TestProxyRefuses says what it can not do.
func TestProxyRefuses(t *testing.T) {
	m := newMesh(t, "127.0.0.1:1")
	for _, test := range []struct{ first, status, text string }{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "400", "this is a proxy, not a server"},
		{"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "https through a proxy: use CONNECT"},
		{"GET http://gone/ HTTP/1.1\r\nHost: gone\r\n\r\n", "502", "gone:80: no such host"},
		{"CONNECT gone:80 HTTP/1.1\r\nHost: gone:80\r\n\r\n", "502", "gone:80: no such host"},
		{"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "502", "connection refused"},
	} {
		c, in := m.dial(m.at)
		fmt.Fprint(c, test.first)
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 200)
		n, _ := io.ReadAtLeast(r.Body, b, len(test.text)+len("mesh-lab: "))
		if fmt.Sprint(r.StatusCode) != test.status || !strings.Contains(string(b[:n]), test.text) {
			t.Errorf("%q: %s %s", test.first, r.Status, b[:n])
		}
	}
	raw := m.listen(func(l net.Listener) {
		m.proxy.ServeUpstream(l, own.Upstream{Address: "gone:80"})
	})
	c, err := net.Dial("tcp", raw)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to nobody ends with %v", err)
	}
}

// TestUpstreamHost: who calls a local port need not know the upstream's name, but may.
func TestUpstreamHost(t *testing.T) {
	for _, test := range []struct{ address, host, want string }{
		{"reviews:9080", "", "reviews:9080"},
		{"web:80", "", "web"},
		{"reviews:9080", "localhost:LOCAL", "reviews:9080"},
		{"reviews:9080", "other.example.com", "other.example.com"},
		{"reviews:9080", "127.0.0.1:1", "127.0.0.1:1"},
	} {
		at, heads := scripted(t, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		m := newMesh(t, at)
		local := m.listen(func(l net.Listener) {
			m.proxy.ServeUpstream(l, own.Upstream{Address: test.address, HTTP: true})
		})
		_, port, _ := net.SplitHostPort(local)
		host := strings.Replace(test.host, "LOCAL", port, 1)
		if host == "" {
			host = local
		}
		c, in := m.dial(local)
		fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		wantLines(t, <-heads, "GET /x HTTP/1.1", "Host: "+test.want, "")
		if to := <-m.dialed; to != test.address {
			t.Errorf("dialled %s", to)
		}
		if _, err := http.ReadResponse(in, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestUpstreams: ports open and close with what there is, and the others stay.
func TestUpstreams(t *testing.T) {
	m := newMesh(t, "127.0.0.1:1")
	u := m.proxy.Upstreams(func(string) (net.Listener, error) {
		return net.Listen("tcp", "127.0.0.1:0")
	})
	set := func(want ...own.Upstream) {
		t.Helper()
		if err := u.Set(want); err != nil {
			t.Fatal(err)
		}
	}
	a, b := own.Upstream{Address: "a:80", HTTP: true}, own.Upstream{Address: "b:80"}
	set(b, a)
	first := u.List()
	if len(first) != 2 || first[0].Address != "a:80" || first[1].Local == "" {
		t.Fatalf("%+v", first)
	}
	set(a)
	if got := u.List(); len(got) != 1 || got[0] != first[0] {
		t.Errorf("%+v", got)
	}
	if _, err := net.Dial("tcp", first[1].Local); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("b is still there: %v", err)
	}
	a.HTTP = false
	set(a)
	if got := u.List(); len(got) != 1 || got[0].HTTP {
		t.Errorf("%+v", got)
	}
}
