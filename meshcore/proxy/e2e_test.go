package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

const plainGet = "GET /a HTTP/1.1\r\nHost: svc\r\n\r\n"

func TestKeepAlive(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		var up *peer
		for i := range 3 {
			c.send(plainGet)
			if i == 0 {
				up = b.accept()
			}
			if r, _ := up.request(); r.URL.Path != "/a" || r.Host != "svc" {
				t.Fatalf("upstream got %s %s", r.Host, r.URL.Path)
			}
			up.reply(200, "hello")
			c.status(200, "hello")
			if rec := b.record(); rec.Status != 200 {
				t.Fatalf("record %+v", rec)
			}
		}
	})
}

func TestPipelining(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		b.echo(b.up)
		c := b.dial()
		c.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
			"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
			"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nde\r\n1\r\nf\r\n0\r\nT: 1\r\n\r\n" +
			"HEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n" +
			"GET /5 HTTP/1.1\r\nHost: a\r\n\r\n")
		c.status(200, "GET /1 0 ")
		c.status(200, "POST /2 3 abc")
		c.status(200, "POST /3 3 def")
		if r, body := c.answer("HEAD"); r.StatusCode != 200 || body != "" {
			t.Fatalf("HEAD got %d %q", r.StatusCode, body)
		}
		c.status(200, "GET /5 0 ")
	})
}

// TestStreaming: the beginning of an upload and of a download arrive before their ends are sent.
func TestStreaming(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 1000))
		up := b.accept()
		up.head()
		up.want(strings.Repeat("x", 1000))
		go c.send(strings.Repeat("y", 199000))
		up.want(strings.Repeat("y", 199000))
		up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		if h := c.head(); !strings.Contains(h, "transfer-encoding: chunked") {
			t.Fatal(h)
		}
		c.want("3\r\nabc\r\n")
		up.send("3\r\ndef\r\n0\r\n\r\n")
		c.want("3\r\ndef\r\n0\r\n\r\n")
		if r := b.record(); r.BytesReceived != 200000 || r.BytesSent != 6 {
			t.Fatalf("record %+v", r)
		}
		c.send(plainGet)
		up.head()
		up.reply(200, "again")
		c.status(200, "again")
	})
}

// TestEarlyResponse: an answer before the end of an upload arrives at once, and ends both connections.
func TestEarlyResponse(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nabc")
		up := b.accept()
		up.head()
		up.want("abc")
		up.reply(413, "too large")
		c.status(413, "too large")
		c.eof()
		up.eof()
	})
}

// TestClientAborts: whatever the client leaves, its upstream is cancelled, and never sees a clean end.
func TestClientAborts(t *testing.T) {
	t.Run("waiting", func(t *testing.T) {
		both(t, settings{}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			c.Close()
			up.eof()
			if r := b.record(); r.Flags != "DC" {
				t.Fatalf("record %+v", r)
			}
		})
	})
	t.Run("half-close", func(t *testing.T) {
		both(t, settings{}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			closeWrite(c)
			up.eof()
			c.eof()
		})
	})
	t.Run("mid body", func(t *testing.T) {
		both(t, settings{}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			up.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
			c.head()
			c.want("abc")
			c.Close()
			up.eof()
		})
	})
	for name, head := range map[string]string{
		"upload length":  "Content-Length: 10\r\n\r\nabc",
		"upload chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			both(t, settings{retries: 2}, func(t *testing.T, b *bed) {
				c := b.dial()
				c.send("POST / HTTP/1.1\r\nHost: a\r\n" + head)
				up := b.accept()
				up.head()
				if strings.Contains(name, "chunked") {
					up.want("3\r\nabc\r\n")
				} else {
					up.want("abc")
				}
				c.Close()
				up.eof()
			})
		})
	}
}

// closeWrite ends the sending side, with TLS as with TCP.
func closeWrite(p *peer) {
	p.Conn.(interface{ CloseWrite() error }).CloseWrite()
	below(p).CloseWrite()
}

// below is the socket of a connection.
func below(p *peer) *net.TCPConn {
	if c, ok := p.Conn.(*tls.Conn); ok {
		return c.NetConn().(*net.TCPConn)
	}
	return p.Conn.(*net.TCPConn)
}

