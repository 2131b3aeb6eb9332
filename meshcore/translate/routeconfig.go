package translate

import (
	"maps"
	"slices"
	"strconv"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// maxDirectResponseBody bounds direct responses; istiod raises Envoy's 4 KiB to it.
const maxDirectResponseBody = 1 << 20

type routeConfigs = map[string]*routev3.RouteConfiguration

// routeIndex is what outbound routes need besides the index.
type routeIndex struct {
	selectors []map[string]string // of the labels of proxies: all on which routes depend
	l4        []map[string]string // and all on which rules for connections do
	aliases   map[string][]string // see serviceAliases
}

func newRouteIndex(c *istio.Config, ix *index) *routeIndex {
	out := &routeIndex{aliases: serviceAliases(ix.services)}
	addTo := func(list *[]map[string]string, selector map[string]string) {
		known := func(s map[string]string) bool { return maps.Equal(s, selector) }
		if len(selector) > 0 && !slices.ContainsFunc(*list, known) {
			*list = append(*list, selector)
		}
	}
	add := func(selector map[string]string) { addTo(&out.selectors, selector) }
	for _, vs := range ix.vs {
		for _, rule := range vs.spec.Http {
			for _, m := range rule.Match {
				add(m.SourceLabels)
			}
		}
		for _, rule := range vs.spec.Tls {
			for _, m := range rule.Match {
				addTo(&out.l4, m.SourceLabels)
			}
		}
		for _, rule := range vs.spec.Tcp {
			for _, m := range rule.Match {
				addTo(&out.l4, m.SourceLabels)
			}
		}
	}
	for _, o := range c.Kind("DestinationRule") {
		add(o.Body.(*networkingv1alpha3.DestinationRule).GetWorkloadSelector().GetMatchLabels())
	}
	return out
}

// key says of a proxy all on which its outbound routes depend.
func (r *routeIndex) key(namespace string, labels map[string]string) string {
	return "routes|" + namespace + "|" + marks(r.selectors, labels)
}

// marks says which of some selectors select labels.
func marks(selectors []map[string]string, labels map[string]string) string {
	var key []byte
	for _, s := range selectors {
		mark := byte('-')
		if Selects(s, labels) {
			mark = '+'
		}
		key = append(key, mark)
	}
	return string(key)
}

// sidecarRoutes returns the outbound RouteConfigurations of a sidecar by name: "PORT" for ports
// that are HTTP by declaration, "HOST:PORT" for those where the proxy is to find out. Sidecars
// share them: read only.
func (t *Translator) sidecarRoutes(p *Pod) routeConfigs {
	key := t.routes.key(p.Namespace, t.index.podLabels[p])
	return once(&t.shared, key, func() routeConfigs { return t.makeSidecarRoutes(p) })
}

func (t *Translator) makeSidecarRoutes(p *Pod) routeConfigs {
	out := routeConfigs{}
	byPort := map[uint32][]*routev3.VirtualHost{}
	sc := t.index.scope(p.Namespace)
	for _, s := range sc.services {
		if s.external != "" {
			continue
		}
		for _, sp := range s.ports {
			if !sp.protocol.maybeHTTP() {
				continue
			}
			hosts, ok := byPort[sp.number]
			if !ok {
				hosts = t.outboundHosts(p, sc, sp.number)
				byPort[sp.number] = hosts
			}
			port := strconv.Itoa(int(sp.number))
			if name := s.Host + ":" + port; !sp.protocol.isHTTP() {
				out[name] = routeConfig(name, onlyHost(hosts, s.Host))
			} else if out[port] == nil {
				all := append(slices.Clone(hosts), catchAllHost(t.index.mesh))
				out[port] = routeConfig(port, all)
			}
		}
	}
	return out
}

// outboundHosts returns the virtual hosts of one port as a sidecar sees it.
func (t *Translator) outboundHosts(p *Pod, sc *scope, port uint32) []*routev3.VirtualHost {
	site := t.newSite(p, sc, meshGateway, port)
	b := newPortHosts(site, sc)
	// A destination without port is taken at the port of the listener, even where its Service has a
	// single other one: only services of this port are looked up. (istio httproute.go
	// BuildSidecarOutboundVirtualHosts)
	site.cluster = func(d *networkingv1alpha3.Destination) string {
		return destinationCluster(d, b.byHost[d.Host], port)
	}
	b.aliases = t.routes.aliases
	b.attempts = countsAttempts(t.index.mesh)
	b.hash = func(s *service) *consistentHash { return sc.serviceHash(p, s.Host, port) }
	return b.virtualHosts()
}

// newSite returns the site of a proxy at a gateway, but for the look-up of clusters.
func (t *Translator) newSite(p *Pod, sc *scope, gateway string, port uint32) *routeSite {
	mesh := t.index.mesh
	return &routeSite{
		namespace:     p.Namespace,
		labels:        t.index.podLabels[p],
		gateway:       gateway,
		port:          int(port),
		retries:       mesh.GetDefaultHttpRetryPolicy(),
		forwardedHost: proxyHeaders(mesh).GetXForwardedHost().GetEnabled().GetValue(),
		hash: func(d *networkingv1alpha3.Destination) *consistentHash {
			return sc.destinationHash(p, d)
		},
	}
}

// destinationCluster names the cluster of a destination; s is its service, if the proxy knows it.
// An ExternalName Service stands for the host that it names.
func destinationCluster(d *networkingv1alpha3.Destination, s *service, port uint32) string {
	host := d.Host
	if s != nil && s.external != "" {
		host = s.external
	}
	if d.Port != nil {
		port = d.Port.Number
	} else if s != nil && len(s.ports) == 1 {
		port = s.ports[0].number
	}
	return clusterName("outbound", port, d.Subset, host)
}

func proxyHeaders(mesh *meshconfig.MeshConfig) *meshconfig.ProxyConfig_ProxyHeaders {
	return mesh.GetDefaultConfig().GetProxyHeaders()
}

// countsAttempts reports whether requests carry x-envoy-attempt-count upstream.
func countsAttempts(mesh *meshconfig.MeshConfig) bool {
	return !proxyHeaders(mesh).GetAttemptCount().GetDisabled().GetValue()
}

func routeConfig(name string, hosts []*routev3.VirtualHost) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:                           name,
		VirtualHosts:                   hosts,
		ValidateClusters:               wrapperspb.Bool(false),
		MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxDirectResponseBody),
		IgnorePortInHostMatching:       true,
	}
}

