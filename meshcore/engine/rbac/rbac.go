// Package rbac decides, exactly as Envoy's RBAC filters do, whether a request or a connection is
// allowed. It compiles the policies of envoy.config.rbac.v3 into values that only compare; it reads
// no clock, keeps no state, and a decision allocates nothing.
//
//	RBAC (rules, shadow_rules) ──Compile──▶ Rules ──Decide(Input)──▶ Outcome
//
// Conditions in CEL and matcher trees are not carried out; whoever compiles refuses them.
package rbac

import (
	"net/netip"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// The names under which the filters tell what they decided (source/extensions/filters/common/rbac/
// engine.h).
const (
	HTTPNamespace    = "envoy.filters.http.rbac"
	NetworkNamespace = "envoy.filters.network.rbac"
	// LogNamespace holds access_log_hint, which the action LOG sets.
	LogNamespace = "envoy.common"
)

// Body is the answer to a request that is refused, with status 403.
const Body = "RBAC: access denied"

// Input is what a decision is about.
type Input struct {
	Head       *wire.Head       // of the request; empty for a connection
	Connection netip.AddrPort   // the client of the connection
	Direct     netip.AddrPort   // the peer of the socket
	Remote     netip.AddrPort   // the client, as x-forwarded-for may name it
	Local      netip.AddrPort   // original destination
	SNI        string           // requested server name
	TLS        *transport.State // nil on a plain connection
	Dynamic    match.Fields     // dynamic metadata
	Route      match.Fields     // metadata of the route; nil without route
}

// Outcome is a decision, made when the rules were compiled.
type Outcome struct {
	Allowed bool
	Policy  string // the policy that matched; empty when none did
	// Verdict is the decision in words: "denied POLICY", "allowed none".
	Verdict string
	// Details is what response_code_details and connection_termination_details say of a refusal.
	Details string
	// Result is what the decision adds to the filter's namespace of dynamic metadata.
	Result *structpb.Struct
	// Hint is what it adds to LogNamespace; nil unless the action is LOG.
	Hint *structpb.Struct

	shadow bool
}

// Name is the policy's name, "none" when none matched.
func (o *Outcome) Name() string {
	if o.Policy == "" {
		return "none"
	}
	return o.Policy
}

func (o *Outcome) word() string {
	if o.Allowed {
		return "allowed"
	}
	return "denied"
}

// Prefixed is the Result under another stat prefix.
func (o *Outcome) Prefixed(prefix string) *structpb.Struct {
	kind := "enforced"
	if o.shadow {
		kind = "shadow"
	}
	out := &structpb.Struct{Fields: map[string]*structpb.Value{
		prefix + kind + "_engine_result": structpb.NewStringValue(o.word())}}
	if o.Policy != "" {
		out.Fields[prefix+kind+"_effective_policy_id"] = structpb.NewStringValue(o.Policy)
	}
	return out
}

// Rules are compiled policies, in the order of their names.
type Rules struct {
	policies []policy
	none     Outcome
}

type policy struct {
	permissions, principals anyOf
	matched                 Outcome
}

// Options say what rules are for.
type Options struct {
	Prefix string // rules_stat_prefix, shadow_rules_stat_prefix
	Shadow bool
	// Connection: there is no request; rules about its headers are refused, as Envoy does
	// (source/extensions/filters/network/rbac/config.cc). Those about its path never hold.
	Connection bool
}

// Decide looks for the first policy that matches (source/extensions/filters/common/rbac/
// engine_impl.cc handleAction).
func (r *Rules) Decide(in *Input) *Outcome {
	for i := range r.policies {
		p := &r.policies[i]
		if p.permissions.match(in) && p.principals.match(in) {
			return &p.matched
		}
	}
	return &r.none
}

// outcome makes the decision of an action for one policy, none if the name is empty.
func (r *Rules) outcome(action rbacv3.RBAC_Action, name string, o Options) Outcome {
	matched := name != ""
	out := Outcome{Policy: name, shadow: o.Shadow}
	switch action {
	case rbacv3.RBAC_ALLOW:
		out.Allowed = matched
	case rbacv3.RBAC_DENY:
		out.Allowed = !matched
	default:
		out.Allowed = true
		if !o.Shadow {
			out.Hint = &structpb.Struct{Fields: map[string]*structpb.Value{
				"access_log_hint": structpb.NewBoolValue(matched)}}
		}
	}
	out.Verdict = out.word() + " " + out.Name()
	out.Details = "rbac_access_denied_matched_policy[" + Underscores(out.Name()) + "]"
	out.Result = out.Prefixed(o.Prefix)
	return out
}

// Underscores replaces blanks, so that the name is one word in a log
// (source/common/common/utility.cc replaceAllEmptySpace).
func Underscores(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\n\v\f\r", r) {
			return '_'
		}
		return r
	}, s)
}
