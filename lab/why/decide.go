package why

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// The ports at which a sidecar takes what it captures.
const (
	outboundPort = 15001
	inboundPort  = 15006
)

// decision is an exchange that is decided again: what came to the proxy is as in the record, and so
// is what its upstreams did. What the proxy did with it is not looked at.
type decision struct {
	e      *engine.Engine
	record *observe.Request
	ci     engine.ConnInfo
	rnd    uint64
	steps  *int // counts directives, of all decisions about the record
	lines  bool // a comma in a header's value ends a line
	// eject has hosts be ejected as they were at an instant; nil: nothing changed meanwhile.
	eject func(clock.Instant)

	trace *trace.Trace
}

// decide decides a record's exchange again; nil when the proxy has no listener for it.
func decide(
	w *World, e *engine.Engine, r *observe.Request, alpn []string, rnd uint64,
) *trace.Trace {
	d := &decision{e: e, record: r, rnd: rnd, steps: &w.steps, lines: w.lines,
		eject: w.between(e, r)}
	if d.eject != nil {
		d.eject(r.Start)
	}
	e.Trace(func(t *trace.Trace) { d.trace = t })
	defer e.Trace(nil)
	d.connection(alpn)
	l := d.listener()
	if l == nil {
		return nil
	}
	c := l.Chain(&d.ci)
	x := &engine.Exchange{}
	switch {
	case c == nil:
		e.NoChain(x, l, &d.ci, r.Start, r.Start)
	case c.HTTP != nil && r.Protocol != "TCP":
		head := d.head()
		d.run(x, e.Start(x, c, &d.ci, head, r.Start, rnd), x.Handle)
	case c.HTTP == nil:
		d.tcp(x, c)
	}
	return d.trace
}

// connection is what the record tells of the connection.
func (d *decision) connection(alpn []string) {
	r, ci := d.record, &d.ci
	ci.Local, ci.Remote = address(r.Local), address(r.Remote)
	ci.Direct, ci.SNI, ci.Transport, ci.ALPN = ci.Remote, r.SNI, "raw_buffer", alpn
	ci.HTTP2 = r.Protocol == "HTTP/2"
	if r.TLS != "" {
		ci.Transport = "tls"
		ci.TLS = &transport.State{Version: r.TLS, SNI: r.SNI}
		if r.Peer != "" {
			ci.TLS.Peer, ci.TLS.Validated = &transport.Certificate{URIs: []string{r.Peer}}, true
		}
	} else if r.SNI != "" {
		ci.Transport = "tls"
	}
}

func address(s string) netip.AddrPort {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return a
}

// listener is the one that took the connection: the sidecar's for its direction, or a gateway's.
func (d *decision) listener() *engine.Listener {
	bind := func(port uint16) *engine.Listener {
		return d.e.Listener(engine.Address{
			AddrPort: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}, d.ci.Local)
	}
	if d.record.Reporter == observe.Destination {
		return bind(inboundPort)
	}
	if l := bind(outboundPort); l != nil {
		return l
	}
	return bind(d.ci.Local.Port())
}

// head is the request's, as far as the record tells.
func (d *decision) head() *wire.Head {
	r := d.record
	h := &wire.Head{Minor: 1, ContentLength: -1, NoBody: true}
	if r.Protocol == "HTTP/1.0" {
		h.Minor = 0
	}
	h.Method, h.Target = h.Bytes(cmp.Or(r.Method, "GET")), h.Bytes(r.Path)
	h.Authority = h.Bytes(r.Authority)
	if r.ID != "" {
		h.Add("x-request-id", r.ID)
	}
	if r.UserAgent != "" {
		h.Add("user-agent", r.UserAgent)
	}
	names := make([]string, 0, len(r.Headers))
	for n := range r.Headers {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if n != "x-request-id" && n != "user-agent" && !strings.HasPrefix(n, ":") && n != "host" {
			list := []string{r.Headers[n]}
			if d.lines {
				list = strings.Split(list[0], ",")
			}
			for _, v := range list {
				h.Add(strings.ToLower(n), v)
			}
		}
	}
	if _, ok := h.Get("x-forwarded-for"); !ok && d.ci.Remote.Port() == 0 &&
		d.ci.Remote.Addr().IsValid() && !d.ci.Remote.Addr().IsUnspecified() {
		h.Add("x-forwarded-for", d.ci.Remote.Addr().String()) // the port is lost where it counted
	}
	return h
}

