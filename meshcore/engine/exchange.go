package engine

import (
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Exchange is one request (or one TCP connection) on its way through the proxy. The driver owns it, keeps
// it for the next one, and calls it from one goroutine at a time.
type Exchange struct {
	// Record is complete when the Directive is Done. The driver sets Record.BytesReceived, BytesSent
	// and Protocol (and, for TCP, nothing else). Its strings are valid for ever; Attempts and Mirrors are
	// reused by the next Start, so whoever keeps a record must clone them.
	Record observe.Request
}

// Start begins an HTTP exchange: the request head was received (its end, too, if h.NoBody). h is
// changed into what goes upstream. Start counts as the time of the record.
func (e *Engine) Start(x *Exchange, c *Chain, ci *ConnInfo, h *wire.Head,
	now clock.Instant, rnd uint64) Directive {
	return Directive{Kind: Done}
}

// Handle takes an event of an HTTP exchange.
func (x *Exchange) Handle(ev Event, now clock.Instant) Directive { return Directive{Kind: Done} }

// Reply returns the local reply to send, valid until the exchange ends. To HEAD requests the head
// is sent as it is, without the body.
func (x *Exchange) Reply() (head *wire.Head, body []byte) { return nil, nil }

// BodyLost says that the request body can not be sent again (buffer limit): there will be no retry.
func (x *Exchange) BodyLost() {}

// Mirrors returns the copies to send beside the first attempt; asked after an Attempt directive, it is
// empty for all later ones. The values and heads are the driver's to keep.
func (x *Exchange) Mirrors() []*Mirror { return nil }

// Mirror is one copy of a request. Nobody waits for its answer.
type Mirror struct {
	Endpoint *Endpoint
	Head     *wire.Head
	Deadline clock.Instant // the cluster route's time-out holds for copies too
}

// Done reports how a copy ended: ResponseHead (with the head), ConnectFail, Reset, ... (so that outlier
// detection and the active count know).
func (m *Mirror) Done(ev Event, now clock.Instant) {}

// StartTCP begins a TCP exchange: Attempt names the endpoint to connect to, Abort closes the
// connection (then Handle with Sent gives Done).
func (e *Engine) StartTCP(x *Exchange, c *Chain, ci *ConnInfo, now clock.Instant,
	rnd uint64) Directive {
	return Directive{Kind: Done}
}

// HandleTCP takes an event of a TCP exchange: Connected (answered by Forward: copy bytes both ways),
// ConnectFail, ConnectTimeout, Overflow (answered by Attempt or Abort), Sent (both ends are finished),
// Reset, ClientGone, Timeout (answered by Done).
func (x *Exchange) HandleTCP(ev Event, now clock.Instant) Directive { return Directive{Kind: Done} }
