package engine

import (
	"net/netip"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/rbac"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Exchange is one request (or one TCP connection) on its way through the proxy. The driver owns
// it, keeps it for the next one, and calls it from one goroutine at a time.
type Exchange struct {
	// Record is complete when the Directive is Done. The driver sets Record.BytesReceived,
	// BytesSent and Protocol ("HTTP/1.1" by default). A copy of it stays valid when the
	// exchange is used again.
	Record observe.Request

	// Downstream and Upstream are what the exchange cost on the wire. The driver sets them before
	// Log.
	Downstream, Upstream wire.Traffic

	e        *Engine
	listener *Listener
	chain    *Chain
	hcm      *hcm
	ci       *ConnInfo
	head     *wire.Head // the request's
	resp     *wire.Head // the response's, once there is one
	rnd      uint64

	state    state
	standing Directive     // what the driver is doing now
	start    clock.Instant // Start
	now      clock.Instant // of the latest call
	until    clock.Instant // Wait
	remote   netip.AddrPort
	grpc     bool
	route    *route
	target   *target
	next     int // filter
	draws    exact.Draws
	drawn    bool
	delaying *fault
	// tellOperation: the response names the route's operation (inbound).
	tellOperation bool

	input       rbac.Input // of the policy that is asked
	termination string     // %CONNECTION_TERMINATION_DETAILS%

	corsState
	authz        authzState
	dynamic      dynamicMetadata
	retry        retryState
	cluster      *Cluster
	ep           *Endpoint // of the attempt in flight
	answered     *Endpoint // whose response goes downstream
	tried        []*Endpoint
	lbc          lb.Context
	priorities   lb.PreviousPriorities
	skip         func(*lb.Host) bool
	mirrors      []*Mirror
	setCookies   []string
	attempt      int
	lost         bool // the body can not be sent again
	counted      bool // in ep's active requests
	headSent     bool
	afterTimeout bool // the attempt before ended by its time-out

	complete    bool          // the request has been received
	completeAt  clock.Instant // since then the route time-out runs; Never before
	connectedAt clock.Instant
	global      time.Duration // route time-out, 0 for none
	perTry      time.Duration
	duration    clock.Instant // bound of the whole stream
	due         dueKind       // what the standing deadline is

	upstreamStatus int // %RESPONSE_CODE%: 0 until the upstream answered
	started        bool
	replyHead      wire.Head
	replyBody      []byte
	flags          [8]string
	flagCount      int
	attempts       []observe.Attempt
	copies         []observe.Attempt

	logs []accessLog
	log  logState

	text    []byte // where the record's strings are
	buf     []byte
	alpn    string // of the upstream connection, when the request chooses it
	hostBuf [256]byte
	pathBuf []byte

	tr     *trace.Trace // nil: nobody asks why
	traced *func(*trace.Trace)
}

// state is where an exchange stands.
type state uint8

const (
	stateDone state = iota
	stateDelay
	stateCollect
	stateAsk
	stateAttempt
	stateBackOff
	stateReply
	stateForward
	stateAborted
)

// dueKind says which of several deadlines comes first.
type dueKind uint8

const (
	dueNone dueKind = iota
	dueRoute
	duePerTry
	dueMaxStream
	dueDuration
)

// Start begins an HTTP exchange: the request head was received (its end, too, if h.NoBody). h is
// changed into what goes upstream. now is the record's start.
func (e *Engine) Start(x *Exchange, c *Chain, ci *ConnInfo, h *wire.Head,
	now clock.Instant, rnd uint64) Directive {
	x.reset(e, c, ci, now, rnd)
	x.head, x.hcm = h, c.hcm
	x.Record.Protocol = protocolOf(ci, h)
	if x.complete = h.NoBody; x.complete {
		x.log.at.requested = now
	}
	x.grpc = isGRPC(h)
	return x.stand(x.decode(now))
}

// renew makes the exchange as new, keeping what has capacity.
func (x *Exchange) renew(e *Engine, ci *ConnInfo, now clock.Instant, rnd uint64) {
	if x.skip == nil {
		x.skip = x.skipHost
	}
	text, buf, path, attempts := x.text, x.buf, x.pathBuf, x.attempts
	copies, tried, skip, reply := x.copies, x.tried[:0], x.skip, x.replyHead
	dynamic := x.dynamic
	dynamic.clear()
	cookies, reached := x.setCookies[:0], x.log.reached[:0]
	*x = Exchange{e: e, ci: ci, start: now, now: now, rnd: rnd, text: text, buf: buf,
		pathBuf: path, attempts: attempts, copies: copies, tried: tried, skip: skip,
		replyHead: reply, dynamic: dynamic, setCookies: cookies, completeAt: noDeadline,
		connectedAt: noDeadline, duration: noDeadline, remote: ci.Remote}
	x.log = logState{reached: reached, at: newMoments(), connection: ci.ID,
		conn: UpstreamConn{Began: noDeadline, Connected: noDeadline}}
}

func (x *Exchange) reset(e *Engine, c *Chain, ci *ConnInfo, now clock.Instant, rnd uint64) {
	x.renew(e, ci, now, rnd)
	x.chain, x.listener = c, c.listener
	x.logs, x.log.kind = c.logs, c.logKind
	r := &x.Record
	r.Start, r.Proxy, r.Workload = now, e.opt.Node, e.opt.Workload.Workload
	r.Version, r.Namespace = e.opt.Workload.Version, e.opt.Workload.Namespace
	r.Reporter = observe.Destination
	if c.listener.Outbound {
		r.Reporter = observe.Source
	}
	r.Listener, r.Chain = c.listener.Name, c.Name
	x.buf = ci.Local.AppendTo(x.buf[:0])
	r.Local = x.intern(x.buf)
	r.SNI, r.Draw = ci.SNI, rnd
	r.TLS, r.Peer = recordTLS(ci.TLS)
	if f := e.tracer.Load(); f != nil {
		x.traceBegin(f)
	}
}

// stand remembers what the driver was told.
func (x *Exchange) stand(d Directive) Directive {
	x.standing = d
	return d
}

// Handle takes an event of an HTTP exchange.
func (x *Exchange) Handle(ev Event, now clock.Instant) Directive {
	x.now = now
	switch ev.Kind {
	case RequestComplete:
		return x.stand(x.requestComplete(now))
	case ClientGone:
		return x.stand(x.clientGone(now))
	case BadRequest:
		return x.stand(x.badRequest(ev, now))
	}
	switch x.state {
	case stateDelay:
		return x.stand(x.delayed(ev, now))
	case stateCollect:
		return x.stand(x.collected(ev, now))
	case stateAsk:
		return x.stand(x.replied(ev, now))
	case stateBackOff:
		return x.stand(x.backedOff(ev, now))
	case stateAttempt:
		return x.stand(x.attempted(ev, now))
	case stateForward:
		return x.stand(x.forwarding(ev, now))
	case stateReply, stateAborted:
		return x.stand(x.finish(now))
	}
	return Directive{Kind: Done, Deadline: noDeadline}
}

// requestComplete restates the directive with the deadlines that run from now on.
func (x *Exchange) requestComplete(now clock.Instant) Directive {
	if x.complete {
		return x.standing
	}
	x.complete, x.log.at.requested = true, now
	d := x.standing
	if x.state == stateAttempt || x.state == stateForward {
		x.completeAt = now
		d.Deadline = x.deadline()
	}
	return d
}

func (x *Exchange) clientGone(now clock.Instant) Directive {
	if x.state == stateDone {
		return Directive{Kind: Done, Deadline: noDeadline}
	}
	x.flag("DC")
	x.Record.Details = "downstream_remote_disconnect"
	x.endAttempt(now, 0, "DC")
	return x.finish(now)
}

// badRequest answers a body that breaks the protocol (conn_manager_impl.cc onCodecError).
func (x *Exchange) badRequest(ev Event, now clock.Instant) Directive {
	x.flag("DPE")
	x.endAttempt(now, 0, "")
	details := ev.Reason
	if details == "" {
		details = "codec_error:_http1.body_malformed"
	}
	if x.started {
		x.Record.Details = details
		return x.cut()
	}
	return x.reply(localReply{status: 400, body: "Bad Request", details: details, grpc: -1})
}

// delayed goes on behind the fault filter's delay.
func (x *Exchange) delayed(ev Event, now clock.Instant) Directive {
	f := x.delaying
	f.active.Add(-1)
	if ev.Kind == Timeout || now >= x.duration {
		return x.durationReached()
	}
	if d, done := x.abort(f); done {
		return d
	}
	return x.filters(now)
}

// backedOff sends the next attempt.
func (x *Exchange) backedOff(ev Event, now clock.Instant) Directive {
	if ev.Kind == Timeout || x.due != dueNone && now >= x.standing.Deadline {
		return x.timedOut(now)
	}
	return x.again(now)
}

// cut ends the exchange by breaking off the response.
func (x *Exchange) cut() Directive {
	x.state = stateAborted
	return Directive{Kind: Abort, Deadline: noDeadline}
}

// durationReached is the end of max_stream_duration (conn_manager_impl.cc
// onStreamMaxDurationReached).
func (x *Exchange) durationReached() Directive {
	// Without a flag: DT is for TCP (measured with 1.40).
	if x.started {
		x.Record.Details = "max_duration_timeout"
		return x.cut()
	}
	status := 504
	if !x.complete {
		status = 408
	}
	return x.reply(localReply{status: status, body: "downstream duration timeout",
		details: "max_duration_timeout", grpc: -1})
}

// BodyLost says that the request body can not be sent again (buffer limit): there will be no retry.
func (x *Exchange) BodyLost() {
	x.lost = true
	if x.retry.policy != nil {
		x.retry.drop()
	}
	x.standing.Retryable = false
}

// StreamIdleTimeout is how long the exchange may go without progress: the route's idle_timeout,
// else the connection manager's stream_idle_timeout; 0 for no bound.
func (x *Exchange) StreamIdleTimeout() time.Duration {
	if x.route != nil && x.route.action != nil && x.route.action.idle != nil {
		return *x.route.action.idle
	}
	return x.hcm.opt.StreamIdleTimeout
}

// IdleTimedOut is what the driver calls instead of Handle when StreamIdleTimeout passed.
func (x *Exchange) IdleTimedOut(now clock.Instant) Directive {
	x.flag("SI")
	x.endAttempt(now, 0, "SI")
	if x.started {
		x.Record.Details = "stream_idle_timeout"
		return x.stand(x.cut())
	}
	status := 504
	if !x.complete {
		status = 408
	}
	return x.stand(x.reply(localReply{status: status, body: "stream timeout",
		details: "stream_idle_timeout", grpc: -1}))
}

func protocolOf(ci *ConnInfo, h *wire.Head) string {
	switch {
	case ci.HTTP2:
		return "HTTP/2"
	case h.Minor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// isGRPC is grpc/common.cc isGrpcRequestHeaders.
func isGRPC(h *wire.Head) bool {
	v, ok := h.Get("content-type")
	const want = "application/grpc"
	return ok && len(v) >= len(want) && string(v[:len(want)]) == want &&
		(len(v) == len(want) || v[len(want)] == '+') && len(h.Target) > 0
}
