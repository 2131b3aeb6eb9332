// Package request sends exact requests as a workload of the mesh would, and tells what came back
// and which proxies they crossed.
package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
)

// Spec is what to send. Its JSON keys are the long names of the command's flags.
type Spec struct {
	From        string        // WORKLOAD[.NAMESPACE], POD.NAMESPACE, or "outside"
	Gateway     string        // for outside: NAME[.NAMESPACE]
	URL         string        // http:// or https://host[:port]/path, byte for byte; tls://, tcp://
	Method      string        // GET, or POST with a body
	Headers     []string      // "name: value", in this order and case
	Body        string        //
	Host        string        // Host header in place of the URL's
	Connect     string        // HOST:PORT to connect to in place of the URL's
	Count       int           // how many; 1
	Concurrency int           // connections; 1
	Follow      bool          // follow redirects
	Cookies     bool          // keep a cookie jar for each connection
	Timeout     time.Duration // of one request; 30 s
	Token       string        // a bearer token, sent in the Authorization header

	TLS tlsclient.Options // of https:// and tls://
	Jar http.CookieJar    // in place of one for each connection; nil: none
}

// wireSpec is Spec as JSON.
type wireSpec struct {
	From        string     `json:"from,omitempty"`
	Gateway     string     `json:"gateway,omitempty"`
	URL         string     `json:"url"`
	Method      string     `json:"method,omitempty"`
	Header      headerList `json:"header,omitempty"`
	Body        string     `json:"body,omitempty"`
	Host        string     `json:"host,omitempty"`
	Connect     string     `json:"connect,omitempty"`
	Count       int        `json:"count,omitempty"`
	Concurrency int        `json:"concurrency,omitempty"`
	Location    bool       `json:"location,omitempty"`
	Cookies     bool       `json:"cookies,omitempty"`
	Timeout     string     `json:"timeout,omitempty"`
	HTTP2       bool       `json:"http2,omitempty"`
	SNI         string     `json:"sni,omitempty"`
	CACert      string     `json:"cacert,omitempty"`
	Cert        string     `json:"cert,omitempty"`
	Key         string     `json:"key,omitempty"`
	Identity    string     `json:"identity,omitempty"`
	Token       string     `json:"token,omitempty"`
}

// headerList reads headers as a list of lines or as an object of names.
type headerList []string

// UnmarshalJSON takes ["k: v", ...] and {"k": "v", "l": ["v", "w"]}, keeping their order.
func (h *headerList) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return json.Unmarshal(b, (*[]string)(h))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New(`header: a list of "name: value", or an object`)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		var many []string
		if json.Unmarshal(raw, &many) != nil {
			var one string
			if err := json.Unmarshal(raw, &one); err != nil {
				return fmt.Errorf("header %v: a string or a list of strings", name)
			}
			many = []string{one}
		}
		for _, v := range many {
			*h = append(*h, fmt.Sprintf("%v: %s", name, v))
		}
	}
	return nil
}

