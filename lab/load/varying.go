package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fortio.org/fortio/stats"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// varying is a client whose requests differ in their headers, which fortio's clients can not, and
// that speaks TLS to any server name, with any certificate. It keeps one connection, and counts as
// fortio does.
type varying struct {
	g            *Generator
	network, at  string
	host, target string
	clock        clock.Clock
	connects     *stats.Histogram

	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

func newVarying(g *Generator, network, at string) *varying {
	u, _ := url.Parse(g.plan.URL) // New has parsed it
	return &varying{
		g: g, network: network, at: at, host: u.Host, target: u.RequestURI(), clock: g.mesh.Clock(),
		connects: stats.NewHistogram(0, g.plan.Resolution.Seconds()),
	}
}

// socketError is fortio's code for a request without an answer.
const socketError = -1

// StreamFetch sends the next request and reads its answer.
func (v *varying) StreamFetch(ctx context.Context) (code int, size int64, head uint) {
	n := v.g.next.Add(1) - 1
	if v.conn == nil {
		if err := v.dial(ctx); err != nil {
			return socketError, 0, 0
		}
	}
	v.conn.SetDeadline(time.Now().Add(v.g.plan.Timeout))
	v.message(n)
	if _, err := v.conn.Write(v.buf); err != nil {
		v.Close()
		return socketError, 0, 0
	}
	resp, err := http.ReadResponse(v.r, &http.Request{Method: v.method()})
	if err != nil {
		v.Close()
		return socketError, 0, 0
	}
	size, err = io.Copy(io.Discard, resp.Body)
	if err != nil {
		v.Close()
		return socketError, size, 0
	}
	if resp.Close || !v.g.plan.KeepAlive {
		v.Close()
	}
	for k, vs := range resp.Header {
		for _, val := range vs {
			head += uint(len(k) + len(val) + 4)
		}
	}
	return resp.StatusCode, size, head
}

func (v *varying) dial(ctx context.Context) error {
	began := v.clock.Now()
	d := net.Dialer{Timeout: v.g.plan.Timeout}
	c, err := d.DialContext(ctx, v.network, v.at)
	if err != nil {
		return err
	}
	v.connects.Record(v.clock.Now().Sub(began).Seconds())
	if v.g.tls != nil {
		ctx, cancel := context.WithTimeout(ctx, v.g.plan.Timeout)
		defer cancel()
		if c, err = tlsclient.Client(ctx, c, v.g.tls); err != nil {
			return err
		}
	}
	v.conn = c
	v.r = bufio.NewReader(c)
	return nil
}

func (v *varying) method() string {
	switch {
	case v.g.plan.Method != "":
		return v.g.plan.Method
	case v.g.plan.Body != "":
		return http.MethodPost
	}
	return http.MethodGet
}

// message builds the n-th request.
func (v *varying) message(n int64) {
	b := fmt.Appendf(v.buf[:0], "%s %s HTTP/1.1\r\n", v.method(), v.target)
	headers := v.g.plan.Headers
	if v.g.plan.Vary != nil {
		headers = v.g.plan.Vary(n)
	}
	host := v.host
	for _, h := range headers {
		if k, val, _ := strings.Cut(h, ":"); strings.EqualFold(k, "host") {
			host = strings.TrimSpace(val)
		}
	}
	b = fmt.Appendf(b, "Host: %s\r\n", host)
	for _, h := range headers {
		if k, _, _ := strings.Cut(h, ":"); !strings.EqualFold(k, "host") {
			b = append(append(b, h...), "\r\n"...)
		}
	}
	if v.g.plan.Body != "" {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(v.g.plan.Body))
	}
	v.buf = append(append(b, "\r\n"...), v.g.plan.Body...)
}

// GetIPAddress returns fortio's statistics of connections.
func (v *varying) GetIPAddress() (*stats.Occurrence, *stats.Histogram) {
	return stats.NewOccurrence(), v.connects
}

// Close closes the connection.
func (v *varying) Close() {
	if v.conn != nil {
		v.conn.Close()
		v.conn = nil
	}
}
