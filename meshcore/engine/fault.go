package engine

import (
	"slices"
	"sync/atomic"
	"time"

	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// perFilter holds the per-route settings of the filters (typed_per_filter_config), by filter name.
type perFilter struct {
	fault map[string]*fault
	cors  map[string]*corsPolicy
	rbac  map[string]*rbacFilter
	jwt   map[string]*jwtPerRoute
	authz map[string]*authzPerRoute
}

func (c *compiler) perFilter(m map[string]*anypb.Any) (out perFilter) {
	for name, a := range m {
		leave := c.in(`typed_per_filter_config["` + name + `"]`)
		f, p := &faultv3.HTTPFault{}, &corsv3.CorsPolicy{}
		r, e := &httprbacv3.RBACPerRoute{}, &extauthzv3.ExtAuthzPerRoute{}
		j := &jwtv3.PerRouteConfig{}
		switch {
		case c.any(a, j):
			if out.jwt == nil {
				out.jwt = map[string]*jwtPerRoute{}
			}
			out.jwt[name] = &jwtPerRoute{j.GetDisabled(), j.GetRequirementName()}
		case c.any(a, f):
			if out.fault == nil {
				out.fault = map[string]*fault{}
			}
			out.fault[name] = c.fault(f)
		case c.any(a, p):
			if out.cors == nil {
				out.cors = map[string]*corsPolicy{}
			}
			out.cors[name] = c.corsPolicy(p)
		case c.any(a, r):
			if out.rbac == nil {
				out.rbac = map[string]*rbacFilter{}
			}
			leaveRBAC := c.in("rbac")
			out.rbac[name] = c.rbac(r.GetRbac())
			leaveRBAC()
		case c.any(a, e):
			if out.authz == nil {
				out.authz = map[string]*authzPerRoute{}
			}
			out.authz[name] = c.authzPerRoute(e)
		default:
			c.notCarried("", a.GetTypeUrl())
		}
		leave()
	}
	return out
}

// fault is a compiled HTTPFault.
type fault struct {
	delay       time.Duration
	delayChance fraction
	abort       int // HTTP status; 0: none
	abortGRPC   int // gRPC status; -1: none
	abortChance fraction
	cluster     string
	nodes       []string
	headers     []match.Header
	limit       int64 // max_active_faults, -1: none
	active      atomic.Int64
}

func (c *compiler) fault(m *faultv3.HTTPFault) *fault {
	f := &fault{cluster: m.GetUpstreamCluster(), nodes: m.GetDownstreamNodes(), abortGRPC: -1,
		headers: c.headers("headers", m.GetHeaders()), limit: -1}
	if n := m.GetMaxActiveFaults(); n != nil {
		f.limit = int64(n.GetValue())
	}
	if d := m.GetDelay(); d != nil {
		fixed, ok := d.GetFaultDelaySecifier().(*commonfaultv3.FaultDelay_FixedDelay)
		if !ok {
			c.fail("delay", "fault_delay_secifier: value is required")
		} else if f.delay = c.duration("delay.fixed_delay", fixed.FixedDelay); f.delay <= 0 {
			c.fail("delay.fixed_delay", "value must be greater than 0s")
		}
		f.delay = f.delay.Truncate(time.Millisecond)
		f.delayChance = fractionOf(d.GetPercentage())
	}
	if a := m.GetAbort(); a != nil {
		switch e := a.GetErrorType().(type) {
		case *faultv3.FaultAbort_HttpStatus:
			if f.abort = int(e.HttpStatus); f.abort < 200 || f.abort >= 600 {
				c.fail("abort.http_status", "value must be inside range [200, 600)")
			}
		case *faultv3.FaultAbort_GrpcStatus:
			f.abortGRPC = int(e.GrpcStatus)
		default:
			c.fail("abort.error_type", "value is required")
		}
		f.abortChance = fractionOf(a.GetPercentage())
	}
	return f
}

// fault filter (extensions/filters/http/fault/fault_filter.cc).

// applies says whether the request is one that the fault is for.
func (f *fault) applies(x *Exchange, h *wire.Head) bool {
	if f.delay == 0 && f.abort == 0 && f.abortGRPC < 0 {
		return false
	}
	if f.limit >= 0 && f.active.Load() >= f.limit {
		return false
	}
	if f.cluster != "" && (x.target == nil || x.target.name != f.cluster) {
		return false
	}
	if len(f.nodes) > 0 {
		if v, ok := h.Get("x-envoy-downstream-service-node"); !ok ||
			!slices.Contains(f.nodes, string(v)) {
			return false
		}
	}
	for i := range f.headers {
		if !f.headers[i].Match(h) {
			return false
		}
	}
	return true
}

// fault runs the fault filter: a delay, then perhaps an abort; go on when done is false. Route
// time-outs start behind it, in the router, and so do not bound the delay.
func (x *Exchange) fault(filter *httpFilter, now clock.Instant) (d Directive, done bool) {
	x.enumerate()
	f := filter.fault
	if r := x.route; r != nil {
		own := r.filters.fault[filter.name]
		if o := r.vhost.filters.fault[filter.name]; own == nil {
			own = o
		}
		if x.target != nil {
			if o := x.target.filters.fault[filter.name]; o != nil {
				own = o
			}
		}
		if own != nil {
			f = own
		}
	}
	if !f.applies(x, x.head) {
		if x.tr != nil && (f.delay > 0 || f.abort > 0 || f.abortGRPC >= 0) {
			x.did("has a fault that is not for this request")
		}
		return d, false
	}
	x.delaying = f
	if f.delay > 0 && x.holds(f, f.delayChance, exact.Delay, drawDelay) {
		f.active.Add(1)
		x.flag("DI")
		x.state, x.until = stateDelay, now.Add(f.delay)
		x.Record.FaultDelay = f.delay
		if x.tr != nil {
			x.did("delays by %s (%s)", f.delay, f.delayChance.text())
		}
		return Directive{Kind: Wait, Until: x.until, Deadline: x.durationDeadline()}, true
	}
	if x.tr != nil && f.delay > 0 {
		x.did("does not delay (%s)", f.delayChance.text())
	}
	return x.abort(f)
}

// abort is the second half of the fault filter.
func (x *Exchange) abort(f *fault) (d Directive, done bool) {
	if f.abort == 0 && f.abortGRPC < 0 {
		return d, false
	}
	strikes := x.holds(f, f.abortChance, exact.Abort, drawAbort)
	if x.tr != nil {
		x.traceAbort(f, strikes)
	}
	if !strikes {
		return d, false
	}
	x.flag("FI")
	r := localReply{status: f.abort, body: "fault filter abort", details: "fault_filter_abort",
		grpc: -1}
	if f.abortGRPC >= 0 {
		r.status, r.grpc = 200, f.abortGRPC
	}
	return x.reply(r), true
}
