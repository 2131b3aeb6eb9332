package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// discard takes records and forgets them.
type discard struct{ net.Listener }

func (discard) Record(*observe.Request) {}

func (d discard) Listen(context.Context, engine.Address) (net.Listener, bool, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	return l, false, err
}

func (d discard) Dial(ctx context.Context, _ netip.Addr, _ engine.Address) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp4", d.Addr().String())
}

// constant answers every request with the same bytes, without allocating.
func constant(l net.Listener, size int, answer []byte) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 64<<10)
			for n := 0; ; {
				k, err := c.Read(buf[n:])
				if err != nil {
					return
				}
				n += k
				end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
				if end < 0 || n < end+4+size {
					continue
				}
				n = 0
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// fast starts a proxy before a constant upstream and returns a function that makes one request.
func fast(t testing.TB, s settings, request, answer string, bodySize int) (roundTrip func()) {
	t.Helper()
	d := discard{listen(t)}
	go constant(d, bodySize, []byte(answer))
	c := clock.NewReal()
	p := New(Options{Engine: newEngine(t, c), Network: d, Clock: c, Seed: 1, Sink: d})
	t.Cleanup(func() { p.Close() })
	if err := p.Update(t.Context(), snapshot(s)); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp4", p.Addr(bedBind).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	in, buf := []byte(request), make([]byte, 64<<10)
	body := len(answer) - strings.Index(answer, "\r\n\r\n") - 4
	return func() {
		if _, err := conn.Write(in); err != nil {
			t.Fatal(err)
		}
		// The head that the proxy sends is longer than the upstream's; the body is the same.
		n := 0
		for {
			k, err := conn.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
			end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
			if end >= 0 && n >= end+4+body {
				return
			}
		}
	}
}

const (
	browserGet = "GET /productpage?u=normal HTTP/1.1\r\nHost: productpage:9080\r\n" +
		"User-Agent: Mozilla/5.0\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n" +
		"Cookie: session=abc\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
	smallAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
)

// TestAllocs: the fast path allocates nothing. What remains is the garbage collector's.
func TestAllocs(t *testing.T) {
	for name, c := range map[string]struct {
		s       settings
		request string
		size    int
	}{
		"GET":           {settings{}, browserGet, 0},
		"GET, time-out": {settings{timeout: 15e9}, browserGet, 0},
		"GET, retries":  {settings{retries: 2}, browserGet, 0},
		"GET, logged":   {settings{logged: true}, browserGet, 0},
		"POST":          {settings{retries: 2}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 5},
	} {
		t.Run(name, func(t *testing.T) {
			roundTrip := fast(t, c.s, c.request, smallAnswer, c.size)
			for range 100 {
				roundTrip()
			}
			if n := testing.AllocsPerRun(5000, roundTrip); n > 0.1 {
				t.Errorf("%.3f allocations for a request", n)
			}
		})
	}
}

// TestIdleHoldsNothing: between requests a connection has neither buffers nor an exchange.
func TestIdleHoldsNothing(t *testing.T) {
	b := newBed(t, settings{})
	b.echo(b.up)
	c := b.dial()
	c.send(plainGet)
	c.status(200, "GET /a 0 ")
	b.record()
	for _, d := range b.p.connections() {
		for d.state.Load() != stateIdle {
			<-b.tick()
		}
		// The idle state is set before the connection waits; its buffers are gone when it does.
		d.srv.NetConn().SetReadDeadline(past)
		<-d.ended
		if n := d.srv.Buffers(); n != 0 || d.w != nil {
			t.Errorf("holds %d bytes, exchange %v", n, d.w != nil)
		}
	}
	io.Copy(io.Discard, c)
	for _, q := range b.p.pools {
		for _, up := range q.idle {
			if n := up.Buffers(); n != 0 {
				t.Errorf("an idle upstream connection holds %d bytes", n)
			}
		}
	}
}

func BenchmarkGet(b *testing.B) {
	roundTrip := fast(b, settings{}, browserGet, smallAnswer, 0)
	b.ReportAllocs()
	for b.Loop() {
		roundTrip()
	}
}
