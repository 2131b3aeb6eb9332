// Package breaker is Envoy's circuit breaking: the thresholds of one cluster and routing priority,
// and the admission of a stream to a host's connection pool.
//
//	new stream ─Admit─┬▶ Attach ───────────────────────────────────▶ Finish
//	                  ├▶ Queue (maybe Connect) ─┬▶ Dequeue ─▶ true ─▶ Finish
//	                  │                         ├▶ Dequeue ─▶ false: overflow
//	                  │                         └▶ Abandon: cancelled or connect failure
//	                  └▶ Overflow
//	connection: counted by Admit or Reconnect ─────────────────────▶ Closed
//	retry:      Retry ─▶ true ─────────────────────────────────────▶ RetryDone
//
// It holds counts only: connections and waiting streams are the pool's. A TCP connection is one
// stream on one connection. Limits per host and max_connection_pools are not done.
package breaker

import (
	"math"
	"sync/atomic"
)

// Thresholds is one element of circuit_breakers.thresholds, every field given. Start from Default.
type Thresholds struct {
	MaxConnections     uint32
	MaxPendingRequests uint32
	MaxRequests        uint32
	MaxRetries         uint32
	RetryBudget        *RetryBudget // nil: MaxRetries counts
}

// RetryBudget is thresholds.retry_budget, every field given.
type RetryBudget struct {
	BudgetPercent       float64 // 20 by default
	MinRetryConcurrency uint32  // 3 by default
}

// Default returns Envoy's default thresholds. Istio sets 2^32-1 instead.
func Default() Thresholds {
	return Thresholds{
		MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3,
	}
}

// Breaker counts what is in use of one cluster at one priority, over all its hosts
// (ResourceManagerImpl). It is safe for concurrent use, and unlike Envoy's workers, who look first
// and count later, never lets a limit be passed by a race.
type Breaker struct {
	thresholds                              Thresholds
	connections, pending, requests, retries resource
}

// resource is one limited count.
type resource struct{ n atomic.Int64 }

