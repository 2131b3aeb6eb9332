package engine

import (
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// router is the router filter (source/common/router/router.cc decodeHeaders).
func (x *Exchange) router(now clock.Instant) Directive {
	x.enumerate()
	h, r := x.head, x.route
	if r == nil {
		x.flag("NR")
		return x.reject(404, "route_not_found")
	}
	if r.action == nil {
		return x.answerDirectly(r)
	}
	a := r.action
	x.cluster = x.target.cluster.Load()
	if x.cluster == nil {
		x.flag("NC")
		return x.reject(a.notFound, "cluster_not_found")
	}
	x.Record.Cluster = x.target.name
	x.askHash()
	x.attempt = 1
	if p := a.retry; p != nil && p.priorities > 0 {
		x.priorities.UpdateFrequency, x.lbc.Retry = p.priorities, &x.priorities
	}
	ep := x.choose(x.cluster, false)
	if ep == nil {
		return x.noHealthyUpstream(now)
	}
	x.finalTimeout(a, h)
	var was headCopy
	if x.tr != nil {
		x.traceLimits(a)
		was = copyOf(h)
	}
	if r.vhost.attemptCount {
		set(h, "x-envoy-attempt-count", bytesOf("1"))
	}
	x.removeDraws(h)
	for _, o := range x.target.change.request {
		o.mutate(x, h, requestInline)
	}
	x.rewriteHead(a)
	if x.tr != nil {
		x.traceChanges(was)
	}
	x.retry.begin(a.retry, h)
	if x.lost {
		x.retry.drop()
	}
	if len(a.mirrors) > 0 && string(h.Method) != "CONNECT" {
		x.chooseMirrors(h, now)
	}
	if x.complete {
		x.completeAt = now
	}
	return x.send(ep, now)
}

// answerDirectly makes the reply of a redirect or direct_response route.
func (x *Exchange) answerDirectly(r *route) Directive {
	if r.direct != nil {
		head := x.beginReply(r.direct.status, "direct_response")
		// source/common/router/router.cc decodeHeaders: 201 and 3xx name the request's own URI.
		if s := r.direct.status; s == 201 || s/100 == 3 {
			x.buf = (&redirect{}).location(x.buf[:0], r, x.head)
			put(head, "location", head.Bytes(view(x.buf)))
		}
		for _, o := range r.own.response {
			o.mutate(x, head, responseInline)
		}
		x.finishReply(r.direct.body)
		return Directive{Kind: Reply, Deadline: noDeadline}
	}
	head := x.beginReply(r.redirect.status, "direct_response")
	x.buf = r.redirect.location(x.buf[:0], r, x.head)
	put(head, "location", head.Bytes(view(x.buf)))
	for _, o := range r.own.response {
		o.mutate(x, head, responseInline)
	}
	x.finishReply(nil)
	return Directive{Kind: Reply, Deadline: noDeadline}
}

// rewriteHead changes host and path (finalizeRequestHeaders).
func (x *Exchange) rewriteHead(a *action) {
	h := x.head
	if x.target.host != nil {
		h.Authority = x.target.host // and nothing tells of the one before
	}
	if a.host != nil {
		if !x.hcm.suppress {
			set(h, "x-envoy-original-host", h.Authority)
		}
		if a.appendXFH {
			appendHeader(h, "x-forwarded-host", h.Authority, requestInline)
		}
		h.Authority = a.host
	}
	if !a.rewrite.hasPrefix && a.rewrite.regexp == nil {
		return
	}
	out, _ := a.rewrite.apply(x.buf[:0], &x.route.path, h.Target)
	x.buf = out
	if !x.hcm.suppress {
		set(h, "x-envoy-original-path", h.Target)
	}
	h.Target = h.Bytes(view(out))
}

// send starts an attempt.
func (x *Exchange) send(ep *Endpoint, now clock.Instant) Directive {
	x.ep, x.state, x.connectedAt = ep, stateAttempt, noDeadline
	x.beginAttempt(ep, now)
	x.counted, x.headSent = false, false
	if x.retry.policy != nil && (x.retry.policy.otherHosts || x.retry.policy.priorities > 0) {
		x.tried = append(x.tried, ep)
		if x.retry.policy.priorities > 0 {
			x.priorities.Attempted(&ep.host)
		}
	}
	a := observe.Attempt{Cluster: x.Record.Cluster, Upstream: ep.host.Address, Start: now}
	if w := ep.dest.Load(); w != nil {
		a.Pod, a.Version = w.Pod, w.Version
		x.Record.Dest = *w
	}
	x.addAttempt(a)
	x.Record.Upstream = ep.host.Address
	return Directive{Kind: Attempt, Endpoint: ep, Deadline: x.deadline(),
		Retryable: x.retry.policy != nil}
}

// deadline is the first of the bounds that run, and remembers in x.due which it is.
func (x *Exchange) deadline() clock.Instant {
	at, due := x.duration, dueNone
	if at != noDeadline {
		due = dueDuration
	}
	bound := func(t clock.Instant, kind dueKind) {
		if t < at {
			at, due = t, kind
		}
	}
	if x.global > 0 && x.completeAt != noDeadline {
		bound(x.completeAt.Add(x.global), dueRoute)
	}
	if x.state == stateAttempt || x.state == stateForward {
		connected := x.connectedAt != noDeadline
		// Once something was sent downstream the per-try time-out is ignored (upstream_request.cc
		// onPerTryTimeout).
		if x.perTry > 0 && !x.started && connected && x.completeAt != noDeadline {
			bound(max(x.connectedAt, x.completeAt).Add(x.perTry), duePerTry)
		}
		if x.cluster.maxStream > 0 && connected {
			bound(x.connectedAt.Add(x.cluster.maxStream), dueMaxStream)
		}
	}
	x.due = due
	return at
}

// attempted takes an event of the attempt in flight.
func (x *Exchange) attempted(ev Event, now clock.Instant) Directive {
	switch ev.Kind {
	case Connected:
		return x.connected(ev, now)
	case ResponseHead:
		if x.connectedAt == noDeadline {
			x.connected(ev, now)
		}
		return x.response(ev, now)
	case Timeout:
		return x.timedOut(now)
	case Overflow:
		if ev.Pending {
			x.noHost()
		}
		return x.broken(resetOverflow, ev, now)
	case ConnectFail:
		if ev.Local {
			return x.broken(resetLocalConnectFailure, ev, now)
		}
		return x.broken(resetConnectFailure, ev, now)
	case ConnectTimeout:
		return x.broken(resetConnectTimeout, ev, now)
	case Reset:
		return x.broken(reasonOf(ev), ev, now)
	}
	return x.standing
}

// noHost takes the host out of the record: a pool that does not even let a stream wait names none
// (source/common/conn_pool/conn_pool_base.cc newStreamImpl: onPoolFailure with a null host).
func (x *Exchange) noHost() {
	a := &x.attempts[len(x.attempts)-1]
	a.Upstream, a.Pod, a.Version = "", "", ""
	x.Record.Upstream, x.Record.Dest = "", observe.Workload{}
}

func (x *Exchange) connected(ev Event, now clock.Instant) Directive {
	d := x.standing
	if x.connectedAt == noDeadline {
		x.connectedAt = now
		x.reach(ev, now)
		x.count()
		x.ep.result(outlier.LocalOriginConnectSuccess, 0, now, draw(x.rnd, drawOutlier, x.attempt))
		d.Deadline = x.deadline()
	}
	return d
}

func (x *Exchange) count() {
	if !x.counted {
		x.counted = true
		x.ep.host.Active.Add(1)
	}
}

// endAttempt closes the attempt in flight, if there is one.
func (x *Exchange) endAttempt(now clock.Instant, status int, flag string) {
	x.retry.end()
	x.endCall(Event{}, now)
	if x.ep == nil {
		return
	}
	if x.counted {
		x.ep.host.Active.Add(-1)
		x.counted = false
	}
	a := &x.attempts[len(x.attempts)-1]
	if status != 0 {
		a.Status = status
	}
	if x.tr != nil {
		x.traceOutcome(a.Status, flag)
	}
	a.Flags = flag
	a.Duration = now.Sub(a.Start)
	x.ep = nil
}

// resetReason is why an attempt broke (Http::StreamResetReason).
type resetReason uint8

const (
	resetRemote resetReason = iota
	resetRemoteRefused
	resetLocal
	resetConnectFailure
	resetLocalConnectFailure
	resetConnectTimeout
	resetTermination
	resetOverflow
	resetProtocol
)

// What Envoy calls the reasons (http/utility.cc resetReasonToString) and the flags they give
// (router.cc streamResetReasonToResponseFlag).
var resets = [...]struct{ text, detail, flag string }{
	resetRemote:              {"remote reset", "remote_reset", "UR"},
	resetRemoteRefused:       {"remote refused stream reset", "remote_refused_stream_reset", "UR"},
	resetLocal:               {"local reset", "local_reset", "LR"},
	resetConnectFailure:      {"remote connection failure", "remote_connection_failure", "UF"},
	resetLocalConnectFailure: {"local connection failure", "local_connection_failure", "UF"},
	resetConnectTimeout:      {"connection timeout", "connection_timeout", "UF"},
	resetTermination:         {"connection termination", "connection_termination", "UC"},
	resetOverflow:            {"overflow", "overflow", "UO"},
	resetProtocol:            {"protocol error", "protocol_error", "UPE"},
}

func reasonOf(ev Event) resetReason {
	switch {
	case ev.Protocol:
		return resetProtocol
	case ev.Refused:
		return resetRemoteRefused
	case ev.Local:
		return resetLocal
	case ev.Stream:
		return resetRemote
	}
	return resetTermination
}

// broken is onUpstreamReset.
func (x *Exchange) broken(why resetReason, ev Event, now clock.Instant) Directive {
	ep := x.ep
	x.lose(ev, now)
	if why != resetOverflow { // not the host's fault
		ep.result(outlier.LocalOriginConnectFailed, 0, now, draw(x.rnd, drawOutlier, x.attempt))
	}
	again := x.retry.policy != nil && !x.started && x.retryReset(why, ev, now)
	x.endAttemptKeepRetry(now, 0, resets[why].flag)
	if again {
		return x.wait(now)
	}
	status := 503
	if why == resetProtocol {
		status = 502
	}
	x.flag(resets[why].flag)
	x.retry.drop()
	details := "upstream_reset_before_response_started{"
	if x.started {
		details = "upstream_reset_after_response_started{"
	}
	details = x.resetDetails(details, why, ev.Reason)
	if x.started {
		x.Record.Details = details
		return x.cut()
	}
	return x.reply(localReply{status: status, body: x.resetBody(why),
		details: details, grpc: -1, overloaded: why == resetOverflow})
}

// retryReset asks for a retry after a reset and sets the flag when there can be none
// (maybeRetryReset).
func (x *Exchange) retryReset(why resetReason, ev Event, now clock.Instant) bool {
	again := x.retry.should(x.retry.reset(why, ev.HeadSent || x.headSent), x.cluster,
		x.e.opt.RetryFull)
	if x.tr != nil {
		x.traceRetry(again, resets[why].text)
	}
	switch again {
	case yesRetry:
		return true
	case retryOverflow:
		x.flag("UO")
	case retryLimit:
		x.flag("URX")
	}
	return false
}

// endAttemptKeepRetry ends the attempt but not the counting of a retry that was just decided.
func (x *Exchange) endAttemptKeepRetry(now clock.Instant, status int, flag string) {
	counted := x.retry.counted
	x.retry.counted = nil
	x.endAttempt(now, status, flag)
	x.retry.counted = counted
}

// askHash computes the hash policy's value if the cluster's balancer asks for it, as it does for
// each attempt: a cookie that is made is set once for each (router.h computeHashKey).
func (x *Exchange) askHash() {
	x.lbc.Hash, x.lbc.HasHash = 0, false
	if a := x.route.action; len(a.hash) > 0 && x.cluster.hashes {
		x.lbc.Hash, x.lbc.HasHash = x.hash(a.hash, x.head)
		x.Record.Hash = x.lbc.Hash
	}
}

// wait is the back-off before a retry.
func (x *Exchange) wait(now clock.Instant) Directive {
	x.state = stateBackOff
	x.until = now.Add(x.retry.backOff(x.rnd, x.attempt))
	return Directive{Kind: Wait, Until: x.until, Deadline: x.deadline(), Retryable: true}
}

// again is doRetry.
func (x *Exchange) again(now clock.Instant) Directive {
	h := x.head
	x.attempt++
	x.cluster = x.target.cluster.Load() // it may have gone meanwhile
	var ep *Endpoint
	if x.cluster != nil {
		x.askHash()
		ep = x.choose(x.cluster, true)
	}
	if ep == nil {
		x.retry.end()
		return x.noHealthyUpstream(now)
	}
	if x.route.vhost.attemptCount {
		set(h, "x-envoy-attempt-count", number(h, int64(x.attempt)))
	}
	if x.route.vhost.timeoutRetry {
		v := "false"
		if x.afterTimeout {
			v = "true"
		}
		set(h, "x-envoy-is-timeout-retry", bytesOf(v))
	}
	elapsed := time.Duration(0)
	if x.completeAt != noDeadline {
		elapsed = now.Sub(x.completeAt).Truncate(time.Millisecond)
	}
	x.expected(x.route.action, h, elapsed)
	return x.send(ep, now)
}

func (x *Exchange) noHealthyUpstream(clock.Instant) Directive {
	x.flag("UH")
	return x.reply(localReply{status: 503, body: "no healthy upstream",
		details: "no_healthy_upstream", grpc: -1})
}

// timedOut is what happens at the deadline of an attempt or of a response.
func (x *Exchange) timedOut(now clock.Instant) Directive {
	ep := x.ep
	switch x.due {
	case dueDuration:
		x.endAttempt(now, 0, "")
		return x.durationReached()
	case duePerTry:
		x.afterTimeout = true
		ep.result(outlier.LocalOriginTimeout, 504, now, draw(x.rnd, drawOutlier, x.attempt))
		if x.retryable() && x.retryReset(resetLocal, Event{HeadSent: true}, now) {
			x.endAttemptKeepRetry(now, 0, "UT")
			return x.wait(now)
		}
		return x.upstreamTimeout(now, "upstream_per_try_timeout")
	case dueMaxStream:
		if x.retryable() && x.retryReset(resetLocal, Event{HeadSent: true}, now) {
			x.endAttemptKeepRetry(now, 0, "UMSDR")
			return x.wait(now)
		}
		x.endAttempt(now, 0, "UMSDR")
		x.flag("UMSDR")
		if x.started {
			x.Record.Details = "upstream_max_stream_duration_reached"
			return x.cut()
		}
		status := 504
		if !x.complete {
			status = 408
		}
		return x.reply(localReply{status: status, body: "upstream max stream duration reached",
			details: "upstream_max_stream_duration_reached", grpc: -1})
	}
	if ep != nil && !x.started {
		ep.result(outlier.LocalOriginTimeout, 504, now, draw(x.rnd, drawOutlier, x.attempt))
	}
	return x.upstreamTimeout(now, "response_timeout")
}

func (x *Exchange) retryable() bool { return x.retry.policy != nil && !x.started }

// upstreamTimeout is onUpstreamTimeoutAbort.
func (x *Exchange) upstreamTimeout(now clock.Instant, details string) Directive {
	x.endAttempt(now, 0, "UT")
	x.flag("UT")
	x.retry.drop()
	if x.started {
		x.Record.Details = details
		return x.cut()
	}
	return x.reply(localReply{status: 504, body: "upstream request timeout", details: details,
		grpc: -1})
}

// forwarding takes an event while the response goes downstream.
func (x *Exchange) forwarding(ev Event, now clock.Instant) Directive {
	switch ev.Kind {
	case Sent:
		x.log.at.received = now
		x.endAttempt(now, 0, "")
		return x.finish(now)
	case Timeout:
		return x.timedOut(now)
	case Reset:
		why := reasonOf(ev)
		if why == resetTermination && !x.cluster.HTTP2 && x.upstreamStatus != 101 {
			// An HTTP/1.1 body that is cut is an error of the codec (measured with 1.40).
			why = resetProtocol
		}
		return x.broken(why, ev, now)
	}
	return x.standing
}
