package own

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"
)

// Dial opens a connection as a pod's app would: to a name and port of the mesh.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// Upstream is a port of a Service with a local port that leads to it.
type Upstream struct {
	Service, Namespace, PortName string
	Address                      string // HOST:PORT, as the pod's app would write it
	HTTP                         bool   // requests are told their real host
	Local                        string // 127.0.0.1:PORT
}

// Proxy is one pod's way out for a service that is not in it: an HTTP proxy, and local ports of
// upstreams. All of it is on 127.0.0.1.
type Proxy struct {
	dial      Dial
	log       *slog.Logger
	transport *http.Transport
	servers   sync.WaitGroup
	ctx       context.Context // ends with Close
	end       context.CancelFunc

	mu    sync.Mutex
	close []func()
	conns map[net.Conn]struct{}
}

// NewProxy makes one that serves nothing yet.
func NewProxy(dial Dial, log *slog.Logger) *Proxy {
	p := &Proxy{dial: dial, log: log, conns: map[net.Conn]struct{}{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, at string) (net.Conn, error) {
			return dial(ctx, at)
		},
		MaxIdleConnsPerHost: 256, DisableCompression: true, IdleConnTimeout: 90 * time.Second,
	}
	return p
}

// ServeProxy serves an HTTP proxy: requests with a whole URL, and CONNECT for anything else.
func (p *Proxy) ServeProxy(l net.Listener) { p.serve(l, http.HandlerFunc(p.serveProxy)) }

// ServeUpstream leads a local port to an upstream.
func (p *Proxy) ServeUpstream(l net.Listener, u Upstream) (stop func()) {
	if !u.HTTP {
		return p.pass(l, u.Address)
	}
	local := l.Addr().String()
	return p.serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if isNear(host, local) || host == "" {
			host = strings.TrimSuffix(u.Address, ":80")
		}
		p.forward(w, r, u.Address, host)
	}))
}

// isNear says whether a Host header names the local port itself.
func isNear(host, local string) bool {
	_, want, _ := net.SplitHostPort(local)
	name, port, err := net.SplitHostPort(host)
	return err == nil && port == want && (name == "localhost" || name == "127.0.0.1")
}

// serve answers on a socket until it is stopped.
func (p *Proxy) serve(l net.Listener, h http.Handler) (stop func()) {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute,
		ErrorLog:    slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return p.ctx },
	}
	p.servers.Go(func() { _ = s.Serve(l) }) // ends with Close
	return p.onClose(func() { s.Close() })
}

// onClose has something closed with the proxy, or before it.
func (p *Proxy) onClose(f func()) (stop func()) {
	f = sync.OnceFunc(f)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close = append(p.close, f)
	return f
}

// Close ends everything, connections too.
func (p *Proxy) Close() {
	p.end()
	p.mu.Lock()
	stop := p.close
	p.close = nil
	p.mu.Unlock()
	for _, f := range stop {
		f()
	}
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.servers.Wait()
	p.transport.CloseIdleConnections()
}

func (p *Proxy) serveProxy(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.connect(w, r)
	case r.URL.Host == "":
		http.Error(w, "mesh-lab: this is a proxy, not a server: a client is given it as "+
			"HTTP_PROXY", http.StatusBadRequest)
	case r.URL.Scheme != "http":
		http.Error(w, fmt.Sprintf("mesh-lab: %s through a proxy: use CONNECT", r.URL.Scheme),
			http.StatusBadRequest)
	default:
		at := r.URL.Host
		if r.URL.Port() == "" {
			at = net.JoinHostPort(r.URL.Hostname(), "80")
		}
		p.forward(w, r, at, r.Host)
	}
}

