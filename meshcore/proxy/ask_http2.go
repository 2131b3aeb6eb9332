package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// http2Client makes calls to one endpoint over HTTP/2; its connection is dialled when a call needs
// it, and lives on.
type http2Client struct {
	q *pool
	t *http.Transport

	mu     sync.Mutex
	failed engine.Event // how the latest dial failed
}

// http2 returns the pool's client for calls over HTTP/2.
func (q *pool) http2() *http2Client {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.calls == nil {
		c := &http2Client{q: q}
		c.t = &http.Transport{DialContext: c.dial, DisableCompression: true,
			IdleConnTimeout: q.ep.Cluster.IdleTimeout, Protocols: new(http.Protocols)}
		c.t.Protocols.SetUnencryptedHTTP2(true) // the endpoint's transport socket is dial's affair
		q.calls = c
	}
	return q.calls
}

var errNotConnected = errors.New("no connection")

// dial connects as for any other stream to the endpoint.
func (c *http2Client) dial(context.Context, string, string) (net.Conn, error) {
	o := c.q.options
	o.HTTP2, o.Fallback = true, "h2"
	conn, ev := c.q.p.dial(c.q.ep, o)
	if conn == nil {
		c.mu.Lock()
		c.failed = ev
		c.mu.Unlock()
		return nil, errNotConnected
	}
	if !c.q.p.track(conn) {
		conn.Close()
		return nil, errNotConnected
	}
	return &tracked{Conn: conn, p: c.q.p}, nil
}

// tracked is a connection that the proxy closes when it ends.
type tracked struct {
	net.Conn
	p    *Proxy
	once sync.Once
}

// Close closes the connection.
func (t *tracked) Close() error {
	t.once.Do(func() { t.p.untrack(t.Conn) })
	return t.Conn.Close()
}

// runHTTP2 prepares a call over HTTP/2 and returns its goroutine.
func (c *call) runHTTP2() func() {
	ctx, cancel := context.WithCancel(c.p.ctx)
	c.stop = cancel
	return func() {
		defer cancel()
		b := breakerOf(c.c.Endpoint)
		if b.Admit(breaker.Pool{Ready: true}).Overflow {
			c.end(engine.Event{Kind: engine.Overflow})
			return
		}
		o := c.c.Endpoint.TLSOptions("", c.c.Head.Authority)
		ev := c.roundTrip(ctx, c.p.poolOf(c.c.Endpoint, o).http2())
		b.Finish()
		c.end(ev)
	}
}

// roundTrip makes the call.
func (c *call) roundTrip(ctx context.Context, client *http2Client) engine.Event {
	h := c.c.Head
	to, err := url.ParseRequestURI(string(h.Target))
	if err != nil {
		return engine.Event{Kind: engine.Reset, Local: true}
	}
	to.Scheme, to.Host = "http", "endpoint"
	req := (&http.Request{Method: string(h.Method), Host: string(h.Authority),
		URL:    to,
		Header: http.Header{"User-Agent": nil}, Body: io.NopCloser(bytes.NewReader(c.c.Body)),
		ContentLength: h.ContentLength, ProtoMajor: 2}).WithContext(ctx)
	for i := range h.Fields {
		name, value := string(h.Fields[i].Name), string(h.Fields[i].Value)
		req.Header[http.CanonicalHeaderKey(name)] = append(
			req.Header[http.CanonicalHeaderKey(name)], value)
	}
	resp, err := client.t.RoundTrip(req)
	if err != nil {
		client.mu.Lock()
		defer client.mu.Unlock()
		if ev := client.failed; ev.Kind != 0 {
			client.failed = engine.Event{}
			return ev
		}
		return engine.Event{Kind: engine.Reset}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil || len(body) > answerLimit {
		return engine.Event{Kind: engine.Reset}
	}
	head := headOf(resp.Header)
	head.Status = resp.StatusCode
	ev := engine.Event{Kind: engine.Answered, Head: head, Body: body}
	if len(resp.Trailer) > 0 {
		ev.Trailers = headOf(resp.Trailer)
	}
	return ev
}

// headOf makes a head of header lines; their order is not told.
func headOf(h http.Header) *wire.Head {
	out := &wire.Head{ContentLength: -1}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			out.Add(strings.ToLower(name), v)
		}
	}
	return out
}