// most bounds how many directives one exchange can need.
const most = 1000

// run carries out directives as the record says that they went.
func (d *decision) run(
	x *engine.Exchange, dir engine.Directive,
	handle func(engine.Event, clock.Instant) engine.Directive,
) {
	now, tries := d.record.Start, 0
	for range most {
		*d.steps++
		switch dir.Kind {
		case engine.Done:
			return
		case engine.Attempt:
			tries++
			dir, now = d.attempt(tries, dir, now, handle)
		case engine.Wait:
			if d.left() && tries == len(d.record.Attempts) && dir.Until > d.end() {
				now = d.end()
				dir = handle(engine.Event{Kind: engine.ClientGone}, now)
				continue
			}
			now = max(now, dir.Until)
			if d.eject != nil {
				d.eject(d.then(tries))
			}
			dir = handle(engine.Event{Kind: engine.Timer}, now)
		case engine.Collect:
			dir = handle(engine.Event{Kind: engine.Collected, Body: []byte{}}, now)
		case engine.Ask:
			dir = handle(d.answer(x), now)
		case engine.Forward:
			dir = handle(d.forwarded(), now)
		default: // Reply, Abort
			ev := engine.Event{Kind: engine.Sent}
			if d.left() {
				ev.Kind = engine.ClientGone
			}
			dir = handle(ev, now)
		}
	}
}

// left says whether the client went away before it had its answer.
func (d *decision) left() bool {
	return strings.Contains(d.record.Details, "downstream_remote_disconnect")
}

// then is when the attempt after n of them began: the end, where there was none.
func (d *decision) then(n int) clock.Instant {
	if n < len(d.record.Attempts) {
		return d.record.Attempts[n].Start
	}
	return d.end()
}

// end is when the exchange was over.
func (d *decision) end() clock.Instant { return d.record.Start.Add(d.record.Duration) }

// attempt has an upstream do what it did then, or answer 200 where nothing is known of it.
func (d *decision) attempt(
	n int, dir engine.Directive, now clock.Instant,
	handle func(engine.Event, clock.Instant) engine.Directive,
) (engine.Directive, clock.Instant) {
	r := d.record
	a := observe.Attempt{Status: 200}
	if n <= len(r.Attempts) {
		a = r.Attempts[n-1]
	}
	ev, connected := happened(&a, r)
	if ev.Kind == engine.ClientGone && n < len(r.Attempts) {
		ev = engine.Event{Kind: engine.Reset}
	}
	if connected {
		dir = handle(engine.Event{Kind: engine.Connected}, now)
		if dir.Kind != engine.Attempt {
			return dir, now
		}
	}
	now = now.Add(max(0, a.Duration))
	if ev.Kind == engine.Timeout && dir.Deadline != clock.Never {
		now = max(now, dir.Deadline)
	}
	return handle(ev, now), now
}

// happened is what became of an attempt, and whether it was connected before.
func happened(a *observe.Attempt, r *observe.Request) (ev engine.Event, connected bool) {
	reason := r.UpstreamFailure
	flags := strings.Split(a.Flags, ",")
	has := func(f string) bool { return slices.Contains(flags, f) }
	switch {
	case has("UF") && strings.Contains(r.Details, "connection_timeout"):
		return engine.Event{Kind: engine.ConnectTimeout, Reason: reason}, false
	case has("UF"):
		return engine.Event{Kind: engine.ConnectFail, Reason: reason}, false
	case has("UO"):
		return engine.Event{Kind: engine.Overflow, Pending: a.Upstream == ""}, false
	case has("UT"), has("UMSDR"):
		return engine.Event{Kind: engine.Timeout}, true
	case has("DC"):
		return engine.Event{Kind: engine.ClientGone}, true
	case a.Status != 0:
		return engine.Event{Kind: engine.ResponseHead, Head: answered(a)}, true
	case has("UR"):
		return engine.Event{Kind: engine.Reset, Stream: true, HeadSent: true}, true
	case has("UPE"):
		return engine.Event{Kind: engine.Reset, Protocol: true, HeadSent: true}, true
	case has("LR"):
		return engine.Event{Kind: engine.Reset, Local: true, HeadSent: true}, true
	case has("UC"):
		return engine.Event{Kind: engine.Reset, HeadSent: true, Reason: reason}, true
	}
	return engine.Event{Kind: engine.ClientGone}, true
}

