package proxy

import (
	"errors"
	"os"
	"testing"
	"time"
)

// silent wants nothing to come for a while.
func (p *peer) silent() {
	p.t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		p.t.Fatal(err)
	}
	if b, err := p.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("want silence, got %q, %v", b, err)
	}
	if err := p.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
}

// TestPause stops a proxy at each point of an exchange: what waits goes on afterwards, in order.
func TestPause(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send(plainGet)
		up := b.accept()
		up.request()
		b.p.Pause()
		b.p.Pause()
		up.reply(200, "first")
		c.silent() // the answer waits
		b.p.Resume()
		c.status(200, "first")
		b.record()

		b.p.Pause()
		c.send(plainGet)
		up.silent() // the request waits
		b.p.Resume()
		b.p.Resume()
		up.request()
		up.reply(200, "second")
		c.status(200, "second")
		b.record()

		if b.tls == nil {
			b.p.Pause()
			late := b.dial() // it is taken
			late.send(plainGet)
			late.silent()
			b.p.Resume()
			up.request()
			up.reply(200, "third")
			late.status(200, "third")
			b.record()
			if down, upward := b.p.Open(); down != 2 || upward != 1 {
				t.Errorf("%d connections of clients, %d to endpoints; want 2 and 1", down, upward)
			}
		}

		b.p.Pause()
		c.send(plainGet)
		b.p.Close() // and nothing hangs
		c.eof()
	})
}

// TestPauseTCP: so it does with bytes.
func TestPauseTCP(t *testing.T) {
	both(t, settings{tcp: true}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("one")
		up := b.accept()
		up.want("one")
		b.p.Pause()
		c.send("two")
		up.silent()
		up.send("three")
		c.silent()
		b.p.Resume()
		up.want("two")
		c.want("three")
	})
}
