package breaker

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

const unlimited = math.MaxUint32 // what Istio sets

func limits(connections, pending, requests uint32) Thresholds {
	return Thresholds{connections, pending, requests, unlimited, nil}
}

func TestAdmit(t *testing.T) {
	for _, c := range []struct {
		name string
		t    Thresholds
		used Usage // before
		pool Pool
		want Admission
	}{
		{"first stream", limits(1, 1, 1), Usage{}, Pool{}, Admission{Queue: true, Connect: true}},
		{"idle connection", limits(1, 0, 1), Usage{Connections: 1}, Pool{Ready: true, Connections: 1},
			Admission{Attach: true}},
		{"idle connection, requests full", limits(9, 9, 1), Usage{Connections: 2, Requests: 1},
			Pool{Ready: true, Connections: 2}, Admission{Overflow: true}},
		{"requests full, none idle: it waits", limits(9, 9, 1), Usage{Connections: 1, Requests: 1},
			Pool{Connections: 1}, Admission{Queue: true, Connect: true}},
		{"all busy, one may wait", limits(1, 1, 9), Usage{Connections: 1, Requests: 1},
			Pool{Connections: 1}, Admission{Queue: true, ConnectOverflow: true}},
		{"one waits already", limits(1, 1, 9), Usage{Connections: 1, Pending: 1, Requests: 1},
			Pool{Connections: 1, Pending: 1}, Admission{Overflow: true}},
		{"nothing may wait", limits(9, 0, 9), Usage{}, Pool{}, Admission{Overflow: true}},
		{"other hosts hold all connections", limits(2, 9, 9), Usage{Connections: 2},
			Pool{}, Admission{Queue: true, Connect: true, ConnectOverflow: true}},
		{"max_connections 0 still gives one", limits(0, 9, 9), Usage{},
			Pool{}, Admission{Queue: true, Connect: true, ConnectOverflow: true}},
		{"only a draining one is left", limits(1, 9, 9), Usage{Connections: 1},
			Pool{Connections: 1}, Admission{Queue: true, ConnectOverflow: true}},
		{"one is being made for it (HTTP/2)", limits(9, 9, 9), Usage{Connections: 1, Pending: 1},
			Pool{Connections: 1, Pending: 1, Connecting: 100}, Admission{Queue: true}},
		{"one is being made for another", limits(9, 9, 9), Usage{Connections: 1, Pending: 1},
			Pool{Connections: 1, Pending: 1, Connecting: 1}, Admission{Queue: true, Connect: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(c.t)
			b.connections.n.Store(c.used.Connections)
			b.pending.n.Store(c.used.Pending)
			b.requests.n.Store(c.used.Requests)
			if got := b.Admit(c.pool); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			want := c.used
			if c.want.Attach {
				want.Requests++
			}
			if c.want.Queue {
				want.Pending++
			}
			if c.want.Connect {
				want.Connections++
			}
			if got := b.Usage(); got != want {
				t.Errorf("usage %+v, want %+v", got, want)
			}
		})
	}
}

func TestRetryBudget(t *testing.T) {
	for _, c := range []struct {
		budget           *RetryBudget
		max              uint32
		requests, queued int64
		want             int
	}{
		{nil, 3, 100, 0, 3},
		{nil, 0, 100, 0, 0},
		{&RetryBudget{20, 3}, 0, 0, 0, 3},
		{&RetryBudget{20, 3}, 0, 15, 4, 3},
		{&RetryBudget{20, 3}, 0, 15, 5, 4},
		{&RetryBudget{20, 3}, 0, 24, 0, 4},
		{&RetryBudget{10, 1}, 0, 29, 0, 2},
		{&RetryBudget{0, 0}, 9, 50, 0, 0},
	} {
		b := New(Thresholds{MaxRetries: c.max, RetryBudget: c.budget})
		b.requests.n.Store(c.requests)
		b.pending.n.Store(c.queued)
		got := 0
		for b.Retry() {
			got++
		}
		if got != c.want {
			t.Errorf("%+v: %d retries, want %d", c, got, c.want)
		}
		if got > 0 {
			b.RetryDone()
			if !b.Retry() || b.Retry() {
				t.Errorf("%+v: one back must give one", c)
			}
		}
	}
}

// pool is the simplest pool that follows the breaker's directions: HTTP/1.1, one host.
type pool struct {
	b                              *Breaker
	idle, busy, connecting, queued int
	refused                        int
}

func (p *pool) view() Pool {
	return Pool{Ready: p.idle > 0, Pending: p.queued, Connecting: p.connecting,
		Connections: p.idle + p.busy + p.connecting}
}

func (p *pool) stream() {
	a := p.b.Admit(p.view())
	switch {
	case a.Overflow:
		p.refused++
	case a.Attach:
		p.idle, p.busy = p.idle-1, p.busy+1
	case a.Queue:
		p.queued++
	}
	if a.Connect {
		p.connecting++
	}
}