// TestUpstreamCuts: a response that was cut never ends cleanly.
func TestUpstreamCuts(t *testing.T) {
	for name, c := range map[string]struct{ sent, got string }{
		"length":         {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "abc"},
		"between chunks": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3\r\nabc\r\n"},
		"bad chunk":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, settings{retries: 2}, func(t *testing.T, b *bed) {
				cl := b.dial()
				cl.send(plainGet)
				up := b.accept()
				up.head()
				up.send(c.sent)
				cl.head()
				up.Close()
				got, _ := io.ReadAll(cl)
				if string(got) != c.got {
					t.Fatalf("got %q, want %q", got, c.got)
				}
			})
		})
	}
}

// TestCloseDelimited: the end of the connection ends a body without length, and only that.
func TestCloseDelimited(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send(plainGet)
		up := b.accept()
		up.head()
		up.send("HTTP/1.0 200 OK\r\n\r\nabc")
		up.Close()
		c.status(200, "abc")
		c.send(plainGet)
		up = b.accept()
		up.head()
		up.reply(200, "x")
		c.status(200, "x")
	})
}

func TestReset(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send(plainGet)
		up := b.accept()
		up.head()
		up.Close()
		if r, _ := c.answer("GET"); r.StatusCode != 503 {
			t.Fatal(r.Status)
		}
		c.send(plainGet)
		up = b.accept()
		up.head()
		up.send("garbage\r\n\r\n")
		if r, _ := c.answer("GET"); r.StatusCode != 502 {
			t.Fatal(r.Status)
		}
	})
}

// TestStale: a pooled connection that the upstream has closed is not used.
func TestStale(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		for range 3 {
			c.send(plainGet)
			up := b.accept()
			up.head()
			up.reply(200, "x")
			up.Close()
			c.status(200, "x")
		}
	})
}

// TestUnasked: bytes behind a response are not the next response.
func TestUnasked(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		for range 2 {
			c.send(plainGet)
			up := b.accept()
			up.head()
			up.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny")
			c.status(200, "x")
		}
	})
}

func TestNoBody(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
		up := b.accept()
		up.head()
		up.send("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
		if h := c.head(); !strings.Contains(h, "content-length: 77\r\n") {
			t.Fatal(h)
		}
		c.send(plainGet)
		up.head()
		up.send("HTTP/1.1 304 x\r\nContent-Length: 10\r\n\r\n")
		if h := c.head(); !strings.Contains(h, "content-length: 10\r\n") {
			t.Fatal(h)
		}
		c.send(plainGet)
		up.head()
		up.send("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n")
		if h := c.head(); strings.Contains(h, "content-length") {
			t.Fatal(h)
		}
		c.send(plainGet)
		up.head()
		up.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		c.status(200, "ok")
	})
}

func TestExpectContinue(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		c.want("HTTP/1.1 100 Continue\r\n\r\n")
		c.send("abc")
		up := b.accept()
		if h := up.head(); strings.Contains(h, "expect") {
			t.Fatal(h)
		}
		up.want("abc")
		up.reply(417, "no")
		c.status(417, "no")
	})
}

func TestMalformed(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		for in, status := range map[string]int{
			"GET / HTTP/1.1\nHost: a\n\n":                                                 400,
			"GET / HTTP/1.0\r\nHost: a\r\n\r\n":                                           426,
			"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 70_000) + "\r\n\r\n":            431,
			"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":                501,
			"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n\r\n": 400,
		} {
			c := b.dial()
			c.send(in)
			r, body := c.answer("GET")
			if r.StatusCode != status || !r.Close {
				t.Errorf("%.40q got %d close=%v %q", in, r.StatusCode, r.Close, body)
			}
			closeWrite(c)
			c.eof()
		}
	})
}

func TestConnectFails(t *testing.T) {
	both(t, settings{refuse: true}, func(t *testing.T, b *bed) {
		c := b.dial()
		for range 2 {
			c.send(plainGet)
			if r, body := c.answer("GET"); r.StatusCode != 503 || !strings.HasSuffix(body, "remote connection failure") {
				t.Fatalf("%d %q", r.StatusCode, body)
			}
		}
	})
}
