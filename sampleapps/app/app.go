// Package app is what the sample apps have in common: what an app is given from outside, and the
// few things that each of them does the same way. Apps hold no mesh logic; they are plain net/http
// handlers.
package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Env is what an app is given from outside.
type Env struct {
	Pod, Workload, Namespace string
	Version                  string            // the pod's version label; may be empty
	Image                    string            // as the manifest has it
	Host                     string            // DNS name of a server outside of the mesh
	Vars                     map[string]string // the container's environment
	Client                   *http.Client      // outgoing, through the sidecar
	Clock                    Clock
	Seed                     uint64       // of the pod's random streams
	Log                      *slog.Logger // may be nil
	// Closed ends with the pod; nil: never. Upgraded connections end with it.
	Closed context.Context
}

// Clock calls back later; apps never wait by themselves. The lab's clocks are such clocks.
type Clock interface {
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Var returns a variable of the environment, or fallback where it is not set.
func (e *Env) Var(name, fallback string) string { return cmp.Or(e.Vars[name], fallback) }

// Int returns a number of the environment, or fallback where it is not set.
func (e *Env) Int(name string, fallback int) (int, error) {
	v := e.Vars[name]
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("env %s = %q: want a whole number", name, v)
	}
	return n, nil
}

// Flag returns a truth value of the environment, or fallback where it is not set.
func (e *Env) Flag(name string, fallback bool) (bool, error) {
	v := e.Vars[name]
	if v == "" {
		return fallback, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("env %s = %q: want true or false", name, v)
	}
	return b, nil
}

// Tag returns the tag of the image: "v2" of "quay.io/some/app:v2"; empty without one.
func (e *Env) Tag() string {
	_, tag := SplitImage(e.Image)
	return tag
}

// ImageName returns the last part of the image's name: "app" of "quay.io/some/app:v2".
func (e *Env) ImageName() string {
	repository, _ := SplitImage(e.Image)
	return repository[strings.LastIndexByte(repository, '/')+1:]
}

// SplitImage takes tag and digest off an image's name; a port of the registry stays.
func SplitImage(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		return image[:colon], image[colon+1:]
	}
	return image, ""
}

var versionTag = regexp.MustCompile(`^(v\d+)([.-].*)?$`)

// AppVersion returns the version that the app shows: the variable VERSION, else the pod's version
// label, else the image's tag ("v2" of "v2.1" and "v2-timeout"), else v1.
func (e *Env) AppVersion() string {
	tag := ""
	if m := versionTag.FindStringSubmatch(e.Tag()); m != nil {
		tag = m[1]
	}
	return cmp.Or(e.Vars["VERSION"], e.Version, tag, "v1")
}

// Logger returns the logger, or a silent one.
func (e *Env) Logger() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}

// Wait waits for d on the app's clock, or until the client goes away; it reports whether d has
// passed.
func (e *Env) Wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	over := make(chan struct{})
	stop := e.Clock.AfterFunc(d, func() { close(over) })
	select {
	case <-over:
		return true
	case <-ctx.Done():
		stop()
		return false
	}
}

// Copy copies the named headers of in that are there.
func Copy(out, in http.Header, names ...string) {
	for _, n := range names {
		if v := in.Values(n); len(v) > 0 {
			out[http.CanonicalHeaderKey(n)] = append([]string(nil), v...)
		}
	}
}

// copyTrace passes on what tracing libraries pass on.
func copyTrace(out, in http.Header) {
	Copy(out, in, "x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid",
		"x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")
}

// Failure names a transport failure as the tutorial's apps, which run on a JVM, do.
func Failure(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "UnknownHostException: " + dns.Name
	case errors.Is(err, syscall.ECONNREFUSED):
		return "ConnectException: Connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF):
		return "SocketException: Connection reset"
	}
	return "IOException: " + err.Error()
}

// Body reads a request's body to its end.
func Body(r *http.Request) (string, error) {
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// Text answers with plain text.
func Text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client may be gone
}

// JSON answers with a value as JSON, without white space.
func JSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("app: " + err.Error()) // apps answer with what JSON can say
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimSuffix(body.Bytes(), []byte("\n"))) // the client may be gone
}

// Up is what the tutorial's apps answer to health checks.
const Up = `{"status":"UP","checks":[]}`

// Routes are an app's handlers by "METHOD /path". Other paths get 404, other methods 405, both
// without a body. Repeated slashes count as one, as in the tutorial's apps: a rewritten prefix
// leaves some.
type Routes map[string]http.HandlerFunc

// Healthy adds the health endpoints: body is what they answer.
func (rs Routes) Healthy(body string) {
	for _, path := range []string{"/health/live", "/health/ready", "/health"} {
		rs["GET "+path] = func(w http.ResponseWriter, _ *http.Request) {
			if body != "" {
				w.Header().Set("Content-Type", "application/json")
			}
			_, _ = io.WriteString(w, body)
		}
	}
}

var slashes = regexp.MustCompile(`//+`)

// ServeHTTP calls the handler of a request.
func (rs Routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := slashes.ReplaceAllString(r.URL.Path, "/")
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if h := rs[method+" "+path]; h != nil {
		h(w, r)
		return
	}
	var allow []string
	for key := range rs {
		if m, p, _ := strings.Cut(key, " "); p == path {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	w.WriteHeader(http.StatusMethodNotAllowed)
}

type localPort struct{}

// WithLocalPort says which logical port a connection came in on, where the real one differs.
func WithLocalPort(ctx context.Context, port int) context.Context {
	return context.WithValue(ctx, localPort{}, port)
}

// LocalPort returns the port that a request came in on.
func LocalPort(r *http.Request) int {
	if p, ok := r.Context().Value(localPort{}).(int); ok {
		return p
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
