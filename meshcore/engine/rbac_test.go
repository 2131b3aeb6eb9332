package engine

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/rbac"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

func rbacYAML(t testing.TB, text string) *rbacv3.RBAC {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	m := &rbacv3.RBAC{}
	if err := protojson.Unmarshal(j, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// oneRule is a policy with a permission and a principal.
func oneRule(permission, principal string) string {
	return `{policies: {p: {permissions: [` + permission + `], principals: [` + principal + `]}}}`
}

func TestRBACRefusals(t *testing.T) {
	const at = `rules.policies["p"].`
	mtls := func(config string) string {
		return `{custom: {name: m, typedConfig: {"@type": type.googleapis.com/` +
			`envoy.extensions.rbac.principals.mtls_authenticated.v3.Config` + config + `}}}`
	}
	for _, row := range []struct {
		permission, principal string
		connection            bool
		want                  string
	}{
		{`{any: true}`, `{header: {name: x, presentMatch: true}}`, false, ""},
		{`{any: true}`, `{header: {name: x, presentMatch: true}}`, true,
			at + "principals[0].header: Found header(x) rule,not supported by RBAC network filter"},
		{`{notRule: {andRules: {rules: [{any: true}, {header: {name: x}}]}}}`, `{any: true}`, true,
			at + "permissions[0].not_rule.and_rules.rules[1].header: " +
				"Found header(x) rule,not supported by RBAC network filter"},
		{`{destinationPortRange: {start: 5, end: 5}}`, `{any: true}`, false,
			at + "permissions[0].destination_port_range: " +
				"range start 5 cannot be greater or equal than range end 5"},
		{`{destinationPortRange: {start: 5, end: 65537}}`, `{any: true}`, false,
			at + "permissions[0].destination_port_range: range end 65537 is out of bounds"},
		{`{destinationIp: {addressPrefix: "10.1", prefixLen: 8}}`, `{any: true}`, false,
			at + "permissions[0].destination_ip: malformed IP address: 10.1"},
		{`{urlPath: {path: {safeRegex: {regex: "("}}}}`, `{any: true}`, false,
			at + "permissions[0].url_path.path.safe_regex.regex: " +
				"error parsing regexp: missing closing ): `(`"},
		{`{uriTemplate: {name: t, typedConfig: {"@type": type.googleapis.com/` +
			`envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, ` +
			`pathTemplate: "/**/*"}}}`, `{any: true}`, false,
			at + "permissions[0].uri_template.typed_config.path_template: " +
				"/**/*: glob after text glob"},
		{`{any: true}`, `{filterState: {key: io.istio.peer_principal, stringMatch: {exact: a}}}`,
			false, at + "principals[0].filter_state.key: " +
				"io.istio.peer_principal is not carried out yet"},
		{`{any: true}`, mtls(""), false, at + "principals[0].custom.typed_config: " +
			"envoy.rbac.principals.mtls_authenticated did not have any configured validation. " +
			"At least one configuration field must be set."},
		{`{any: true}`, mtls(`, sanMatcher: {sanType: DNS, matcher: {exact: a}}`), false,
			at + "principals[0].custom.typed_config.san_matcher.san_type: " +
				"DNS is not carried out yet"},
		{`{any: true}`, mtls(`, sanMatcher: {sanType: URI, matcher: {exact: a}}`), false, ""},
	} {
		c := &compiler{}
		c.rbacRules("rules", rbacYAML(t, oneRule(row.permission, row.principal)),
			rbac.Options{Connection: row.connection})
		var got []string
		for _, e := range c.errs {
			got = append(got, e.Field+": "+e.Reason)
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", row.permission, row.principal, got, row.want)
		}
	}
}

// TestTemplates has what Envoy 1.40 takes and refuses as a path template.
func TestTemplates(t *testing.T) {
	for _, good := range strings.Fields("/ /* /** /a/**/b /*/** /*/* /a* /*a /*** /a=b /a*b " +
		"/{a} /{a}b /{a=*} /{a=**}/b /a/ /*/ /*.html /**.html /{a}/{b}/{c}/{d}/{e} /%41 " +
		"/{a=x=y} /{a=x*} /~ /' /{a}= /*= /**= /{a_23456789012345}") {
		if _, err := rbac.TemplateRegex(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	bad := strings.Fields("/**/* /**/** /{a=**}/* /{a=**}/{b} /{a}/{a} /{a_234567890123456} " +
		"/{a=} /{1} /{a=b/} /{a=/b} /{a=b//c} /{a /a//b /*.html/x a " +
		"/{a}/{b}/{c}/{d}/{e}/{f} /a?b /a#b /ä /a[b] /\" /{*} /{**} /{a=*=}")
	for _, s := range append(bad, "", "/a b") {
		if x, err := rbac.TemplateRegex(s); err == nil {
			t.Errorf("%s: %s", s, x)
		}
	}
}

// TestPeers has the principals of TLS connections.
func TestPeers(t *testing.T) {
	peer := func(c *transport.Certificate, valid bool) *transport.State {
		return &transport.State{Peer: c, Validated: valid, SNI: "svc.example"}
	}
	id := "spiffe://a/ns/b/sa/c"
	full := peer(&transport.Certificate{Subject: "CN=x", URIs: []string{"spiffe://z", id},
		DNS: []string{"x.example"}}, true)
	custom := `{custom: {name: m, typedConfig: {"@type": type.googleapis.com/` +
		`envoy.extensions.rbac.principals.mtls_authenticated.v3.Config, `
	for _, row := range []struct {
		principal string
		tls       *transport.State
		want      bool
	}{
		{`{authenticated: {}}`, nil, false},
		{`{authenticated: {}}`, peer(nil, false), true},
		{`{authenticated: {principalName: {exact: "` + id + `"}}}`, full, true},
		{`{authenticated: {principalName: {exact: x.example}}}`, full, true},
		{`{authenticated: {principalName: {exact: CN=x}}}`, full, true},
		{`{authenticated: {principalName: {exact: CN=y}}}`, full, false},
		{`{authenticated: {principalName: {safeRegex: {regex: ".*"}}}}`, peer(nil, false), true},
		{`{authenticated: {principalName: {safeRegex: {regex: ".+"}}}}`, peer(nil, false), false},
		{custom + `anyValidatedClientCertificate: true}}}`, full, true},
		{custom + `anyValidatedClientCertificate: true}}}`, nil, false},
		{custom + `anyValidatedClientCertificate: true}}}`, peer(full.Peer, false), false},
		{custom + `sanMatcher: {sanType: URI, matcher: {exact: "` + id + `"}}}}}`, full, true},
		{custom + `sanMatcher: {sanType: URI, matcher: {exact: x.example}}}}}`, full, false},
	} {
		c := &compiler{}
		r := c.rbacRules("rules", rbacYAML(t, oneRule(
			`{requestedServerName: {safeRegex: {regex: "(svc.example)?"}}}`, row.principal)),
			rbac.Options{})
		if len(c.errs) > 0 {
			t.Fatal(c.errs)
		}
		x := &Exchange{ci: &ConnInfo{TLS: row.tls}}
		if got := r.Decide(x.policyInput()).Allowed; got != row.want {
			t.Errorf("%s of %+v: %v", row.principal, row.tls, got)
		}
	}
}

// slowPolicies is RBAC as its protos describe it, without anything compiled.
type slowPolicies struct {
	h       *wire.Head
	ci      *ConnInfo
	remote  netip.Addr
	dynamic *structpb.Struct // of namespace "ns"
	route   *corev3.Metadata
}

func (s *slowPolicies) decide(m *rbacv3.RBAC) (allowed bool, name string) {
	var names []string
	for n, p := range m.GetPolicies() {
		if slices.ContainsFunc(p.GetPermissions(), s.permission) &&
			slices.ContainsFunc(p.GetPrincipals(), s.principal) {
			names = append(names, n)
		}
	}
	if len(names) > 0 {
		name = slices.Min(names)
	}
	switch m.GetAction() {
	case rbacv3.RBAC_ALLOW:
		return len(names) > 0, name
	case rbacv3.RBAC_DENY:
		return len(names) == 0, name
	}
	return true, name
}

func (s *slowPolicies) permission(m *rbacv3.Permission) bool {
	switch {
	case m.GetAndRules() != nil:
		return !slices.ContainsFunc(m.GetAndRules().GetRules(),
			func(r *rbacv3.Permission) bool { return !s.permission(r) })
	case m.GetOrRules() != nil:
		return slices.ContainsFunc(m.GetOrRules().GetRules(), s.permission)
	case m.GetNotRule() != nil:
		return !s.permission(m.GetNotRule())
	case m.GetHeader() != nil:
		return s.header(m.GetHeader())
	case m.GetUrlPath() != nil:
		path, _, _ := strings.Cut(string(s.h.Target), "?")
		return slowString(m.GetUrlPath().GetPath(), path)
	case m.GetDestinationIp() != nil:
		return slowRange(m.GetDestinationIp(), s.ci.Local.Addr())
	case m.GetDestinationPortRange() != nil:
		r := m.GetDestinationPortRange()
		return int32(s.ci.Local.Port()) >= r.GetStart() && int32(s.ci.Local.Port()) < r.GetEnd()
	case m.GetMetadata() != nil:
		return s.metadata(m.GetMetadata(), s.dynamic)
	case m.GetSourcedMetadata() != nil:
		return s.metadata(m.GetSourcedMetadata().GetMetadataMatcher(),
			s.route.GetFilterMetadata()["ns"])
	case m.GetRequestedServerName() != nil:
		return slowString(m.GetRequestedServerName(), s.ci.SNI)
	case m.GetDestinationPort() != 0:
		return uint32(s.ci.Local.Port()) == m.GetDestinationPort()
	}
	return m.GetAny()
}

func (s *slowPolicies) principal(m *rbacv3.Principal) bool {
	switch {
	case m.GetAndIds() != nil:
		return !slices.ContainsFunc(m.GetAndIds().GetIds(),
			func(r *rbacv3.Principal) bool { return !s.principal(r) })
	case m.GetOrIds() != nil:
		return slices.ContainsFunc(m.GetOrIds().GetIds(), s.principal)
	case m.GetNotId() != nil:
		return !s.principal(m.GetNotId())
	case m.GetHeader() != nil:
		return s.header(m.GetHeader())
	case m.GetDirectRemoteIp() != nil:
		return slowRange(m.GetDirectRemoteIp(), s.ci.Direct.Addr())
	case m.GetRemoteIp() != nil:
		return slowRange(m.GetRemoteIp(), s.remote)
	case m.GetAuthenticated() != nil:
		name := m.GetAuthenticated().GetPrincipalName()
		return s.ci.TLS != nil && (name == nil || slowString(name, s.ci.TLS.Peer.URIs[0]) ||
			slowString(name, s.ci.TLS.Peer.Subject))
	}
	return m.GetAny()
}

func (s *slowPolicies) header(m *routev3.HeaderMatcher) bool {
	for _, f := range s.h.Fields {
		if string(f.Name) == m.GetName() &&
			(m.GetPresentMatch() || slowString(m.GetStringMatch(), string(f.Value))) {
			return true
		}
	}
	return false
}

func (s *slowPolicies) metadata(m *matcherv3.MetadataMatcher, in *structpb.Struct) bool {
	v := in.GetFields()[m.GetPath()[0].GetKey()]
	var held bool
	switch l := m.GetValue().GetListMatch(); {
	case l != nil:
		held = slices.ContainsFunc(v.GetListValue().GetValues(), func(e *structpb.Value) bool {
			return slowString(l.GetOneOf().GetStringMatch(), e.GetStringValue())
		})
	default:
		_, text := v.GetKind().(*structpb.Value_StringValue)
		held = text && slowString(m.GetValue().GetStringMatch(), v.GetStringValue())
	}
	return held != m.GetInvert()
}

func slowRange(m *corev3.CidrRange, ip netip.Addr) bool {
	p := netip.MustParsePrefix(m.GetAddressPrefix() + "/32")
	p = netip.PrefixFrom(p.Addr(), int(m.GetPrefixLen().GetValue()))
	return p.Contains(ip)
}

func slowString(m *matcherv3.StringMatcher, v string) bool {
	fold := func(s string) string {
		if m.GetIgnoreCase() {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(v) == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(v), fold(p.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(v), fold(p.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(v), fold(p.Contains))
	}
	return regexp.MustCompile("^(?:" + m.GetSafeRegex().GetRegex() + ")$").MatchString(v)
}

var words = rapid.SampledFrom([]string{"a", "A", "b", "ab", "/a", "/a/b", "a/", "/"})

func drawString(t *rapid.T) *matcherv3.StringMatcher {
	w := words.Draw(t, "word")
	m := &matcherv3.StringMatcher{IgnoreCase: rapid.Bool().Draw(t, "fold")}
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: w}
	case 1:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: w}
	case 2:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: w}
	case 3:
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: w}
	default:
		m.IgnoreCase = false
		m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: w + "|b+"}}
	}
	return m
}

