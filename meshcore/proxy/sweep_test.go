package proxy

import (
	"testing"
	"time"
)

// later sweeps as if a long time had passed, until the test's condition ends it.
func (b *bed) later(d time.Duration, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-b.tick():
			b.p.sweep(b.p.opt.Clock.Now().Add(d))
		}
	}
}

// sweeping sweeps in the background until the test ends.
func (b *bed) sweeping(d time.Duration) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		b.later(d, done)
	}()
	b.t.Cleanup(func() { close(done); <-ended })
}

func TestIdleTimeout(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		b.echo(b.up)
		c := b.dial()
		c.send(plainGet)
		c.status(200, "GET /a 0 ")
		b.sweeping(2 * time.Hour)
		c.eof()
		for range 1000 {
			if q := b.p.pools[0]; func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.conns == 0 }() {
				return
			}
			<-b.tick()
		}
		t.Error("the idle upstream connection is still there")
	})
}

func TestSlowHead(t *testing.T) {
	both(t, settings{idle: time.Minute}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("GET / HTTP/1.1\r\nHost:")
		b.sweeping(2 * time.Minute)
		c.status(408, "stream timeout")
		closeWrite(c)
		c.eof()
	})
}

func TestStreamIdle(t *testing.T) {
	t.Run("before the head", func(t *testing.T) {
		both(t, settings{idle: time.Minute}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			b.sweeping(2 * time.Minute)
			c.status(504, "stream timeout")
			up.eof()
			if r := b.record(); r.Flags != "SI" {
				t.Errorf("record %+v", r)
			}
		})
	})
	t.Run("within an upload", func(t *testing.T) {
		both(t, settings{idle: time.Minute}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
			up := b.accept()
			up.head()
			up.want("abc")
			b.sweeping(2 * time.Minute)
			c.status(408, "stream timeout")
			up.eof()
			c.eof()
		})
	})
	t.Run("a client that does not read", func(t *testing.T) {
		both(t, settings{idle: time.Minute}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send(plainGet)
			up := b.accept()
			up.head()
			up.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			c.head()
			sent := make(chan error, 1)
			go func() {
				piece := make([]byte, 1<<20)
				for range 1000 {
					if _, err := up.Conn.Write(piece); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			b.sweeping(2 * time.Minute)
			if <-sent == nil {
				t.Error("a gigabyte was taken for a client that does not read")
			}
		})
	})
}

// TestTCPIdle: a tunnel in which nothing moves ends. Its record does not say why, as Envoy's.
func TestTCPIdle(t *testing.T) {
	both(t, settings{tcp: true}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("hello")
		b.accept().want("hello")
		b.sweeping(2 * time.Hour)
		c.eof()
		if r := b.record(); r.Details != "" || r.Flags != "" {
			t.Errorf("details %q, flags %q", r.Details, r.Flags)
		}
	})
}

// TestReplacedChain: a connection whose filter chain is replaced ends with its next response, which
// says so; one that stays idle ends later. Until then neither may find itself closed.
func TestReplacedChain(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		b.echo(b.up)
		used, idle := b.dial(), b.dial()
		for _, c := range []*peer{used, idle} {
			c.send(plainGet)
			if r := c.status(200, "GET /a 0 "); r.Close {
				t.Fatal("the connection is not kept")
			}
		}
		replaced := b.snapshot(settings{portable: b.p.opt.portable, idle: 10 * time.Minute})
		if err := b.p.Update(t.Context(), replaced); err != nil {
			t.Fatal(err)
		}
		used.send(plainGet)
		if r := used.status(200, "GET /a 0 "); !r.Close {
			t.Error("no connection: close")
		}
		used.eof()
		b.p.sweep(b.p.opt.Clock.Now().Add(drainTime - time.Second))
		b.sweeping(drainTime)
		idle.eof()
	})
}
