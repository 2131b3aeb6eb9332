package rbac

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	mtlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// Compiler is what compiling needs of whoever reads the resource: it notes what is wrong, by field
// path, and makes the matchers that other parts of a resource have, too.
type Compiler interface {
	In(field string) (leave func())
	Fail(field, reason string)
	String(field string, m *matcherv3.StringMatcher) match.String
	Header(field string, m *routev3.HeaderMatcher) match.Header
	Metadata(m *matcherv3.MetadataMatcher) match.Metadata
}

const notCarried = " is not carried out yet"

// Compile makes rules of their message.
func Compile(c Compiler, m *rbacv3.RBAC, o Options) *Rules {
	r := &Rules{}
	if o.Connection {
		c = connection{c}
	}
	r.none = r.outcome(m.GetAction(), "", o)
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		leave := c.In(fmt.Sprintf("policies[%q]", name))
		p := policy{matched: r.outcome(m.GetAction(), name, o)}
		for i, e := range m.GetPolicies()[name].GetPermissions() {
			p.permissions = append(p.permissions, in(c, "permissions", i, e, permission))
		}
		for i, e := range m.GetPolicies()[name].GetPrincipals() {
			p.principals = append(p.principals, in(c, "principals", i, e, principal))
		}
		r.policies = append(r.policies, p)
		leave()
	}
	return r
}

// connection refuses what is about requests.
type connection struct{ Compiler }

// Header refuses the matcher.
func (c connection) Header(field string, m *routev3.HeaderMatcher) match.Header {
	c.Fail(field, "Found header("+m.GetName()+") rule,not supported by RBAC network filter")
	return c.Compiler.Header(field, m)
}

// in compiles one element of a list.
func in[M any](c Compiler, field string, i int, m M, f func(Compiler, M) matcher) matcher {
	defer c.In(fmt.Sprintf("%s[%d]", field, i))()
	return f(c, m)
}

func all[M any](c Compiler, field string, list []M, f func(Compiler, M) matcher) []matcher {
	var out []matcher
	for i, m := range list {
		out = append(out, in(c, field, i, m, f))
	}
	return out
}

func permission(c Compiler, m *rbacv3.Permission) matcher {
	switch p := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return allOf(all(c, "and_rules.rules", p.AndRules.GetRules(), permission))
	case *rbacv3.Permission_OrRules:
		return anyOf(all(c, "or_rules.rules", p.OrRules.GetRules(), permission))
	case *rbacv3.Permission_NotRule:
		defer c.In("not_rule")()
		return not{permission(c, p.NotRule)}
	case *rbacv3.Permission_Any:
		return always{}
	case *rbacv3.Permission_Header:
		return &header{c.Header("header", p.Header)}
	case *rbacv3.Permission_UrlPath:
		return urlPath(c, p.UrlPath)
	case *rbacv3.Permission_DestinationIp:
		return inRange(c, "destination_ip", p.DestinationIp,
			func(in *Input) netip.AddrPort { return in.Local })
	case *rbacv3.Permission_DestinationPort:
		if p.DestinationPort > 65535 {
			return never{} // the proto's rule refuses it
		}
		return portRange{uint16(p.DestinationPort), uint16(p.DestinationPort)}
	case *rbacv3.Permission_DestinationPortRange:
		return ports(c, p.DestinationPortRange.GetStart(), p.DestinationPortRange.GetEnd())
	case *rbacv3.Permission_Metadata:
		defer c.In("metadata")()
		return &metadata{c.Metadata(p.Metadata)}
	case *rbacv3.Permission_SourcedMetadata:
		return sourced(c, p.SourcedMetadata)
	case *rbacv3.Permission_RequestedServerName:
		return &server{c.String("requested_server_name", p.RequestedServerName)}
	case *rbacv3.Permission_UriTemplate:
		return uriTemplate(c, p.UriTemplate)
	case *rbacv3.Permission_Matcher:
		c.Fail("matcher", p.Matcher.GetName()+notCarried)
		return never{}
	}
	c.Fail("rule", "value is required")
	return never{}
}

func principal(c Compiler, m *rbacv3.Principal) matcher {
	switch p := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return allOf(all(c, "and_ids.ids", p.AndIds.GetIds(), principal))
	case *rbacv3.Principal_OrIds:
		return anyOf(all(c, "or_ids.ids", p.OrIds.GetIds(), principal))
	case *rbacv3.Principal_NotId:
		defer c.In("not_id")()
		return not{principal(c, p.NotId)}
	case *rbacv3.Principal_Any:
		return always{}
	case *rbacv3.Principal_Authenticated_:
		if p.Authenticated.GetPrincipalName() == nil {
			return authenticated{}
		}
		s := c.String("authenticated.principal_name", p.Authenticated.GetPrincipalName())
		return authenticated{&s}
	case *rbacv3.Principal_SourceIp:
		//nolint:staticcheck // the deprecated field still acts in Envoy
		return inRange(c, "source_ip", p.SourceIp,
			func(in *Input) netip.AddrPort { return in.Connection })
	case *rbacv3.Principal_DirectRemoteIp:
		return inRange(c, "direct_remote_ip", p.DirectRemoteIp,
			func(in *Input) netip.AddrPort { return in.Direct })
	case *rbacv3.Principal_RemoteIp:
		return inRange(c, "remote_ip", p.RemoteIp,
			func(in *Input) netip.AddrPort { return in.Remote })
	case *rbacv3.Principal_Header:
		return &header{c.Header("header", p.Header)}
	case *rbacv3.Principal_UrlPath:
		return urlPath(c, p.UrlPath)
	case *rbacv3.Principal_Metadata:
		defer c.In("metadata")()
		//nolint:staticcheck // as above
		return &metadata{c.Metadata(p.Metadata)}
	case *rbacv3.Principal_SourcedMetadata:
		return sourced(c, p.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		return filterState(c, p.FilterState)
	case *rbacv3.Principal_Custom:
		return custom(c, p.Custom)
	}
	c.Fail("identifier", "value is required")
	return never{}
}

