package engine

import (
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// guard is a network filter in front of the last one: one of the two.
type guard struct {
	rbac  *rbacFilter
	authz *extAuthz
}

func (g *guard) name() string {
	if g.authz != nil {
		return networkExtAuthz
	}
	return "envoy.filters.network.rbac"
}

// Guarded says that the chain has network filters that look at a connection when its first bytes
// come, or its end (source/extensions/filters/network/rbac/rbac_filter.cc onData, ext_authz's
// likewise).
func (c *Chain) Guarded() bool { return len(c.guards) > 0 }

// Admission is what the network filters say of a connection.
type Admission struct {
	// Denied: it is to be closed, after some time, at once with everything behind it.
	Denied bool
	After  time.Duration
	// Ask: x.Call() is to be sent, and its answer to be given to Admitted, Timeout at Deadline.
	Ask      bool
	Deadline clock.Instant
}

// Admit has the chain's network filters judge the connection of a TCP exchange.
func (x *Exchange) Admit(now clock.Instant) Admission {
	for ; x.next < len(x.chain.guards); x.next++ {
		g := &x.chain.guards[x.next]
		if x.tr != nil {
			x.traceFilter(g.name())
		}
		switch {
		case g.authz != nil:
			if a, stop := x.askNetwork(g.authz, now); stop {
				return a
			}
		case !g.rbac.admits(x):
			if x.tr != nil {
				x.traceStop()
			}
			return Admission{Denied: true, After: g.rbac.delay}
		}
	}
	return Admission{}
}

// Admitted goes on with what became of a call.
func (x *Exchange) Admitted(ev Event, now clock.Instant) Admission {
	took := now.Sub(x.authz.call.began)
	x.endCall(ev, now)
	v := &judgement{}
	if ev.Kind == Answered {
		v = x.judgeGRPC(ev)
	}
	v.lasted(took)
	if a := x.judgedNetwork(v); a.Denied {
		return a
	}
	x.next++
	return x.Admit(now)
}

// AdmitHTTP is Admit for a chain with an HTTP connection manager, before its first request. Nothing
// records a connection that is closed then.
func (e *Engine) AdmitHTTP(c *Chain, ci *ConnInfo, now clock.Instant) Admission {
	x := &Exchange{e: e, ci: ci, chain: c, remote: ci.Remote}
	return x.Admit(now)
}
