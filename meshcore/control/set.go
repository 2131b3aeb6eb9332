package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Option changes how Set works.
type Option func(*plan)

// OneStep sends everything at once, as istiod does: a proxy whose route moves from a removed
// cluster to a new one has a moment without either.
func OneStep() Option { return func(p *plan) { p.oneStep = true } }

// Optional names nodes that are waited for only while they are connected.
func Optional(nodes ...string) Option {
	return func(p *plan) {
		for _, n := range nodes {
			p.optional[n] = true
		}
	}
}

// Aside names nodes that are given theirs and that nobody waits for, as they are broken. What they
// refuse is no refusal of the Set.
func Aside(nodes ...string) Option {
	return func(p *plan) {
		for _, n := range nodes {
			p.aside[n] = true
		}
	}
}

// Patience has a Set go on without proxies that refuse, or that answer later than d in a stage, as
// istiod does: each proxy is its own. Who refuses or is late is given nothing of the later stages,
// so that another Set is needed once it answers. The Result names both.
func Patience(d time.Duration) Option { return func(p *plan) { p.patience = d } }

// Result says what a Set did.
type Result struct {
	Nodes   int // proxies in the snapshots
	Changed int // of these, those that were given something new
	Stages  int // stages that changed something
	Took    time.Duration
	Refused []*NackError // with Patience: who refused
	Late    []string     // with Patience: who has not answered
	// Withheld are the proxies that Trouble keeps it from, sorted: Resume gives it to them.
	Withheld []string
}

// plan is one Set.
type plan struct {
	oneStep  bool
	patience time.Duration // 0: without an end, and a refusal is one
	optional map[string]bool
	aside    map[string]bool
	targets  map[string]sets // by node
	bases    map[string]sets // what each node may have in force when the Set begins
	changed  map[string]bool
	named    map[string]bool // all that the snapshots are for
	withheld map[string]bool // targets once
}

// wait is what the running stage waits for. Server.mu guards it.
type wait struct {
	pending map[*node]bool // true: optional
	done    chan struct{}
	err     error
	lenient bool // a refusal holds up nobody
	refused []*NackError
}

// Set makes snapshots, by node (POD.NAMESPACE), the configuration of all proxies, and returns when
// every one of them has ACKed it, those that connect only now included; or with the first refusal
// (a *NackError), after which proxies keep what they have accepted and a later Set can mend; or
// when ctx ends. Proxies that are not in snapshots are given nothing any more. Sets run one after
// the other.
//
// The change is made before it is broken: clusters and endpoints are added first, then listeners
// and routes move, then what is no longer needed goes; each stage begins when all proxies have
// ACKed the one before. A stage without a change is skipped.
func (s *Server) Set(
	ctx context.Context, snapshots map[string]*xds.Snapshot, options ...Option,
) (Result, error) {
	select {
	case s.setting <- struct{}{}:
		defer func() { <-s.setting }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("set: wait for the set before: %w", ctx.Err())
	}
	began := s.options.Clock.Now()
	p, err := s.plan(snapshots, options)
	if err != nil {
		return Result{}, err
	}
	return s.carryOut(ctx, p, began)
}

// carryOut goes through the stages of a plan.
func (s *Server) carryOut(ctx context.Context, p *plan, began clock.Instant) (Result, error) {
	stages := []func(k kind, base, target *set) *set{addition, move, whole}
	if p.oneStep {
		stages = stages[2:]
	}
	result := Result{Nodes: len(p.targets)}
	for i, stage := range stages {
		s.leaveOut(p)
		changed, w := s.begin(p, stage, i == len(stages)-1)
		if changed {
			result.Stages++
		}
		late, err := s.await(ctx, w, p.patience) // at once, where all is settled
		if err != nil {
			return result.at(s, p, began), err
		}
		for _, key := range late {
			delete(p.targets, key)
			result.Late = append(result.Late, key)
		}
		for _, r := range w.refused {
			delete(p.targets, r.Node)
			result.Refused = append(result.Refused, r)
		}
	}
	return result.at(s, p, began), nil
}

// at completes a result.
func (r Result) at(s *Server, p *plan, began clock.Instant) Result {
	s.leaveOut(p)
	r.Withheld = slices.Sorted(maps.Keys(p.withheld))
	r.Changed = len(p.changed)
	r.Took = s.options.Clock.Now().Sub(began)
	return r
}

// addition is the first stage: new and changed clusters, endpoints and secrets beside the old ones.
// A proxy that has no listeners yet gets none before its clusters are in order.
func addition(k kind, base, target *set) *set {
	if k == lds || k == rds {
		return base
	}
	return target.union(base)
}