// ready serves waiting streams from idle connections.
func (p *pool) ready() {
	for p.idle > 0 && p.queued > 0 {
		p.queued--
		if p.b.Dequeue() {
			p.idle, p.busy = p.idle-1, p.busy+1
		} else {
			p.refused++
		}
	}
}

func (p *pool) connected() { p.connecting, p.idle = p.connecting-1, p.idle+1; p.ready() }

func (p *pool) answered() {
	p.b.Finish()
	p.busy, p.idle = p.busy-1, p.idle+1
	p.ready()
}

// failed is a connection attempt that came to nothing: it takes all waiting streams along.
func (p *pool) failed() {
	p.connecting--
	for ; p.queued > 0; p.queued-- {
		p.b.Abandon()
	}
	p.b.Closed()
}

// broken closes a busy connection, and makes a new one if streams wait.
func (p *pool) broken() {
	p.b.Finish()
	p.busy--
	p.b.Closed()
	p.again()
}

func (p *pool) again() {
	if connect, _ := p.b.Reconnect(p.view()); connect {
		p.connecting++
	}
}

// TestStorm is the recorded case pools-outliers/breaker: one connection and one pending request
// leave two of twelve simultaneous requests.
func TestStorm(t *testing.T) {
	for _, warm := range []bool{false, true} {
		p := &pool{b: New(limits(1, 1, unlimited))}
		if warm {
			p.stream()
			p.connected()
			p.answered()
		}
		for range 12 {
			p.stream()
		}
		served := p.busy + p.queued
		if !warm {
			// While the connection is being made, the first stream is the pending one.
			if served != 1 || p.refused != 11 {
				t.Errorf("cold: %d served, %d refused", served, p.refused)
			}
			continue
		}
		if served != 2 || p.refused != 10 {
			t.Errorf("warm: %d served, %d refused", served, p.refused)
		}
	}
}

// TestRequestsOverflowInTurn: waiting streams overflow one after the other when max_requests is
// reached.
func TestRequestsOverflowInTurn(t *testing.T) {
	p := &pool{b: New(limits(unlimited, unlimited, 3))}
	for range 10 {
		p.stream()
	}
	for range 10 {
		p.connected()
	}
	if p.busy != 3 || p.refused != 7 || p.idle != 7 {
		t.Errorf("%+v", *p)
	}
	if got, want := p.b.Usage(), (Usage{Connections: 10, Requests: 3}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

// TestCountsAgree plays two hosts' pools at random and compares the breaker with what they hold.
func TestCountsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Uint32Range(0, 5)
		th := limits(limit.Draw(t, "connections"), limit.Draw(t, "pending"), limit.Draw(t, "requests"))
		b := New(th)
		hosts := []*pool{{b: b}, {b: b}}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			p := rapid.SampledFrom(hosts).Draw(t, "host")
			switch step := rapid.IntRange(0, 7).Draw(t, "step"); {
			case step <= 2:
				p.stream()
			case step == 3 && p.connecting > 0:
				p.connected()
			case step == 4 && p.busy > 0:
				p.answered()
			case step == 5 && p.busy > 0:
				p.broken()
			case step == 6 && p.connecting > 0:
				p.failed()
			case step == 7 && p.queued > 0:
				p.queued--
				b.Abandon()
			}
			var want Usage
			over := int64(0)
			for _, p := range hosts {
				n := p.idle + p.busy + p.connecting
				want.Connections += int64(n)
				want.Pending += int64(p.queued)
				want.Requests += int64(p.busy)
				if n > 0 {
					over++ // each host may have one beyond the limit
				}
				if p.queued > 0 && n == 0 {
					t.Fatal("streams wait and nothing will serve them")
				}
				if p.queued > 0 && p.idle > 0 {
					t.Fatal("streams wait beside an idle connection")
				}
			}
			if got := b.Usage(); got != want {
				t.Fatalf("usage %+v, the pools hold %+v", got, want)
			}
			if want.Connections > int64(th.MaxConnections)+over ||
				want.Pending > int64(th.MaxPendingRequests) || want.Requests > int64(th.MaxRequests) {
				t.Fatalf("usage %+v passes %+v", want, th)
			}
		}
	})
}

func TestConnectionsFull(t *testing.T) {
	b := New(limits(1, 1, 1))
	if b.ConnectionsFull() {
		t.Error("full without connections")
	}
	b.Admit(Pool{})
	if !b.ConnectionsFull() {
		t.Error("not full with one of one")
	}
	b.Closed()
	if b.ConnectionsFull() {
		t.Error("full after closing")
	}
}

// TestConcurrentUse: a limit is never passed.
func TestConcurrentUse(t *testing.T) {
	b := New(limits(unlimited, unlimited, 5))
	var most, now atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if !b.Admit(Pool{Ready: true}).Attach {
					continue
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
				b.Finish()
			}
		})
	}
	wg.Wait()
	if most.Load() > 5 || b.Usage() != (Usage{}) {
		t.Errorf("at most %d at once, left over %+v", most.Load(), b.Usage())
	}
}

func TestReleasedTooOften(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a release without an acquisition passed")
		}
	}()
	New(Default()).Finish()
}
