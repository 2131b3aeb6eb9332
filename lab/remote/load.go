package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/load"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

func (s *Server) handleLoad(w http.ResponseWriter, r *http.Request) {
	var l Load
	if !decode(w, r, &l) {
		return
	}
	from, connect, err := request.Locate(s.mesh, l.From, l.Gateway, l.URL)
	if err != nil {
		refuse(w, err, true)
		return
	}
	g, err := load.New(s.mesh, load.Plan{
		Step: "load", From: from, URL: l.URL, Connect: connect, Method: l.Method, Body: l.Body,
		Headers: l.Headers, QPS: l.QPS, Connections: l.Connections, Requests: l.Requests,
		Duration: l.Duration, Timeout: l.Timeout, Percentiles: l.Percentiles,
		Resolution: l.Resolution, Uniform: l.Uniform, Jitter: l.Jitter, NoCatchUp: l.NoCatchUp,
		KeepAlive: l.KeepAlive, Labels: l.Labels, TLS: l.TLS,
	})
	if err != nil {
		refuse(w, err, true)
		return
	}
	defer g.Close()
	s.mu.Lock()
	s.loads[l.ID] = g.Interrupt
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.loads, l.ID)
		s.mu.Unlock()
	}()
	c := &counter{splits: map[[2]string]*Split{}}
	cancel := s.mesh.Recorder().Subscribe(c)
	defer cancel()
	t := &teller{enc: json.NewEncoder(w), flush: w.(http.Flusher)}
	stop := t.every(200*time.Millisecond, func() LoadEvent { return LoadEvent{Sent: g.Sent()} })
	res, err := g.Run(r.Context())
	stop()
	end := LoadEvent{Sent: g.Sent()}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), shutdown)
		err = s.mesh.Settle(ctx)
		cancel()
	}
	if err == nil {
		end.Splits = c.sorted()
		end.Fortio, err = json.Marshal(res)
	}
	if err != nil {
		end.Error = err.Error()
	}
	t.tell(end)
}

// handleStop ends a load early; its answer comes as if it had ended by itself.
func (s *Server) handleStop(w http.ResponseWriter, r *http.Request) {
	var l Load
	if !decode(w, r, &l) {
		return
	}
	s.mu.Lock()
	stop := s.loads[l.ID]
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	answer(w, struct{}{})
}

// teller writes events, one a line.
type teller struct {
	mu    sync.Mutex
	enc   *json.Encoder
	flush http.Flusher
}

func (t *teller) tell(e LoadEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enc.Encode(e) //nolint:errcheck // the client went away
	t.flush.Flush()
}

// every tells an event at intervals until stop is called.
func (t *teller) every(d time.Duration, event func() LoadEvent) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.tell(event())
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// counter counts requests by destination service and version.
type counter struct {
	mu     sync.Mutex
	splits map[[2]string]*Split
}

// Request counts the records of callers.
func (c *counter) Request(r *observe.Request) {
	if r.Reporter != observe.Source || r.Dest.Service == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := [2]string{r.Dest.Service, r.Dest.Version}
	s := c.splits[k]
	if s == nil {
		s = &Split{Service: strings.Clone(k[0]), Version: strings.Clone(k[1]),
			Statuses: map[string]int64{}, Flags: map[string]int64{}}
		c.splits[[2]string{s.Service, s.Version}] = s
	}
	s.Requests++
	s.Statuses[strconv.Itoa(r.Status)]++
	if r.Flags != "" {
		s.Flags[strings.Clone(r.Flags)]++
	}
}

// Client takes nothing: fortio counts the sender's side.
func (c *counter) Client(*observe.Client) {}

// Change takes nothing.
func (c *counter) Change(*observe.Change) {}

// sorted returns the splits by service and version.
func (c *counter) sorted() []Split {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Split, 0, len(c.splits))
	for _, s := range c.splits {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Split) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Version, b.Version))
	})
	return out
}
