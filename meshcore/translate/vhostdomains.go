package translate

import (
	"net/netip"
	"slices"
	"strings"
)

// serviceDomains returns the spellings of the Host header that mean a service to a proxy of a
// namespace, and which of them are short forms. Ports are not spelled, since Envoy is told to
// ignore them. (istio httproute.go generateVirtualHostDomains)
func serviceDomains(s *service, aliases []string, namespace string) (domains, short []string) {
	for _, host := range append([]string{strings.ToLower(s.Host)}, aliases...) {
		alt := shortForms(host, namespace)
		domains = append(append(domains, host), alt...)
		short = append(short, alt...)
	}
	if s.headless { // the names of its pods
		for _, d := range slices.Clone(domains) {
			domains = append(domains, "*."+d)
		}
	}
	if s.VIP.IsValid() {
		domains = append(domains, hostDomain(s.VIP.String()))
	}
	return domains, short
}

// hostDomain is a host as a domain: an IPv6 address in brackets.
func hostDomain(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// shortForms returns the other names of a host: with the trailing dot, and for a Service without
// the cluster's domain, in its own namespace as a bare name too. The order is istiod's.
func shortForms(host, namespace string) []string {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	out := []string{host + "."}
	name, isService := strings.CutSuffix(host, ".svc."+clusterDomain)
	bare, ns, _ := strings.Cut(name, ".")
	switch {
	case !isService || ns == "":
		return out
	case ns == namespace:
		return append(out, bare, name+".svc", name)
	}
	return append(out, name, name+".svc")
}

// domainClaims hands out domains: Envoy refuses a domain in two virtual hosts of a
// RouteConfiguration, so the first one keeps it.
type domainClaims struct {
	taken map[string]bool // in lower case
	hosts map[string]bool // full names of services, which no short form may take
}

// claim returns those of the domains that are still free.
func (c *domainClaims) claim(domains, short []string) []string {
	var out []string
	for _, d := range domains {
		key := strings.ToLower(d)
		if c.taken[key] || c.hosts[d] && slices.Contains(short, d) {
			continue
		}
		c.taken[key] = true
		out = append(out, d)
	}
	return out
}

// serviceAliases returns the hosts of the ExternalName Services that stand for each host, sorted;
// chains are followed, and a loop stands for nothing. (istio push_context.go resolveServiceAliases)
func serviceAliases(services []*service) map[string][]string {
	target := map[string]string{}
	for _, s := range services {
		if s.external != "" {
			target[s.Host] = s.external
		}
	}
	out := map[string][]string{}
	byNamespace := slices.SortedFunc(slices.Values(services), func(a, b *service) int {
		return strings.Compare(a.Namespace+"/"+a.Host, b.Namespace+"/"+b.Host)
	})
	for _, s := range byNamespace {
		host := s.external
		for range target { // no chain is longer
			if next, ok := target[host]; ok {
				host = next
			}
		}
		if _, loop := target[host]; s.external != "" && !loop {
			out[host] = append(out[host], s.Host)
		}
	}
	return out
}
