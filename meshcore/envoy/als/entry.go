package als

import (
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// tag is what an entry's tag tells.
type tag [tagRest + 1]string

// tagOf splits an entry's tag; it is false for entries that Instrument did not ask for.
func tagOf(c *datav3.AccessLogCommon) (t tag, ok bool) {
	text, ok := c.GetCustomTags()[namespace]
	if !ok {
		return t, false
	}
	for i := range tagRest {
		if t[i], text, ok = strings.Cut(text, "\n"); !ok {
			return t, false
		}
	}
	t[tagRest] = text
	return t, true
}

// connection is the number of the downstream connection; 0: there is none.
func (t *tag) connection() uint64 {
	n, err := strconv.ParseUint(t[tagConnection], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// text is a value that Envoy writes as "-" when there is none.
func (t *tag) text(i int) string {
	if t[i] == "-" {
		return ""
	}
	return t[i]
}

// flags are Envoy's short names, in Envoy's order.
func (t *tag) flags() string { return t.text(tagFlags) }

// name returns a string that comes again and again.
func (n *node) name(s string) string {
	if s == "" {
		return ""
	}
	k, ok := n.names[s]
	if !ok {
		k = strings.Clone(s)
		n.names[k] = k
	}
	return k
}

// try converts the entry of an attempt or of a copy.
func (n *node) try(e *datav3.HTTPAccessLogEntry) (t try, connection uint64, ok bool) {
	c := e.GetCommonProperties()
	tag, ok := tagOf(c)
	if !ok {
		return t, 0, false
	}
	start := n.start(c)
	t = try{id: e.GetRequest().GetRequestId(), path: e.GetRequest().GetPath(), head: start}
	if d := c.GetTimeToFirstUpstreamRxByte(); d != nil {
		t.head = start.Add(d.AsDuration())
	}
	t.Attempt = observe.Attempt{
		Cluster: n.name(tag[tagCluster]), Upstream: n.address(c.GetUpstreamRemoteAddress()),
		Status: int(e.GetResponse().GetResponseCode().GetValue()), Flags: n.name(tag.flags()),
		GRPC:  n.name(e.GetResponse().GetResponseHeaders()[grpcStatus]),
		Start: start, Duration: c.GetDuration().AsDuration(),
	}
	w := n.workload(tag[tagWorkload], c.GetUpstreamRemoteAddress())
	t.Pod, t.Version = w.Pod, w.Version
	return t, tag.connection(), true
}

// exchange converts the entry of a request into x, which may hold what was.
func (n *node) exchange(x *exchange, e *datav3.HTTPAccessLogEntry) bool {
	c, req, res := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	tag, ok := tagOf(c)
	if !ok {
		return false
	}
	attempts, mirrors := x.record.Attempts[:0], x.record.Mirrors[:0]
	*x = exchange{connection: tag.connection(), id: req.GetRequestId(), path: req.GetPath(),
		attempts: int(c.GetUpstreamRequestAttemptCount())}
	r := &x.record
	n.common(r, c, &tag)
	r.Attempts, r.Mirrors = attempts, mirrors
	r.Protocol = protocol(e.GetProtocolVersion())
	r.ID, r.Method = x.id, n.name(tag[tagMethod])
	r.Path, r.Authority = req.GetPath(), req.GetAuthority()
	r.UserAgent = n.name(req.GetUserAgent())
	n.noted(r, tag[tagRest], req.GetRequestHeaders())
	r.Status = int(res.GetResponseCode().GetValue())
	r.Details = n.name(res.GetResponseCodeDetails())
	r.Policy = n.name(policy(r.Details))
	r.BytesReceived = int64(req.GetRequestBodyBytes())
	r.BytesSent = int64(res.GetResponseBodyBytes())
	r.Exact = exact.Keys(c.GetMetadata())
	if has(r.Flags, "UH") { // the last attempt found no host
		x.attempts--
	}
	if x.attempts > 0 {
		number, unsure := strings.CutSuffix(tag[tagMirrors], perhaps)
		x.mirrors, _ = strconv.Atoi(number)
		x.sure = !unsure
	}
	return true
}

// common fills in what entries of requests and connections have in common.
func (n *node) common(r *observe.Request, c *datav3.AccessLogCommon, t *tag) {
	r.Start, r.Duration = n.start(c), c.GetDuration().AsDuration()
	r.Reporter = observe.Destination
	if t[tagReporter] == string(observe.Source) {
		r.Reporter = observe.Source
	}
	r.Proxy, r.Workload = n.proxy.Name, n.proxy.Workload.Workload
	r.Version, r.Namespace = n.proxy.Workload.Version, n.proxy.Workload.Namespace
	r.Listener, r.Chain = n.name(t[tagListener]), n.name(t[tagChain])
	r.Route, r.Config = n.name(c.GetRouteName()), n.name(t[tagConfig])
	r.Cluster, r.Flags = n.name(t[tagCluster]), n.name(t.flags())
	r.Local = n.address(c.GetDownstreamLocalAddress())
	r.Remote = n.remote(c.GetDownstreamRemoteAddress())
	if up := c.GetUpstreamRemoteAddress(); up != nil {
		r.Upstream = n.address(up)
		r.Dest = n.workload(t[tagWorkload], up)
	}
	n.security(r, c, t)
}

// noted takes what the first filter noted of the request, before others changed it; logged are
// headers as they were in the end.
func (n *node) noted(r *observe.Request, text string, logged map[string]string) {
	if text == "" { // the request did not come so far
		return
	}
	r.ID, text, _ = strings.Cut(text, "\n")
	r.Path, text, _ = strings.Cut(text, "\n")
	r.Authority, text, _ = strings.Cut(text, "\n")
	agent, text, _ := strings.Cut(text, "\n")
	r.UserAgent = n.name(agent)
	for _, h := range n.opt.KeepHeaders {
		var v string
		v, text, _ = strings.Cut(text, "\n")
		if last, there := logged[h]; v != "" || there && last == "" {
			if r.Headers == nil {
				r.Headers = map[string]string{}
			}
			r.Headers[h] = v
		}
	}
}

// finish fills in what the attempts tell.
func (x *exchange) finish() {
	r := &x.record
	if len(r.Attempts) == 0 {
		r.Attempts = nil
	}
	if len(r.Mirrors) == 0 {
		r.Mirrors = nil
	}
	if last := len(r.Attempts) - 1; last >= 0 {
		a := &r.Attempts[last]
		answered := a.Status != 0 && a.Status == r.Status && !has(r.Flags, "UH")
		if answered {
			r.UpstreamTime = x.head.Sub(a.Start)
		}
		// Why an attempt was given up, Envoy notes on the request (router.cc onResponseTimeout,
		// conn_manager_impl.cc onEvent).
		for _, f := range []string{"DC", "UT", "SI", "UMSDR"} {
			if a.Flags == "" && (answered || a.Status == 0) && has(r.Flags, f) {
				a.Flags = f
			}
		}
	}
	if has(r.Flags, "DI") {
		if r.FaultDelay = r.Duration; len(r.Attempts) > 0 {
			r.FaultDelay = r.Attempts[0].Start.Sub(r.Start)
		}
	}
}

// has says whether a flag is one of those.
func has(flags, flag string) bool {
	for f := range strings.SplitSeq(flags, ",") {
		if f == flag {
			return true
		}
	}
	return false
}

func protocol(v datav3.HTTPAccessLogEntry_HTTPVersion) string {
	switch v {
	case datav3.HTTPAccessLogEntry_HTTP10:
		return "HTTP/1.0"
	case datav3.HTTPAccessLogEntry_HTTP11:
		return "HTTP/1.1"
	case datav3.HTTPAccessLogEntry_HTTP2:
		return "HTTP/2"
	case datav3.HTTPAccessLogEntry_HTTP3:
		return "HTTP/3"
	}
	return ""
}

func (n *node) start(c *datav3.AccessLogCommon) clock.Instant {
	return n.opt.Clock.Instant(c.GetStartTime().AsTime())
}

// place returns the logical address; it is invalid for what is no IP address.
func (n *node) place(a *corev3.Address) netip.AddrPort {
	s := a.GetSocketAddress()
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}
	}
	return n.logical(netip.AddrPortFrom(ip, uint16(s.GetPortValue())))
}

func (n *node) logical(at netip.AddrPort) netip.AddrPort {
	if n.opt.Place != nil {
		return n.opt.Place(at)
	}
	return at
}

// address returns a logical address that comes again.
func (n *node) address(a *corev3.Address) string {
	at := n.place(a)
	if !at.IsValid() {
		return ""
	}
	var buf [64]byte
	text := at.AppendTo(buf[:0])
	if k, ok := n.names[string(text)]; ok {
		return k
	}
	return n.name(string(text))
}

// remote returns the address of a client, whose port is another one each time.
func (n *node) remote(a *corev3.Address) string {
	if at := n.place(a); at.IsValid() {
		return at.String()
	}
	return ""
}

// workload says whose pod an upstream host is. The metadata is istiod's:
// "name;namespace;app;version;cluster".
func (n *node) workload(meta string, at *corev3.Address) observe.Workload {
	part := strings.SplitN(n.name(meta), ";", 5)
	if len(part) >= 4 {
		return observe.Workload{Pod: part[0], Workload: part[0], Namespace: part[1],
			Service: part[2], Version: part[3]}
	}
	if n.opt.Workload == nil || at == nil {
		return observe.Workload{}
	}
	return n.opt.Workload(n.place(at))
}
