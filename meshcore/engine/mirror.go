package engine

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// mirrorPolicy is a compiled RequestMirrorPolicy.
type mirrorPolicy struct {
	name     string
	cluster  *slot[Cluster]
	fraction fraction
	below    uint64 // enumerated draws that are copied
	keepHost bool   // disable_shadow_host_suffix_append
}

func (c *compiler) mirrors(list []*routev3.RouteAction_RequestMirrorPolicy) []mirrorPolicy {
	var out []mirrorPolicy
	for i, m := range list {
		p := mirrorPolicy{name: m.GetCluster(), cluster: c.e.clusterSlot(m.GetCluster()),
			fraction: fraction{100, 100}, below: exact.MirrorLimit(list, i),
			keepHost: m.GetDisableShadowHostSuffixAppend()}
		if m.GetCluster() == "" {
			leave := c.at("request_mirror_policies", i)
			c.fail("cluster", "value is required")
			leave()
		}
		if f := m.GetRuntimeFraction(); f != nil {
			p.fraction = runtimeFraction(f)
		}
		out = append(out, p)
	}
	return out
}

// Mirror is one copy of a request. Nobody waits for its answer.
type Mirror struct {
	Endpoint *Endpoint
	Head     *wire.Head
	TLS      transport.Options
	Deadline clock.Instant // the route's time-out holds for copies too
	rnd      uint64
	done     bool
}

// Mirrors returns the copies to send beside the first attempt; asked after an Attempt
// directive, it is empty for all later ones. The values and heads are the driver's to keep.
func (x *Exchange) Mirrors() []*Mirror {
	out := x.mirrors
	x.mirrors = nil
	return out
}

// chooseMirrors makes the copies.
func (x *Exchange) chooseMirrors(h *wire.Head, now clock.Instant) {
	list := x.route.action.mirrors
	for i := range list {
		p := &list[i]
		if !x.mirrored(i) {
			if x.tr != nil {
				x.traceMirror(p, nil, "not copied ("+p.fraction.text()+")")
			}
			continue
		}
		cl := p.cluster.Load()
		var ep *Endpoint
		if cl != nil {
			ep = x.chooseCopy(cl, draw(x.rnd, drawMirror, i))
		}
		if ep == nil { // nothing is sent, and no access log tells of it
			if x.tr != nil {
				x.traceMirror(p, nil, "not copied: the cluster has no host")
			}
			continue
		}
		if x.tr != nil {
			x.traceMirror(p, ep, "copied ("+p.fraction.text()+")")
		}
		w := ep.Workload()
		x.addMirror(observe.Attempt{Cluster: p.name, Start: now, Upstream: ep.host.Address,
			Pod: w.Pod, Version: w.Version})
		ep.host.Active.Add(1)
		m := &Mirror{Endpoint: ep, Head: x.shadow(h, p), Deadline: noDeadline,
			rnd: draw(x.rnd, drawMirror, i)}
		m.TLS = ep.TLSOptions(x.alpn, m.Head.Authority)
		if x.global > 0 {
			m.Deadline = now.Add(x.global)
		}
		x.mirrors = append(x.mirrors, m)
	}
}

// shadow copies the request head as Envoy's asynchronous client sends it: with the proxy's own
// address in x-forwarded-for and as an internal request (async_client_impl.cc; measured with
// 1.40).
func (x *Exchange) shadow(h *wire.Head, p *mirrorPolicy) *wire.Head {
	out := &wire.Head{ContentLength: h.ContentLength, Minor: 1, Chunked: h.Chunked,
		NoBody: h.NoBody}
	out.Method, out.Target = out.Bytes(string(h.Method)), out.Bytes(string(h.Target))
	authority := string(h.Authority)
	if !p.keepHost {
		bare, port, ok := strings.Cut(authority, ":")
		authority = bare + "-shadow"
		if ok {
			authority += ":" + port
		}
	}
	out.Authority, out.Scheme = out.Bytes(authority), out.Bytes(string(h.Scheme))
	for i := range h.Fields {
		out.Add(string(h.Fields[i].Name), string(h.Fields[i].Value))
	}
	appendHeader(out, "x-forwarded-for", []byte(x.e.ip(x.ci).String()), requestInline)
	out.Set("x-envoy-internal", "true")
	return out
}

// Done reports how a copy ended: ResponseHead (with the head), ConnectFail, Reset, ... (so that
// outlier detection and the active count know).
func (m *Mirror) Done(ev Event, now clock.Instant) {
	if m.done {
		return
	}
	m.done = true
	ep := m.Endpoint
	ep.host.Active.Add(-1)
	switch ev.Kind {
	case ResponseHead:
		ep.code(ev.Head.Status, now, m.rnd)
	case Timeout:
		ep.result(outlier.LocalOriginTimeout, 504, now, m.rnd)
	case ConnectFail, ConnectTimeout, Reset:
		ep.result(outlier.LocalOriginConnectFailed, 0, now, m.rnd)
	}
}