// MarshalJSON writes the long names of the flags as keys.
func (s Spec) MarshalJSON() ([]byte, error) {
	w := wireSpec{
		From: s.From, Gateway: s.Gateway, URL: s.URL, Method: s.Method, Header: s.Headers,
		Body: s.Body, Host: s.Host, Connect: s.Connect, Count: s.Count, Concurrency: s.Concurrency,
		Location: s.Follow, Cookies: s.Cookies, SNI: s.TLS.SNI, CACert: s.TLS.CACert,
		Cert: s.TLS.Cert, Key: s.TLS.Key, Identity: s.TLS.Identity, Token: s.Token,
	}
	if s.Timeout != 0 {
		w.Timeout = s.Timeout.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads a request of a --via-file; unknown keys are errors.
func (s *Spec) UnmarshalJSON(b []byte) error {
	var w wireSpec
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if w.HTTP2 {
		return NotYet("http2")
	}
	*s = Spec{
		From: w.From, Gateway: w.Gateway, URL: w.URL, Method: w.Method, Headers: w.Header,
		Body: w.Body, Host: w.Host, Connect: w.Connect, Count: w.Count, Concurrency: w.Concurrency,
		Follow: w.Location, Cookies: w.Cookies, Token: w.Token, TLS: tlsclient.Options{
			SNI: w.SNI, CACert: w.CACert, Cert: w.Cert, Key: w.Key, Identity: w.Identity,
		},
	}
	if w.Timeout != "" {
		var err error
		if s.Timeout, err = time.ParseDuration(w.Timeout); err != nil {
			return fmt.Errorf("timeout %q: want a duration such as 2s or 500ms", w.Timeout)
		}
	}
	return nil
}

// NotYet is the error for an option of a later step.
func NotYet(option string) error {
	return fmt.Errorf("%s is not there yet: HTTP/2 and gRPC come with a later step", option)
}

// plan is a Spec checked and taken apart.
type plan struct {
	Spec
	scheme  string // http, https, tcp or tls
	name    string // the URL's host, without its port
	address string // host:port to connect to
	host    string // Host header
	target  string // request target, byte for byte
}

// check applies defaults and refuses what can not be sent.
func (s Spec) check() (plan, error) {
	p := plan{Spec: s}
	if p.Method == "" {
		p.Method = "GET"
		if p.Body != "" {
			p.Method = "POST"
		}
	}
	p.Count, p.Concurrency = max(p.Count, 1), max(p.Concurrency, 1)
	if p.Timeout == 0 {
		p.Timeout = 30 * time.Second
	}
	for _, h := range p.Headers {
		if name, _, ok := strings.Cut(h, ":"); !ok || name == "" || strings.ContainsAny(h, "\r\n") {
			return p, fmt.Errorf("header %q: want 'name: value' on one line", h)
		}
	}
	if strings.ContainsAny(p.Method, " \r\n") {
		return p, fmt.Errorf("method %q: want one word", p.Method)
	}
	if p.Token != "" && !p.has("authorization") {
		p.Headers = append(slices.Clone(p.Headers), "authorization: Bearer "+p.Token)
	}
	if strings.ContainsAny(p.Token, "\r\n") {
		return p, errors.New("token: has a line break")
	}
	if err := p.split(s.URL); err != nil {
		return p, err
	}
	if p.Token != "" && !p.http() {
		return p, fmt.Errorf("token: %s:// has no headers", p.scheme)
	}
	if p.TLS.Used() && !p.secure() && !p.Follow { // a redirect may lead to https
		return p, fmt.Errorf("sni, cacert, cert, key and identity are for https:// and tls://, "+
			"and this is %s://", p.scheme)
	}
	return p, nil
}

// has says whether a header is among the user's.
func (p *plan) has(header string) bool {
	return slices.ContainsFunc(p.Headers, func(h string) bool {
		k, _, _ := strings.Cut(h, ":")
		return strings.EqualFold(strings.TrimSpace(k), header)
	})
}

// http says whether it is a request, not bytes.
func (p *plan) http() bool { return p.scheme == "http" || p.scheme == "https" }

// secure says whether it is sent over TLS.
func (p *plan) secure() bool { return p.scheme == "https" || p.scheme == "tls" }

// defaultPorts are the ports of URLs that name none; tcp has none.
var defaultPorts = map[string]string{"http": "80", "https": "443", "tls": "443", "tcp": ""}

// split takes a URL apart. The path is kept byte for byte.
func (p *plan) split(raw string) error {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		scheme, rest = "http", raw
	}
	port, known := defaultPorts[scheme]
	switch {
	case scheme == "grpc":
		return NotYet("grpc://")
	case !known:
		return fmt.Errorf("URL %q: scheme %q is unknown; want http, https, tls or tcp", raw, scheme)
	}
	p.scheme = scheme
	authority := rest
	p.target = "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, p.target = rest[:i], rest[i:]
		if p.target[0] != '/' {
			p.target = "/" + p.target
		}
	}
	p.target, _, _ = strings.Cut(p.target, "#")
	switch {
	case !p.http() && p.target != "/":
		return fmt.Errorf("URL %q: %s:// has no path; want %[2]s://HOST:PORT", raw, scheme)
	case strings.ContainsAny(p.target, " \r\n"):
		return fmt.Errorf("URL %q: the path has a space or a line break; write %%20", raw)
	}
	u, err := url.Parse("http://" + authority)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("URL %q: no host", raw)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if port == "" {
		return fmt.Errorf("URL %q: no port; want tcp://HOST:PORT", raw)
	}
	p.name, p.address, p.host = u.Hostname(), net.JoinHostPort(u.Hostname(), port), authority
	if p.Host != "" {
		p.host = p.Host
	}
	if p.Connect != "" {
		if _, _, err := net.SplitHostPort(p.Connect); err != nil {
			return fmt.Errorf("connect %q: want HOST:PORT", p.Connect)
		}
		p.address = p.Connect
	}
	return nil
}

// port returns the port that the request connects to.
func (p *plan) port() uint16 {
	if a, err := netip.ParseAddrPort(p.address); err == nil {
		return a.Port()
	}
	_, s, _ := net.SplitHostPort(p.address)
	n, _ := strconv.ParseUint(s, 10, 16)
	return uint16(n)
}
