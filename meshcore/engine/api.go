// Package engine is the policy core of one proxy: it decides what happens to each connection
// and request (match, split, hash, fault, retry, time out, break, eject, mirror) from Envoy v3
// resources. It is given the time and the randomness; it never asks for them, never waits and
// never opens a socket.
//
//	xds.Snapshot ──Update──▶ compiled config (immutable, swapped)      ┌─ proxy: real sockets
//	Listener ▶ Chain ▶ Start ▶ Directive ▶ (driver acts) ▶ Event ▶ Handle ▶ Directive ... Done ─┤
//	                                                                    └─ sim: virtual time
//
// A resource that it cannot carry out is refused by field path (the proxy NACKs it).
package engine

import (
	"net/netip"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Kind is what a Directive tells the driver to do.
type Kind uint8

// The directives.
const (
	// Attempt: send the request (head as it now stands, then its body) to Endpoint. The driver
	// takes a connection from the endpoint's pool under the cluster's Breaker, and reports
	// Overflow, ConnectFail, Reset, ResponseHead, Timeout. Copies go to x.Mirrors() on the
	// first attempt.
	Attempt Kind = iota + 1
	// Wait: do nothing until Until, then Handle(Timer). An earlier ClientGone ends it.
	Wait
	// Reply: send the local reply x.Reply() downstream, then Handle(Sent).
	Reply
	// Forward: send the response head (as it now stands) and stream the body, then Handle(Sent) or
	// Handle(Reset) when the upstream breaks off, or Handle(Timeout) at Deadline.
	Forward
	// Abort: close the downstream without a (complete) answer.
	Abort
	// Collect: receive the request's body until it is complete or Limit bytes are there, then
	// Handle(Collected); Handle(Timeout) at Deadline.
	Collect
	// Ask: send x.Call(), receive its answer whole, then Handle(Answered); else Overflow,
	// ConnectFail, ConnectTimeout, Reset, or Timeout at Deadline, at which the call is given up.
	Ask
	// Done: the exchange has ended; x.Record is complete.
	Done
)

// Directive is the engine's next instruction to the driver.
type Directive struct {
	Kind     Kind
	Endpoint *Endpoint     // Attempt
	Until    clock.Instant // Wait
	Limit    int           // Collect: bytes
	// Deadline bounds what the directive starts (Attempt: up to the end of the response;
	// Forward: the same, restated); clock.Never without a time-out. While the request is still
	// being received it is Never: Envoy's route time-out starts when the request is complete
	// (Event RequestComplete answers with the same Directive and its Deadline). The per-try
	// time-out starts when a connection has been assigned and the request is complete: Event
	// Connected is answered by the same Directive with its Deadline too. The driver reports
	// Timeout as soon as the latest Deadline has passed and gives the upstream stream up, then
	// does what the answer says.
	Deadline clock.Instant
	// Retryable says that the driver must keep the request body for another attempt (up to the
	// buffer limit; beyond it the driver calls x.BodyLost).
	Retryable bool
}

// EventKind is what happened to an exchange.
type EventKind uint8

// The events.
const (
	RequestComplete EventKind = iota + 1 // the whole request was received
	Timer                                // the Wait is over
	Overflow                             // the pool refused (Envoy's PoolFailureReason::Overflow)
	ConnectFail                          // no connection: refused, unreachable
	ConnectTimeout                       // the cluster's connect_timeout passed
	Connected                            // a connection was assigned (Reused: a pooled one)
	ResponseHead                         // Head holds the response head (Fin: it has no body)
	Timeout                              // Directive.Deadline passed
	Reset                                // the upstream connection broke
	Sent                                 // the response has been written downstream to its end
	ClientGone                           // the downstream went away
	BadRequest                           // the downstream body was malformed
	Collected                            // Body holds the request's body, as far as it came
	Answered                             // Head, Body and Trailers are the answer to the call
)

// Event reports what happened. RequestComplete may come in any state and is answered by the
// directive that stands, with its Deadline; ClientGone, too, may always come, and whatever runs
// is to be given up.
type Event struct {
	Kind     EventKind
	Head     *wire.Head // ResponseHead, Answered
	Body     []byte     // Collected, Answered; borrowed
	Trailers *wire.Head // Answered; nil without any
	Fin      bool
	Conn     *UpstreamConn // Connected; nil when nothing is known of it
	Reused   bool          // Reset: the connection was a reused one
	HeadSent bool          // Reset: the request head had been written
	Protocol bool          // Reset: the upstream broke the protocol (Envoy: 502 protocol_error)
	Reason   string        // transport failure reason, in Envoy's words, for details and body
	Local    bool          // Reset: by our side (local reset); ConnectFail: no socket or address
	Refused  bool          // Reset: HTTP/2 REFUSED_STREAM
	Stream   bool          // Reset: HTTP/2 RST_STREAM, not the connection
	Pending  bool          // Overflow: no connection was ready, and none may be waited for
}

// ConnInfo is what is known of a downstream connection when a filter chain is chosen.
type ConnInfo struct {
	Local     netip.AddrPort // restored original destination
	Remote    netip.AddrPort
	Direct    netip.AddrPort // peer of the socket
	Transport string         // "raw_buffer" or "tls"
	ALPN      []string       // what the inspector found: "http/1.1", "h2c", TLS ALPN
	SNI       string
	ID        uint64        // unique among the proxy's connections
	Born      clock.Instant // accepted
	// HTTP2 says that the downstream speaks HTTP/2.
	HTTP2 bool
	// TLS is what the handshake told, set before Start; nil on a plain connection. It is not the
	// inspector's: Transport "tls" alone says that a handshake began.
	TLS *transport.State
	// Secured is when the handshake ended.
	Secured clock.Instant
}
