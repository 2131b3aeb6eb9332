package engine

import (
	"cmp"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/rbac"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// rbacFilter is a compiled RBAC filter, of requests or of connections. Without rules everything
// is allowed.
type rbacFilter struct {
	rules, shadow             *rbac.Rules
	rulesPrefix, shadowPrefix string
	delay                     time.Duration // delay_deny
}

// policyCompiler lets package rbac compile into the engine's resource.
type policyCompiler struct{ c *compiler }

// In is compiler.in.
func (p policyCompiler) In(field string) func() { return p.c.in(field) }

// Fail is compiler.fail.
func (p policyCompiler) Fail(field, reason string) { p.c.fail(field, "%s", reason) }

// String is compiler.stringMatch.
func (p policyCompiler) String(field string, m *matcherv3.StringMatcher) match.String {
	return p.c.stringMatch(field, m)
}

// Duration is compiler.duration.
func (p policyCompiler) Duration(field string, d *durationpb.Duration) time.Duration {
	return p.c.duration(field, d)
}

// Header is compiler.header.
func (p policyCompiler) Header(field string, m *routev3.HeaderMatcher) match.Header {
	return p.c.header(field, m)
}

// Metadata is compiler.metadataMatch.
func (p policyCompiler) Metadata(m *matcherv3.MetadataMatcher) match.Metadata {
	return p.c.metadataMatch(m)
}

func (c *compiler) rbacRules(field string, m *rbacv3.RBAC, o rbac.Options) *rbac.Rules {
	if m == nil {
		return nil
	}
	defer c.in(field)()
	return rbac.Compile(policyCompiler{c}, m, o)
}

func (c *compiler) rbac(m *httprbacv3.RBAC) *rbacFilter {
	return &rbacFilter{
		rulesPrefix: m.GetRulesStatPrefix(), shadowPrefix: m.GetShadowRulesStatPrefix(),
		rules: c.rbacRules("rules", m.GetRules(), rbac.Options{Prefix: m.GetRulesStatPrefix()}),
		shadow: c.rbacRules("shadow_rules", m.GetShadowRules(),
			rbac.Options{Prefix: m.GetShadowRulesStatPrefix(), Shadow: true}),
	}
}

func (c *compiler) networkRBAC(m *networkrbacv3.RBAC) *rbacFilter {
	return &rbacFilter{
		shadowPrefix: m.GetShadowRulesStatPrefix(),
		rules:        c.rbacRules("rules", m.GetRules(), rbac.Options{Connection: true}),
		shadow: c.rbacRules("shadow_rules", m.GetShadowRules(), rbac.Options{
			Prefix: m.GetShadowRulesStatPrefix(), Shadow: true, Connection: true}),
		delay: c.duration("delay_deny", m.GetDelayDeny()).Truncate(time.Millisecond),
	}
}

// noHead is that of a connection.
var noHead = &wire.Head{}

// policyInput is what policies know of the exchange.
func (x *Exchange) policyInput() *rbac.Input {
	in, ci := &x.input, x.ci
	*in = rbac.Input{Head: x.head, Connection: ci.Remote, Direct: ci.Direct, Remote: x.remote,
		Local: ci.Local, SNI: ci.SNI, TLS: ci.TLS, Dynamic: &x.dynamic}
	if in.Head == nil {
		in.Head = noHead
	}
	if in.SNI == "" && ci.TLS != nil {
		in.SNI = ci.TLS.SNI
	}
	if x.route != nil {
		in.Route = (*staticMetadata)(x.route.metadata)
	}
	return in
}

// rbac runs an RBAC filter (source/extensions/filters/http/rbac/rbac_filter.cc decodeHeaders).
func (x *Exchange) rbac(filter *httpFilter) (d Directive, done bool) {
	f := filter.rbac
	if own := mostSpecific(x, filter.name,
		func(p *perFilter) map[string]*rbacFilter { return p.rbac }); own != nil {
		f = own
	}
	if f.rules == nil && f.shadow == nil || x.passed(filter.name) {
		return d, false
	}
	in := x.policyInput()
	if f.shadow != nil {
		o := f.shadow.Decide(in)
		if x.tr != nil {
			x.tracePolicy(o, cmp.Or(f.shadowPrefix, filter.rbac.shadowPrefix), true)
		}
		x.shadowed(o, cmp.Or(f.shadowPrefix, filter.rbac.shadowPrefix))
		x.tell(o, f.shadowPrefix, filter.rbac.shadowPrefix)
	}
	if f.rules == nil {
		return d, false
	}
	o := f.rules.Decide(in)
	x.tell(o, f.rulesPrefix, filter.rbac.rulesPrefix)
	if x.tr != nil {
		x.tracePolicy(o, "", false)
	}
	if o.Allowed {
		return d, false
	}
	x.Record.Policy = o.Name()
	return x.reply(localReply{status: 403, body: rbac.Body, details: o.Details, grpc: -1}), true
}

// tell puts a decision into dynamic metadata. Rules of a route that have no stat prefix of their
// own take that of the filter's.
func (x *Exchange) tell(o *rbac.Outcome, own, filter string) {
	if o.Hint != nil {
		x.dynamic.set(rbac.LogNamespace, o.Hint)
	}
	result := o.Result
	if own == "" && filter != "" {
		result = o.Prefixed(filter)
	}
	x.dynamic.set(rbac.HTTPNamespace, result)
}

// authorizerPrefix marks the shadow rules by which istiod asks whether an external authorizer is to
// be asked; they are no dry run.
const authorizerPrefix = "istio_ext_authz_"

// shadowed notes what a policy in dry run would have done; a refusal is not forgotten for what
// another one allows.
func (x *Exchange) shadowed(o *rbac.Outcome, prefix string) {
	if prefix == authorizerPrefix || x.Record.Shadow != "" && o.Allowed {
		return
	}
	x.Record.Shadow = o.Verdict
}

// mostSpecific returns the filter's settings of the weighted cluster, else of the route, else of
// the virtual host.
func mostSpecific[T any](x *Exchange, name string, of func(*perFilter) map[string]*T) *T {
	if x.route == nil {
		return nil
	}
	var own *T
	if x.target != nil {
		own = of(&x.target.filters)[name]
	}
	return cmp.Or(own, of(&x.route.filters)[name], of(&x.route.vhost.filters)[name])
}

// admits has a network filter judge a connection. Nothing that it looks at changes while the
// connection lasts, so that CONTINUOUS is ONE_TIME_ON_FIRST_BYTE.
func (f *rbacFilter) admits(x *Exchange) bool {
	in := x.policyInput()
	if f.shadow != nil {
		o := f.shadow.Decide(in)
		if x.tr != nil {
			x.tracePolicy(o, f.shadowPrefix, true)
		}
		x.shadowed(o, f.shadowPrefix)
		x.dynamic.set(rbac.NetworkNamespace, o.Result)
	}
	if f.rules == nil {
		return true
	}
	o := f.rules.Decide(in)
	if x.tr != nil {
		x.tracePolicy(o, "", false)
	}
	if o.Hint != nil {
		x.dynamic.set(rbac.LogNamespace, o.Hint)
	}
	if !o.Allowed {
		x.Record.Policy, x.termination = o.Name(), o.Details
	}
	return o.Allowed
}
