package translate

import (
	"fmt"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// noPortTranslation on a Service: Gateways name its target ports, not its ports.
const noPortTranslation = "experimental.istio.io/disable-gateway-port-translation"

// gatewayServer is one server of a Gateway.
type gatewayServer struct {
	object  *istio.Object
	index   int    // in spec.servers
	gateway string // "NAMESPACE/NAME"
	spec    *networkingv1alpha3.Server
	hosts   []string // "host" (any namespace) or "namespace/host"
	// routeName is the RouteConfiguration of servers that understand HTTP: "http.PORT[.BIND]" is
	// shared by those of a port, "https.PORT.PORTNAME.GATEWAY.NAMESPACE[.BIND]" is a server's own.
	routeName string
}

// ref is where the server is written.
func (s *gatewayServer) ref() ruleRef {
	return ruleRef{s.object, fmt.Sprintf("spec.servers[%d]", s.index)}
}

func (s *gatewayServer) protocol() protocol { return parseProtocol(s.spec.Port.Protocol) }

// passesThrough: TLS goes on as it comes.
func (s *gatewayServer) passesThrough() bool {
	if s.spec.Tls == nil {
		return false
	}
	mode := s.spec.Tls.Mode
	return mode == networkingv1alpha3.ServerTLSSettings_PASSTHROUGH || mode == autoPassThrough
}

// isHTTP: the proxy sees HTTP, in plain text or behind the TLS that it ends.
func (s *gatewayServer) isHTTP() bool {
	p := s.protocol()
	return p.isHTTP() || p == protoHTTPS && !s.passesThrough()
}

// isTLS: clients begin with a TLS handshake.
func (s *gatewayServer) isTLS() bool { return s.spec.Tls != nil && !s.protocol().isHTTP() }

// serverPort tells the ports of a gateway proxy apart. Istio pilot/pkg/model/gateway.go ServerPort.
type serverPort struct {
	number   uint32 // what the proxy listens on: the target port of its Service
	protocol string // as written
	bind     string // empty: every address
}

// gatewayPort is one port with its servers: those of all Gateways that select the proxy.
type gatewayPort struct {
	serverPort
	routeName string           // of plain HTTP
	servers   []*gatewayServer // oldest Gateway first
}

// gatewayView is all Gateways as one gateway proxy sees them.
type gatewayView struct {
	ports []*gatewayPort // in order of first mention
	// routes are the servers by route name: what its RouteConfiguration is made of.
	routes   map[string][]*gatewayServer
	problems []istio.Diagnostic // servers that are left out

	plain map[uint32]serverPort        // the last port without TLS, by number
	used  map[uint32]bool              // numbers
	hosts map[uint32]map[string]string // of servers with TLS settings, by number: host to bind
}

// gatewayView merges the Gateways that select a gateway proxy. Istio pilot/pkg/model/gateway.go
// mergeGateways; servers that clash with an older one on their port are dropped, as there.
func (ix *index) gatewayView(p *Pod) *gatewayView {
	v := &gatewayView{
		routes: map[string][]*gatewayServer{}, plain: map[uint32]serverPort{},
		used: map[uint32]bool{}, hosts: map[uint32]map[string]string{},
	}
	for _, o := range ix.gateways {
		gw := o.Body.(*networkingv1alpha3.Gateway)
		if len(gw.Selector) > 0 && !Selects(gw.Selector, p.Labels) {
			continue
		}
		for i, spec := range gw.Servers {
			if spec.Port == nil {
				continue
			}
			number := ix.targetPort(p, spec.Port.Number)
			s := &gatewayServer{
				object: o, index: i, gateway: o.Namespace + "/" + o.Name, spec: spec,
				hosts: serverHosts(spec, o.Namespace),
			}
			s.routeName = routeName(s, number)
			v.add(s, number)
		}
	}
	return v
}

// serverHosts spells the namespaces of a server's hosts: "./h" is of the Gateway's own, "*/h" is
// "h".
func serverHosts(s *networkingv1alpha3.Server, ns string) []string {
	out := make([]string, 0, len(s.Hosts))
	for _, h := range s.Hosts {
		switch at, name, ok := strings.Cut(h, "/"); {
		case ok && at == ".":
			h = ns + "/" + name
		case ok && at == "*":
			h = name
		}
		out = append(out, h)
	}
	return out
}

// targetPort translates the port that a Gateway names by the first Service of the gateway pod that
// has it; without one the proxy listens on that port itself.
func (ix *index) targetPort(p *Pod, number uint32) uint32 {
	for _, s := range ix.onPod[p] {
		if s.Object != nil {
			if _, off := s.Object.Labels[noPortTranslation]; off {
				continue
			}
		}
		if sp := s.port(number); sp != nil {
			if target, ok := sp.target(p); ok {
				return target
			}
		}
	}
	return number
}

// skip leaves a server out, as istiod does it with a line in its log.
func (v *gatewayView) skip(s *gatewayServer, field, format string, args ...any) {
	v.problems = append(v.problems, diagnostic(istio.Warning, s.object,
		fmt.Sprintf("spec.servers[%d].%s", s.index, field),
		format+": Istio leaves this server out", args...))
}

func (v *gatewayView) add(s *gatewayServer, number uint32) {
	if !v.claimHosts(s, number) {
		return
	}
	key := serverPort{number: number, protocol: s.spec.Port.Protocol, bind: s.spec.Bind}
	current, plain := v.plain[number]
	switch {
	case !v.used[number]:
		v.used[number] = true
		v.open(key, s)
	case plain && current.bind != key.bind:
		if at := v.port(key); at != nil {
			at.routeName = s.routeName
			v.join(at, s)
		} else {
			v.open(key, s)
		}
	case plain:
		// Only plain HTTP servers share a port.
		if !s.protocol().isHTTP() || !parseProtocol(current.protocol).isHTTP() {
			v.skip(s, "port", "port %d speaks %s already", number, current.protocol)
			return
		}
		v.join(v.port(current), s)
	case !s.isTLS():
		v.open(key, s)
	default:
		if s.isHTTP() && len(v.routes[s.routeName]) > 0 {
			v.skip(s, "port.name", "port name %s is given twice", s.spec.Port.Name)
			return
		}
		if at := v.port(key); at != nil {
			v.join(at, s)
		} else {
			v.open(key, s)
		}
	}
}

// claimHosts: SNI tells the servers with TLS of a port apart, so no two may have a host in common.
func (v *gatewayView) claimHosts(s *gatewayServer, number uint32) bool {
	if s.spec.Tls == nil {
		return true
	}
	known := v.hosts[number]
	if known == nil {
		known = map[string]string{}
		v.hosts[number] = known
	}
	for _, h := range s.hosts {
		if bind, ok := known[h]; ok && bind == s.spec.Bind {
			v.skip(s, "hosts", "%s has a server with TLS settings on port %d already", h, number)
			return false
		}
	}
	for _, h := range s.hosts {
		known[h] = s.spec.Bind
	}
	return true
}

func (v *gatewayView) port(key serverPort) *gatewayPort {
	i := slices.IndexFunc(v.ports, func(p *gatewayPort) bool { return p.serverPort == key })
	if i < 0 {
		return nil
	}
	return v.ports[i]
}

// open adds a port with its first server.
func (v *gatewayView) open(key serverPort, s *gatewayServer) {
	if !s.isTLS() {
		v.plain[key.number] = key
	}
	v.ports = append(v.ports, &gatewayPort{
		serverPort: key, routeName: s.routeName, servers: []*gatewayServer{s},
	})
	if s.isHTTP() {
		v.routes[s.routeName] = []*gatewayServer{s}
	}
}

// join adds a server to a port.
func (v *gatewayView) join(at *gatewayPort, s *gatewayServer) {
	at.servers = append(at.servers, s)
	if s.isHTTP() {
		v.routes[s.routeName] = append(v.routes[s.routeName], s)
	}
}

// routeName names the RouteConfiguration of a server; it is empty where there is none. Istio
// pilot/pkg/model/gateway.go gatewayRDSRouteName.
func routeName(s *gatewayServer, number uint32) string {
	var name string
	switch {
	case s.protocol().isHTTP():
		name = fmt.Sprintf("http.%d", number)
	case s.isHTTP():
		name = fmt.Sprintf("https.%d.%s.%s.%s", s.spec.Port.Number, s.spec.Port.Name,
			s.object.Name, s.object.Namespace)
	default:
		return ""
	}
	if s.spec.Bind != "" {
		name += "." + s.spec.Bind
	}
	return name
}
