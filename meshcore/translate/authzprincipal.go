package translate

import (
	"regexp"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// spiffe is in front of an identity in a certificate.
const spiffe = "spiffe://"

// authenticated asks for a client whose certificate names an identity.
func authenticated(name *matcherv3.StringMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{
		Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: name},
	}}
}

// peerPrincipal takes TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, with one wildcard at either end.
func peerPrincipal(value string) *rbacv3.Principal {
	return authenticated(wildcardMatch(value, spiffe))
}

// namespacePrincipal takes a namespace, with wildcards anywhere.
func namespacePrincipal(value string) *rbacv3.Principal {
	parts := strings.Split(value, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return authenticated(regexMatch(".*/ns/" + strings.Join(parts, ".*") + "/.*"))
}

// serviceAccount takes NAMESPACE/ACCOUNT, or ACCOUNT of the policy's namespace.
func (w *ruleWriter) serviceAccount(value string) *rbacv3.Principal {
	namespace, account, ok := strings.Cut(value, "/")
	if !ok {
		namespace, account = w.namespace, value
	}
	return authenticated(regexMatch(spiffe + ".+/ns/" + regexp.QuoteMeta(namespace) +
		"/(.+/|)sa/" + regexp.QuoteMeta(account) + "(/.+)?"))
}

// trustDomainPrincipal takes a trust domain, with one wildcard.
func trustDomainPrincipal(value string) *rbacv3.Principal {
	before, after, wild := strings.Cut(value, "*")
	switch {
	case value == "*":
		return authenticated(prefixMatch(spiffe))
	case !wild:
		return authenticated(prefixMatch(spiffe + value + "/"))
	}
	return authenticated(regexMatch(
		spiffe + regexp.QuoteMeta(before) + "[^/]*" + regexp.QuoteMeta(after) + "/.*"))
}

func directIP(block string) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{
		DirectRemoteIp: cidr(block),
	}}
}

// remoteIP: the address is what x-forwarded-for says of it, as far as that is trusted.
func remoteIP(block string) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: cidr(block)}}
}

func headerPrincipal(name, value string) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{
		Header: headerValue(name, value, false),
	}}
}

func metadataPrincipal(m *matcherv3.MetadataMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m}}
}

// requestPrincipals takes ISSUER/SUBJECT of a token, with one wildcard at either end.
func requestPrincipals(values []string) *rbacv3.Principal {
	var out []*rbacv3.Principal
	for _, v := range values {
		issuer, subject := tokenMatch(v)
		out = append(out, principals.and([]*rbacv3.Principal{
			metadataPrincipal(claimMatch("iss", stringValue(issuer))),
			metadataPrincipal(claimMatch("sub", stringValue(subject))),
		}))
	}
	if len(out) == 1 {
		return out[0]
	}
	return principals.or(out)
}

// tokenMatch says what issuer and subject must be. The subject stands behind the last slash, for
// issuers are URLs; a value without a slash is an issuer whose subject is empty, unless a wildcard
// stands for the rest. Istio pilot/pkg/security/authz/model/generator.go.
func tokenMatch(value string) (issuer, subject *matcherv3.StringMatcher) {
	i := strings.LastIndexByte(value, '/')
	iss, sub := value, ""
	if i >= 0 {
		iss, sub = value[:i], value[i+1:]
	}
	anything := regexMatch(".+")
	switch {
	case value == "*":
		return anything, anything
	case strings.HasPrefix(value, "*") && i < 0:
		return anything, suffixMatch(value[1:])
	case strings.HasPrefix(value, "*") && iss == "*":
		return anything, exactMatch(sub)
	case strings.HasPrefix(value, "*"):
		return suffixMatch(iss[1:]), exactMatch(sub)
	case strings.HasSuffix(value, "*") && i < 0:
		return prefixMatch(strings.TrimSuffix(value, "*")), anything
	case strings.HasSuffix(value, "*") && sub == "*":
		return exactMatch(iss), anything
	case strings.HasSuffix(value, "*"):
		return exactMatch(iss), prefixMatch(strings.TrimSuffix(sub, "*"))
	}
	return exactMatch(iss), exactMatch(sub)
}

// claimPrincipal asks for a claim of a token that is, or is a list with, one of the values.
func claimPrincipal(path ...string) func([]string) *rbacv3.Principal {
	return func(values []string) *rbacv3.Principal {
		var matches []*matcherv3.ValueMatcher
		for _, v := range values {
			matches = append(matches, stringValue(wildcardMatch(v, "")))
		}
		return metadataPrincipal(claimListMatch(path, anyValue(matches)))
	}
}
