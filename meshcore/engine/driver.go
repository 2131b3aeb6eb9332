package engine

import (
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Malformed is a request head that never comes to routing: the codec refused it, or the connection
// manager does at first sight. Envoy has a record of it, with what is known.
type Malformed struct {
	Status  int
	Details string     // response_code_details: http1.codec_error, low_version, ...
	Body    string     // "Bad Request" when the codec refused; the connection manager says nothing
	Flag    string     // DPE when the codec refused
	Head    *wire.Head // as far as it was understood
}

// StartMalformed begins an exchange that has no readable request: the answer is Reply, then
// Handle as ever.
func (e *Engine) StartMalformed(x *Exchange, c *Chain, ci *ConnInfo, m Malformed,
	now clock.Instant) Directive {
	x.reset(e, c, ci, now, 0)
	x.head, x.hcm = m.Head, c.hcm
	x.complete = true
	// The record has no request: the codec never gave the connection manager one, nor its version.
	if x.Record.Protocol = "HTTP/1.1"; ci.HTTP2 {
		x.Record.Protocol = "HTTP/2"
	}
	if x.log.unread = m.Flag != "" || m.Details == "request_header_timeout"; !x.log.unread {
		x.log.at.requested = now
	}
	if m.Flag != "" {
		x.flag(m.Flag)
	}
	x.buf = ci.Remote.AppendTo(x.buf[:0])
	x.Record.Remote = x.intern(x.buf)
	return x.stand(x.reply(localReply{status: m.Status, body: m.Body, details: m.Details,
		grpc: -1}))
}

// HandshakeFailed makes the record of a TCP connection whose TLS handshake failed. (Envoy has
// begun to connect to the upstream by then; here nothing has been sent there.)
func (e *Engine) HandshakeFailed(x *Exchange, c *Chain, ci *ConnInfo, f *transport.Failure,
	now clock.Instant) {
	ci.TLS = &transport.State{Version: f.Version, Group: f.Group, Local: f.Local, Peer: f.Peer}
	x.reset(e, c, ci, ci.Born, 0)
	x.Record.Protocol = "TCP"
	x.buf = ci.Remote.AppendTo(x.buf[:0])
	x.Record.Remote = x.intern(x.buf)
	x.log.downFailure = f.Reason
	x.finish(now)
}

// filterChainNotFound is the detail of such a connection (envoy/stream_info/stream_info.h).
const filterChainNotFound = "filter_chain_not_found"

// NoChain makes the record of a connection that no filter chain of its listener takes. Envoy has it
// in the listener's access log (listener_manager/active_stream_listener_base.cc newConnection).
func (e *Engine) NoChain(x *Exchange, l *Listener, ci *ConnInfo, began, now clock.Instant) {
	x.reset(e, &Chain{listener: l, logs: l.logs, logKind: "NotSet"}, ci, began, 0)
	x.Record.Protocol = "TCP"
	x.buf = ci.Remote.AppendTo(x.buf[:0])
	x.Record.Remote = x.intern(x.buf)
	x.flag("NR")
	x.Record.Details = filterChainNotFound
	x.finish(now)
	x.chain, x.log.connection = nil, 0 // as the log has it
}
