// Package proxy is the live data plane of one pod: it binds listeners, reads requests and carries out what
// the engine decides. It decides nothing itself.
//
//	accept ─▶ PROXY header ─▶ inspect ─▶ Chain ─┬─ HTTP: h1 ─▶ for { switch d.Kind } ─▶ pool ─▶ upstream
//	                                            └─ TCP: bytes both ways
//
// One goroutine owns a downstream connection and, for the time of an exchange, the upstream one. A second
// one exists only while a request body is streamed, for a tunnel and for a mirror.
package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Options is what a proxy is made of. Engine, Network, Clock and Sink are needed.
type Options struct {
	// Engine decides. Make it with Removed: proxy.Removed, so that connections to endpoints that
	// left the configuration are closed.
	Engine  *engine.Engine
	Network Network
	Clock   clock.Clock
	Seed    uint64
	Sink    Sink
	Log     *slog.Logger // nil: discard
}

// Network is how a proxy reaches the world: it alone knows where a logical address really is.
type Network interface {
	// Listen opens the socket of a logical address that a listener binds. proxied says that each
	// connection begins with a PROXY protocol v2 header.
	Listen(ctx context.Context, addr netip.AddrPort) (l net.Listener, proxied bool, err error)
	// Dial connects to a logical address. from is the upstream_bind_config's source, invalid
	// without one.
	Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
}

// Sink takes the records. r is borrowed until Record returns; it is called from many goroutines.
type Sink interface {
	Record(r *observe.Request)
}

// Proxy is a running data plane.
type Proxy struct {
	opt Options
}

// New returns a proxy without listeners; Update opens them.
func New(opt Options) *Proxy {
	return &Proxy{opt: opt}
}

// Update gives the engine a snapshot, opens the listeners that are new and closes those that are gone. The
// error is the engine's refusal (an engine.Refusals, possibly joined with listeners that could not be
// bound); what was accepted is in effect.
func (p *Proxy) Update(ctx context.Context, s *xds.Snapshot) error { return nil }

// Addr returns the real address that a logical listener address is bound to; nil when it is not.
func (p *Proxy) Addr(logical netip.AddrPort) net.Addr { return nil }

// Settle returns when every exchange whose end a client can have seen has been given to the Sink.
func (p *Proxy) Settle(ctx context.Context) error { return nil }

// Drain stops accepting, asks clients to close (connection: close) and returns when no exchange is under
// way or ctx is done.
func (p *Proxy) Drain(ctx context.Context) error { return nil }

// Close ends everything at once: no goroutine and no port is left when it returns.
func (p *Proxy) Close() error { return nil }

// Removed closes what is pooled for an endpoint that left the configuration; connections in use are
// closed after their exchange. It is made for engine.Options.
func Removed(ep *engine.Endpoint) {}
