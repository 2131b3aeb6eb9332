// Package breaker is Envoy's circuit breaking: the thresholds of one cluster and routing priority, and
// the admission of a stream to a host's connection pool.
package breaker

import "sync/atomic"

// Thresholds is one element of circuit_breakers.thresholds, every field given. Start from Default.
type Thresholds struct {
	MaxConnections     uint32
	MaxPendingRequests uint32
	MaxRequests        uint32
	MaxRetries         uint32
	RetryBudget        *RetryBudget // nil: MaxRetries counts
}

// RetryBudget is thresholds.retry_budget.
type RetryBudget struct {
	BudgetPercent       float64 // 20 by default
	MinRetryConcurrency uint32  // 3 by default
}

// Default returns Envoy's default thresholds (1024, 1024, 1024, 3). Istio sets 2^32-1 instead.
func Default() Thresholds {
	return Thresholds{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
}

// Breaker counts what is in use of one cluster at one priority, over all its hosts
// (ResourceManagerImpl). It is safe for concurrent use.
type Breaker struct {
	t                                       Thresholds
	connections, pending, requests, retries atomic.Int64
}

// New returns a breaker with nothing in use.
func New(t Thresholds) *Breaker { return &Breaker{t: t} }

// Pool is a host's connection pool as the admission of a stream sees it. The pool's owner serialises
// its calls.
type Pool struct {
	// Ready says that a connection can take the stream at once.
	Ready bool
	// Pending is how many streams wait at this host, the new one not counted.
	Pending int
	// Connecting is how many streams the connections being made will be able to take.
	Connecting int
	// Connections is how many connections the pool has in any state but draining or closed.
	Connections int
}

// Admission is what the pool does with a new stream.
type Admission struct {
	Overflow bool // refuse: UO
	Attach   bool // use a ready connection; requests has been counted
	// Queue: wait for a connection; pending has been counted.
	Queue bool
	// Connect: begin one more connection; connections has been counted.
	Connect bool
}

// Admit decides about a new stream (ConnPoolImplBase::newStreamImpl).
func (b *Breaker) Admit(p Pool) Admission { return Admission{} }

// Dequeue decides about a queued stream when a connection became ready: it leaves pending and, unless
// max_requests is reached (false: overflow), enters requests.
func (b *Breaker) Dequeue() bool { return false }

// Abandon takes a queued stream out (cancelled, or its pool failed).
func (b *Breaker) Abandon() {}

// Finish ends an attached stream.
func (b *Breaker) Finish() {}

// Closed ends a connection, whatever became of it.
func (b *Breaker) Closed() {}

// Retry asks whether one more retry may be under way and counts it (RetryStateImpl).
func (b *Breaker) Retry() bool { return false }

// RetryDone ends a counted retry.
func (b *Breaker) RetryDone() {}
