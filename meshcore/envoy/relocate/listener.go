package relocate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	setfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	networkstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Names of Envoy's filters.
const (
	originalDst   = "envoy.filters.listener.original_dst"
	proxyProtocol = "envoy.filters.listener.proxy_protocol"
	filterState   = "envoy.filters.network.set_filter_state"
)

// listener moves a listener: the one that takes what the app sends to a unix socket, the one that
// takes what comes to the pod to the pod's own sockets, those of gateways likewise; the others are
// never bound and only matched by address.
func (k *Linker) listener(l *listenerv3.Listener, p Proxy) (*listenerv3.Listener, error) {
	switch {
	case l.GetUseOriginalDst().GetValue():
		out := proto.CloneOf(l)
		// Envoy's implicit original_dst filter comes last and overrides the PROXY header where the
		// machine has a NAT table, but it ignores unix sockets.
		out.Address = &corev3.Address{Address: &corev3.Address_Pipe{
			Pipe: &corev3.Pipe{Path: p.Outbound},
		}}
		k.chains(out)
		return out, fromProxyHeader(out, &proxyprotocolv3.ProxyProtocol{}, nil)
	case !bound(l):
		return k.unbound(l)
	case p.Gateway:
		return k.gateway(l, p)
	}
	return k.inbound(l, p)
}

func bound(l *listenerv3.Listener) bool {
	return l.BindToPort == nil || l.BindToPort.Value
}

// unbound moves what an outbound listener is matched by.
func (k *Linker) unbound(l *listenerv3.Listener) (*listenerv3.Listener, error) {
	if out := k.listeners[l]; out != nil {
		return out, nil
	}
	logical, real, err := k.move(l.GetAddress())
	if err != nil {
		return nil, err
	}
	out := l
	if logical != real {
		out = proto.CloneOf(l)
		setAddress(out.Address, real)
		k.networks(out, logical.Addr(), real.Addr())
		k.chains(out)
	}
	k.listeners[l] = out
	return out, nil
}

// gateway binds a gateway's listener at its pod's address.
func (k *Linker) gateway(l *listenerv3.Listener, p Proxy) (*listenerv3.Listener, error) {
	at, _, err := k.move(l.GetAddress())
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(l)
	if !at.Addr().IsUnspecified() {
		return nil, fmt.Errorf("address %s: want the wildcard at a gateway", at.Addr())
	}
	setAddress(out.Address, k.place(netip.AddrPortFrom(p.IP, at.Port())))
	k.chains(out)
	if err := k.policies(out); err != nil {
		return nil, err
	}
	// An Envoy that calls an address of the client's choice sends no header. To tell, the filter
	// waits for the client's first bytes.
	optional := &proxyprotocolv3.ProxyProtocol{AllowRequestsWithoutProxyProtocol: true}
	return out, fromProxyHeader(out, optional, nil)
}

// inbound binds the listener for what comes to a pod at every port that the pod has: no kernel
// redirects it to one. Other Envoys connect there; who has a PROXY header to send connects to the
// listener's own port.
func (k *Linker) inbound(l *listenerv3.Listener, p Proxy) (*listenerv3.Listener, error) {
	at, _, err := k.move(l.GetAddress())
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(l)
	ports := slices.Clone(p.Ports)
	for _, c := range l.FilterChains {
		if port := c.GetFilterChainMatch().GetDestinationPort(); port != nil {
			ports = append(ports, uint16(port.Value))
		}
	}
	slices.Sort(ports)
	setAddress(out.Address, k.place(netip.AddrPortFrom(p.IP, at.Port())))
	for _, port := range slices.Compact(ports) {
		if port == at.Port() {
			continue
		}
		out.AdditionalAddresses = append(out.AdditionalAddresses, &listenerv3.AdditionalAddress{
			Address: socketAddress(k.place(netip.AddrPortFrom(p.IP, port))),
		})
	}
	out.ListenerFilters = slices.DeleteFunc(out.ListenerFilters,
		func(f *listenerv3.ListenerFilter) bool { return f.Name == originalDst })
	k.chains(out)
	if err := k.policies(out); err != nil {
		return nil, err
	}
	for _, c := range xds.Chains(out) {
		if err := k.toApp(c, p); err != nil {
			return nil, err
		}
	}
	own := k.port(uint32(at.Port()))
	return out, fromProxyHeader(out, &proxyprotocolv3.ProxyProtocol{}, otherPorts(own))
}

