package proxy

import (
	"net"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/wire/h1"
)

// upstream is one connection to an endpoint. It is owned by its pool while idle, else by one
// exchange.
type upstream struct {
	*h1.Client
	conn    net.Conn
	pool    *pool
	breaker *breaker.Breaker // that counts the connection
	seen    engine.UpstreamConn

	requests int
	born     clock.Instant
	since    clock.Instant // idle since
	deadline bool          // a read deadline is set
}

// past is a deadline that has passed: it wakes whoever reads.
var past = time.Unix(1, 0)

// setDeadline bounds the reads that follow; clock.Never is no bound.
func (u *upstream) setDeadline(p *Proxy, at clock.Instant) error {
	if at == clock.Never {
		if !u.deadline {
			return nil
		}
		u.deadline = false
		return u.conn.SetDeadline(time.Time{})
	}
	u.deadline = true
	return u.conn.SetReadDeadline(p.wall(at))
}

// wakeRead ends a read that waits, wakeAll a write too.
func (u *upstream) wakeRead() { u.conn.SetReadDeadline(past) }
func (u *upstream) wakeAll()  { u.conn.SetDeadline(past) }

// spent says that a connection must not take another request.
func (u *upstream) spent(now clock.Instant) bool {
	c := u.pool.ep.Cluster
	return c.MaxRequestsPerConnection > 0 && u.requests >= c.MaxRequestsPerConnection ||
		c.MaxConnectionDuration > 0 && now.Sub(u.born) >= c.MaxConnectionDuration
}

// wall returns the wall time of an instant of the run.
func (p *Proxy) wall(at clock.Instant) time.Time {
	return time.Now().Add(at.Sub(p.opt.Clock.Now()))
}
