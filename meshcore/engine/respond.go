package engine

import (
	"strconv"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// response takes the upstream's response head: it is retried or goes downstream (router.cc
// onUpstreamHeaders).
func (x *Exchange) response(ev Event, now clock.Instant) Directive {
	h, ep := ev.Head, x.ep
	x.log.at.answered = now
	if !ev.Fin {
		x.log.at.bodyArrived = now
	}
	joinLines(h, responseInline)
	x.resp = h
	if x.route.vhost.attemptInResponse {
		set(h, "x-envoy-attempt-count", number(h, int64(x.attempt)))
	}
	ep.code(x.outlierCode(h), now, draw(x.rnd, drawOutlier, x.attempt))
	a := &x.attempts[len(x.attempts)-1]
	a.Status = h.Status
	if v, ok := h.Get("grpc-status"); ok {
		a.GRPC = x.intern(v)
	}
	if x.retry.policy != nil {
		again := x.retry.should(x.retry.response(h), x.cluster, x.e.opt.RetryFull)
		if x.tr != nil && (again != noRetry || h.Status >= 400) {
			x.traceRetry(again, strconv.Itoa(h.Status))
		}
		switch again {
		case yesRetry:
			x.resp, x.afterTimeout = nil, false
			x.endAttemptKeepRetry(now, h.Status, "")
			return x.wait(now)
		case retryOverflow:
			x.flag("UO")
		case retryLimit:
			x.flag("URX")
		}
		x.retry.drop()
	}
	if x.tr != nil {
		x.traceOutcome(h.Status, "")
	}
	x.Record.UpstreamTime = now.Sub(a.Start)
	x.log.at.responding = now
	if x.completeAt != noDeadline && !x.hcm.suppress {
		ms := now.Sub(x.completeAt).Milliseconds()
		set(h, "x-envoy-upstream-service-time", number(h, ms))
	}
	for _, c := range x.setCookies {
		h.Add("set-cookie", c)
	}
	x.started, x.answered, x.upstreamStatus = true, ep, h.Status
	x.Record.Details, x.Record.Status = "via_upstream", h.Status
	for _, o := range x.target.change.response {
		o.mutate(x, h, responseInline)
	}
	x.encode(h)
	x.state = stateForward
	return Directive{Kind: Forward, Endpoint: ep, Deadline: x.deadline()}
}

// outlierCode is the status that outlier detection sees: for gRPC that of grpc-status.
func (x *Exchange) outlierCode(h *wire.Head) int {
	if x.grpc {
		if v, ok := h.Get("grpc-status"); ok {
			if n, ok := unsigned(v); ok {
				return grpcToHTTP(n)
			}
		}
	}
	return h.Status
}

// grpcToHTTP is grpc/status.cc grpcToHttpStatus.
func grpcToHTTP(code uint64) int {
	switch code {
	case 0:
		return 200
	case 1:
		return 499
	case 3, 9, 11:
		return 400
	case 4:
		return 504
	case 5:
		return 404
	case 6, 10:
		return 409
	case 7:
		return 403
	case 8:
		return 429
	case 12:
		return 501
	case 14:
		return 503
	case 16:
		return 401
	}
	return 500
}

// httpToGRPC is grpc/status.cc httpToGrpcStatus.
func httpToGRPC(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

// encode is the way back of any response: the filters, then the connection manager
// (conn_manager_impl.cc encodeHeaders).
func (x *Exchange) encode(h *wire.Head) {
	x.corsResponse(h)
	x.authzResponse(h)
	m := x.hcm
	if _, ok := h.Get("date"); !ok {
		put(h, "date", x.e.date(x.now))
	}
	_, has := h.Get("server")
	switch m.server {
	case hcmv3.HttpConnectionManager_OVERWRITE:
		set(h, "server", bytesOf(m.opt.ServerName))
	case hcmv3.HttpConnectionManager_APPEND_IF_ABSENT:
		if !has {
			put(h, "server", bytesOf(m.opt.ServerName))
		}
	}
	if m.idInResponse {
		if v, ok := x.head.Get("x-request-id"); ok {
			set(h, "x-request-id", v)
		}
	}
	if m.via != "" {
		appendHeader(h, "via", bytesOf(m.via), responseInline)
	}
	if !m.tracing {
		return
	}
	if m.outbound {
		h.Del("x-envoy-decorator-operation")
	} else if x.tellOperation {
		set(h, "x-envoy-decorator-operation", x.route.operation)
	}
}

// localReply is an answer of the proxy's own.
type localReply struct {
	status     int
	body       string
	details    string
	grpc       int // grpc-status for gRPC requests, -1: from the status
	overloaded bool
	change     []mutation // what a filter does to the head
}

// reply makes a local reply (http/utility.cc prepareLocalReply): gRPC requests get a trailers-only
// answer, others the body as plain text.
func (x *Exchange) reply(r localReply) Directive {
	status := r.status
	grpc := x.grpc
	if grpc {
		status = 200
	}
	h := x.beginReply(status, r.details)
	// Response header operations of the route act on local replies too, when it leads to a cluster.
	if x.route != nil && x.route.action != nil && x.target != nil {
		for _, o := range x.target.change.response {
			o.mutate(x, h, responseInline)
		}
	}
	if r.overloaded && !x.hcm.suppress {
		put(h, "x-envoy-overloaded", bytesOf("true"))
	}
	if x.attempt > 0 && x.route.vhost.attemptInResponse {
		set(h, "x-envoy-attempt-count", number(h, int64(x.attempt)))
	}
	for i := range r.change {
		h.Del(r.change[i].name)
	}
	for i := range r.change {
		r.change[i].apply(h, responseInline)
	}
	if grpc {
		code := r.grpc
		if code < 0 {
			code = httpToGRPC(r.status)
		}
		h.Del("content-length")
		set(h, "content-type", bytesOf("application/grpc"))
		set(h, "grpc-status", number(h, int64(code)))
		if r.body != "" {
			set(h, "grpc-message", grpcMessage(h, r.body))
		}
		x.finishReply(nil)
	} else {
		x.finishReply(bytesOf(r.body))
	}
	return Directive{Kind: Reply, Deadline: noDeadline}
}

// beginReply clears the reply's head; finishReply completes it and notes it on the record.
func (x *Exchange) beginReply(status int, details string) *wire.Head {
	h := &x.replyHead
	h.Reset()
	h.Status, h.Minor = status, 1
	x.resp = h
	x.Record.Status, x.Record.Details = status, details
	if x.tr != nil {
		x.tr.Reply = &trace.Reply{Status: status, Details: details}
	}
	return h
}

func (x *Exchange) finishReply(body []byte) {
	h := &x.replyHead
	if len(body) > 0 {
		set(h, "content-length", number(h, int64(len(body))))
		if _, ok := h.Get("content-type"); !ok {
			put(h, "content-type", bytesOf("text/plain"))
		}
	} else if _, grpc := h.Get("grpc-status"); !grpc {
		// Also those that the route has set (http/utility.cc encodeLocalReply).
		h.Del("content-type")
		h.Del("content-length")
	}
	x.encode(h)
	h.ContentLength, h.NoBody = int64(len(body)), false
	if len(body) == 0 {
		h.ContentLength, h.NoBody = -1, true // the codec says so in its own way
	}
	if x.head != nil && string(x.head.Method) == "HEAD" {
		body, h.NoBody = nil, true
	}
	x.replyBody, x.log.at.responding = body, x.now
	x.state, x.started = stateReply, true
}

// grpcMessage percent-encodes what a header can not hold (http/utility.cc PercentEncoding).
func grpcMessage(h *wire.Head, s string) []byte {
	var out []byte
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '%' {
			out = append(out, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		} else {
			out = append(out, c)
		}
	}
	return h.Bytes(view(out))
}

// Reply returns the local reply to send, valid until the exchange ends. body is nil for HEAD
// requests, whose head still tells the length.
func (x *Exchange) Reply() (head *wire.Head, body []byte) { return &x.replyHead, x.replyBody }

// resetBody is the text of the reply to a reset. 1.40 no longer tells the transport's reason in it.
func (x *Exchange) resetBody(why resetReason) string {
	out := append(x.buf[:0], "upstream connect error or disconnect/reset before headers. "...)
	if x.attempt > 1 {
		out = append(out, "retried and the latest "...)
	}
	out = append(append(out, "reset reason: "...), resets[why].text...)
	x.buf = out
	return x.intern(out)
}

// resetDetails are the response_code_details of a reset; blanks become underscores.
func (x *Exchange) resetDetails(prefix string, why resetReason, reason string) string {
	out := append(append(x.buf[:0], prefix...), resets[why].detail...)
	if reason != "" {
		out = append(append(out, '|'), reason...)
	}
	for i, c := range out {
		if c == ' ' {
			out[i] = '_'
		}
	}
	out = append(out, '}')
	x.buf = out
	return x.intern(out)
}

// finish completes the record.
func (x *Exchange) finish(now clock.Instant) Directive {
	if x.ep != nil {
		x.endAttempt(now, 0, "")
	}
	if x.state == stateDelay {
		x.delaying.active.Add(-1)
	}
	x.retry.drop()
	x.mirrors = nil
	x.state = stateDone
	r := &x.Record
	r.Duration = now.Sub(x.start)
	x.buf = x.appendFlags(x.buf[:0])
	r.Flags = x.intern(x.buf)
	x.log.at.finished = now
	if x.tr != nil {
		x.traceEnd()
	}
	if x.log.at.responding != noDeadline {
		x.log.at.responded = now
	}
	if !x.Logged() {
		x.releaseRecord()
	}
	return Directive{Kind: Done, Deadline: noDeadline}
}