func urlPath(c Compiler, m *matcherv3.PathMatcher) matcher {
	return &path{c.String("url_path.path", m.GetPath())}
}

func ports(c Compiler, start, end int32) matcher {
	switch {
	case start < 0 || start > 65536:
		c.Fail("destination_port_range", fmt.Sprintf("range start %d is out of bounds", start))
	case end < 0 || end > 65536:
		c.Fail("destination_port_range", fmt.Sprintf("range end %d is out of bounds", end))
	case start >= end:
		c.Fail("destination_port_range", fmt.Sprintf(
			"range start %d cannot be greater or equal than range end %d", start, end))
	case start < 65536:
		return portRange{uint16(start), uint16(end - 1)}
	}
	return never{}
}

func inRange(c Compiler, field string, m *corev3.CidrRange,
	of func(*Input) netip.AddrPort) matcher {
	ip, err := netip.ParseAddr(m.GetAddressPrefix())
	if err != nil || ip.Zone() != "" {
		c.Fail(field, "malformed IP address: "+m.GetAddressPrefix())
		return never{}
	}
	// Longer than the address is the whole address (network/cidr_range.cc CidrRange::create).
	bits := min(int(m.GetPrefixLen().GetValue()), ip.BitLen())
	return &address{netip.PrefixFrom(ip, bits).Masked(), of}
}

func sourced(c Compiler, m *rbacv3.SourcedMetadata) matcher {
	defer c.In("sourced_metadata.metadata_matcher")()
	if m.GetMetadataSource() == rbacv3.MetadataSource_ROUTE {
		return &ofRoute{c.Metadata(m.GetMetadataMatcher())}
	}
	return &metadata{c.Metadata(m.GetMetadataMatcher())}
}

// filterState never matches, as what nobody has written never does
// (source/common/common/matchers.cc FilterStateMatcher); what filters would write that are left out
// here is refused.
func filterState(c Compiler, m *matcherv3.FilterStateMatcher) matcher {
	for _, p := range []string{"envoy.", "wasm.", "io.istio.", "istio.", "upstream_peer",
		"downstream_peer"} {
		if strings.HasPrefix(m.GetKey(), p) {
			c.Fail("filter_state.key", m.GetKey()+notCarried)
		}
	}
	if s := m.GetStringMatch(); s != nil {
		c.String("filter_state.string_match", s)
	}
	return never{}
}

func custom(c Compiler, m *corev3.TypedExtensionConfig) matcher {
	defer c.In("custom.typed_config")()
	x := &mtlsv3.Config{}
	if !m.GetTypedConfig().MessageIs(x) {
		c.Fail("", m.GetName()+notCarried)
		return never{}
	}
	if err := m.GetTypedConfig().UnmarshalTo(x); err != nil {
		c.Fail("", err.Error())
		return never{}
	}
	san := x.GetSanMatcher()
	if san == nil {
		if !x.GetAnyValidatedClientCertificate() {
			c.Fail("", "envoy.rbac.principals.mtls_authenticated did not have any configured "+
				"validation. At least one configuration field must be set.")
		}
		return validated{}
	}
	if san.GetSanType() != tlsv3.SubjectAltNameMatcher_URI {
		c.Fail("san_matcher.san_type", san.GetSanType().String()+notCarried)
	}
	s := c.String("san_matcher.matcher", san.GetMatcher())
	return validated{&s}
}

func uriTemplate(c Compiler, m *corev3.TypedExtensionConfig) matcher {
	defer c.In("uri_template.typed_config")()
	x := &uritemplatev3.UriTemplateMatchConfig{}
	if !m.GetTypedConfig().MessageIs(x) {
		c.Fail("", m.GetName()+notCarried)
		return never{}
	}
	if err := m.GetTypedConfig().UnmarshalTo(x); err != nil {
		c.Fail("", err.Error())
		return never{}
	}
	expr, err := TemplateRegex(x.GetPathTemplate())
	if err != nil {
		c.Fail("path_template", fmt.Sprintf("%s: %v", x.GetPathTemplate(), err))
		return never{}
	}
	s, err := match.NewRegex(expr)
	if err != nil {
		return never{} // "/***" becomes an expression that RE2 can not read, and matches nothing
	}
	return &template{s}
}