func drawHeader(t *rapid.T) *routev3.HeaderMatcher {
	m := &routev3.HeaderMatcher{Name: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "header")}
	if rapid.Bool().Draw(t, "present") {
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	} else {
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: drawString(t)}
	}
	return m
}

func drawRange(t *rapid.T) *corev3.CidrRange {
	return &corev3.CidrRange{
		AddressPrefix: rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.9.0.0"}).Draw(t, "ip"),
		PrefixLen:     wrapperspb.UInt32(rapid.Uint32Range(0, 32).Draw(t, "bits"))}
}

func drawMetadata(t *rapid.T) *matcherv3.MetadataMatcher {
	v := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
		StringMatch: drawString(t)}}
	if rapid.Bool().Draw(t, "list") {
		v = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{
			ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: v}}}}
	}
	return &matcherv3.MetadataMatcher{Filter: "ns", Value: v, Invert: rapid.Bool().Draw(t, "invert"),
		Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.
			MetadataMatcher_PathSegment_Key{Key: rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")}}}}
}

func drawPermission(t *rapid.T, depth int) *rbacv3.Permission {
	set := func() *rbacv3.Permission_Set {
		s := &rbacv3.Permission_Set{}
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			s.Rules = append(s.Rules, drawPermission(t, depth-1))
		}
		return s
	}
	n := rapid.IntRange(0, 11).Draw(t, "permission")
	if depth == 0 && n < 3 {
		n += 3
	}
	switch n {
	case 0:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: set()}}
	case 1:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: set()}}
	case 2:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: drawPermission(t, depth-1)}}
	case 3:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: drawHeader(t)}}
	case 4, 5:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{
			Rule: &matcherv3.PathMatcher_Path{Path: drawString(t)}}}}
	case 6:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: drawRange(t)}}
	case 7:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{
			DestinationPort: rapid.Uint32Range(79, 81).Draw(t, "port")}}
	case 8:
		from := rapid.Int32Range(78, 81).Draw(t, "from")
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPortRange{
			DestinationPortRange: &typev3.Int32Range{Start: from, End: from + 2}}}
	case 9:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: drawMetadata(t)}}
	case 10:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_SourcedMetadata{
			SourcedMetadata: &rbacv3.SourcedMetadata{MetadataMatcher: drawMetadata(t),
				MetadataSource: rbacv3.MetadataSource_ROUTE}}}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{
		RequestedServerName: drawString(t)}}
}

