package parity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mesh-lab/mesh-lab/lab/parity/cases"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Side is one of the two data planes.
type Side struct {
	Name   string
	Driver topology.Driver
}

// Pair is two meshes under the same configuration.
type Pair struct {
	A, B Side

	meshes [2]topology.Mesh
	config *istio.Config
	unique atomic.Int64
	seed   uint64
	sent   int
}

// UpError says which side could not do something.
type UpError struct {
	Side string
	Err  error
}

// Error names the side.
func (e *UpError) Error() string { return e.Side + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UpError) Unwrap() error { return e.Err }

// keep is how many records each mesh remembers: enough for the requests that are sent at a time.
const keep = 20_000

// Up brings both meshes up, or neither.
func (p *Pair) Up(ctx context.Context, s topology.Spec) error {
	p.seed = s.Seed
	err := p.both(func(i int, side Side) error {
		m, err := side.Driver.Up(ctx, s)
		if err == nil {
			m.Recorder().Keep(keep)
			p.meshes[i] = m
		}
		return err
	})
	if err != nil {
		return errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}
	p.config = s.Config
	return nil
}

// both does something on both sides at a time. When both refuse for the same reason, it is said
// once.
func (p *Pair) both(do func(i int, s Side) error) error {
	var wg sync.WaitGroup
	var errs [2]error
	for i, s := range []Side{p.A, p.B} {
		wg.Go(func() {
			if err := do(i, s); err != nil {
				errs[i] = &UpError{s.Name, err}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// Apply makes c the configuration of both.
func (p *Pair) Apply(ctx context.Context, c *istio.Config) error {
	err := p.both(func(i int, _ Side) error {
		_, err := p.meshes[i].Apply(ctx, c)
		return err
	})
	if err == nil {
		p.config = c
	}
	return err
}

// Close takes both down.
func (p *Pair) Close(ctx context.Context) error {
	return p.both(func(i int, _ Side) error {
		if p.meshes[i] == nil {
			return nil
		}
		return p.meshes[i].Close(ctx)
	})
}

// connections is how many requests are under way at a time on each side.
const connections = 8

// ask sends requests on both sides, the same ones in the same order.
func (p *Pair) ask(ctx context.Context, specs []request.Spec) (a, b []request.Result, err error) {
	return p.send(ctx, specs, request.BatchOptions{Connections: connections})
}

// askFresh is ask with a connection for each request, and so many at a time: what is drawn for each
// connection (the pod behind a TCP proxy, a new cookie) is then drawn for each request.
func (p *Pair) askFresh(
	ctx context.Context, specs []request.Spec, atOnce int,
) (a, b []request.Result, err error) {
	return p.send(ctx, specs, request.BatchOptions{Connections: atOnce, Fresh: true})
}

func (p *Pair) send(
	ctx context.Context, specs []request.Spec, o request.BatchOptions,
) (a, b []request.Result, err error) {
	sent := make([]request.Spec, len(specs))
	for i, s := range specs {
		sent[i] = p.concrete(s)
	}
	p.sent += len(specs)
	if limited(p.config) {
		o.Connections = 1
	}
	var got [2][]request.Result
	err = p.both(func(i int, _ Side) error {
		var err error
		got[i], err = request.Batch(ctx, p.meshes[i], sent, o)
		return err
	})
	return got[0], got[1], err
}

// concrete gives a request what no other has where it asks for that.
func (p *Pair) concrete(s request.Spec) request.Spec {
	s.Count, s.Concurrency = 1, 1
	var headers []string
	for _, h := range s.Headers {
		if strings.Contains(h, cases.Unique) {
			h = strings.ReplaceAll(h, cases.Unique, fmt.Sprintf("parity-%x-%d", p.seed,
				p.unique.Add(1)))
		}
		headers = append(headers, h)
	}
	s.Headers = headers
	return s
}
