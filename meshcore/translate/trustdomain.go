package translate

import (
	"slices"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// trustDomains returns the mesh's own trust domain and its aliases.
func trustDomains(mesh *meshconfig.MeshConfig) []string {
	return append([]string{mesh.GetTrustDomain()}, mesh.GetTrustDomainAliases()...)
}

// aliased returns principals, each whose trust domain is the mesh's, an alias or cluster.local once
// for each of the mesh's trust domains. Others stay, as do those that are not in the form
// DOMAIN/ns/NAMESPACE/sa/ACCOUNT or whose domain is "*". Istio
// pilot/pkg/security/trustdomain/bundle.go ReplaceTrustDomainAliases.
func aliased(principals, domains []string) []string {
	var out []string
	for _, p := range principals {
		domain, rest, _ := strings.Cut(p, "/")
		own := domain == clusterDomain || slices.ContainsFunc(domains, func(d string) bool {
			return d == "*" || wildcardOverlap(d, domain)
		})
		if strings.Count(p, "/") != 4 || domain == "*" || !own {
			out = append(out, p)
			continue
		}
		var made []string
		for _, d := range domains {
			name := d + "/" + rest
			if hasWildSuffix(d, domain) {
				name = p // one pattern stands for all domains that end so
			}
			if !slices.Contains(made, name) {
				made = append(made, name)
			}
		}
		out = append(out, made...)
	}
	return out
}

// wildcardOverlap compares two names of which either may have a wildcard at one end.
func wildcardOverlap(a, b string) bool {
	return a == b || hasWildPrefix(a, b) || hasWildPrefix(b, a) ||
		hasWildSuffix(a, b) || hasWildSuffix(b, a)
}

// hasWildPrefix says whether a pattern "PREFIX*" matches.
func hasWildPrefix(name, pattern string) bool {
	prefix, ok := strings.CutSuffix(pattern, "*")
	return ok && strings.HasPrefix(name, prefix)
}

// hasWildSuffix says whether a pattern "*SUFFIX" matches.
func hasWildSuffix(name, pattern string) bool {
	suffix, ok := strings.CutPrefix(pattern, "*")
	return ok && strings.HasSuffix(name, suffix)
}

// withAliases returns trust domains, the mesh's with all its aliases.
func withAliases(values, domains []string) []string {
	var out []string
	add := func(v string) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for _, v := range values {
		if !slices.Contains(domains, v) {
			add(v)
			continue
		}
		for _, d := range domains {
			add(d)
		}
	}
	return out
}