// move is the second stage. Listeners go with it: two of them may not have one address, so a
// renamed one cannot stand beside the old one.
func move(k kind, base, target *set) *set {
	if k == lds {
		return target
	}
	return target.union(base)
}

// whole is the last stage, and the only one of OneStep.
func whole(_ kind, _, target *set) *set { return target }

// plan marshals what is to be served and notes where each node stands.
func (s *Server) plan(snapshots map[string]*xds.Snapshot, options []Option) (*plan, error) {
	p := &plan{
		optional: map[string]bool{},
		aside:    map[string]bool{},
		targets:  make(map[string]sets, len(snapshots)),
		bases:    make(map[string]sets, len(snapshots)),
		changed:  map[string]bool{},
		named:    make(map[string]bool, len(snapshots)),
		withheld: map[string]bool{},
	}
	for _, o := range options {
		o(p)
	}
	s.cache.begin()
	for _, key := range slices.Sorted(maps.Keys(snapshots)) {
		target, err := s.cache.sets(snapshots[key])
		if err != nil {
			return nil, fmt.Errorf("set: node %s: %w", key, err)
		}
		p.targets[key], p.named[key] = target, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, target := range p.targets {
		n := s.node(key)
		n.present, n.target = true, target
		p.bases[key] = n.base()
	}
	return p, nil
}

// base returns what the proxy may have in force and must keep for now. Where not everything is
// ACKed that is what it had when it last was: what the proxy refused, or is about to, must not come
// again. No route that it has accepted since leads elsewhere, for routes move when clusters are
// ACKed.
func (n *node) base() sets {
	if n.settled() {
		return n.served
	}
	return n.settledAt
}

// begin serves a stage to all nodes and sets up the wait for it. The last stage lets go of the
// nodes that are not in the plan.
func (s *Server) begin(
	p *plan, stage func(k kind, base, target *set) *set, last bool,
) (changed bool, w *wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.nodes {
		if !p.named[key] && last {
			s.forget(n)
		}
	}
	w = &wait{
		pending: make(map[*node]bool, len(p.targets)), done: make(chan struct{}),
		lenient: p.patience > 0,
	}
	s.waiting = w
	for key, target := range p.targets {
		n := s.node(key)
		base, touched := p.bases[key], false
		for k := range kinds {
			touched = n.serve(k, stage(k, base[k], target[k])) || touched
		}
		if touched {
			changed, p.changed[key] = true, true
		}
		if n.stream != nil {
			n.stream.signal()
		}
		if !p.aside[key] {
			w.pending[n] = p.optional[key]
		}
	}
	// Whoever refused and is offered nothing newer fails the stage at once; in a fixed order, so
	// that the error is the same one each time.
	for _, key := range slices.Sorted(maps.Keys(p.targets)) {
		s.progress(s.nodes[key])
	}
	w.finishIfDone()
	return changed, w
}

// forget stops giving anything to a node. Caller must hold mu.
func (s *Server) forget(n *node) {
	n.present, n.served, n.settledAt, n.target = false, sets{}, sets{}, sets{}
	if n.stream == nil {
		delete(s.nodes, n.key)
	}
}

// progress looks whether a node has settled, and whether it holds up the running stage. Caller must
// hold mu.
func (s *Server) progress(n *node) {
	settled := n.settled()
	if settled {
		n.settledAt = n.served
	}
	w := s.waiting
	if w == nil {
		return
	}
	optional, pending := w.pending[n]
	if !pending {
		return
	}
	if refused := n.refused(); refused != nil {
		if !w.lenient {
			w.finish(refused)
			return
		}
		w.refused = append(w.refused, refused)
		delete(w.pending, n)
		w.finishIfDone()
		return
	}
	if settled || optional && n.stream == nil {
		delete(w.pending, n)
		w.finishIfDone()
	}
}

func (w *wait) finishIfDone() {
	if len(w.pending) == 0 {
		w.finish(nil)
	}
}

func (w *wait) finish(err error) {
	select {
	case <-w.done:
	default:
		w.err = err
		close(w.done)
	}
}

// await waits for a stage's end; late are those for whom patience has run out.
func (s *Server) await(
	ctx context.Context, w *wait, patience time.Duration,
) (late []string, err error) {
	var enough <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		enough = t.C
	}
	select {
	case <-w.done:
	case <-ctx.Done():
	case <-enough:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = nil
	select {
	case <-w.done:
		return nil, w.err
	default:
	}
	var held []string
	for n := range w.pending {
		held = append(held, n.key)
	}
	slices.Sort(held)
	if ctx.Err() == nil {
		return held, nil
	}
	return nil, fmt.Errorf("set: %d proxies have not ACKed (%s): %w",
		len(held), strings.Join(held, ", "), ctx.Err())
}
