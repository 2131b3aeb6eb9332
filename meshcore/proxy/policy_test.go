package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// TestRetry sends the body again: at once when it came whole, from memory when it was streamed.
func TestRetry(t *testing.T) {
	t.Run("small", func(t *testing.T) {
		both(t, settings{retries: 2}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
			var up *peer
			for i := range 3 {
				up = b.accept()
				if _, body := up.request(); body != "abc" {
					t.Fatalf("attempt %d got %q", i, body)
				}
				if i < 2 {
					up.send("HTTP/1.1 503 x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
					continue
				}
				up.reply(200, "done")
			}
			c.status(200, "done")
			c.send(plainGet) // the connection is still good
			up.head()
			up.reply(200, "next")
			c.status(200, "next")
		})
	})
	for name, size := range map[string]int{"streamed": 40_000, "too long": 100_000} {
		t.Run(name, func(t *testing.T) {
			both(t, settings{retries: 1}, func(t *testing.T, b *bed) {
				c := b.dial()
				body := strings.Repeat("x", size)
				c.sendf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, body[:10])
				up := b.accept()
				up.head()
				up.want(body[:10])
				go c.send(body[10:])
				up.want(body[10:])
				up.send("HTTP/1.1 503 x\r\nContent-Length: 1\r\n\r\ny")
				if size > replayLimit {
					c.status(503, "y")
					return
				}
				up = b.accept()
				if _, got := up.request(); got != body {
					t.Fatalf("second attempt got %d bytes", len(got))
				}
				up.reply(200, "done")
				c.status(200, "done")
			})
		})
	}
	t.Run("within the upload", func(t *testing.T) {
		both(t, settings{retries: 1}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
			up := b.accept()
			up.head()
			up.want("abc")
			up.Close()
			up = b.accept()
			up.head()
			up.want("abc")
			c.send("def")
			up.want("def")
			up.reply(200, "done")
			c.status(200, "done")
			c.send(plainGet)
			up.head()
			up.reply(200, "next")
			c.status(200, "next")
		})
	})
}

func TestTimeout(t *testing.T) {
	s := settings{timeout: 50 * time.Millisecond}
	t.Run("before the head", func(t *testing.T) {
		both(t, s, func(t *testing.T, b *bed) {
			c := b.dial()
			for range 2 {
				c.send(plainGet)
				up := b.accept()
				up.head()
				c.status(504, "upstream request timeout")
				up.eof()
			}
		})
	})
	t.Run("within the body", func(t *testing.T) {
		both(t, s, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			up.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
			c.head()
			c.want("abc")
			up.eof()
			c.eof()
		})
	})
	t.Run("not before the request is complete", func(t *testing.T) {
		both(t, s, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
			up := b.accept()
			up.head()
			up.want("abc")
			// A second exchange times out meanwhile, so more than the time has passed.
			other := b.dial()
			other.send(plainGet)
			other.status(504, "upstream request timeout")
			c.send("def")
			up.want("def")
			c.status(504, "upstream request timeout")
			up.eof()
		})
	})
	t.Run("a deadline is not left on the pooled connection", func(t *testing.T) {
		both(t, s, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			up.reply(200, "x")
			c.status(200, "x")
			other := b.dial()
			other.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc") // no deadline yet
			up.head()
			up.want("abc")
			c.send(plainGet)
			c.status(504, "upstream request timeout")
			other.send("def")
			up.want("def")
			up.reply(200, "y")
			other.status(200, "y")
		})
	})
}

func TestDelay(t *testing.T) {
	both(t, settings{delay: 20 * time.Millisecond}, func(t *testing.T, b *bed) {
		b.echo(b.up)
		c := b.dial()
		c.send(plainGet + plainGet)
		c.status(200, "GET /a 0 ")
		c.status(200, "GET /a 0 ")
	})
	both(t, settings{delay: time.Hour}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send(plainGet)
		c.Close()
		if r := b.record(); r.Flags != "DI,DC" {
			t.Fatalf("record %+v", r)
		}
	})
}

