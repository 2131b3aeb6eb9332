package translate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// hostGroup is some routes with those who get them: services by all their spellings, other hosts by
// their name alone.
type hostGroup struct {
	routes   []*routev3.Route
	hosts    []string
	services []*service
}

// portHosts makes the virtual hosts of one outbound port.
type portHosts struct {
	site     *routeSite
	scope    *scope
	aliases  map[string][]string // by host; see serviceAliases
	services []*service          // of the scope: those that have the port
	byHost   map[string]*service // the same
	hash     func(*service) *consistentHash
	attempts bool // send x-envoy-attempt-count upstream
}

func newPortHosts(site *routeSite, sc *scope) *portHosts {
	b := &portHosts{site: site, scope: sc, byHost: map[string]*service{}}
	for _, s := range sc.services {
		if s.port(uint32(site.port)) == nil {
			continue
		}
		host := strings.ToLower(s.Host)
		// Of several for a host the last one counts. (istio httproute.go
		// BuildSidecarOutboundVirtualHosts)
		if i := slices.Index(b.services, b.byHost[host]); i >= 0 {
			b.services[i] = s
		} else {
			b.services = append(b.services, s)
		}
		b.byHost[host] = s
	}
	return b
}

// speaksHTTP reports whether the service may carry HTTP on the port.
func (b *portHosts) speaksHTTP(s *service) bool {
	return s.port(uint32(b.site.port)).protocol.maybeHTTP()
}

// virtualHosts returns the virtual hosts in the order of their names.
func (b *portHosts) virtualHosts() []*routev3.VirtualHost {
	groups := b.ruledGroups()
	ruled := map[*service]bool{}
	for _, g := range groups {
		for _, s := range g.services {
			ruled[s] = true
		}
	}
	for _, s := range b.services {
		if !ruled[s] && s.external == "" && b.speaksHTTP(s) {
			groups = append(groups, hostGroup{
				routes: []*routev3.Route{b.defaultRoute(s)}, services: []*service{s},
			})
		}
	}
	out := b.claim(groups)
	slices.SortStableFunc(out, func(a, b *routev3.VirtualHost) int {
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// ruledGroups returns what VirtualServices say on the port, in the order in which they win.
func (b *portHosts) ruledGroups() []hostGroup {
	byHost := virtualServicesByHost(b.scope.vs)
	var out []hostGroup
	for _, vs := range b.scope.vs {
		// Rules for hosts that are no Service act on port 80 only, or beside those of a Service.
		// (istio httproute.go BuildSidecarOutboundVirtualHosts, route.go
		// buildSidecarVirtualHostsForVirtualService)
		if b.site.port != 80 && !b.concerns(vs) {
			continue
		}
		g := hostGroup{routes: vs.routes(b.site)}
		if len(g.routes) == 0 {
			continue
		}
		g.hosts, g.services = b.split(vs, byHost)
		g.services = slices.DeleteFunc(g.services,
			func(s *service) bool { return !b.speaksHTTP(s) })
		if len(g.services) > 0 || b.site.port == 80 {
			out = append(out, g)
		}
	}
	return out
}

// virtualServicesByHost returns the VirtualService that wins each host as written.
func virtualServicesByHost(list []*virtualService) map[string]*virtualService {
	out := map[string]*virtualService{}
	for _, vs := range list {
		for _, h := range vs.spec.Hosts {
			if out[h] == nil {
				out[h] = vs
			}
		}
	}
	return out
}

// concerns reports whether a host of the VirtualService is a service of the port.
func (b *portHosts) concerns(vs *virtualService) bool {
	return slices.ContainsFunc(vs.spec.Hosts, func(h string) bool {
		h = strings.ToLower(h)
		return b.byHost[h] != nil || isWildcard(h) && len(b.matching(h)) > 0
	})
}

func (b *portHosts) matching(wildcard string) []*service {
	var out []*service
	for _, s := range b.services {
		if hostMatches(wildcard, s.Host) {
			out = append(out, s)
		}
	}
	return out
}

// split divides the hosts of a VirtualService into services of the port and other names. Of the
// services that a wildcard matches it gets those that no more specific host of another claims.
// (istio route.go separateVSHostsAndServices)
func (b *portHosts) split(
	vs *virtualService, byHost map[string]*virtualService,
) (hosts []string, services []*service) {
	var wildcards []string
	for _, h := range vs.spec.Hosts {
		if isWildcard(h) {
			wildcards = append(wildcards, strings.ToLower(h))
		} else if s := b.byHost[strings.ToLower(h)]; s != nil {
			services = append(services, s)
		} else {
			hosts = append(hosts, h)
		}
	}
	for _, h := range wildcards {
		matching := b.matching(h)
		if len(matching) == 0 {
			hosts = append(hosts, h)
		}
		for _, s := range matching {
			if owner, _ := mostSpecific(s.Host, byHost); owner == vs {
				services = append(services, s)
			}
		}
	}
	return hosts, services
}

// claim turns groups into virtual hosts; a name or a domain that an earlier one has is left out.
func (b *portHosts) claim(groups []hostGroup) []*routev3.VirtualHost {
	claims := domainClaims{taken: map[string]bool{}, hosts: map[string]bool{}}
	for _, g := range groups {
		for _, s := range g.services {
			claims.hosts[s.Host] = true
		}
	}
	var out []*routev3.VirtualHost
	names := map[string]bool{}
	add := func(host string, routes []*routev3.Route, domains, short []string) {
		name := host + ":" + strconv.Itoa(b.site.port)
		if names[name] {
			return
		}
		names[name] = true
		if domains = claims.claim(domains, short); len(domains) == 0 {
			return
		}
		out = append(out, &routev3.VirtualHost{
			Name: name, Domains: domains, Routes: routes, IncludeRequestAttemptCount: b.attempts,
		})
	}
	for _, g := range groups {
		for _, h := range g.hosts {
			h = strings.ToLower(h)
			add(hostDomain(h), g.routes, []string{hostDomain(h)}, nil)
		}
		for _, s := range g.services {
			domains, short := serviceDomains(s, b.aliases[s.Host], b.site.namespace)
			add(strings.ToLower(s.Host), g.routes, domains, short)
		}
	}
	return out
}

// defaultRoute sends everything to a service without rules.
func (b *portHosts) defaultRoute(s *service) *routev3.Route {
	port := strconv.Itoa(b.site.port)
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{
			Cluster: clusterName("outbound", uint32(b.site.port), "", s.Host),
		},
		RetryPolicy: retryPolicy(b.site.retries, false),
		HashPolicy:  hashPolicies(nil, b.hash(s)),
	}
	setTimeout(action, nil)
	return &routev3.Route{
		Name:      "default",
		Match:     routeMatch(nil),
		Decorator: &routev3.Decorator{Operation: s.Host + ":" + port + "/*"},
		Action:    &routev3.Route_Route{Route: action},
	}
}
