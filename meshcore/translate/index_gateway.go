package translate

import (
	"fmt"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// noPortTranslation on a Service: Gateways name its target ports, not its ports.
const noPortTranslation = "experimental.istio.io/disable-gateway-port-translation"

// gatewayServer is one server of a Gateway.
type gatewayServer struct {
	gateway string // "NAMESPACE/NAME"
	spec    *networkingv1alpha3.Server
	hosts   []string // "host" (any namespace) or "namespace/host"
}

// gatewayPort is what one gateway proxy listens on: the servers of all Gateways that select it,
// merged by port and bind address.
type gatewayPort struct {
	number    uint32 // what the proxy listens on: the target port of its Service
	bind      string // empty: every address
	protocol  protocol
	routeName string           // "http.PORT[.BIND]"; empty for servers that are not HTTP
	servers   []*gatewayServer // oldest Gateway first
}

// gatewayView is all Gateways as one gateway proxy sees them.
type gatewayView struct {
	ports []*gatewayPort // in order of first mention
	// servers by route name: what its RouteConfiguration is made of. Ports that differ only in bind
	// address have route names of their own.
	routes map[string][]*gatewayServer
	// targets maps a port of the proxy to the ports that Gateways name for it.
	targets map[uint32][]uint32
}

// gatewayView merges the Gateways that select a gateway proxy. Istio pilot/pkg/model/gateway.go
// mergeGateways; servers that clash with an older one on their port are dropped, as there.
func (ix *index) gatewayView(p *Pod) *gatewayView {
	v := &gatewayView{routes: map[string][]*gatewayServer{}, targets: map[uint32][]uint32{}}
	for _, o := range ix.gateways {
		gw := o.Body.(*networkingv1alpha3.Gateway)
		if len(gw.Selector) > 0 && !Selects(gw.Selector, p.Labels) {
			continue
		}
		for _, s := range gw.Servers {
			if s.Port == nil {
				continue
			}
			server := &gatewayServer{
				gateway: o.Namespace + "/" + o.Name, spec: s, hosts: serverHosts(s, o.Namespace),
			}
			v.add(server, ix.targetPort(p, s.Port.Number))
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

func (v *gatewayView) add(s *gatewayServer, number uint32) {
	proto := parseProtocol(s.spec.Port.Protocol)
	name := routeName(s, proto, number)
	at := slices.IndexFunc(v.ports, func(p *gatewayPort) bool {
		return p.number == number && p.bind == s.spec.Bind
	})
	if at < 0 {
		at = len(v.ports)
		v.ports = append(v.ports, &gatewayPort{
			number: number, bind: s.spec.Bind, protocol: proto, routeName: name,
		})
	} else if old := v.ports[at]; !(proto.isHTTP() && (old.protocol.isHTTP())) {
		return // clash: only plain HTTP servers share a port
	}
	v.ports[at].servers = append(v.ports[at].servers, s)
	if name != "" {
		v.routes[name] = append(v.routes[name], s)
		if !slices.Contains(v.targets[number], s.spec.Port.Number) {
			v.targets[number] = append(v.targets[number], s.spec.Port.Number)
			slices.Sort(v.targets[number])
		}
	}
}

// routeName names the RouteConfiguration of a server: the HTTP servers of a port share one.
func routeName(s *gatewayServer, p protocol, number uint32) string {
	if !p.isHTTP() {
		return ""
	}
	name := fmt.Sprintf("http.%d", number)
	if s.spec.Bind != "" {
		name += "." + s.spec.Bind
	}
	return name
}
