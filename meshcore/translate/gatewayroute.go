package translate

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// gatewayRoutes returns the RouteConfigurations of a gateway by name.
func (t *Translator) gatewayRoutes(p *Pod) routeConfigs {
	out := routeConfigs{}
	view := t.index.gatewayView(p)
	for _, name := range slices.Sorted(maps.Keys(view.routes)) {
		out[name] = routeConfig(name, t.gatewayHosts(p, view.routes[name]))
	}
	return out
}

// gatewayHosts makes the virtual hosts of the servers that share a RouteConfiguration: one for each
// host that a server and a VirtualService bound to its Gateway have in common. VirtualServices for
// one host merge, in contrast to sidecars. (istio gateway.go buildGatewayHTTPRouteConfig)
func (t *Translator) gatewayHosts(p *Pod, servers []*gatewayServer) []*routev3.VirtualHost {
	b := gatewayHosts{
		byHost: map[string]*routev3.VirtualHost{}, attempts: countsAttempts(t.index.mesh),
	}
	// One Gateway's servers of a route name share the routes made for the first one, port and all.
	made := map[string][]*routev3.Route{}
	for _, s := range servers {
		for _, vs := range t.index.virtualServices(s.gateway, p.Namespace) {
			ns := vs.object.Namespace
			hosts := hostsIntersect(hostsForNamespace(s.hosts, ns), vs.spec.Hosts)
			if len(hosts) == 0 {
				continue
			}
			key := s.gateway + " " + ns + "/" + vs.object.Name
			routes, ok := made[key]
			if !ok {
				routes = vs.routes(t.gatewaySite(p, s))
				made[key] = routes
			}
			if len(routes) == 0 {
				continue
			}
			for _, h := range hosts {
				b.add(h, s, routes)
			}
		}
		if redirects(s) {
			for _, h := range s.hosts {
				b.add(h, s, nil) // "namespace/host" too, which matches nothing, as in istiod
			}
		}
	}
	if len(b.byHost) == 0 {
		port := strconv.Itoa(int(servers[0].spec.Port.Number))
		return []*routev3.VirtualHost{{Name: "blackhole:" + port, Domains: []string{"*"}}}
	}
	return b.collapsed()
}

// gatewaySite: in contrast to a sidecar, a destination without port gets the only one of its
// Service.
func (t *Translator) gatewaySite(p *Pod, s *gatewayServer) *routeSite {
	sc := t.index.scope(p.Namespace)
	port := s.spec.Port.Number
	site := t.newSite(p, sc, s.gateway, port)
	site.tls = s.spec.Tls != nil
	site.cluster = func(d *networkingv1alpha3.Destination) string {
		return destinationCluster(d, sc.exported(d.Host), port)
	}
	return site
}

// exported returns the service with this FQDN if it is exported to the namespace, else nil.
func (sc *scope) exported(host string) *service {
	if s := sc.byHost[host]; s != nil && slices.Contains(sc.services, s) {
		return s
	}
	return nil
}

// redirects reports whether a server answers plain HTTP with a redirect to https.
func redirects(s *gatewayServer) bool { return s.spec.GetTls().GetHttpsRedirect() }

// gatewayHosts collects the virtual hosts of a RouteConfiguration.
type gatewayHosts struct {
	byHost   map[string]*routev3.VirtualHost
	attempts bool
}

// add appends routes to those of a host.
func (b *gatewayHosts) add(host string, s *gatewayServer, routes []*routev3.Route) {
	host = strings.ToLower(host)
	vh := b.byHost[host]
	if vh == nil {
		vh = &routev3.VirtualHost{
			Name:                       host + ":" + strconv.Itoa(int(s.spec.Port.Number)),
			Domains:                    []string{host},
			IncludeRequestAttemptCount: b.attempts,
		}
		b.byHost[host] = vh
	}
	vh.Routes = append(vh.Routes, routes...)
	if redirects(s) {
		vh.RequireTls = routev3.VirtualHost_ALL
	}
}

// collapsed returns the virtual hosts by name, those with the very same routes as one, named after
// the most specific host; in each, routes that match everything come last, whose VirtualService is
// older first. (istio gateway.go collapseDuplicateRoutes, route.go SortVHostRoutes)
func (b *gatewayHosts) collapsed() []*routev3.VirtualHost {
	var out []*routev3.VirtualHost
	for _, h := range slices.SortedFunc(maps.Keys(b.byHost), compareHosts) {
		vh := b.byHost[h]
		i := slices.IndexFunc(out, func(o *routev3.VirtualHost) bool {
			return o.RequireTls == vh.RequireTls && slices.Equal(o.Routes, vh.Routes)
		})
		if i < 0 {
			out = append(out, vh)
		} else {
			out[i].Domains = append(out[i].Domains, vh.Domains...)
		}
	}
	for _, vh := range out {
		slices.SortStableFunc(vh.Routes, func(a, b *routev3.Route) int {
			return cmp.Compare(last(a), last(b))
		})
	}
	slices.SortStableFunc(out, func(a, b *routev3.VirtualHost) int {
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// last is 1 for routes that match everything.
func last(r *routev3.Route) int {
	if matchesEverything(r.Match) {
		return 1
	}
	return 0
}
