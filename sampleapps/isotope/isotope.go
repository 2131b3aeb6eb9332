// Package isotope is the mock service of Istio's isotope (istio/tools, isotope/service): it does
// what its script says at each request, and answers with as many bytes as it is told to.
package isotope

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// forwarded are the headers that calls take over from the request that they are made for
// (isotope/service/pkg/srv/header.go).
var forwarded = []string{
	"x-request-id",
	"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
	"x-ot-span-context",
	"x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority",
	"traceparent", "tracestate",
	"x-cloud-trace-context",
	"grpc-trace-bin",
}

// server is one pod of a service.
type server struct {
	*service
	env   app.Env
	every uint64 // every Nth request fails; 0: none

	mu     sync.Mutex
	count  uint64     // requests since the last that failed so
	random *rand.Rand // which calls are made
}

// Handler returns the app. ISOTOPE_SERVICE is the service as JSON.
func Handler(env app.Env) (http.Handler, error) {
	s, err := read(env.Vars["ISOTOPE_SERVICE"])
	if err != nil {
		return nil, err
	}
	a := &server{service: s, env: env, random: env.Random("isotope")}
	if s.ErrorRate > 0 {
		// Whole numbers, as handler.go computes them: above 50% every request fails.
		a.every = 10000 / uint64(s.ErrorRate*10000)
	}
	routes := http.NewServeMux() // as the original: /a//b is sent to /a/b
	routes.Handle("/", a)
	routes.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "mesh-lab's isotope has no metrics", http.StatusNotFound)
	})
	return routes, nil
}

// ServeHTTP carries out the script. A step that fails ends it, with 500 and the reason.
func (a *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.fails() {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "simulated failure") // the client may be gone
		return
	}
	for _, st := range a.Script {
		if err := a.do(st, r.Header); err != nil {
			a.env.Logger().Info("isotope", "service", a.Name, "error", err)
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, err.Error()+"\n")
			return
		}
	}
	w.WriteHeader(http.StatusOK)
	// Not by w's ReadFrom, which tells no length: the original writes its payload in one piece.
	_, _ = io.Copy(struct{ io.Writer }{w}, noise(a.ResponseSize))
}

// fails counts a request and says whether it is one that the error rate lets fail.
func (a *server) fails() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	if a.every == 0 || a.count < a.every {
		return false
	}
	a.count = 0
	return true
}

// skips draws whether a call is left out. No probability means always.
func (a *server) skips(c *call) bool {
	if c.Probability == 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.random.IntN(100) < 100-c.Probability
}

// do carries out one step, and is not stopped by a client that goes away: the original is not.
func (a *server) do(st step, in http.Header) error {
	switch {
	case st.Call != nil:
		return a.call(st.Call, in)
	case st.Concurrent != nil:
		return a.all(st.Concurrent, in)
	}
	a.env.Wait(a.env.Life(), st.Sleep)
	return nil
}

// all carries out steps at once and waits for all of them; the errors are told in the steps' order.
func (a *server) all(steps []step, in http.Header) error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, st := range steps {
		wg.Go(func() { errs[i] = a.do(st, in) })
	}
	wg.Wait()
	var told []string
	for _, err := range errs {
		if err != nil {
			told = append(told, err.Error())
		}
	}
	if len(told) == 0 {
		return nil
	}
	return fmt.Errorf("%d errors occurred: %s", len(told), strings.Join(told, ", "))
}

// call makes a request; any status but 200 is an error.
func (a *server) call(c *call, in http.Header) error {
	if a.skips(c) {
		return nil
	}
	var body io.Reader
	if c.Size > 0 {
		body = noise(c.Size)
	}
	out, err := http.NewRequestWithContext(a.env.Life(), http.MethodGet, "http://"+c.Hostname, body)
	if err != nil {
		return err
	}
	out.ContentLength = c.Size
	if body != nil { // a connection that proves dead before it is used is no failure
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(noise(c.Size)), nil }
	}
	for name, value := range c.ExtraHeader {
		out.Header.Add(name, value)
	}
	app.Copy(out.Header, in, forwarded...)
	res, err := a.env.Client.Do(out)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		_, _ = io.Copy(io.Discard, res.Body) // the status is what counts
		return nil
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		text = fmt.Appendf(nil, "failed to read body: %v", err)
	}
	return fmt.Errorf("service %s responded with %s (body: %s)", c.Hostname, res.Status, text)
}

// block is what bodies are made of: random bytes, the same at each start.
var block = func() []byte {
	b, r := make([]byte, 64<<10), rand.NewPCG(0, 0)
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}()

// noise returns a body of n bytes.
func noise(n int64) io.Reader { return io.LimitReader(&repeated{}, n) }

// repeated is block again and again.
type repeated struct{ at int }

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, block[r.at:])
	r.at = (r.at + n) % len(block)
	return n, nil
}
