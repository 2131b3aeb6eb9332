// Package echo is the generic server: it answers with what it saw, as JSON, and does what headers
// and environment tell it: fail, wait, break off, call the next one. Every port takes HTTP/1.1, the
// same over TLS, and for anything else one line for each connection.
package echo

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// Seen is the answer.
type Seen struct {
	Method    string              `json:"method"`
	Path      string              `json:"path"` // with the query, as received
	Host      string              `json:"host"`
	Headers   map[string][]string `json:"headers"` // by lower-case name
	Protocol  string              `json:"protocol"`
	Port      int                 `json:"port"`
	TLS       *TLS                `json:"tls"`
	Workload  string              `json:"workload"`
	Pod       string              `json:"pod"`
	Version   string              `json:"version"`
	Namespace string              `json:"namespace"`
	Remote    string              `json:"remote"`
	Body      string              `json:"body"`
	Count     int                 `json:"count"` // of this pod's requests, this one included
	// Forward is what the next one answered, when x-echo-forward named one.
	Forward *Forward `json:"forward,omitempty"`
}

// TLS is how the request was protected.
type TLS struct {
	Version string `json:"version"`
	SNI     string `json:"sni"`
	ALPN    string `json:"alpn"`
	// Peer is the client certificate's URI, else its DNS name, else its subject.
	Peer string `json:"peer,omitempty"`
}

// Forward is the call of the next one. Answer is its answer where that is JSON.
type Forward struct {
	URL    string          `json:"url"`
	Status int             `json:"status"` // 0 with Error
	Error  string          `json:"error,omitempty"`
	Answer json.RawMessage `json:"answer,omitempty"`
}

// service is one pod's app.
type service struct {
	env       app.Env
	status    int    // ECHO_STATUS; 0: not set
	body      string // ECHO_BODY; empty: what was seen
	delay     time.Duration
	failFirst int
	reset     bool

	makeTLS sync.Once
	tls     *tls.Config // what connections that begin with TLS get

	mu    sync.Mutex
	count int
	keys  map[string]int // requests by x-echo-key
}

// Handler returns the app; nil when ECHO_REFUSE says that nobody is to listen. Variables:
// ECHO_STATUS, ECHO_BODY (the answer in place of what was seen: a stand-in for another service),
// ECHO_DELAY, ECHO_FAIL_FIRST, ECHO_RESET, ECHO_REFUSE. ECHO_READY=false, as MESHLAB_READY=false,
// makes the pod no endpoint: that is not for its app to do.
func Handler(env app.Env) (http.Handler, error) {
	s := &service{env: env, body: env.Vars["ECHO_BODY"], keys: map[string]int{}}
	var err error
	if s.status, err = env.Int("ECHO_STATUS", 0); err != nil {
		return nil, err
	}
	if s.status != 0 && !validStatus(s.status) {
		return nil, fmt.Errorf("env ECHO_STATUS = %d: want 200 to 599", s.status)
	}
	if s.failFirst, err = env.Int("ECHO_FAIL_FIRST", 0); err != nil {
		return nil, err
	}
	if v := env.Vars["ECHO_DELAY"]; v != "" {
		if s.delay, err = time.ParseDuration(v); err != nil {
			return nil, fmt.Errorf("env ECHO_DELAY: %w", err)
		}
	}
	if s.reset, err = env.Flag("ECHO_RESET", false); err != nil {
		return nil, err
	}
	if _, err = env.Flag("ECHO_READY", true); err != nil {
		return nil, err
	}
	refuse, err := env.Flag("ECHO_REFUSE", false)
	if err != nil || refuse {
		return nil, err
	}
	return s, nil
}

// validStatus says which statuses may be asked for: a final answer's.
func validStatus(n int) bool { return n >= 200 && n <= 599 }

// wish is what one request asks for.
type wish struct {
	status    int // 0: not said
	delay     time.Duration
	failFirst int
	reset     bool
}

// ServeHTTP answers a request.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isWebSocket(r) {
		s.webSocket(w, r)
		return
	}
	wish, err := wishOf(r.Header, s.delay)
	if err != nil {
		app.Text(w, http.StatusBadRequest, "echo: "+err.Error()+"\n")
		return
	}
	body, err := app.Body(r)
	if err != nil {
		panic(http.ErrAbortHandler) // the request was cut: there is nothing to answer
	}
	count, status := s.account(r.Header.Get("x-echo-key"), wish)
	if !s.env.Wait(r.Context(), wish.delay) {
		return
	}
	if s.reset || wish.reset {
		panic(http.ErrAbortHandler) // net/http closes the connection without an answer
	}
	seen := s.see(r, body, count)
	if next := r.Header.Get("x-echo-forward"); next != "" {
		seen.Forward = s.forward(r, next)
		if status == 0 {
			status = seen.Forward.Status
			if status == 0 {
				status = http.StatusBadGateway
			}
		}
	}
	respond(w, r, status, s.answer(seen))
}