func drawPrincipal(t *rapid.T, depth int) *rbacv3.Principal {
	set := func() *rbacv3.Principal_Set {
		s := &rbacv3.Principal_Set{}
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			s.Ids = append(s.Ids, drawPrincipal(t, depth-1))
		}
		return s
	}
	n := rapid.IntRange(0, 7).Draw(t, "principal")
	if depth == 0 && n < 3 {
		n += 3
	}
	switch n {
	case 0:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: set()}}
	case 1:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: set()}}
	case 2:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: drawPrincipal(t, depth-1)}}
	case 3:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: drawHeader(t)}}
	case 4:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: drawRange(t)}}
	case 5:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: drawRange(t)}}
	case 6:
		a := &rbacv3.Principal_Authenticated{}
		if rapid.Bool().Draw(t, "named") {
			a.PrincipalName = drawString(t)
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: a}}
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}

func drawRBAC(t *rapid.T) *rbacv3.RBAC {
	m := &rbacv3.RBAC{Action: rbacv3.RBAC_Action(rapid.IntRange(0, 2).Draw(t, "action")),
		Policies: map[string]*rbacv3.Policy{}}
	for range rapid.IntRange(0, 4).Draw(t, "policies") {
		p := &rbacv3.Policy{}
		for range rapid.IntRange(1, 2).Draw(t, "permissions") {
			p.Permissions = append(p.Permissions, drawPermission(t, 2))
		}
		for range rapid.IntRange(1, 2).Draw(t, "principals") {
			p.Principals = append(p.Principals, drawPrincipal(t, 2))
		}
		m.Policies[rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "name")] = p
	}
	return m
}

