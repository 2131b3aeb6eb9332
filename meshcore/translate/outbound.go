package translate

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// outboundKey is where an outbound listener stands in.
type outboundKey struct {
	ip     string
	number uint32
}

// outboundEntry is one outbound listener in the making.
type outboundEntry struct {
	key      outboundKey
	protocol protocol // protoDetect as soon as the listener looks into connections
	chains   []*chain
	routes   string // the RouteConfiguration of the HTTP chain; empty: there is none
	grpcWeb  bool
}

// outboundResources are a sidecar's outbound listeners, and the names of their routes.
type outboundResources struct {
	listeners []*listenerv3.Listener
	routes    []string
}

// outbound makes a sidecar's outbound listeners. HTTP services of a port share the listener
// 0.0.0.0_PORT and are told apart by Host; others have one on their own address. Istio
// pilot/pkg/networking/core/listener.go buildSidecarOutboundListener.
func (ix *index) outbound(p *Pod, m *managers) outboundResources {
	out := outboundResources{listeners: []*listenerv3.Listener{ix.virtualOutbound(m)}}
	for _, e := range ix.outboundEntries(p, m) {
		out.listeners = append(out.listeners, ix.outboundListener(e, m))
		if e.routes != "" {
			out.routes = append(out.routes, e.routes)
		}
	}
	return out
}

func (ix *index) outboundEntries(p *Pod, m *managers) []*outboundEntry {
	var order []*outboundEntry
	made := map[outboundKey]*outboundEntry{}
	for _, s := range ix.scope(p.Namespace).services {
		if s.external != "" {
			continue
		}
		for _, sp := range s.ports {
			for _, ip := range ix.listenOn(p, s, sp) {
				key := outboundKey{ip, sp.number}
				e := ix.newEntry(p, m, key, s, sp)
				if old := made[key]; old != nil {
					old.join(e, sp.protocol)
					continue
				}
				made[key] = e
				order = append(order, e)
			}
		}
	}
	return order
}

// listenOn returns the addresses on which a sidecar listens for a port of a service. Clients of a
// headless Service that is not HTTP call pods by their addresses: one listener for each, but for
// the proxy's own pod.
func (ix *index) listenOn(p *Pod, s *service, sp *port) []string {
	switch {
	case sp.protocol.isHTTP():
		if ix.reserved(sp.number) {
			return nil
		}
		return []string{wildcard}
	case s.VIP.IsValid():
		return []string{s.VIP.String()}
	case s.entry.unbound():
		if ix.reserved(sp.number) {
			return nil
		}
		return []string{wildcard}
	}
	var out []string
	for _, in := range s.instances[sp.number] {
		if in.addr != p.IP && !slices.Contains(out, in.addr.String()) {
			out = append(out, in.addr.String())
		}
	}
	return out
}

// newEntry makes the listener of a service alone: chains for its bytes, for HTTP, or for both.
func (ix *index) newEntry(
	p *Pod, m *managers, key outboundKey, s *service, sp *port,
) *outboundEntry {
	e := &outboundEntry{
		key: key, protocol: sp.protocol, grpcWeb: sp.protocol == protoGRPCWeb,
	}
	if !sp.protocol.isHTTP() {
		e.chains = ix.l4Site(p, m, sp.number).chains(s, sp)
	}
	if !sp.protocol.maybeHTTP() {
		return e
	}
	e.routes = strconv.FormatUint(uint64(sp.number), 10)
	if sp.protocol == protoDetect {
		e.routes = s.Host + ":" + e.routes
	}
	// The chain for other bytes makes it a listener that looks.
	e.protocol = protoDetect
	e.chains = append(e.chains, &chain{alpn: httpALPNs, transport: rawBuffer, http: true})
	return e
}

// join adds a service to a listener that stands already. Services that share an address (never two
// Services with addresses of their own, but pods of two headless ones) keep the older one's chain
// where two match alike; MySQL and MongoDB servers speak first, so nothing that looks may join
// them.
func (e *outboundEntry) join(in *outboundEntry, declared protocol) {
	firstSpeaks := func(p protocol) bool { return p == protoMySQL || p == protoMongo }
	if declared.isHTTP() && e.routes != "" {
		return
	}
	if (firstSpeaks(declared) || firstSpeaks(e.protocol)) && declared != e.protocol {
		return
	}
	if in.routes != "" && e.routes == "" {
		e.routes, e.protocol, e.grpcWeb = in.routes, protoDetect, in.grpcWeb
	}
	e.chains = addChains(e.chains, in.chains)
}

// outboundListener makes a listener. A chain that takes everything is the default one, so that
// nothing that fits another chain in part is lost.
func (ix *index) outboundListener(e *outboundEntry, m *managers) *listenerv3.Listener {
	name := listenerName(e.key.ip, e.key.number)
	l := &listenerv3.Listener{
		Name:                             name,
		Address:                          socketAddress(e.key.ip, e.key.number),
		TrafficDirection:                 corev3.TrafficDirection_OUTBOUND,
		BindToPort:                       wrapperspb.Bool(false),
		ContinueOnListenerFiltersTimeout: true,
		ListenerFiltersTimeout:           durationpb.New(0),
	}
	if needSNI(e.chains) {
		l.ListenerFilters = append(l.ListenerFilters, tlsInspector(nil))
	}
	if e.routes != "" {
		l.ListenerFilters = append(l.ListenerFilters, httpInspector(nil))
		if t := ix.mesh.GetProtocolDetectionTimeout(); t != nil {
			l.ListenerFiltersTimeout = t
		}
	}
	for _, c := range e.chains {
		out := c.build()
		if c.http {
			hcm := m.manager(outboundClass, "outbound_"+name)
			if e.grpcWeb {
				grpcWeb(hcm)
			}
			out.Filters = []*listenerv3.Filter{withRDS(hcm, e.routes)}
		}
		if c.everything() {
			l.DefaultFilterChain = out
		} else {
			l.FilterChains = append(l.FilterChains, out)
		}
	}
	switch {
	case len(l.FilterChains) == 0:
		l.FilterChains = []*listenerv3.FilterChain{l.DefaultFilterChain}
		l.DefaultFilterChain = nil
	case l.DefaultFilterChain == nil:
		l.DefaultFilterChain = &listenerv3.FilterChain{
			Name:             "PassthroughFilterChain",
			FilterChainMatch: &listenerv3.FilterChainMatch{},
			Filters:          []*listenerv3.Filter{m.logs.tcpProxy(ix.egressCluster())},
		}
	}
	return l
}
