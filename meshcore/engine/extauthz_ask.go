package engine

import (
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// authzState is what the ext_authz filters know of one exchange.
type authzState struct {
	asking   *extAuthz         // the filter that waits
	perRoute *authzPerRoute    // that counts for it, nil without one
	context  map[string]string // context_extensions
	buffered []byte            // the request body, as far as it was collected; nil: not asked for
	body     *bodySettings
	call     *Call
	response []mutation // to do to the response, whoever makes it
	closed   string     // why a connection was; Envoy's reports of connections do not tell it
}

// Call is a request of the proxy's own to another cluster, for an exchange that waits for its
// answer. Its endpoint is chosen; it is sent under the cluster's Breaker, over HTTP/2 if the
// cluster speaks it.
type Call struct {
	Endpoint *Endpoint
	Head     *wire.Head
	Body     []byte
	began    clock.Instant
	rnd      uint64
}

// Call returns what an Ask directive asks for. It is the driver's to keep.
func (x *Exchange) Call() *Call { return x.authz.call }

// mutation is one change of a head that the authorizer wants.
type mutation struct {
	op          mutationOp
	name, value string
}

type mutationOp uint8

const (
	mutateSet     mutationOp = iota // in the place of all lines of the name
	mutateAdd                       // a further line
	mutateAppend                    // to the line, if there is one
	mutateAbsent                    // a line, if there is none
	mutateReplace                   // in the place of all lines, if there is one
	mutateRemove
)

// judgement is what an authorizer answered.
type judgement struct {
	outcome  outcome
	status   int // of a denial
	body     []byte
	reply    []mutation // to a denial's head
	request  []mutation // to the request's head, in order
	response []mutation
	query    queryChange
	metadata *structpb.Struct
}

type outcome uint8

const (
	authzError outcome = iota // there was no answer, or none that counts
	authzDenied
	authzAllowed
	authzInvalid // the answer asks for what can not be
)

// invalidAuthz is the answer in the place of a change that can not be made.
var invalidAuthz = localReply{status: 500, details: "ext_authz_invalid"}

const extAuthzFilter = "envoy.filters.http.ext_authz"

// extAuthz runs the ext_authz filter; done says that the exchange waits or is answered.
func (x *Exchange) extAuthz(filter *httpFilter, now clock.Instant) (d Directive, done bool) {
	s := &x.authz
	if x.route == nil {
		return d, false // the router will say so
	}
	s.asking = filter.authz
	x.authzPerRoute(filter.name)
	if s.perRoute != nil && s.perRoute.disabled {
		return d, false
	}
	a := s.asking
	if a.enabled != nil && !a.enabled.Match(&x.dynamic) {
		if x.tr != nil {
			x.did("is not asked: no CUSTOM policy is for this request")
		}
		if a.denyAtDisable {
			return x.refuseAuthz(localReply{status: a.statusOnError,
				details: "ext_authz_error"}), true
		}
		return d, false
	}
	s.body, s.buffered = a.body, nil
	if p := s.perRoute; p != nil {
		if p.body != nil {
			s.body = p.body
		}
		if p.noBody {
			s.body = nil
		}
	}
	if s.body != nil && !x.head.NoBody && x.head.Upgrade == nil {
		x.state = stateCollect
		d := Directive{Kind: Collect, Limit: s.body.most, Deadline: x.durationDeadline()}
		if !s.body.partial {
			d.Limit++
		}
		return d, true
	}
	return x.ask(now), true
}

// authzPerRoute finds the settings of the route: of all levels the most specific counts, the
// context is merged.
func (x *Exchange) authzPerRoute(name string) {
	s := &x.authz
	s.perRoute, s.context = nil, nil
	levels := [...]*perFilter{&x.route.vhost.filters, &x.route.filters, nil}
	if x.target != nil {
		levels[2] = &x.target.filters
	}
	for _, l := range levels {
		if l == nil || l.authz[name] == nil {
			continue
		}
		s.perRoute = l.authz[name]
		for k, v := range s.perRoute.extensions {
			if s.context == nil {
				s.context = map[string]string{}
			}
			s.context[k] = v
		}
	}
}

// collected takes the request body, or what there is of it, and asks.
func (x *Exchange) collected(ev Event, now clock.Instant) Directive {
	s := &x.authz
	switch {
	case ev.Kind == Timeout:
		return x.durationReached()
	case ev.Kind != Collected:
		return x.standing
	case !s.body.partial && len(ev.Body) > s.body.most:
		// http/filter_manager.cc requestDataTooLarge: the buffer is the connection manager's.
		d := x.reply(localReply{status: 413, body: "Payload Too Large",
			details: "request_payload_too_large", grpc: -1})
		x.replyHead.Close = true // the request's end counts as not seen
		return d
	}
	s.buffered = append([]byte{}, ev.Body...)
	return x.ask(now)
}

// ask sends the question to the authorizer.
func (x *Exchange) ask(now clock.Instant) Directive {
	if !x.beginCall(now) {
		return x.judged(&judgement{}, now)
	}
	x.state = stateAsk
	d := Directive{Kind: Ask, Endpoint: x.authz.call.Endpoint, Deadline: x.durationDeadline()}
	if t := x.authz.asking.service.timeout; t > 0 {
		d.Deadline = min(d.Deadline, now.Add(t))
	}
	return d
}

// beginCall makes the call to the authorizer. false: there is nobody to be called.
func (x *Exchange) beginCall(now clock.Instant) bool {
	s := &x.authz
	cluster := s.asking.service.cluster.Load()
	if cluster == nil {
		return false
	}
	rnd := draw(x.rnd, drawAuthz, x.next)
	ep := x.chooseCopy(cluster, rnd)
	if ep == nil {
		return false
	}
	s.call = &Call{Endpoint: ep, began: now, rnd: rnd}
	if s.asking.http != nil {
		x.askHTTP(s.call)
	} else {
		x.askGRPC(s.call)
	}
	ep.host.Active.Add(1)
	return true
}

// replied takes what became of the question.
func (x *Exchange) replied(ev Event, now clock.Instant) Directive {
	s := &x.authz
	if ev.Kind == Connected || ev.Kind == Timer {
		return x.standing
	}
	took := now.Sub(s.call.began)
	x.endCall(ev, now)
	v := &judgement{}
	switch {
	case ev.Kind == Timeout && now >= x.duration:
		return x.durationReached()
	case ev.Kind == Answered && s.asking.http != nil:
		v = x.judgeHTTP(s.asking, ev, took)
	case ev.Kind == Answered:
		v = x.judgeGRPC(ev)
	}
	v.lasted(took)
	return x.judged(v, now)
}

// lasted adds how long the call took to what it told.
func (v *judgement) lasted(took time.Duration) {
	if v.metadata != nil && v.outcome == authzAllowed {
		v.metadata.Fields["ext_authz_duration"] = structpb.NewNumberValue(
			float64(took.Milliseconds()))
	}
}

// endCall tells the endpoint how the question ended.
func (x *Exchange) endCall(ev Event, now clock.Instant) {
	c := x.authz.call
	if c == nil {
		return
	}
	x.authz.call = nil
	c.Endpoint.host.Active.Add(-1)
	switch ev.Kind {
	case Answered:
		c.Endpoint.code(ev.Head.Status, now, c.rnd)
	case Timeout:
		c.Endpoint.result(outlier.LocalOriginTimeout, 504, now, c.rnd)
	case ConnectFail, ConnectTimeout, Reset:
		c.Endpoint.result(outlier.LocalOriginConnectFailed, 0, now, c.rnd)
	}
}

// judged carries a judgement out (ext_authz.cc onComplete).
func (x *Exchange) judged(v *judgement, now clock.Instant) Directive {
	s := &x.authz
	a := s.asking
	if x.tr != nil {
		x.traceJudged(v)
	}
	if v.metadata != nil {
		x.dynamic.set(extAuthzFilter, v.metadata)
	}
	switch v.outcome {
	case authzAllowed:
		if !x.admit(v) {
			return x.refuseAuthz(invalidAuthz)
		}
	case authzDenied:
		if n := a.maxDeniedBytes; n > 0 && len(v.body) > n {
			v.body = v.body[:n]
		}
		return x.refuseAuthz(localReply{status: v.status, body: string(v.body),
			details: "ext_authz_denied", change: v.reply})
	case authzInvalid:
		return x.refuseAuthz(invalidAuthz)
	case authzError:
		if !a.failureAllow {
			status := a.statusOnError
			if v.status > 0 {
				status = v.status
			}
			return x.refuseAuthz(localReply{status: status, body: string(v.body),
				details: "ext_authz_error", change: v.reply})
		}
		if a.failureHeader {
			x.head.Add("x-envoy-auth-failure-mode-allowed", "true")
		}
	}
	s.asking = nil
	return x.filters(now)
}

// refuseAuthz answers in the upstream's place.
func (x *Exchange) refuseAuthz(r localReply) Directive {
	x.flag("UAEX")
	x.Record.Policy = "ext_authz"
	r.grpc = -1
	return x.reply(r)
}

// admit lets a request pass, changed as the authorizer wants. false: that makes the head too large.
func (x *Exchange) admit(v *judgement) bool {
	h := x.head
	again := v.query.any()
	for i := range v.request {
		again = again || v.request[i].op != mutateAdd // as it is in 1.40
		x.mutateRequest(&v.request[i])
	}
	if v.query.any() {
		h.Target = h.Bytes(v.query.apply(string(h.Target)))
	}
	x.authz.response = append(x.authz.response, v.response...)
	if again && x.authz.asking.clearRoute {
		x.reroute()
	}
	// Names and values with those of the pseudo-headers (http/header_map_impl.cc byteSize).
	n, size := len(h.Fields)+4, len(h.Authority)+len(h.Target)+len(h.Method)+len(h.Scheme)+
		len(":authority:path:method:scheme")
	for i := range h.Fields {
		size += len(h.Fields[i].Name) + len(h.Fields[i].Value)
	}
	return n <= x.hcm.opt.MaxHeaders && size <= x.hcm.opt.MaxHeadersKB<<10
}

// reroute chooses the route again, for a request that is no longer the one that came.
func (x *Exchange) reroute() {
	x.route, x.target = nil, nil
	x.Record.Route, x.Record.Config, x.Record.Cluster = "", "", ""
	if rc := x.hcm.routes.Load(); rc != nil {
		x.route = rc.find(x, x.head)
	}
	if x.route != nil {
		x.destined(x.head, x.route)
	}
}

// mutateRequest changes the request's head. What frames the body stays as it came: Envoy would send
// what the authorizer says and break the connection.
func (x *Exchange) mutateRequest(m *mutation) {
	h := x.head
	switch m.name {
	case ":authority", "host":
		if m.op == mutateSet || m.op == mutateReplace {
			h.Authority = h.Bytes(m.value)
		}
		return
	case ":path":
		if m.op == mutateSet || m.op == mutateReplace {
			h.Target = h.Bytes(m.value)
		}
		return
	case ":method":
		if m.op == mutateSet || m.op == mutateReplace {
			h.Method = h.Bytes(m.value)
		}
		return
	case ":scheme":
		if m.op == mutateSet || m.op == mutateReplace {
			h.Scheme = h.Bytes(m.value)
		}
		return
	case "content-length", "transfer-encoding", "connection", "upgrade":
		return
	}
	if m.name != "" && m.name[0] != ':' {
		m.apply(h, requestInline)
	}
}

// apply changes a head.
func (m *mutation) apply(h *wire.Head, inline func(string) bool) {
	_, has := h.Get(m.name)
	switch {
	case m.op == mutateRemove:
		h.Del(m.name)
	case m.op == mutateSet, m.op == mutateReplace && has:
		h.Del(m.name) // it moves to the end, as in Envoy
		h.Add(m.name, m.value)
	case m.op == mutateAdd, m.op == mutateAbsent && !has:
		appendHeader(h, m.name, bytesOf(m.value), inline)
	case m.op == mutateAppend && has:
		for i := range h.Fields {
			if f := &h.Fields[i]; string(f.Name) == m.name {
				f.Value = joined(h, f.Value, bytesOf(m.value))
				return
			}
		}
	}
}

// authzResponse is the filters' way back.
func (x *Exchange) authzResponse(h *wire.Head) {
	for i := range x.authz.response {
		x.authz.response[i].apply(h, responseInline)
	}
}