// TestOverflow: one connection, one stream that waits; the next is refused, and the one that waits gets
// the connection.
func TestOverflow(t *testing.T) {
	both(t, settings{breaker: &limits{1, 1, 100}}, func(t *testing.T, b *bed) {
		first, second, third := b.dial(), b.dial(), b.dial()
		first.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
		up := b.accept()
		up.head()
		second.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
		b.waiting(1)
		third.send("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
		third.status(503, "upstream connect error or disconnect/reset before headers. reset reason: overflow")
		if r := b.record(); r.Flags != "UO" {
			t.Fatalf("record %+v", r)
		}
		up.reply(200, "one")
		first.status(200, "one")
		if h := up.head(); !strings.HasPrefix(h, "GET /2 ") {
			t.Fatal(h)
		}
		up.reply(200, "two")
		second.status(200, "two")
		// A stream that waits can be cancelled.
		first.send(plainGet)
		up.head()
		second.send(plainGet)
		b.waiting(1)
		second.Close()
		b.waiting(0)
		up.reply(200, "x")
		first.status(200, "x")
	})
}

// tick is for looking again at what nobody tells.
func (b *bed) tick() <-chan time.Time { return time.After(time.Millisecond) }

// waiting waits until so many streams wait for a connection.
func (b *bed) waiting(n int) {
	b.t.Helper()
	for range 30_000 {
		got := 0
		b.p.mu.Lock()
		for _, q := range b.p.pools {
			q.mu.Lock()
			got += len(q.waiters)
			q.mu.Unlock()
		}
		b.p.mu.Unlock()
		if got == n {
			return
		}
		<-b.tick()
	}
	b.t.Fatalf("never %d streams wait", n)
}

func TestUpgrade(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		for _, who := range []string{"client", "upstream"} {
			c := b.dial()
			c.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			up := b.accept()
			if h := up.head(); !strings.Contains(h, "connection: Upgrade\r\nupgrade: websocket\r\n") {
				t.Fatal(h)
			}
			up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
			if h := c.head(); !strings.Contains(h, "upgrade: websocket\r\n") {
				t.Fatal(h)
			}
			c.want("early")
			for range 3 {
				c.send("ping")
				up.want("ping")
				up.send("pong")
				c.want("pong")
			}
			if who == "client" {
				c.Close()
				up.eof()
			} else {
				up.Close()
				c.eof()
			}
			if r := b.record(); r.Status != 101 || r.BytesReceived != 12 || r.BytesSent != 17 {
				t.Fatalf("record %+v", r)
			}
		}
	})
}

// TestUpgradeRefused: an answer other than 101 is an ordinary one, and the connection ends.
func TestUpgradeRefused(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		up := b.accept()
		up.head()
		up.reply(404, "no")
		c.status(404, "no")
		closeWrite(c)
		c.eof()
	})
}

func TestTCP(t *testing.T) {
	both(t, settings{tcp: true}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("hello")
		up := b.accept()
		up.want("hello")
		up.send("world")
		c.want("world")
		closeWrite(c)
		up.eof()
		up.send("still") // half-closed
		c.want("still")
		up.Close()
		c.eof()
		if r := b.record(); r.BytesReceived != 5 || r.BytesSent != 10 {
			t.Fatalf("record %+v", r)
		}
	})
	both(t, settings{tcp: true, refuse: true}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.eof()
		b.record()
	})
}

func TestMirror(t *testing.T) {
	both(t, settings{mirror: true}, func(t *testing.T, b *bed) {
		c := b.dial()
		// Nobody answers the copy; the request does not mind.
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
		up, copied := b.accept(), acceptFrom(t, b.mirror)
		up.head()
		copied.head()
		c.send("def")
		up.want("abcdef")
		copied.want("abcdef")
		up.reply(200, "x")
		c.status(200, "x")
		copied.reply(500, "y")

		// A copy whose upstream does not keep up is dropped.
		big := strings.Repeat("x", 20<<20)
		c.sendf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(big))
		go c.send(big)
		up.head()
		if n, err := io.CopyN(io.Discard, up, int64(len(big))); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		up.reply(200, "z")
		c.status(200, "z")
	})
}

// TestDrain: connections end with their response, idle ones at once.
func TestDrain(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		idle, busy := b.dial(), b.dial()
		busy.send(plainGet)
		up := b.accept()
		up.head()
		idle.send(plainGet)
		b.accept().reply(200, "i")
		idle.status(200, "i")
		ended := make(chan error, 1)
		go func() { ended <- b.p.Drain(t.Context()) }()
		idle.eof()
		up.reply(200, "x")
		if r := busy.status(200, "x"); !r.Close {
			t.Error("no connection: close")
		}
		busy.eof()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("tcp4", b.addr); err == nil {
			t.Error("still listening")
		}
	})
}

// TestClose ends whatever is under way.
func TestClose(t *testing.T) {
	both(t, settings{mirror: true, breaker: &limits{1, 10, 10}}, func(t *testing.T, b *bed) {
		var cs []*peer
		for i := range 5 {
			c := b.dial()
			cs = append(cs, c)
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
			if i == 0 {
				b.accept().head()
			}
		}
		idle := b.dial()
		if err := b.p.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range append(cs, idle) {
			io.ReadAll(c)
		}
	})
}

// TestSettle: what a client has seen the end of is recorded when Settle returns.
func TestSettle(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		b.echo(b.up)
		c := b.dial()
		for i := range 200 {
			c.send(plainGet)
			c.status(200, "GET /a 0 ")
			if err := b.p.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(b.records) != i+1 {
				t.Fatalf("%d records after %d requests", len(b.records), i+1)
			}
		}
	})
}

var _ Sink = (*observe.Recorder)(nil)