// otherPorts matches connections to any port but one.
func otherPorts(own uint32) *listenerv3.ListenerFilterChainMatchPredicate {
	one := &listenerv3.ListenerFilterChainMatchPredicate{
		Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
			DestinationPortRange: &typev3.Int32Range{Start: int32(own), End: int32(own) + 1},
		},
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{
		Rule: &listenerv3.ListenerFilterChainMatchPredicate_NotMatch{NotMatch: one},
	}
}

// networks moves the networks of a listener's chains that hold its only address: they are as wide
// as before, so the narrowest is the same one.
func (k *Linker) networks(l *listenerv3.Listener, logical, real netip.Addr) {
	if logical.IsUnspecified() {
		return
	}
	for _, c := range l.FilterChains {
		for _, r := range c.GetFilterChainMatch().GetPrefixRanges() {
			ip, err := netip.ParseAddr(r.AddressPrefix)
			if err != nil || int(r.GetPrefixLen().GetValue()) >= ip.BitLen() {
				continue
			}
			if netip.PrefixFrom(ip, int(r.PrefixLen.GetValue())).Contains(logical) {
				r.AddressPrefix = real.String()
			}
		}
	}
}

// chains moves the addresses and ports that filter chains are matched by.
func (k *Linker) chains(l *listenerv3.Listener) {
	for _, c := range l.FilterChains {
		m := c.GetFilterChainMatch()
		if m == nil {
			continue
		}
		for _, r := range m.PrefixRanges {
			ip, err := netip.ParseAddr(r.AddressPrefix)
			if err == nil && int(r.GetPrefixLen().GetValue()) == ip.BitLen() {
				r.AddressPrefix = k.place(netip.AddrPortFrom(ip, 0)).Addr().String()
			}
		}
		if port := m.DestinationPort; port != nil {
			m.DestinationPort = wrapperspb.UInt32(k.port(port.Value))
		}
	}
	for _, f := range l.ListenerFilters {
		k.predicate(f.GetFilterDisabled())
	}
}

// port moves a port that stands without its address.
func (k *Linker) port(number uint32) uint32 {
	any := netip.AddrFrom4([4]byte{})
	return uint32(k.place(netip.AddrPortFrom(any, uint16(number))).Port())
}

// predicate moves the ports for which a listener filter is off.
func (k *Linker) predicate(m *listenerv3.ListenerFilterChainMatchPredicate) {
	switch r := m.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		for _, m := range r.OrMatch.Rules {
			k.predicate(m)
		}
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		for _, m := range r.AndMatch.Rules {
			k.predicate(m)
		}
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		k.predicate(r.NotMatch)
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		if in := r.DestinationPortRange; in.End == in.Start+1 {
			in.Start = int32(k.port(uint32(in.Start)))
			in.End = in.Start + 1
		}
	}
}

// toApp has a chain's ORIGINAL_DST clusters call the pod's own app, which does not listen at the
// pod's address: Envoy does. (source/extensions/clusters/original_dst/original_dst_cluster.cc
// filterStateOverrideHost)
func (k *Linker) toApp(c *listenerv3.FilterChain, p Proxy) error {
	app := p.App(netip.AddrPortFrom(p.IP, 0)).Addr()
	value := &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
				InlineString: app.String() + ":%DOWNSTREAM_LOCAL_PORT%",
			}},
		},
	}
	config, err := anypb.New(&networkstatev3.Config{
		OnNewConnection: []*setfilterstatev3.FilterStateValue{{
			Key: &setfilterstatev3.FilterStateValue_ObjectKey{
				ObjectKey: "envoy.network.transport_socket.original_dst_address",
			},
			Value: &setfilterstatev3.FilterStateValue_FormatString{FormatString: value},
		}},
	})
	if err != nil {
		return fmt.Errorf("chain %s: %s: %w", c.Name, strconv.Quote(filterState), err)
	}
	c.Filters = append([]*listenerv3.Filter{{
		Name: filterState, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	}}, c.Filters...)
	return nil
}

// fromProxyHeader puts the filter first that takes a connection's ends from a PROXY protocol
// header; off says for which connections it does not.
func fromProxyHeader(
	l *listenerv3.Listener, how *proxyprotocolv3.ProxyProtocol,
	off *listenerv3.ListenerFilterChainMatchPredicate,
) error {
	config, err := anypb.New(how)
	if err != nil {
		return err
	}
	l.ListenerFilters = append([]*listenerv3.ListenerFilter{{
		Name:           proxyProtocol,
		ConfigType:     &listenerv3.ListenerFilter_TypedConfig{TypedConfig: config},
		FilterDisabled: off,
	}}, l.ListenerFilters...)
	return nil
}