// forwarded are headers that httputil.ReverseProxy takes away: they are the client's business.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// forward sends a request on as it is, but for what concerns the connection alone, and its answer
// back.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, at, host string) {
	rp := httputil.ReverseProxy{
		Transport: p.transport, FlushInterval: -1,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = "http", at, host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			for _, name := range forwarded {
				if v, ok := pr.In.Header[name]; ok {
					pr.Out.Header[name] = v
				}
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				p.log.Debug("own service's request", "to", at, "err", err)
			}
			w.Header().Del("Date")
			http.Error(w, "mesh-lab: "+at+": "+err.Error(), http.StatusBadGateway)
		},
	}
	// What the upstream does not say, its client is not told.
	w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
	rp.ServeHTTP(w, r)
}

// connect gives the client a connection of the pod's (RFC 9110, section 9.3.6).
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	up, err := p.dial(r.Context(), r.Host)
	if err != nil {
		http.Error(w, "mesh-lab: "+r.Host+": "+err.Error(), http.StatusBadGateway)
		return
	}
	c, in, err := http.NewResponseController(w).Hijack()
	if err != nil {
		up.Close()
		http.Error(w, "mesh-lab: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		c.Close()
		up.Close()
		return
	}
	p.join(c, in, up)
}

// pass leads every connection of a socket to an address.
func (p *Proxy) pass(l net.Listener, address string) (stop func()) {
	p.servers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.servers.Go(func() {
				up, err := p.dial(p.ctx, address)
				if err != nil {
					if t, ok := c.(*net.TCPConn); ok {
						_ = t.SetLinger(0) // it may be gone
					}
					c.Close()
					return
				}
				p.join(c, c, up)
			})
		}
	})
	return p.onClose(func() { l.Close() })
}

// join passes bytes on between two connections until both directions have ended. in reads c.
func (p *Proxy) join(c net.Conn, in io.Reader, up net.Conn) {
	if !p.keep(c, up) {
		return
	}
	defer p.drop(c, up)
	var both sync.WaitGroup
	both.Go(func() { carry(up, in, c) })
	both.Go(func() { carry(c, up, up) })
	both.Wait()
}

// carry copies one direction. What breaks off, breaks both ends.
func carry(to net.Conn, in io.Reader, from net.Conn) {
	if _, err := io.Copy(to, in); err != nil {
		to.Close()
		from.Close()
		return
	}
	if w, ok := to.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		return
	}
	to.Close()
}

// keep remembers connections for Close; false when that has begun.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.conns == nil {
			c.Close()
		} else {
			p.conns[c] = struct{}{}
		}
	}
	return p.conns != nil
}

func (p *Proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.conns, c)
	}
}

// Upstreams keeps local ports for the upstreams that there are.
type Upstreams struct {
	proxy  *Proxy
	listen func(address string) (net.Listener, error)

	mu   sync.Mutex
	open map[string]upstream
}

type upstream struct {
	Upstream
	stop func()
}

// Upstreams returns what keeps them; listen opens the local port for an address.
func (p *Proxy) Upstreams(listen func(address string) (net.Listener, error)) *Upstreams {
	return &Upstreams{proxy: p, listen: listen, open: map[string]upstream{}}
}

// Set opens ports for what is new and closes those of what is gone.
func (u *Upstreams) Set(want []Upstream) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for at, o := range u.open {
		same := func(w Upstream) bool { w.Local = o.Local; return w == o.Upstream }
		if !slices.ContainsFunc(want, same) {
			o.stop()
			delete(u.open, at)
		}
	}
	var errs []error
	for _, w := range want {
		if _, ok := u.open[w.Address]; ok {
			continue
		}
		l, err := u.listen(w.Address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.Local = l.Addr().String()
		u.open[w.Address] = upstream{w, u.proxy.ServeUpstream(l, w)}
	}
	return errors.Join(errs...)
}

// List returns the upstreams that are open, by address.
func (u *Upstreams) List() []Upstream {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]Upstream, 0, len(u.open))
	for _, o := range u.open {
		out = append(out, o.Upstream)
	}
	slices.SortFunc(out, func(a, b Upstream) int { return strings.Compare(a.Address, b.Address) })
	return out
}