// onlyHost is for a listener of one service, which need not look at the Host header: its virtual
// host takes everything. (istio httproute.go getVirtualHostsForSniffedServicePort)
func onlyHost(hosts []*routev3.VirtualHost, host string) []*routev3.VirtualHost {
	var out []*routev3.VirtualHost
	for _, vh := range hosts {
		if slices.Contains(vh.Domains, host) {
			out = append(out, vh)
		}
	}
	if len(out) == 1 {
		out[0] = &routev3.VirtualHost{
			Name: out[0].Name, Domains: []string{"*"}, Routes: out[0].Routes,
			IncludeRequestAttemptCount: out[0].IncludeRequestAttemptCount,
		}
	}
	return out
}

// catchAllHost is where requests for unknown hosts go: to where the client sent them, or nowhere.
func catchAllHost(mesh *meshconfig.MeshConfig) *routev3.VirtualHost {
	r := &routev3.Route{Match: routeMatch(nil)}
	mode := mesh.GetOutboundTrafficPolicy().GetMode()
	if mode == meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY {
		r.Name = "allow_any"
		action := &routev3.RouteAction{
			ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: "PassthroughCluster"},
			AppendXForwardedHost: proxyHeaders(mesh).GetXForwardedHost().GetEnabled().GetValue(),
		}
		setTimeout(action, nil)
		r.Action = &routev3.Route_Route{Route: action}
	} else {
		r.Name = "block_all"
		r.Action = &routev3.Route_DirectResponse{
			DirectResponse: &routev3.DirectResponseAction{Status: 502},
		}
	}
	return &routev3.VirtualHost{
		Name: r.Name, Domains: []string{"*"}, Routes: []*routev3.Route{r},
		IncludeRequestAttemptCount: countsAttempts(mesh),
	}
}