// acquire counts one more unless the limit is reached.
func (r *resource) acquire(limit int64) bool {
	for {
		n := r.n.Load()
		if n >= limit {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (r *resource) release(what string) {
	if r.n.Add(-1) < 0 {
		panic("breaker: more " + what + " released than acquired")
	}
}

// New returns a breaker with nothing in use. Like Envoy, which makes a new cluster of a changed
// one, the engine makes a new breaker when the thresholds change; what runs still releases the old
// one.
func New(t Thresholds) *Breaker { return &Breaker{thresholds: t} }

// Pool is a host's connection pool as the admission of a stream sees it. The pool's owner
// serialises its calls.
type Pool struct {
	// Ready says that a connection can take the stream at once.
	Ready bool
	// Pending is how many streams wait at this host, the new one not counted.
	Pending int
	// Connecting is how many streams the connections being made will be able to take (1 each for
	// HTTP/1.1 and TCP).
	Connecting int
	// Connections is how many connections the pool has in any state, draining ones included.
	Connections int
}

// Admission is what the pool does with a new stream: exactly one of Overflow, Attach and Queue is
// set.
type Admission struct {
	// Overflow: refuse the stream (UO). No host is to blame: it is no result for outlier detection.
	Overflow bool
	// Attach: put it on a ready connection; it counts in requests.
	Attach bool
	// Queue: let it wait for a connection, first come first served; it counts in pending.
	Queue bool
	// Connect: begin one more connection; it counts in connections. Only with Queue.
	Connect bool
	// ConnectOverflow: max_connections is reached (upstream_cx_overflow), whatever Connect says.
	ConnectOverflow bool
}

// Admit decides about a new stream (ConnPoolImplBase::newStreamImpl): a ready connection takes it
// unless max_requests is reached; otherwise it waits unless max_pending_requests is reached, and
// then a connection is begun if those under way do not suffice. Note the consequences:
// max_pending_requests 0 refuses whatever meets no idle connection; and a stream for which a
// connection is just being made is a pending one.
func (b *Breaker) Admit(p Pool) Admission {
	if p.Ready {
		if b.requests.acquire(int64(b.thresholds.MaxRequests)) {
			return Admission{Attach: true}
		}
		return Admission{Overflow: true}
	}
	if !b.pending.acquire(int64(b.thresholds.MaxPendingRequests)) {
		return Admission{Overflow: true}
	}
	p.Pending++
	connect, overflow := b.Reconnect(p)
	return Admission{Queue: true, Connect: connect, ConnectOverflow: overflow}
}

// Reconnect decides whether the pool begins a connection for its waiting streams
// (ConnPoolImplBase::tryCreateNewConnection). Admit does so by itself; the pool asks when a
// connection of it has closed or failed and streams still wait. The host's first connection is
// made even beyond max_connections, or its streams would wait for ever while other hosts hold all
// the connections.
func (b *Breaker) Reconnect(p Pool) (connect, overflow bool) {
	if p.Pending <= p.Connecting {
		return false, false
	}
	if b.connections.acquire(int64(b.thresholds.MaxConnections)) {
		return true, false
	}
	if p.Connections == 0 {
		b.connections.n.Add(1)
		return true, true
	}
	return false, true
}

// Dequeue moves the longest-waiting stream onto a connection that has become ready
// (ConnPoolImplBase::onUpstreamReady). False: max_requests is reached; the stream overflows and the
// connection stays ready, so the pool goes on with the next stream.
func (b *Breaker) Dequeue() bool {
	attached := b.requests.acquire(int64(b.thresholds.MaxRequests))
	b.pending.release("pending requests")
	return attached
}

// Abandon takes a waiting stream out: cancelled, timed out, or its connection failed, which takes
// all of the host's waiting streams along (purgePendingStreams). For HTTP a connection that is
// being made for a cancelled stream goes on and serves the next one; for TCP it is closed.
func (b *Breaker) Abandon() { b.pending.release("pending requests") }

// Finish ends an attached stream.
func (b *Breaker) Finish() { b.requests.release("requests") }

// Closed ends a connection, whatever became of it. Draining connections count until they close.
func (b *Breaker) Closed() { b.connections.release("connections") }

// ConnectionsFull is what a TCP proxy asks before it chooses a host: when max_connections is
// reached it refuses (UO) instead of waiting (tcp_proxy.cc establishUpstreamConnection).
func (b *Breaker) ConnectionsFull() bool {
	return b.connections.n.Load() >= int64(b.thresholds.MaxConnections)
}

// Retry asks whether one more retry may be under way, and counts it (RetryStateImpl::shouldRetry).
// False: no retry, upstream_rq_retry_overflow, and UO on the record. The retry counts from this
// decision, through back-off and attempt, until the next decision or until the answer goes
// downstream. The caller asks last, after the other conditions and after RetryDone for the
// previous retry.
func (b *Breaker) Retry() bool { return b.retries.acquire(b.maxRetries()) }

// maxRetries is the retry budget: a share of what is active and pending, but at least its minimum
// (resource_manager_impl.h RetryBudgetImpl::max).
func (b *Breaker) maxRetries() int64 {
	budget := b.thresholds.RetryBudget
	if budget == nil {
		return int64(b.thresholds.MaxRetries)
	}
	active := b.requests.n.Load() + b.pending.n.Load()
	share := int64(math.Trunc(budget.BudgetPercent / 100 * float64(active)))
	return max(share, int64(budget.MinRetryConcurrency))
}

// RetryDone ends a counted retry.
func (b *Breaker) RetryDone() { b.retries.release("retries") }

// Usage is what is in use.
type Usage struct{ Connections, Pending, Requests, Retries int64 }

// Usage returns the counts of now, for display and statistics.
func (b *Breaker) Usage() Usage {
	return Usage{
		Connections: b.connections.n.Load(), Pending: b.pending.n.Load(),
		Requests: b.requests.n.Load(), Retries: b.retries.n.Load(),
	}
}