// TestRBACAgainstSlow compares random policies and requests with the slow evaluator.
func TestRBACAgainstSlow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawRBAC(t)
		ip := rapid.SampledFrom([]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:79"),
			netip.MustParseAddrPort("10.0.0.2:80"), netip.MustParseAddrPort("10.9.1.1:81")})
		s := &slowPolicies{h: &wire.Head{}, ci: &ConnInfo{Local: ip.Draw(t, "local"),
			Direct: ip.Draw(t, "direct"), SNI: words.Draw(t, "sni")}}
		s.h.Target = []byte("/" + words.Draw(t, "path") + "?" + words.Draw(t, "query"))
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			s.h.Add(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name"), words.Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "tls") {
			s.ci.TLS = &transport.State{Peer: &transport.Certificate{
				URIs: []string{words.Draw(t, "uri")}, Subject: words.Draw(t, "subject")}}
		}
		value := structpb.NewStringValue(words.Draw(t, "k"))
		list := structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
			value, structpb.NewStringValue(words.Draw(t, "l"))}})
		s.dynamic = &structpb.Struct{Fields: map[string]*structpb.Value{"k": value, "l": list}}
		s.route = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"ns": {Fields: map[string]*structpb.Value{"k": list}}}}

		x := &Exchange{ci: s.ci, head: s.h, remote: ip.Draw(t, "remote"),
			route: &route{metadata: s.route}}
		s.remote = x.remote.Addr()
		x.dynamic.set("ns", s.dynamic)
		c := &compiler{}
		r := c.rbacRules("rules", m, rbac.Options{})
		if len(c.errs) > 0 {
			t.Fatal(c.errs)
		}
		o := r.Decide(x.policyInput())
		if allowed, name := s.decide(m); o.Allowed != allowed || o.Policy != name {
			t.Fatalf("%v %q, want %v %q:\n%s", o.Allowed, o.Policy, allowed, name,
				protojson.Format(m))
		}
	})
}

