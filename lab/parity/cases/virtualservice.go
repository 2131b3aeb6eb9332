package cases

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// meshGateway is the name of every sidecar in the lists of gateways.
const meshGateway = "mesh"

// virtualService makes the requests of a VirtualService from each place where it holds.
func (m *maker) virtualService(o *istio.Object, vs *networkingv1alpha3.VirtualService) {
	for _, p := range m.places(o, vs) {
		base := p.draft()
		m.add(base, true)
		for i, r := range vs.Http {
			if len(r.Match) == 0 {
				m.route(base, r, i == 0)
			}
			for j, match := range r.Match {
				m.match(base, r, match, i == 0 && j == 0)
			}
		}
	}
}

// places lists where a VirtualService's hosts can be reached: by sidecars, at gateways, or both.
func (m *maker) places(o *istio.Object, vs *networkingv1alpha3.VirtualService) []place {
	var out []place
	if len(vs.Gateways) == 0 || slices.Contains(vs.Gateways, meshGateway) {
		for _, h := range vs.Hosts {
			out = append(out, m.inMesh(h, o.Namespace)...)
		}
	}
	for _, name := range vs.Gateways {
		if name != meshGateway {
			out = append(out, m.atGateway(name, o.Namespace, vs.Hosts)...)
		}
	}
	return out
}

// inMesh lists the places of one host as a client in the mesh sees them. A host that is no Service
// has no address; its requests connect to some Service's.
func (m *maker) inMesh(host, namespace string) []place {
	from := m.client(nil)
	if from == "" {
		return nil
	}
	var out []place
	for _, s := range m.servicesOf(host, namespace) {
		for _, port := range httpPorts(s) {
			out = append(out, place{from: from, host: s.Name + "." + s.Namespace, port: port})
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, s := range m.config.Kind("Service") {
		if ports := httpPorts(s); len(ports) > 0 {
			p := place{from: from, host: wildcard(host), port: ports[0]}
			p.connect = authority(s.Name+"."+s.Namespace, ports[0])
			return []place{p}
		}
	}
	return nil
}

// wildcard gives a name to what a host's asterisk stands for.
func wildcard(host string) string {
	if host == "*" {
		return "any.example.com"
	}
	return strings.Replace(host, "*", "any", 1)
}

func httpPorts(o *istio.Object) []int {
	var out []int
	if s, ok := o.Body.(*corev1.Service); ok {
		for _, p := range s.Spec.Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				out = append(out, int(p.Port))
			}
		}
	}
	return out
}

// atGateway lists the places of a VirtualService's hosts at a gateway's HTTP servers.
func (m *maker) atGateway(name, namespace string, hosts []string) []place {
	if ns, n, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, n
	}
	var out []place
	for _, o := range m.config.Kind("Gateway") {
		gw, ok := o.Body.(*networkingv1alpha3.Gateway)
		if !ok || o.Name != name || o.Namespace != namespace || !m.hasPod(gw.Selector) {
			continue
		}
		for _, s := range gw.Servers {
			if !strings.HasPrefix(strings.ToUpper(s.GetPort().GetProtocol()), "HTTP") {
				continue
			}
			for _, h := range hosts {
				out = append(out, place{
					from: outside, gateway: name + "." + namespace, host: wildcard(h),
					port: m.servicePort(gw.Selector, int(s.Port.Number)),
				})
			}
		}
	}
	return out
}

func (m *maker) hasPod(selector map[string]string) bool {
	return slices.ContainsFunc(m.reg.Pods, func(p *translate.Pod) bool {
		return p.Role == translate.Gateway && translate.Selects(selector, p.Labels)
	})
}

// servicePort is the port under which a gateway's Service offers a server's port.
func (m *maker) servicePort(selector map[string]string, port int) int {
	for _, p := range m.reg.Pods {
		if p.Role == translate.Gateway && translate.Selects(selector, p.Labels) {
			if sp, ok := m.reg.ServicePort(p, uint16(port)); ok {
				return int(sp)
			}
		}
	}
	return port
}

// route makes the requests about what a route does with a request that reaches it. Odd paths and
// hosts are tried at the first route of a rule.
func (m *maker) route(d draft, r *networkingv1alpha3.HTTPRoute, first bool) {
	m.add(d, true)
	if first {
		m.paths(d)
		m.bodies(d)
		if d.from != outside {
			m.wrongPort(d)
		}
	}
	m.failures(d, r)
	m.cors(d, r.CorsPolicy)
	m.operations(d, r)
	m.hashKeys(d, r)
}

// wrongPort names another port in the Host header than the one of the connection.
func (m *maker) wrongPort(d draft) {
	m.variant(d, func(d *draft) { d.authority = authority(d.host, d.port+1) })
	m.variant(d, func(d *draft) { d.authority = d.host })
	m.variant(d, func(d *draft) { d.authority = authority(d.host, d.port) })
}

// operations sends the headers that a route's operations are about, in the request and in the
// answer: absent, once, and twice.
func (m *maker) operations(d draft, r *networkingv1alpha3.HTTPRoute) {
	request, response := map[string]bool{}, map[string]bool{}
	note := func(h *networkingv1alpha3.Headers) {
		for _, x := range []struct {
			ops *networkingv1alpha3.Headers_HeaderOperations
			to  map[string]bool
		}{{h.GetRequest(), request}, {h.GetResponse(), response}} {
			for k := range x.ops.GetSet() {
				x.to[strings.ToLower(k)] = true
			}
			for k := range x.ops.GetAdd() {
				x.to[strings.ToLower(k)] = true
			}
			for _, k := range x.ops.GetRemove() {
				x.to[strings.ToLower(k)] = true
			}
		}
	}
	note(r.Headers)
	for _, dest := range r.Route {
		note(dest.Headers)
	}
	for _, name := range sortedNames(request) {
		if name == "host" || name == ":authority" {
			continue
		}
		m.variant(d, func(d *draft) { d.set(name, "mine") })
		m.variant(d, func(d *draft) { d.headers = append(d.headers, name+": one", name+": two") })
	}
	for _, name := range sortedNames(response) {
		m.variant(d, func(d *draft) { d.set("x-echo-response-header", name+": theirs") })
		m.variant(d, func(d *draft) {
			d.headers = append(d.headers, "x-echo-response-header: "+name+": one",
				"x-echo-response-header: "+name+": two")
		})
	}
}

func sortedNames(set map[string]bool) []string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
