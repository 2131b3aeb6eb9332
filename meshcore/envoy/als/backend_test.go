package als

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// backend is an upstream: each connection is served by serve.
type backend struct {
	net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
	turn  int
}

func newBackend(t testing.TB, serve func(b *backend, c net.Conn)) *backend {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{Listener: l}
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, c)
			b.mu.Unlock()
			b.wg.Go(func() { defer c.Close(); serve(b, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.mu.Lock()
		for _, c := range b.conns {
			c.Close()
		}
		b.mu.Unlock()
		b.wg.Wait()
	})
	return b
}

// answers serves HTTP: request n gets answer n, those after the last get the last.
func answers(list ...string) func(b *backend, c net.Conn) {
	return func(b *backend, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			b.mu.Lock()
			a := list[min(b.turn, len(list)-1)]
			b.turn++
			b.mu.Unlock()
			if _, err := io.WriteString(c, a); err != nil || a == "" {
				return
			}
		}
	}
}
