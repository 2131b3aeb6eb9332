package request

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Batch sends many different requests, each once, over a few connections that are kept, and waits
// for what the proxies recorded when all have been sent. Results are in the order of the Specs. A
// client from outside takes a new connection for each request: a gateway gives requests an
// x-request-id of its own, so that only the connection tells them apart.
func Batch(
	ctx context.Context, m topology.Mesh, specs []Spec, o BatchOptions,
) ([]Result, error) {
	b := &batch{
		mesh: m, jobs: make([]job, len(specs)), found: newCollector(m), fresh: o.Fresh,
	}
	defer b.found.close()
	for i, s := range specs {
		if err := b.prepare(i, s); err != nil {
			return nil, fmt.Errorf("request %d: %w", i+1, err)
		}
	}
	var wg sync.WaitGroup
	for range min(max(o.Connections, 1), len(specs)) {
		wg.Go(func() { b.connection(ctx) })
	}
	wg.Wait()
	if err := m.Settle(ctx); err != nil {
		return nil, err
	}
	var late deadline
	out := make([]Result, len(specs))
	for i := range b.jobs {
		j := &b.jobs[i]
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := j.w.complete(ctx, &j.sent, &late); err != nil {
			return nil, err
		}
		out[i] = j.sent.Result
	}
	return out, nil
}

// BatchOptions are how a Batch is sent.
type BatchOptions struct {
	Connections int  // how many requests are under way at a time
	Fresh       bool // each request on a connection of its own
}

// batch is a Batch under way.
type batch struct {
	mesh  topology.Mesh
	fresh bool
	jobs  []job
	found *collector
	next  atomic.Int64
}

// job is one request of it.
type job struct {
	w    *worker
	sent sentRequest
}

// prepare checks a request and finds its sender.
func (b *batch) prepare(i int, s Spec) error {
	p, err := s.check()
	if err != nil {
		return err
	}
	from, err := locate(b.mesh, &p)
	if err != nil {
		return err
	}
	w, err := newWorker(b.mesh, p, from)
	if err != nil {
		return err
	}
	w.found = b.found
	b.jobs[i].w = w
	return nil
}

// connection sends requests one after the other; it keeps one connection for each sender and
// destination.
func (b *batch) connection(ctx context.Context) {
	kept := map[string]*conn{}
	defer func() {
		for _, c := range kept {
			c.close()
		}
	}()
	for ctx.Err() == nil {
		i := int(b.next.Add(1)) - 1
		if i >= len(b.jobs) {
			return
		}
		j := &b.jobs[i]
		key := j.w.from + " " + j.w.plan.channel()
		c := kept[key]
		if c == nil {
			c = &conn{}
			kept[key] = c
		}
		c.w = j.w
		j.sent = c.exchange(ctx, i+1)
		j.sent.until = b.mesh.Clock().Now()
		j.sent.closed = true // all are, when records are looked for
		if b.fresh || j.w.from == topology.Outside {
			c.close()
		}
	}
}