func answered(a *observe.Attempt) *wire.Head {
	h := answerHead(a.Status)
	if a.GRPC != "" {
		h.Add("grpc-status", a.GRPC)
	}
	return h
}

func answerHead(status int) *wire.Head {
	h := &wire.Head{Minor: 1, Status: status, ContentLength: -1}
	h.Add("content-type", "text/plain")
	return h
}

// forwarded is what became of a response on its way downstream.
func (d *decision) forwarded() engine.Event {
	details := d.record.Details
	switch {
	case strings.HasPrefix(details, "upstream_reset_after_response_started{protocol_error"):
		return engine.Event{Kind: engine.Reset, Protocol: true}
	case strings.HasPrefix(details, "upstream_reset_after_response_started"):
		return engine.Event{Kind: engine.Reset, HeadSent: true}
	case d.left():
		return engine.Event{Kind: engine.ClientGone}
	}
	return engine.Event{Kind: engine.Sent}
}

// answer is what the authorizer said, by what became of it.
func (d *decision) answer(x *engine.Exchange) engine.Event {
	r := d.record
	grpc := strings.HasPrefix(string(x.Call().Head.Target), "/envoy.service.auth")
	code, http := int32(0), 200
	switch {
	case strings.Contains(r.Details, "ext_authz_error"):
		return engine.Event{Kind: engine.Reset}
	case strings.Contains(r.Details, "ext_authz_denied"), strings.Contains(r.Flags, "UAEX"):
		code, http = 7, cmp.Or(r.Status, 403)
	}
	if !grpc {
		return engine.Event{Kind: engine.Answered, Head: answerHead(http), Body: []byte{}}
	}
	// Marshalling a message of numbers can not fail.
	body, _ := proto.Marshal(&authv3.CheckResponse{Status: &status.Status{Code: code}})
	h := answerHead(200)
	h.Set("content-type", "application/grpc")
	trailers := &wire.Head{}
	trailers.Add("grpc-status", "0")
	framed := binary.BigEndian.AppendUint32(make([]byte, 1, 5+len(body)), uint32(len(body)))
	return engine.Event{Kind: engine.Answered, Head: h, Body: append(framed, body...),
		Trailers: trailers}
}

// tcp decides a connection without HTTP.
func (d *decision) tcp(x *engine.Exchange, c *engine.Chain) {
	now := d.record.Start
	dir := d.e.StartTCP(x, c, &d.ci, now, d.rnd)
	if c.Guarded() {
		adm := x.Admit(now)
		for i := 0; adm.Ask && i < most; i++ {
			adm = x.Admitted(d.answer(x), now)
		}
		if adm.Denied {
			x.HandleTCP(engine.Event{Kind: engine.Sent}, now)
			return
		}
	}
	tries := 0
	for range most {
		*d.steps++
		ev := engine.Event{Kind: engine.Sent}
		switch dir.Kind {
		case engine.Done:
			return
		case engine.Attempt:
			tries++
			ev = engine.Event{Kind: engine.Connected}
			if tries <= len(d.record.Attempts) {
				a := &d.record.Attempts[tries-1]
				if was, connected := happened(a, d.record); !connected {
					ev = was
				}
			}
		case engine.Forward:
			if strings.Contains(d.record.Flags, "UR") {
				ev = engine.Event{Kind: engine.Reset}
			}
		}
		dir = x.HandleTCP(ev, now)
	}
}

