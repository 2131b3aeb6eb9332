package request

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// maxRedirects bounds -L, as curl's default does.
const maxRedirects = 50

// Send sends the requests of a Spec through the mesh and emits each result in the order of
// completion. The error is about the Spec or the lab; what a request got is in its Result.
func Send(ctx context.Context, m topology.Mesh, s Spec, emit func(Result) error) error {
	p, err := s.check()
	if err != nil {
		return err
	}
	from, err := locate(m, &p)
	if err != nil {
		return err
	}
	w, err := newWorker(m, p, from)
	if err != nil {
		return err
	}
	w.found = newCollector(m)
	defer w.found.close()
	return w.all(ctx, emit)
}

func newWorker(m topology.Mesh, p plan, from string) (*worker, error) {
	w := &worker{mesh: m, plan: p, from: from, proxies: map[netip.Addr]bool{}}
	if from == topology.Outside {
		w.addr = topology.OutsideAddr
	}
	for _, pod := range m.Registry().Pods {
		if pod.ID() == from {
			w.addr = pod.IP
			if pod.Role == translate.Sidecar {
				w.first = from
			}
		}
		if at, err := netip.ParseAddrPort(p.address); err == nil && at.Addr() == pod.IP &&
			from == topology.Outside && pod.Role == translate.Gateway {
			w.first = pod.ID()
		}
		if pod.Role == translate.Sidecar || pod.Role == translate.Gateway {
			w.proxies[pod.IP] = true
		}
	}
	if _, err := p.tlsConfig(w.issuer()); err != nil {
		return nil, err
	}
	return w, nil
}

// worker sends one Spec's requests.
type worker struct {
	mesh  topology.Mesh
	plan  plan
	from  string
	addr  netip.Addr // the sender's
	found *collector
	next  atomic.Int64

	proxies map[netip.Addr]bool // addresses of pods that record what they receive
	first   string              // the proxy that records what is sent; empty without one
}

// lag is how many answers may wait for their records; the collector keeps many more.
const lag = 256

// all runs the connections and emits the results one at a time.
func (w *worker) all(ctx context.Context, emit func(Result) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Whoever has its answer sends the next request; it does not wait for records.
	results := make(chan sentRequest, lag)
	var wg sync.WaitGroup
	for range min(w.plan.Concurrency, w.plan.Count) {
		wg.Go(func() { w.connection(ctx, results) })
	}
	go func() { wg.Wait(); close(results) }()
	var failed error
	for r := range results {
		if failed == nil {
			if failed = w.mesh.Settle(ctx); failed == nil {
				failed = w.complete(ctx, &r, &deadline{})
			}
			if failed == nil {
				failed = emit(r.Result)
			}
			if failed != nil {
				cancel()
			}
		}
	}
	if failed != nil {
		return failed
	}
	return ctx.Err()
}

// sentRequest is a result with what finds its records.
type sentRequest struct {
	Result
	sender
	closed bool // its connection has ended with it
}

// stragglers bounds the wait for records of hops that end after the client has its answer: an
// upstream that was given up learns of it a moment later, and a busy machine is slow.
const stragglers = 3 * time.Second

// unrecorded is how long records may take of connections that most often have none: a proxy says
// nothing of a handshake that fails, unless no filter chain was for it.
const unrecorded = 300 * time.Millisecond

// deadline is when the wait for stragglers ends; it begins with the first one that is missing.
type deadline struct {
	late  <-chan time.Time
	short bool
}

func (d *deadline) begin() <-chan time.Time {
	if d.late == nil {
		late := make(chan time.Time)
		wait := stragglers
		if d.short {
			wait = unrecorded
		}
		time.AfterFunc(wait, func() { close(late) })
		d.late = late
	}
	return d.late
}

