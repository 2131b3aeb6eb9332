package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLoad is a mixed load, for the race detector: small and streamed bodies, retries, time-outs, mirrors,
// clients that leave, upstreams that close, few connections.
func TestLoad(t *testing.T) {
	s := settings{retries: 2, mirror: true, timeout: 5 * time.Second,
		breaker: &limits{6, 1000, 1000}}
	both(t, s, func(t *testing.T, b *bed) {
		b.echo(b.mirror)
		go http.Serve(b.up, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/close":
				w.Header().Set("Connection", "close")
			case "/early":
				w.WriteHeader(413)
				return
			case "/fail":
				w.WriteHeader(503)
				return
			case "/cut":
				w.Write(make([]byte, 10_000))
				panic(http.ErrAbortHandler)
			}
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%d", n)
			w.(http.Flusher).Flush()
			w.Write(make([]byte, 10_000))
		}))
		go func() { // what is not tested is thrown away
			for range b.records {
			}
		}()
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() { b.client(i) })
		}
		wg.Wait()
		if err := b.p.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.p.Close(); err != nil { // what a client gave up may still end
			t.Error(err)
		}
		close(b.records)
	})
}

// client makes requests of all kinds.
func (b *bed) client(seed int) {
	tr := &http.Transport{TLSClientConfig: b.tls}
	defer tr.CloseIdleConnections()
	paths := []string{"/a", "/close", "/early", "/fail", "/cut", "/a", "/a"}
	sizes := []int{0, 10, 5000, 40_000, 300_000}
	for i := range 150 {
		n := seed*31 + i*7
		size := sizes[n%len(sizes)]
		path := paths[n/3%len(paths)]
		var body io.Reader
		if size > 0 {
			body = strings.NewReader(strings.Repeat("x", size))
			if n%2 == 0 {
				body = struct{ io.Reader }{body} // chunked
			}
		}
		scheme := "http://"
		if b.tls != nil {
			scheme = "https://"
		}
		r, err := http.NewRequest("POST", scheme+b.addr+path, body)
		if err != nil {
			b.t.Error(err)
			return
		}
		if n%11 == 0 { // a client that leaves
			if c := b.dial(); c != nil {
				c.sendf("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n%s",
					strings.Repeat("y", n%50_000))
				c.Close()
			}
			continue
		}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			if path == "/a" || path == "/close" {
				b.t.Errorf("%s with %d bytes: %v", path, size, err)
			}
			continue
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case path == "/cut" && resp.StatusCode == 200:
			if err == nil {
				b.t.Error("a response that was cut ended cleanly")
			}
		case path == "/a" || path == "/close":
			if want := fmt.Sprint(size); err != nil || !strings.HasPrefix(string(got), want) {
				b.t.Errorf("%s: %d %.30q, %v; want %s", path, resp.StatusCode, got, err, want)
			}
		}
	}
}
