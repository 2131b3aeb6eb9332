// Package around puts a model around an app: requests wait for their turn, take their time, fail,
// and are remembered as the model says, and only then, or instead, reach the app.
//
//	request ─▶ counted ─▶ [queue ─▶ at work: latency ─▶ failure or app] ─▶ answer
//	                        └▶ full: 503
//
// Health checks and the model's own endpoint pass by all of it.
package around

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// CallersPath is where a pod that remembers tells who called, and forgets it when asked to DELETE.
const CallersPath = "/mesh-lab/callers"

// handler is an app with its model.
type handler struct {
	app.Env
	model   model.Model
	inner   http.Handler
	limit   *limit   // nil: none
	callers *callers // nil: not remembered

	latencies, failures *rand.Rand
}

// Handler returns the app with its model around it; an app that serves nothing has no requests that
// a model could be of.
func Handler(m model.Model, env app.Env, inner http.Handler) (http.Handler, error) {
	if !m.IsOnRequests() {
		return inner, nil
	}
	if inner == nil {
		return nil, ofNoUse(env.Vars)
	}
	h := &handler{
		Env: env, model: m, inner: inner,
		latencies: env.Random("model latency"), failures: env.Random("model errors"),
	}
	if m.Concurrency > 0 {
		h.limit = &limit{concurrency: m.Concurrency, queue: m.Queue}
	}
	if m.Remember > 0 {
		h.callers = newCallers(m.Remember)
	}
	if t, ok := inner.(app.Taker); ok {
		return &taking{h, t}, nil
	}
	return h, nil
}

// ofNoUse reports a model of an app that serves nothing.
func ofNoUse(vars map[string]string) error {
	var errs []error
	for _, name := range model.OnRequests {
		if vars[name] != "" {
			errs = append(errs, &model.Problem{
				Name: name, Value: vars[name], Msg: "it is of no use: the app serves nothing",
			})
		}
	}
	return errors.Join(errs...)
}

// taking is the model of an app that looks at connections first. What it takes itself has no model.
type taking struct {
	*handler
	app.Taker
}

// isHealth says which requests are health checks.
func isHealth(path string) bool {
	switch path {
	case "/health", "/health/live", "/health/ready":
		return true
	}
	return false
}

// ServeHTTP answers a request, or has the app do so.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isHealth(r.URL.Path):
		h.inner.ServeHTTP(w, r)
	case h.callers == nil:
		h.serve(w, r)
	case r.URL.Path == CallersPath:
		h.callers.ServeHTTP(w, r)
	default:
		seen := &app.Writer{ResponseWriter: w}
		defer func() { h.callers.count(r, seen.Status) }()
		h.serve(seen, r)
		if seen.Status == 0 && r.Context().Err() == nil {
			seen.Status = http.StatusOK // net/http writes it for a handler that has not
		}
	}
}

// serve waits for its turn and for the model's time. A client that leaves meanwhile gives up both.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	var latency model.Law = model.Fixed(0)
	if h.model.Latency != nil {
		latency = h.model.Latency
	}
	// Both are drawn on arrival: the k-th request has the k-th draws, however long it waits.
	takes := latency.Quantile(h.latencies.Float64())
	failure := h.model.Errors.Status(h.failures.Float64())
	if !readAhead(r) {
		panic(http.ErrAbortHandler) // it was cut: there is nothing to answer
	}
	if h.limit != nil {
		switch h.limit.take(r.Context()) {
		case full:
			app.Text(w, http.StatusServiceUnavailable, fmt.Sprintf(
				"overloaded: %d requests at work and %d waiting are all that %s and %s allow\n",
				h.limit.concurrency, h.limit.queue, model.Concurrency, model.Queue))
			return
		case left:
			return
		}
		defer h.limit.release()
	}
	if !h.Wait(r.Context(), takes) {
		return
	}
	if failure != 0 {
		app.Text(w, failure, fmt.Sprintf("failed with %d, as %s has it\n", failure, model.Errors))
		return
	}
	h.inner.ServeHTTP(w, r)
}

// mostAhead is how long a body may be to be read before its turn.
const mostAhead = 64 << 10

// readAhead reads a short body to its end: net/http notices that a client has left only when it has
// read what the client sent. Longer bodies, and those of unknown length, are the app's to read. It
// reports whether the body came.
func readAhead(r *http.Request) bool {
	if r.ContentLength <= 0 || r.ContentLength > mostAhead {
		return true
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil
}
