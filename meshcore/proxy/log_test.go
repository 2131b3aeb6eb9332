package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// wrongLines keeps the log lines whose two words differ.
type wrongLines struct {
	mu    sync.Mutex
	wrong []string
	all   int
}

// AccessLog looks at a line.
func (w *wrongLines) AccessLog(_ string, line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all++
	if asked, answered, _ := strings.Cut(strings.TrimSpace(string(line)), " "); asked != answered {
		w.wrong = append(w.wrong, string(line))
	}
}

// TestLogReadsItsOwnResponse: what a log tells of a response is that response's, however many others
// are under way and whether its connection went back to the pool or ended. The buffers that it came
// in are others' afterwards; the race detector sees who reads them too late.
func TestLogReadsItsOwnResponse(t *testing.T) {
	lines := &wrongLines{}
	both(t, settings{logged: true, format: "%REQ(:PATH)% %RESP(X-PATH)%\n", lines: lines},
		func(t *testing.T, b *bed) {
			up := &http.Server{Handler: http.HandlerFunc(
				func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Path", r.URL.Path)
					if strings.HasSuffix(r.URL.Path, "0") {
						w.Header().Set("Connection", "close")
					}
					io.WriteString(w, strings.Repeat("x", len(r.URL.Path)*50)) //nolint:errcheck
				})}
			go up.Serve(b.up) //nolint:errcheck // ends with Close
			t.Cleanup(func() { up.Close() })
			const clients, each = 8, 60
			before := lines.all
			var wg sync.WaitGroup
			for c := range clients {
				wg.Go(func() { b.ask(c, each) })
			}
			wg.Wait()
			for range clients * each {
				b.record()
			}
			lines.mu.Lock()
			defer lines.mu.Unlock()
			if lines.all-before != clients*each || len(lines.wrong) > 0 {
				t.Errorf("%d lines, wrong are %q", lines.all-before, lines.wrong)
			}
		})
}

// ask sends requests of one client, one after the other on kept connections.
func (b *bed) ask(client, times int) {
	scheme := "http"
	if b.tls != nil {
		scheme = "https"
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: b.tls}}
	defer c.CloseIdleConnections()
	for i := range times {
		resp, err := c.Get(fmt.Sprintf("%s://%s/c%d/%d", scheme, b.addr, client, i))
		if err != nil {
			b.t.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.t.Error(err)
		}
		resp.Body.Close()
	}
}
