package engine

import (
	"github.com/cespare/xxhash/v2"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// StartTCP begins a TCP exchange: Attempt names the endpoint to connect to, Abort closes the
// connection (then Handle with Sent gives Done).
func (e *Engine) StartTCP(x *Exchange, c *Chain, ci *ConnInfo, now clock.Instant,
	rnd uint64) Directive {
	x.reset(e, c, ci, now, rnd)
	x.Record.Protocol = "TCP"
	x.buf = ci.Remote.AppendTo(x.buf[:0])
	x.Record.Remote = x.intern(x.buf)
	t := c.tcp.pick(draw(rnd, drawStream, 0))
	if x.tr != nil {
		x.traceTCP(c, t, rnd)
	}
	x.cluster = t.cluster.Load()
	if x.cluster == nil { // source/common/tcp_proxy/tcp_proxy.cc: no cluster is a missing route
		x.flag("NC")
		return x.cut()
	}
	x.Record.Cluster = t.name
	if c.tcp.bySource { // source/common/network/hash_policy.cc
		x.buf = ci.Remote.Addr().AppendTo(x.buf[:0])
		x.lbc.Hash, x.lbc.HasHash = xxhash.Sum64(x.buf), true
		x.Record.Hash = x.lbc.Hash
	}
	return x.connectTCP(now)
}

// connectTCP begins the next attempt to connect.
func (x *Exchange) connectTCP(now clock.Instant) Directive {
	if x.attempt >= x.chain.tcp.attempts {
		x.flag("URX")
		return x.cut()
	}
	x.attempt++
	if x.cluster.Breaker.ConnectionsFull() {
		x.flag("UO")
		return x.cut()
	}
	ep := x.choose(x.cluster, false)
	if ep == nil {
		x.flag("UH")
		return x.cut()
	}
	x.ep, x.state = ep, stateAttempt
	x.beginAttempt(ep, now)
	a := observe.Attempt{Cluster: x.Record.Cluster, Upstream: ep.host.Address, Start: now}
	if w := ep.dest.Load(); w != nil {
		a.Pod, a.Version = w.Pod, w.Version
		x.Record.Dest = *w
	}
	x.addAttempt(a)
	x.Record.Upstream = ep.host.Address
	return Directive{Kind: Attempt, Endpoint: ep, Deadline: noDeadline}
}

// HandleTCP takes an event of a TCP exchange: Connected (answered by Forward: copy bytes both
// ways), ConnectFail, ConnectTimeout, Overflow (answered by Attempt or Abort), Sent (both ends
// are finished), Reset (by the upstream, unless it is Local), ClientGone, Timeout (answered by
// Done).
func (x *Exchange) HandleTCP(ev Event, now clock.Instant) Directive {
	x.now = now
	if x.state == stateAttempt && x.ep != nil {
		rnd := draw(x.rnd, drawOutlier, x.attempt)
		switch ev.Kind {
		case Connected:
			x.count()
			x.reach(ev, now)
			x.ep.result(outlier.LocalOriginConnectSuccessFinal, 0, now, rnd)
			x.state = stateForward
			return Directive{Kind: Forward, Endpoint: x.ep, Deadline: noDeadline}
		case ConnectFail, ConnectTimeout:
			r, flag := outlier.LocalOriginConnectFailed, "UF"
			if ev.Kind == ConnectTimeout {
				r = outlier.LocalOriginTimeout
			}
			x.ep.result(r, 0, now, rnd)
			x.log.reached = append(x.log.reached, reached{host: x.ep.host.Address})
			x.lose(ev, now)
			x.flag(flag)
			x.endAttempt(now, 0, flag)
			return x.connectTCP(now)
		case Overflow:
			x.flag("UO")
			x.endAttempt(now, 0, "UO")
			return x.cut()
		}
	}
	if x.state == stateForward {
		lasts := x.chain.tcp.lasts
		switch {
		case ev.Kind == Timeout && lasts > 0 && now.Sub(x.start) >= lasts:
			x.flag("DT") // tcp_proxy.cc onMaxDownstreamConnectionDuration
		case ev.Kind == Reset && !ev.Local:
			x.flag("UR") // tcp_proxy.cc onUpstreamEvent, detectedCloseType RemoteReset
		}
	}
	return x.finish(now)
}
