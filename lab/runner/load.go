package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/load"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// load drives the step's traffic; `until: decided` ends it when its judge has seen enough.
func (r *run) load(ctx context.Context, i int, l *scenarios.Load, did *reports.Did) error {
	did.What, did.Client = l.To, l.From
	token, err := r.token(ctx, &l.Secure)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	plan, err := r.plan(i, l, token)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	g, err := load.New(r.mesh, plan)
	if err != nil {
		return err
	}
	defer g.Close()
	w := &watcher{stop: g.Stop, answered: make(chan struct{})}
	if l.Decided {
		w.judge = r.s.Judge(i, did.From, clock.Never)
	}
	cancel := r.mesh.Recorder().Subscribe(w)
	defer cancel()
	done := make(chan struct{})
	ended := r.report(i, g, w, done)
	beside := r.meanwhile(ctx, i, l, w, done)
	res, err := g.Run(ctx)
	close(done)
	<-ended
	if berr := <-beside; err == nil {
		err = berr
	}
	if err != nil {
		return err
	}
	if did.Fortio, err = json.Marshal(res); err != nil {
		return err
	}
	return ctx.Err()
}

// meanwhile does what a load's step wants done while it runs, from its first answer on, and says on
// the channel how that went. A load of some duration lasts until it is done, and then half of its
// duration more: what changed is seen from both sides.
func (r *run) meanwhile(
	ctx context.Context, i int, l *scenarios.Load, w *watcher, done <-chan struct{},
) <-chan error {
	ended := make(chan error, 1)
	if len(l.Meanwhile) == 0 {
		ended <- nil
		return ended
	}
	until := time.Now().Add(l.Duration)
	go func() {
		err := r.doBeside(ctx, i, l.Meanwhile, w, done)
		if l.Duration > 0 && err == nil {
			err = wait(ctx, max(time.Until(until), l.Duration/2))
		}
		if l.Duration > 0 {
			w.stop()
		}
		ended <- err
	}()
	return ended
}

// errTooShort says that a load proves nothing of what was to be done meanwhile.
var errTooShort = errors.New("the load ended before all was done that is to be done meanwhile: " +
	"let it last longer")

func (r *run) doBeside(
	ctx context.Context, i int, all []scenarios.Action, w *watcher, done <-chan struct{},
) error {
	select {
	case <-w.answered:
	case <-done:
		return errTooShort
	case <-ctx.Done():
		return ctx.Err()
	}
	r.began = nil
	for a := range all {
		now := r.mesh.Clock().Now
		did := reports.Did{Kind: all[a].Kind(), From: now()}
		err := r.act(ctx, i, &all[a], &did, did.From)
		did.Until = now()
		r.beside = append(r.beside, did)
		if err != nil {
			return err
		}
	}
	for _, began := range r.began {
		select {
		case <-began:
		case <-done:
			return errTooShort
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-done:
		return errTooShort
	default:
		return r.chaos.Err()
	}
}

// report tells the progress until done.
func (r *run) report(i int, g *load.Generator, w *watcher, done <-chan struct{}) <-chan struct{} {
	ended := make(chan struct{})
	if r.opt.Progress == nil {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				r.progress(i+1, "load", g.Sent(), w.failures())
			case <-done:
				return
			}
		}
	}()
	return ended
}

// besideAtMost is how much longer than asked for a load may last until all is done that is to be
// done meanwhile.
const besideAtMost = 3 * time.Minute

// plan turns a scenario's load into fortio's words.
func (r *run) plan(i int, l *scenarios.Load, token string) (load.Plan, error) {
	from, connect, err := request.Locate(r.mesh, l.From, l.Gateway, l.To)
	if err != nil {
		return load.Plan{}, err
	}
	p := load.Plan{
		Step: r.s.Steps[i].Name, From: from, URL: l.To, Connect: connect, Method: l.Method,
		Body: l.Body, QPS: l.QPS, Connections: l.Connections, Requests: int64(l.Requests),
		Duration: l.Duration, Timeout: l.Timeout, KeepAlive: true, Labels: r.s.Name,
		TLS: secure(&l.Secure),
		Cut: func() {
			h := r.mesh.Recorder().Snapshot()
			r.cut = &h
		},
	}
	if l.Decided {
		p.Duration = l.AtMost
	} else if len(l.Meanwhile) > 0 && l.Duration > 0 {
		p.Duration = l.Duration + besideAtMost
	}
	headers := l.Headers
	if token != "" {
		headers = append(slices.Clone(headers), scenarios.Bearer(token))
	}
	if l.Cookies != "" {
		cookies := request.Cookies(r.jars.Named(l.Cookies), l.Site())
		if cookies == "" {
			return load.Plan{}, fmt.Errorf("cookies: no request before it has filled the jar %q",
				l.Cookies)
		}
		headers = append(slices.Clone(headers), scenarios.Header{
			Name: "cookie", Value: scenarios.Literal(cookies),
		})
	}
	if constant(headers) {
		p.Headers = lines(headers, 0)
	} else {
		p.Vary = func(n int64) []string { return lines(headers, int(n)) }
	}
	return p, nil
}

// watcher judges the records of a load while it runs.
type watcher struct {
	stop     func()
	answered chan struct{} // closed with the sender's first record
	first    sync.Once

	mu      sync.Mutex
	judge   *assert.Judge
	decided bool
	failed  int64
}

// Request takes a proxy's record.
func (w *watcher) Request(q *observe.Request) {
	w.see(func(j *assert.Judge) { j.Request(q) })
}

// Client takes the sender's record of a request.
func (w *watcher) Client(c *observe.Client) {
	w.first.Do(func() { close(w.answered) })
	if c.Error != "" || c.Status >= 500 {
		w.mu.Lock()
		w.failed++
		w.mu.Unlock()
	}
	w.see(func(j *assert.Judge) { j.Client(c) })
}

// Change takes a change, such as an ejection.
func (w *watcher) Change(c *observe.Change) {
	w.see(func(j *assert.Judge) { j.Change(c) })
}

func (w *watcher) see(f func(*assert.Judge)) {
	w.mu.Lock()
	if w.judge == nil || w.decided {
		w.mu.Unlock()
		return
	}
	f(w.judge)
	w.decided = w.judge.Decided()
	stop := w.decided
	w.mu.Unlock()
	if stop {
		w.stop()
	}
}

func (w *watcher) failures() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}