// wishOf reads the x-echo-* headers.
func wishOf(h http.Header, delay time.Duration) (wish, error) {
	out := wish{delay: delay}
	var err error
	if v := h.Get("x-echo-status"); v != "" {
		if out.status, err = strconv.Atoi(v); err != nil || !validStatus(out.status) {
			return out, fmt.Errorf("x-echo-status: %q: want 200 to 599", v)
		}
	}
	if v := h.Get("x-echo-fail-first"); v != "" {
		if out.failFirst, err = strconv.Atoi(v); err != nil || out.failFirst < 0 {
			return out, fmt.Errorf("x-echo-fail-first: %q: want a whole number", v)
		}
	}
	if v := h.Get("x-echo-delay"); v != "" {
		if out.delay, err = time.ParseDuration(v); err != nil {
			return out, fmt.Errorf("x-echo-delay: %w", err)
		}
	}
	if v := h.Get("x-echo-reset"); v != "" {
		if out.reset, err = strconv.ParseBool(v); err != nil {
			return out, fmt.Errorf("x-echo-reset: %q: want true or false", v)
		}
	}
	return out, nil
}

// account counts a request and decides its status; 0 leaves it to what is called next, or is 200.
// Headers win over the environment. A key makes requests that belong together: the first N of them
// fail.
func (s *service) account(key string, w wish) (count, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.keys[key]++
	switch {
	case w.failFirst > 0:
		return s.count, failing(s.keys[key] <= w.failFirst, w.status)
	case w.status != 0:
		return s.count, w.status
	case s.failFirst > 0:
		return s.count, failing(s.count <= s.failFirst, s.status)
	}
	return s.count, s.status
}

// failing returns the status of a request that fails, 503 unless another was said, or 0.
func failing(fails bool, status int) int {
	switch {
	case !fails:
		return 0
	case status == 0:
		return http.StatusServiceUnavailable
	}
	return status
}

func (s *service) see(r *http.Request, body string, count int) *Seen {
	seen := &Seen{
		Method: r.Method, Path: path(r), Host: r.Host, Protocol: r.Proto, Port: app.LocalPort(r),
		Workload: s.env.Workload, Pod: s.env.Pod, Version: s.env.AppVersion(),
		Namespace: s.env.Namespace, Remote: r.RemoteAddr, Body: body, Count: count,
		Headers: make(map[string][]string, len(r.Header)), TLS: tlsOf(app.TLSOf(r)),
	}
	for name, values := range r.Header {
		seen.Headers[strings.ToLower(name)] = values
	}
	return seen
}

// path returns the path and query byte for byte, also of a request in absolute form.
func path(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") || r.RequestURI == "*" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// forward calls the first of a list of URLs with the rest of it.
func (s *service) forward(r *http.Request, list string) *Forward {
	first, rest, _ := strings.Cut(list, ",")
	out := http.Header{}
	app.Copy(out, r.Header, "end-user", "user-agent", "cookie")
	if rest = strings.TrimSpace(rest); rest != "" {
		out.Set("x-echo-forward", rest)
	}
	f := &Forward{URL: strings.TrimSpace(first)}
	reply, err := s.env.Get(r, f.URL, out)
	if err != nil {
		f.Error = app.Failure(err)
		return f
	}
	f.Status = reply.Status
	if json.Valid([]byte(reply.Body)) {
		f.Answer = json.RawMessage(reply.Body)
	}
	return f
}

// answer is what was seen as JSON, or what is always said.
func (s *service) answer(seen *Seen) []byte {
	if s.body != "" {
		return []byte(s.body)
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(seen); err != nil {
		panic("echo: " + err.Error()) // Seen holds nothing that JSON cannot
	}
	return body.Bytes()
}

func respond(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	if status == 0 {
		status = http.StatusOK
	}
	h := w.Header()
	for _, line := range r.Header.Values("x-echo-response-header") {
		name, value, _ := strings.Cut(line, ":")
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if grpc := r.Header.Get("x-echo-grpc-status"); grpc != "" {
		h.Set("Content-Type", "application/grpc") // an answer of headers only, as gRPC sends errors
		h.Set("Grpc-Status", grpc)
		w.WriteHeader(http.StatusOK)
		return
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; 204 and 304 have no body
}
