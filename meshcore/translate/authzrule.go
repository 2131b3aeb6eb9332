package translate

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	securityv1 "istio.io/api/security/v1"
)

type (
	permissionClause = clause[rbacv3.Permission]
	principalClause  = clause[rbacv3.Principal]
)

// operation translates `to`, in istiod's order of conditions.
func (w *ruleWriter) operation(o *securityv1.Operation) []permissionClause {
	return []permissionClause{
		{values: o.GetHosts(), not: o.GetNotHosts(), http: true, one: hostPermission},
		{values: o.GetMethods(), not: o.GetNotMethods(), http: true, one: methodPermission},
		{values: o.GetPaths(), not: o.GetNotPaths(), http: true, one: pathPermission},
		{values: o.GetPorts(), not: o.GetNotPorts(), one: portPermission},
	}
}

// source translates `from`, in istiod's order of conditions.
func (w *ruleWriter) source(s *securityv1.Source) []principalClause {
	return []principalClause{
		w.principalClause(s.GetPrincipals(), s.GetNotPrincipals()),
		{
			values: s.GetRequestPrincipals(), not: s.GetNotRequestPrincipals(), http: true,
			many: requestPrincipals,
		},
		{values: s.GetServiceAccounts(), not: s.GetNotServiceAccounts(), one: w.serviceAccount},
		w.trustDomainClause(s.GetTrustDomains(), s.GetNotTrustDomains()),
		{values: s.GetNamespaces(), not: s.GetNotNamespaces(), one: namespacePrincipal},
		{values: s.GetRemoteIpBlocks(), not: s.GetNotRemoteIpBlocks(), one: remoteIP},
		{values: s.GetIpBlocks(), not: s.GetNotIpBlocks(), one: directIP},
	}
}

func (w *ruleWriter) principalClause(values, not []string) principalClause {
	return principalClause{
		values: aliased(values, w.domains), not: aliased(not, w.domains), one: peerPrincipal,
	}
}

func (w *ruleWriter) trustDomainClause(values, not []string) principalClause {
	return principalClause{
		values: withAliases(values, w.domains), not: withAliases(not, w.domains),
		one: trustDomainPrincipal,
	}
}

// conditions translates `when`; each condition is one on what is asked for or on who asks.
func (w *ruleWriter) conditions(
	when []*securityv1.Condition,
) (to []permissionClause, from []principalClause) {
	for _, c := range when {
		if p, ok := permissionCondition(c); ok {
			to = append(to, p)
		} else {
			from = append(from, w.principalCondition(c))
		}
	}
	return to, from
}

const experimental = "experimental."

func permissionCondition(c *securityv1.Condition) (permissionClause, bool) {
	out := permissionClause{values: c.Values, not: c.NotValues}
	switch key := c.Key; {
	case key == "destination.ip":
		out.one = destinationIP
	case key == "destination.port":
		out.one = portPermission
	case key == "connection.sni":
		out.one = sniPermission
	case strings.HasPrefix(key, experimental+"envoy.filters."):
		filter, name, ok := strings.Cut(strings.TrimSuffix(key[len(experimental):], "]"), "[")
		out.broken = !ok
		out.many = func(values []string) *rbacv3.Permission {
			return metadataPermission(filter, name, values)
		}
	default:
		return out, false
	}
	return out, true
}

func (w *ruleWriter) principalCondition(c *securityv1.Condition) principalClause {
	out := principalClause{values: c.Values, not: c.NotValues}
	const headers, claims = "request.headers", "request.auth.claims"
	switch key := c.Key; {
	case key == "source.ip":
		out.one = directIP
	case key == "remote.ip":
		out.one = remoteIP
	case key == "source.namespace":
		out.one = namespacePrincipal
	case key == "source.trustDomain":
		return w.trustDomainClause(c.Values, c.NotValues)
	case key == "source.serviceAccount":
		out.one = w.serviceAccount
	case key == "source.principal":
		return w.principalClause(c.Values, c.NotValues)
	case key == "request.auth.principal":
		out.http, out.many = true, requestPrincipals
	case key == "request.auth.audiences":
		out.http, out.many = true, claimPrincipal("aud")
	case key == "request.auth.presenter":
		out.http, out.many = true, claimPrincipal("azp")
	case strings.HasPrefix(key, headers):
		name, ok := bracketed(key[len(headers):])
		out.http, out.broken = true, !ok
		out.one = func(v string) *rbacv3.Principal { return headerPrincipal(name, v) }
	case strings.HasPrefix(key, claims):
		path, ok := nestedNames(key[len(claims):])
		out.http, out.broken = true, !ok
		out.many = claimPrincipal(path...)
	default: // the reader refuses it
		out.broken = true
	}
	return out
}

// bracketed returns NAME of "[NAME]".
func bracketed(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") || !strings.HasSuffix(s, "]") || len(s) < 2 {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// nestedNames returns A and B of "[A][B]". What is not of that form, but bracketed, is one name.
// Istio pilot/pkg/security/authz/model/util.go extractNameInNestedBrackets.
func nestedNames(s string) ([]string, bool) {
	whole, ok := bracketed(s)
	if !ok {
		return nil, false
	}
	names := strings.Split(whole, "][")
	if slices.ContainsFunc(names, func(n string) bool { return strings.ContainsAny(n, "[]") }) {
		return []string{whole}, true
	}
	return names, true
}

func hostPermission(host string) *rbacv3.Permission {
	return headerPermission(":authority", host, true)
}

func methodPermission(method string) *rbacv3.Permission {
	return headerPermission(":method", method, false)
}

func headerPermission(name, value string, anyCase bool) *rbacv3.Permission {
	return &rbacv3.Permission{
		Rule: &rbacv3.Permission_Header{Header: headerValue(name, value, anyCase)},
	}
}

// pathPermission compares the path without its query; {*} and {**} make it a template.
func pathPermission(path string) *rbacv3.Permission {
	if strings.Contains(path, "{*}") || strings.Contains(path, "{**}") {
		template := strings.NewReplacer("{*}", "*", "{**}", "**").Replace(path)
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UriTemplate{
			UriTemplate: &corev3.TypedExtensionConfig{
				Name:        "uri-template",
				TypedConfig: typed(&uritemplatev3.UriTemplateMatchConfig{PathTemplate: template}),
			},
		}}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{
		Rule: &matcherv3.PathMatcher_Path{Path: wildcardMatch(path, "")},
	}}}
}

func portPermission(port string) *rbacv3.Permission {
	return &rbacv3.Permission{
		Rule: &rbacv3.Permission_DestinationPort{DestinationPort: portOf(port)},
	}
}

func destinationIP(block string) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: cidr(block)}}
}

func sniPermission(name string) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{
		RequestedServerName: wildcardMatch(name, ""),
	}}
}

// metadataPermission asks about what a filter wrote into dynamic metadata; "[VALUE]" asks for a
// list with that value.
func metadataPermission(filter, key string, values []string) *rbacv3.Permission {
	var matches []*matcherv3.ValueMatcher
	for _, v := range values {
		if strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") {
			one := stringValue(wildcardMatch(strings.Trim(v, "[]"), ""))
			matches = append(matches, listValue(one))
		} else {
			matches = append(matches, stringValue(wildcardMatch(v, "")))
		}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{
		Metadata: metadataMatch(filter, []string{key}, anyValue(matches)),
	}}
}
