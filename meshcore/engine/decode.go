package engine

import (
	"bytes"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// decode is the connection manager's way of a request head (conn_manager_impl.cc decodeHeaders,
// conn_manager_utility.cc mutateRequestHeaders), up to the filters.
func (x *Exchange) decode(now clock.Instant) Directive {
	h := x.head
	joinLines(h, requestInline)
	if h.Authority == nil {
		x.note()
		return x.refuse(400, "missing_host_header")
	}
	if len(h.Target) == 0 && string(h.Method) != "CONNECT" {
		return x.reject(404, "missing_path_rejected")
	}
	if len(h.Target) > 0 && h.Target[0] != '/' && string(h.Method) != "CONNECT" {
		x.note()
		return x.reject(404, "absolute_path_rejected")
	}
	if string(h.Method) != "CONNECT" {
		if d, done := x.normalize(h); done {
			return d
		}
	}
	x.stripPort(h)
	rc := x.hcm.routes.Load()
	x.sanitize(h, rc)
	x.note()
	if rc != nil && string(h.Method) != "CONNECT" {
		x.route = rc.find(x, h)
	}
	if d, done := x.requireTLS(h); done {
		return d
	}
	if x.route != nil {
		x.destined(h, x.route)
	}
	x.startDuration()
	// Without a route it is the router that refuses (conn_manager_impl.cc decodeHeaders looks for
	// one before it says upgrade_failed).
	if h.Upgrade != nil && x.route != nil && !x.mayUpgrade(h) {
		return x.reject(403, "upgrade_failed") // before traceRequest
	}
	x.decorate(h)
	return x.filters(now)
}

func (x *Exchange) reject(status int, details string) Directive {
	return x.reply(localReply{status: status, details: details, grpc: -1})
}

// refuse is reject before the request counts as received to its end, whatever its framing: Envoy
// closes the connection then (conn_manager_impl.cc, decodeHeaders before maybeEndDecode).
func (x *Exchange) refuse(status int, details string) Directive {
	d := x.reject(status, details)
	x.replyHead.Close = true
	return d
}

// destined notes the route of a request and draws its cluster.
func (x *Exchange) destined(h *wire.Head, r *route) {
	x.Record.Route, x.Record.Config = r.name, r.config
	if a := r.action; a != nil {
		n, by := a.drawn(h, x.rnd)
		if x.target = a.at(n); x.tr != nil {
			x.traceSplit(a, n, by)
		}
		if x.target.cluster.Load() != nil {
			x.Record.Cluster = x.target.name
		}
	}
}

// refusePath refuses a path that has no normal form. The reply asks for a route all the same, and
// there is one where a client has said x-forwarded-proto: the proxy has not yet (source/common/
// router/config_impl.cc VirtualHostImpl::getRouteFromEntries).
func (x *Exchange) refusePath() Directive {
	x.note()
	rc := x.hcm.routes.Load()
	if proto, _ := x.head.Get("x-forwarded-proto"); rc != nil && len(proto) > 0 {
		if x.route = rc.find(x, x.head); x.route != nil {
			x.destined(x.head, x.route)
		}
	}
	return x.refuse(400, "path_normalization_failed")
}

// normalize brings the path into its normal form (maybeNormalizePath).
func (x *Exchange) normalize(h *wire.Head) (d Directive, done bool) {
	if len(h.Target) == 0 { // CONNECT
		return d, false
	}
	if bytes.IndexByte(h.Target, '#') >= 0 {
		return x.refusePath(), true
	}
	end := bytes.IndexByte(h.Target, '?')
	if end < 0 {
		end = len(h.Target)
	}
	path, query := h.Target[:end], h.Target[end:]
	redirect := false
	if x.hcm.escaped != keepSlashes && bytes.IndexByte(path, '%') >= 0 {
		plain, found := match.UnescapeSlashes(nil, path)
		if found {
			if x.hcm.escaped == rejectSlashes {
				return x.refusePath(), true
			}
			path, redirect = plain, x.hcm.escaped == redirectSlashes
		}
	}
	if x.hcm.normalize && !match.Clean(path) {
		var ok bool
		if x.pathBuf, ok = match.Normalize(x.pathBuf[:0], path); !ok {
			return x.refusePath(), true
		}
		path = x.pathBuf
	}
	if x.hcm.merge && bytes.Contains(path, []byte("//")) {
		path = match.MergeSlashes(nil, path)
	}
	if len(path) != end || len(path) > 0 && &path[0] != &h.Target[0] {
		x.buf = append(append(x.buf[:0], path...), query...)
		h.Target = h.Bytes(view(x.buf))
		if x.tr != nil {
			x.tr.Path = string(path)
		}
	}
	if redirect {
		x.note()
		head := x.beginReply(307, "path_normalization_failed")
		put(head, "location", h.Target)
		x.finishReply(nil)
		return Directive{Kind: Reply, Deadline: noDeadline}, true
	}
	return d, false
}

// stripPort is maybeNormalizeHost.
func (x *Exchange) stripPort(h *wire.Head) {
	if !x.hcm.stripAnyPort && !x.hcm.stripPort {
		return
	}
	bare := match.WithoutPort(h.Authority)
	if len(bare) == len(h.Authority) {
		return
	}
	if !x.hcm.stripAnyPort {
		n, ok := unsigned(h.Authority[len(bare)+1:])
		if !ok || n != uint64(x.ci.Local.Port()) {
			return
		}
	}
	h.Authority = bare
}

// Envoy's own request headers, by what is done to them on arrival. No request is internal, since
// internal_address_config is empty by default in 1.40 (explicit_internal_address_config) and is
// refused otherwise; so what only internal requests may bring is always removed. (Measured.)
func foreign(name []byte, edge bool) bool {
	switch string(name) {
	case "x-envoy-internal", "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names",
		"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries",
		"x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms",
		"x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags",
		"x-envoy-original-url", "x-envoy-hedge-on-per-try-timeout",
		"x-envoy-upstream-stream-duration-ms":
		return true
	case "x-envoy-decorator-operation", "x-envoy-downstream-service-cluster",
		"x-envoy-downstream-service-node", "x-envoy-original-path", "x-envoy-original-host":
		return edge
	}
	return false
}

// sanitize is mutateRequestHeaders.
func (x *Exchange) sanitize(h *wire.Head, rc *routeConfig) {
	edge := x.hcm.remote
	xff, proto, id, xfcc := -1, -1, -1, -1
	drop := false
	for i := range h.Fields {
		f := &h.Fields[i]
		if len(f.Name) == 0 {
			continue
		}
		switch f.Name[0] {
		case 'x':
			switch {
			case len(f.Name) > 8 && string(f.Name[:8]) == "x-envoy-":
				if foreign(f.Name, edge) {
					f.Name, drop = nil, true
				}
			case string(f.Name) == "x-forwarded-for":
				xff = i
			case string(f.Name) == "x-forwarded-proto":
				proto = i
			case string(f.Name) == "x-request-id":
				id = i
			case string(f.Name) == "x-forwarded-client-cert":
				xfcc = i
			}
		case 't':
			if string(f.Name) == "te" && string(f.Value) != "trailers" {
				if bytes.Contains(f.Value, bytesOf("trailers")) {
					f.Value = bytesOf("trailers")
				} else {
					f.Name, drop = nil, true
				}
			}
		}
	}
	x.remoteAddress(h, xff)
	x.forwardedProto(h, proto)
	if rc != nil {
		for _, n := range rc.internalOnly {
			h.Del(n)
		}
	}
	if x.hcm.via != "" {
		appendHeader(h, "via", bytesOf(x.hcm.via), requestInline)
	}
	if edge {
		x.buf = x.remote.Addr().AppendTo(x.buf[:0])
		set(h, "x-envoy-external-address", h.Bytes(view(x.buf)))
	}
	x.requestID(h, id, edge)
	if x.forwardClientCert(h, xfcc) {
		h.Fields[xfcc].Name, drop = nil, true
	}
	if drop {
		squeeze(h)
	}
}

// forwardedProto settles x-forwarded-proto and with it the scheme.
func (x *Exchange) forwardedProto(h *wire.Head, at int) {
	plain := bytesOf("http")
	if x.ci.TLS != nil {
		plain = bytesOf("https")
	}
	switch {
	case at < 0:
		put(h, "x-forwarded-proto", plain)
	case x.hcm.remote && x.hcm.trustedHops == 0:
		h.Fields[at].Value = plain
	default:
		plain = h.Fields[at].Value
	}
	if h.Scheme == nil {
		// Compared without case, and then in lower case (http/utility.cc Scheme; the header stays).
		if bytes.EqualFold(plain, bytesOf("https")) {
			h.Scheme = bytesOf("https")
		} else {
			h.Scheme = bytesOf("http")
		}
	}
}

// remoteAddress settles who the client is and x-forwarded-for.
func (x *Exchange) remoteAddress(h *wire.Head, at int) {
	var value []byte
	if at >= 0 {
		value = h.Fields[at].Value
	}
	if !x.hcm.remote {
		if ip, ok := lastXFF(value, x.hcm.trustedHops); ok {
			x.remote = netip.AddrPortFrom(ip, 0)
		}
		return
	}
	if n := x.hcm.trustedHops; n > 0 {
		if ip, ok := lastXFF(value, n-1); ok {
			x.remote = netip.AddrPortFrom(ip, 0)
		}
	}
	if x.hcm.skipXFF {
		return
	}
	own := x.ci.Remote.Addr()
	if own.IsLoopback() {
		own = x.e.ip(x.ci)
	}
	if !own.IsValid() {
		return // the client of a unix socket has none (http/utility.cc appendXff)
	}
	x.buf = x.buf[:0]
	if len(value) > 0 {
		x.buf = append(append(x.buf, value...), ',')
	}
	x.buf = own.AppendTo(x.buf)
	v := h.Bytes(view(x.buf))
	if at >= 0 {
		h.Fields[at].Value = v
	} else {
		put(h, "x-forwarded-for", v)
	}
}

// lastXFF returns the skip-th address from the end of x-forwarded-for (http/utility.cc
// getLastAddressFromXFF).
func lastXFF(v []byte, skip int) (netip.Addr, bool) {
	for ; skip > 0; skip-- {
		i := bytes.LastIndexByte(v, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		v = v[:i]
	}
	if i := bytes.LastIndexByte(v, ','); i >= 0 {
		v = v[i+1:]
	}
	v = bytes.TrimSpace(v)
	if len(v) == 0 {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(view(v))
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, false
	}
	return ip, true
}

// requestID makes x-request-id, always at the edge, elsewhere when there is none. A made id is a
// random UUID.
func (x *Exchange) requestID(h *wire.Head, at int, edge bool) {
	if !x.hcm.generateID || at >= 0 && (!edge || x.hcm.preserveID) {
		return
	}
	hi, lo := draw(x.rnd, drawRequestIDHigh, 0), draw(x.rnd, drawRequestIDLow, 0)
	var b [36]byte
	v := h.Bytes(view(appendUUID(b[:0], hi, lo)))
	if at >= 0 {
		h.Fields[at].Value = v
	} else {
		put(h, "x-request-id", v)
	}
}

// requireTLS is virtual_hosts.require_tls, which comes before all routes, and whose redirect is of
// none (source/common/router/config_impl.cc VirtualHostImpl::getRouteFromEntries).
func (x *Exchange) requireTLS(h *wire.Head) (d Directive, done bool) {
	if x.log.vhost == nil || x.log.vhost.requireTLS == 0 || string(h.Scheme) == "https" {
		return d, false
	}
	x.route, x.log.vhost = nil, nil
	head := x.beginReply(301, "direct_response")
	x.buf = append(append(append(x.buf[:0], "https://"...), h.Authority...), h.Target...)
	put(head, "location", head.Bytes(view(x.buf)))
	x.finishReply(nil)
	return Directive{Kind: Reply, Deadline: noDeadline}, true
}

// decorate passes the route's operation on, or takes the one that came (conn_manager_impl.cc
// traceRequest; it happens whether or not a span is sampled).
func (x *Exchange) decorate(h *wire.Head) {
	if !x.hcm.tracing {
		return
	}
	if !x.hcm.outbound {
		v, _ := h.Get("x-envoy-decorator-operation")
		x.tellOperation = len(v) == 0 && x.route != nil && x.route.operation != nil
		h.Del("x-envoy-decorator-operation")
		return
	}
	if x.route != nil && x.route.operation != nil {
		set(h, "x-envoy-decorator-operation", x.route.operation)
	}
}

// mayUpgrade says whether the route, else the connection manager, allows the protocol.
func (x *Exchange) mayUpgrade(h *wire.Head) bool {
	kind := bytes.ToLower(h.Upgrade) // it goes on in the letters that it came in
	if x.route != nil && x.route.action != nil {
		if on, ok := x.route.action.upgrades[string(kind)]; ok {
			return on
		}
	}
	return x.hcm.upgrades[string(kind)]
}

// filters runs the HTTP filters from where they stopped.
func (x *Exchange) filters(now clock.Instant) Directive {
	for x.next < len(x.hcm.filters) {
		f := &x.hcm.filters[x.next]
		x.next++
		if x.tr != nil {
			x.traceFilter(f.name)
		}
		var d Directive
		done := false
		switch f.kind {
		case filterFault:
			d, done = x.fault(f, now)
		case filterCors:
			d, done = x.cors(f)
		case filterJWT:
			d, done = x.jwtAuthn(f, now)
		case filterRBAC:
			d, done = x.rbac(f)
		case filterSetState:
			x.setState(f)
		case filterExtAuthz:
			d, done = x.extAuthz(f, now)
		case filterRouter:
			d, done = x.router(now), true
		}
		if done {
			if x.tr != nil && d.Kind == Reply && f.kind != filterRouter {
				x.traceStop()
			}
			return d
		}
	}
	panic("engine: a filter chain without router")
}

// appendUUID appends a random UUID of these bits.
func appendUUID(out []byte, hi, lo uint64) []byte {
	hi = hi&^0xf000 | 0x4000 // version 4
	lo = lo&^(3<<62) | 2<<62 // variant 1
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			out = append(out, '-')
		}
		half := hi
		if i >= 16 {
			half = lo
		}
		out = append(out, "0123456789abcdef"[half>>(60-4*(i&15))&15])
	}
	return out
}