// manyRules are those of an inbound chain with a DENY and an ALLOW policy.
func manyRules(t testing.TB) *rbac.Rules {
	c := &compiler{}
	r := c.rbacRules("rules", rbacYAML(t, `{policies: {
		a: {permissions: [{andRules: {rules: [{orRules: {rules: [{urlPath: {path: {prefix: /x}}}]}},
			{notRule: {header: {name: ":method", stringMatch: {exact: GET}}}}]}}],
			principals: [{any: true}]},
		b: {permissions: [{any: true}], principals: [{andIds: {ids: [{authenticated: {principalName:
			{safeRegex: {regex: ".*/ns/b/.*"}}}}, {remoteIp: {addressPrefix: 10.0.0.0, prefixLen: 8}},
			{metadata: {filter: ns, path: [{key: k}], value: {orMatch: {valueMatchers: [
				{stringMatch: {exact: no}}, {listMatch: {oneOf: {stringMatch: {exact: a}}}}]}}}}]}}]}}}`),
		rbac.Options{})
	if len(c.errs) > 0 {
		t.Fatal(c.errs)
	}
	return r
}

func guardedExchange() *Exchange {
	h := &wire.Head{Target: []byte("/a?b"), Method: []byte("GET")}
	at := netip.MustParseAddrPort("10.0.0.1:80")
	x := &Exchange{e: &Engine{}, head: h, remote: at, ci: &ConnInfo{Local: at, Remote: at, Direct: at,
		TLS: &transport.State{Peer: &transport.Certificate{
			URIs: []string{"spiffe://cluster.local/ns/b/sa/c"}}}}}
	x.dynamic.set("ns", &structpb.Struct{Fields: map[string]*structpb.Value{
		"k": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
			structpb.NewStringValue("a")}})}})
	return x
}

func BenchmarkRBAC(b *testing.B) {
	x, r := guardedExchange(), manyRules(b)
	b.ReportAllocs()
	for b.Loop() {
		if o := r.Decide(x.policyInput()); o.Policy != "b" {
			b.Fatal(o.Policy)
		}
	}
}