// complete adds what the proxies recorded.
func (w *worker) complete(ctx context.Context, r *sentRequest, d *deadline) error {
	if strings.HasPrefix(r.Error, "tls:") {
		d = &deadline{short: true}
	}
	for waiting := true; waiting; {
		records, more := w.found.find(r.sender)
		r.Hops, r.Backend = hops(records), backend(w.mesh.Registry(), records)
		if len(records) > 0 && records[0].ID != "" {
			r.RequestID = records[0].ID
		}
		if !w.missing(r, records) {
			break
		}
		select {
		case <-more:
		case <-d.begin():
			waiting = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// missing says whether a proxy that a request came to has not recorded it yet: a sidecar that it
// was sent to, or the first one, which records bytes and tunnels when their connection ends.
func (w *worker) missing(r *sentRequest, records []observe.Request) bool {
	first := func(x observe.Request) bool { return x.Proxy == w.first }
	if w.first != "" && r.closed && r.remote != "" && !slices.ContainsFunc(records, first) {
		return true
	}
	expected := 0
	for i := range records {
		r := &records[i]
		if r.Reporter == observe.Destination {
			expected--
			continue
		}
		if _, gateway := w.found.gateways[r.Proxy]; gateway && r.Proxy != w.first {
			expected-- // and it sent the request on
		}
		for _, a := range append(slices.Clone(r.Attempts), r.Mirrors...) {
			at, err := netip.ParseAddrPort(a.Upstream)
			if err == nil && w.proxies[at.Addr()] && !strings.Contains(a.Flags, "UF") &&
				!strings.Contains(a.Flags, "UO") {
				expected++
			}
		}
	}
	return expected > 0
}

// connection sends requests one after the other on a connection of its own.
func (w *worker) connection(ctx context.Context, results chan<- sentRequest) {
	c := &conn{w: w}
	defer c.close()
	if w.plan.Cookies {
		c.jar, _ = cookiejar.New(nil) // it has no error to give without options
	}
	for ctx.Err() == nil {
		n := int(w.next.Add(1))
		if n > w.plan.Count {
			return
		}
		r := c.exchange(ctx, n)
		if int(w.next.Load()) >= w.plan.Count {
			c.close() // this connection's last: what is recorded at its end is recorded now
		}
		r.closed = c.net == nil
		select {
		case results <- r:
		case <-ctx.Done():
			return
		}
	}
}

// conn is one keep-alive connection of the client.
type conn struct {
	w   *worker
	jar http.CookieJar
	net net.Conn
	r   *bufio.Reader
	tls *TLS // how it is protected
	// channel says what it may be used for again.
	channel string
	// remote is what the first proxy records as the client's address: the sender's logical address
	// with the port of this socket.
	remote string
}

func (c *conn) close() {
	if c.net != nil {
		c.net.Close()
		c.net = nil
	}
}

// exchange sends one request, with the redirects that it is to follow.
func (c *conn) exchange(ctx context.Context, n int) sentRequest {
	p := c.w.plan
	began := c.w.mesh.Clock().Now()
	id := ""
	if p.http() {
		id = requestID(&p)
	}
	r := sentRequest{
		sender: sender{id: id, since: began},
		Result: Result{N: n, RequestID: id, Headers: map[string][]string{}},
	}
	for redirects := 0; ; redirects++ {
		resp, body, err := c.roundTrip(ctx, &p, id)
		r.remote, r.TLS = c.remote, c.tls
		r.DurationMS = millis(c.w.mesh.Clock().Now().Sub(began))
		if err != nil {
			c.close()
			r.Error = classify(err)
			return r
		}
		r.Body = string(body)
		if resp == nil {
			c.close() // one line for each connection
			return r
		}
		r.Status = resp.StatusCode
		r.Headers = lower(resp.Header)
		to := resp.Header.Get("Location")
		if !p.Follow || resp.StatusCode/100 != 3 || to == "" || redirects == maxRedirects {
			return r
		}
		if err := c.w.follow(&p, to, resp.StatusCode); err != nil {
			r.Error = "protocol: " + err.Error()
			return r
		}
	}
}

// requestID returns the x-request-id that the user gave, or a new one: it joins the records.
func requestID(p *plan) string {
	for _, h := range p.Headers {
		if k, v, _ := strings.Cut(h, ":"); strings.EqualFold(strings.TrimSpace(k), "x-request-id") {
			return strings.TrimSpace(v)
		}
	}
	return uuid.NewString()
}

// follow turns the plan into the redirected request. From outside it goes to the same gateway.
func (w *worker) follow(p *plan, location string, status int) error {
	base, err := url.Parse(p.scheme + "://" + p.host + p.target)
	if err != nil {
		return err
	}
	to, err := base.Parse(location)
	if err != nil {
		return err
	}
	if status == http.StatusSeeOther || status < 303 && p.Method == http.MethodPost {
		p.Method, p.Body = http.MethodGet, ""
	}
	p.Host = ""
	if err := p.split(to.String()); err != nil {
		return err
	}
	_, err = locate(w.mesh, p)
	return err
}

// roundTrip writes the request byte for byte and reads the answer.
func (c *conn) roundTrip(ctx context.Context, p *plan, id string) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	if c.net != nil && c.channel != p.channel() {
		c.close()
	}
	if c.net == nil {
		if err := c.dial(ctx, p); err != nil {
			return nil, nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { c.net.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	resp, body, err := c.send(p, id)
	if err != nil && ctx.Err() != nil {
		return nil, nil, os.ErrDeadlineExceeded
	}
	return resp, body, err
}

// send does one exchange on the open connection. Without HTTP there is no response, only bytes.
func (c *conn) send(p *plan, id string) (*http.Response, []byte, error) {
	if !p.http() {
		b, err := c.line(p)
		return nil, b, err
	}
	jar := c.jar
	if p.Jar != nil {
		jar = p.Jar
	}
	site := &url.URL{Scheme: p.scheme, Host: p.host, Path: "/"}
	if _, err := io.WriteString(c.net, p.message(id, Cookies(jar, site))); err != nil {
		return nil, nil, err
	}
	var resp *http.Response
	for resp == nil || resp.StatusCode < 200 && resp.StatusCode != 101 {
		var err error
		resp, err = http.ReadResponse(c.r, &http.Request{Method: p.Method})
		if err != nil {
			return nil, nil, err
		}
	}
	if jar != nil {
		jar.SetCookies(site, resp.Cookies())
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		c.close()
		return resp, nil, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	if resp.Close {
		c.close()
	}
	return resp, body, nil
}

// message is the request as it goes over the wire.
func (p *plan) message(id, cookies string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", p.Method, p.target)
	has := map[string]bool{}
	for _, h := range p.Headers {
		k, _, _ := strings.Cut(h, ":")
		has[strings.ToLower(strings.TrimSpace(k))] = true
	}
	if !has["host"] {
		fmt.Fprintf(&b, "Host: %s\r\n", p.host)
	}
	for _, h := range p.Headers {
		k, v, _ := strings.Cut(h, ":")
		fmt.Fprintf(&b, "%s: %s\r\n", k, strings.TrimSpace(v))
	}
	if !has["x-request-id"] {
		fmt.Fprintf(&b, "x-request-id: %s\r\n", id)
	}
	if cookies != "" {
		fmt.Fprintf(&b, "cookie: %s\r\n", cookies)
	}
	if !has["content-length"] && !has["transfer-encoding"] &&
		(p.Body != "" || p.Method == "POST" || p.Method == "PUT" || p.Method == "PATCH") {
		fmt.Fprintf(&b, "content-length: %d\r\n", len(p.Body))
	}
	b.WriteString("\r\n")
	b.WriteString(p.Body)
	return b.String()
}

func lower(h http.Header) map[string][]string {
	out := make(map[string][]string, len(h))
	for k, v := range h {
		out[strings.ToLower(k)] = v
	}
	return out
}

// RoundTrip sends one request on a connection and reads the head of its answer.
func RoundTrip(c net.Conn, r *http.Request) (*http.Response, error) {
	if err := r.Write(c); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(c), r)
}