// protocols are the lists of application protocols that a connection may have brought: records do
// not tell.
func protocols(r *observe.Request) [][]string {
	plain := [][]string{{"http/1.1"}, {"h2c"}, nil}
	switch {
	case r.Protocol == "HTTP/1.0":
		plain[0] = []string{"http/1.0"}
	case r.Protocol == "HTTP/2":
		plain[0], plain[1] = plain[1], plain[0]
	case r.Protocol == "TCP":
		plain = [][]string{nil, {"http/1.1"}}
	}
	if r.TLS == "" && r.SNI == "" {
		return plain
	}
	mesh := [][]string{{"istio-http/1.1", "istio"}, {"istio-peer-exchange", "istio"}, {"istio"},
		{"istio-h2", "istio"}, {"http/1.1"}, {"h2", "http/1.1"}, nil}
	if r.Protocol == "TCP" {
		return append(mesh[1:], mesh[0])
	}
	return mesh
}

// chained picks the protocols that lead to the filter chain of the record.
func chained(e *engine.Engine, r *observe.Request) []string {
	lists := protocols(r)
	for _, list := range lists {
		d := &decision{e: e, record: r}
		d.connection(list)
		if l := d.listener(); l != nil {
			if c := l.Chain(&d.ci); c != nil && c.Name == r.Chain &&
				(c.HTTP != nil) == (r.Protocol != "TCP") {
				return list
			}
		}
	}
	return lists[0]
}

// search bounds how many draws are tried, turns how often one that is known: what it does not
// settle is where a rotation stood. steps bounds the directives of all of them together: of one
// that is tried again and again each decision has many.
const (
	search = 3000
	turns  = 80
	steps  = 20_000
)

// again decides a record again. A draw that was recorded is taken; otherwise it looks for one that
// leads to what was recorded. guessed says that it is such a one.
func (w *World) again(e *engine.Engine, r *observe.Request) (t *trace.Trace, guessed bool) {
	alpn := chained(e, r)
	var best *trace.Trace
	least := 1 << 30
	try := func(rnd uint64) bool {
		w.retried = 0
		t := decide(w, e, r, alpn, rnd)
		if t == nil {
			return false
		}
		n := 0
		for _, x := range differences(&t.Record, r) {
			n += x.weight
		}
		if n < least {
			best, least = t, n
		}
		return n == 0
	}
	if r.Draw != 0 {
		for range turns {
			if try(r.Draw) || w.steps > steps {
				return best, false
			}
			if best != nil && !drawn(best) {
				return best, false
			}
		}
		if r.Exact == nil {
			return best, false
		}
	}
	for i := range uint64(search) {
		if try(clock.Mix(i+1)) || best == nil || !drawn(best) || w.steps > steps {
			break
		}
	}
	return best, best != nil && drawn(best)
}

// drawn says whether anything of a decision was left to chance, or to what happened before it.
func drawn(t *trace.Trace) bool {
	if t.Split != nil || len(t.Mirrors) > 0 {
		return true
	}
	for i := range t.Attempts {
		if c := t.Attempts[i].Choice; c != nil && len(c.Candidates) > 1 {
			return true
		}
	}
	return slices.ContainsFunc(t.Filters, func(f trace.Filter) bool {
		return strings.Contains(f.Did, "% of requests")
	}) || slices.ContainsFunc(t.Routes, func(r trace.Route) bool {
		return strings.Contains(r.Wants, "% of requests")
	})
}

// fullAt says for which retry, from 1, a record says that there was no room; 0: for none. An
// attempt that found its own cluster full says so itself.
func fullAt(r *observe.Request) int {
	overflows := func(flags string) bool {
		return slices.Contains(strings.Split(flags, ","), "UO")
	}
	n := len(r.Attempts)
	if n == 0 || !overflows(r.Flags) || overflows(r.Attempts[n-1].Flags) {
		return 0
	}
	return n
}
