package translate

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// gatewayBuilder makes the listeners of one gateway proxy.
type gatewayBuilder struct {
	ix     *index
	pod    *Pod
	m      *managers
	passed map[uint32]map[string]string // SNI that is passed through, by port: host to bind
}

// gatewayEntry is one listener of a gateway in the making.
type gatewayEntry struct {
	name    string
	address *corev3.Address
	chains  []*chain
}

// gatewayEntries makes the chains of a gateway's listeners: one listener for each port and address
// of its merged Gateways, with a chain for each server. A port on which nothing would happen has
// none.
func (ix *index) gatewayEntries(p *Pod, m *managers) []*gatewayEntry {
	b := &gatewayBuilder{ix: ix, pod: p, m: m, passed: map[uint32]map[string]string{}}
	var out []*gatewayEntry
	for _, port := range ix.gatewayView(p).ports {
		ip := wildcard
		if port.bind != "" {
			ip = port.bind
		}
		name := listenerName(ip, port.number)
		i := slices.IndexFunc(out, func(e *gatewayEntry) bool { return e.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, &gatewayEntry{name: name, address: socketAddress(ip, port.number)})
		}
		out[i].chains = append(out[i].chains, b.chains(port, name)...)
	}
	return slices.DeleteFunc(out, func(e *gatewayEntry) bool { return len(e.chains) == 0 })
}

// gatewayListeners makes the listeners of a gateway proxy. Istio
// pilot/pkg/networking/core/gateway.go buildGatewayListeners.
func (ix *index) gatewayListeners(p *Pod, m *managers) []*listenerv3.Listener {
	var out []*listenerv3.Listener
	for _, e := range ix.gatewayEntries(p, m) {
		l := &listenerv3.Listener{
			Name:                                 e.name,
			Address:                              e.address,
			TrafficDirection:                     corev3.TrafficDirection_OUTBOUND,
			MaxConnectionsToAcceptPerSocketEvent: wrapperspb.UInt32(1),
			AccessLog:                            m.logs.listener,
		}
		if needSNI(e.chains) {
			l.ListenerFilters = []*listenerv3.ListenerFilter{tlsInspector(nil)}
		}
		for _, c := range e.chains {
			l.FilterChains = append(l.FilterChains, c.build())
		}
		out = append(out, l)
	}
	return out
}

// chains makes the filter chains of a port: one for all servers of plain HTTP, else one or more for
// each.
func (b *gatewayBuilder) chains(port *gatewayPort, listener string) []*chain {
	if parseProtocol(port.protocol).isHTTP() {
		return []*chain{{
			filters: b.manager(port, listener, port.routeName), from: port.servers[0].ref(),
		}}
	}
	var out []*chain
	for _, s := range port.servers {
		switch {
		case s.spec.GetTls().GetMode() == autoPassThrough:
			out = append(out, b.sniChains(s)...)
		case s.passesThrough():
			out = append(out, b.passThrough(port, s)...)
		case s.isHTTP():
			out = append(out, b.terminating(s, b.manager(port, listener, s.routeName)))
		default:
			if filters := b.tcpFilters(s); filters != nil {
				out = append(out, b.terminating(s, filters))
			}
		}
	}
	return out
}

func (b *gatewayBuilder) manager(
	port *gatewayPort, listener, routes string,
) []*listenerv3.Filter {
	hcm := b.m.manager(gatewayClass, "outbound_"+listener)
	if parseProtocol(port.protocol) == protoGRPCWeb {
		grpcWeb(hcm)
	}
	return []*listenerv3.Filter{withRDS(hcm, routes)}
}

// terminating makes the chain of a server that ends TLS, or that has none.
func (b *gatewayBuilder) terminating(s *gatewayServer, filters []*listenerv3.Filter) *chain {
	out := &chain{filters: filters, from: s.ref()}
	if s.spec.Tls != nil {
		out.sni = s.sniHosts()
		out.socket = serverTLS(s.spec.Tls, b.ix.mesh)
	}
	return out
}

// sniHosts are the server's hosts without namespaces, sorted.
func (s *gatewayServer) sniHosts() []string {
	var out []string
	for _, h := range s.hosts {
		if _, name, ok := strings.Cut(h, "/"); ok {
			h = name
		}
		out = append(out, h)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// site is where rules for connections act that come in by a server.
func (b *gatewayBuilder) site(s *gatewayServer) *l4Site {
	return b.ix.l4Site(b.pod, b.m, s.spec.Port.Number)
}

// tcpFilters are those of the first tcp rule that matches the server: all its bytes go there. Nil
// means that nothing takes them.
func (b *gatewayBuilder) tcpFilters(s *gatewayServer) []*listenerv3.Filter {
	for _, vs := range b.ix.virtualServices(s.gateway, b.pod.Namespace) {
		if !s.serves(vs) {
			continue
		}
		for _, rule := range vs.spec.Tcp {
			matches := func(m *networkingv1alpha3.L4MatchAttributes) bool { return s.admits(m) }
			if len(rule.Match) == 0 || slices.ContainsFunc(rule.Match, matches) {
				return b.m.guard.passOn(b.site(s).filter(vs, rule.Route))
			}
		}
	}
	return nil
}

// passThrough makes a chain for each match of the tls rules at the server. An SNI that an earlier
// match of the port has is skipped.
func (b *gatewayBuilder) passThrough(port *gatewayPort, s *gatewayServer) []*chain {
	known := b.passed[port.number]
	if known == nil {
		known = map[string]string{}
		b.passed[port.number] = known
	}
	taken := func(host string) bool {
		bind, ok := known[host]
		return ok && bind == port.bind
	}
	var out []*chain
	for _, vs := range b.ix.virtualServices(s.gateway, b.pod.Namespace) {
		if !s.serves(vs) {
			continue
		}
		for i, rule := range vs.spec.Tls {
			for j, m := range rule.Match {
				if !s.admits(m) || slices.ContainsFunc(m.SniHosts, taken) {
					continue
				}
				for _, h := range m.SniHosts {
					known[h] = port.bind
				}
				out = append(out, &chain{
					sni: m.SniHosts, filters: b.m.guard.passOn(b.site(s).filter(vs, rule.Route)),
					from: ruleRef{vs.object, fmt.Sprintf("spec.tls[%d].match[%d]", i, j)},
				})
			}
		}
	}
	return out
}

// admits reports whether a match holds at a server: of its conditions only the port and the Gateway
// count. Istio pilot/pkg/networking/core/gateway.go l4SingleMatch.
func (s *gatewayServer) admits(m l4Match) bool {
	return (m.GetPort() == 0 || m.GetPort() == s.spec.Port.Number) &&
		(len(m.GetGateways()) == 0 || slices.Contains(m.GetGateways(), s.gateway))
}

// serves reports whether a server has a host in common with a VirtualService.
func (s *gatewayServer) serves(vs *virtualService) bool {
	for _, host := range s.hosts {
		if ns, name, ok := strings.Cut(host, "/"); ok {
			if ns != vs.object.Namespace {
				continue
			}
			host = name
		}
		if slices.ContainsFunc(vs.spec.Hosts, func(h string) bool { return hostMatches(host, h) }) {
			return true
		}
	}
	return false
}
