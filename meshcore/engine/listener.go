package engine

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
)

// Listener is a compiled listener. It stays valid (and unchanged) after an Update for the
// connections that hold it.
type Listener struct {
	Name string
	// Outbound is the traffic direction; gateways are outbound as istiod marks them.
	Outbound bool
	// InspectTimeout bounds the reading of Inspect (listener_filters_timeout; 0 is none), and
	// ContinueOnTimeout says that the connection goes on, its protocol undetected.
	InspectTimeout    time.Duration
	ContinueOnTimeout bool

	// Proxy says that each connection begins with a PROXY protocol header (proxy_protocol filter).
	Proxy bool
	// OriginalDst says that the kernel may know where a connection was going (original_dst filter,
	// which use_original_dst implies).
	OriginalDst bool

	addrs    []Address // the first one, then the additional ones
	bind     bool      // bind_to_port
	handover bool      // use_original_dst
	http     *inspector
	tls      *inspector
	chains   []*Chain
	fallback *Chain // default_filter_chain
	logs     []accessLog
	metadata *corev3.Metadata
	byPort   map[uint16][]*Chain
}

// restores says whether connections know where they were going before somebody captured them: at a
// gateway, which clients call by its own address, they do not, and an ORIGINAL_DST cluster has no
// host for them (original_dst_cluster.cc chooseHost: localAddressRestored).
func (l *Listener) restores() bool {
	return !l.bind || l.handover || l.OriginalDst || l.Proxy
}

// Inspect says what must be found out before Chain is asked.
type Inspect struct {
	HTTP bool // http_inspector: ConnInfo.ALPN "http/1.0", "http/1.1" or "h2c"
	TLS  bool // tls_inspector: Transport, SNI, ALPN
}

type inspector struct{ disabled predicate }

type predicate func(port uint16) bool

// Inspect returns the inspectors that this connection needs (filter_disabled is heeded).
func (l *Listener) Inspect(ci *ConnInfo) Inspect {
	return Inspect{HTTP: l.http.wanted(ci), TLS: l.tls.wanted(ci)}
}

func (i *inspector) wanted(ci *ConnInfo) bool {
	return i != nil && (i.disabled == nil || !i.disabled(ci.Local.Port()))
}

func (c *compiler) listener(m *listenerv3.Listener) *Listener {
	l := &Listener{Name: m.GetName(), InspectTimeout: 15 * time.Second,
		ContinueOnTimeout: m.GetContinueOnListenerFiltersTimeout(),
		Outbound:          m.GetTrafficDirection() == corev3.TrafficDirection_OUTBOUND,
		bind:              m.GetBindToPort() == nil || m.GetBindToPort().GetValue(),
		handover:          m.GetUseOriginalDst().GetValue(), metadata: m.GetMetadata()}
	l.logs = c.listenerLogs(m.GetAccessLog())
	if d := m.GetListenerFiltersTimeout(); d != nil {
		l.InspectTimeout = c.duration("listener_filters_timeout", d)
	}
	if m.GetAddress() == nil {
		c.fail("address", "value is required")
	} else {
		l.addrs = append(l.addrs, c.address("address", m.GetAddress()))
	}
	for i, a := range m.GetAdditionalAddresses() {
		leave := c.at("additional_addresses", i)
		l.addrs = append(l.addrs, c.address("address", a.GetAddress()))
		leave()
	}
	l.OriginalDst = l.handover
	for i, f := range m.GetListenerFilters() {
		c.listenerFilter(i, l, f)
	}
	if len(m.GetFilterChains()) == 0 && m.GetDefaultFilterChain() == nil && len(l.addrs) > 0 {
		c.fail("filter_chains", "error adding listener '%v': no filter chains specified",
			l.addrs[0])
	}
	for i, f := range m.GetFilterChains() {
		leave := c.at("filter_chains", i)
		l.chains = append(l.chains, c.chain(l, m, f))
		leave()
	}
	c.duplicateChains(l)
	if f := m.GetDefaultFilterChain(); f != nil {
		leave := c.in("default_filter_chain")
		l.fallback = c.chain(l, m, f)
		leave()
	}
	l.byPort = map[uint16][]*Chain{}
	for _, ch := range l.chains {
		l.byPort[ch.match.port] = append(l.byPort[ch.match.port], ch)
	}
	return l
}

func (c *compiler) listenerFilter(i int, l *Listener, m *listenerv3.ListenerFilter) {
	defer c.at("listener_filters", i)()
	in := &inspector{disabled: predicateOf(m.GetFilterDisabled())}
	switch a := m.GetTypedConfig(); {
	case c.any(a, &httpinspectorv3.HttpInspector{}):
		l.http = in
	case c.any(a, &tlsinspectorv3.TlsInspector{}):
		l.tls = in
	case c.any(a, &originaldstv3.OriginalDst{}):
		l.OriginalDst = true
	case c.any(a, &proxyprotocolv3.ProxyProtocol{}):
		l.Proxy = true
	default:
		c.fail("typed_config", "%s %s", m.GetName(), notCarried)
	}
}

func predicateOf(m *listenerv3.ListenerFilterChainMatchPredicate) predicate {
	switch r := m.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return func(uint16) bool { return r.AnyMatch }
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		from, to := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		return func(p uint16) bool { return int32(p) >= from && int32(p) < to }
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		inner := predicateOf(r.NotMatch)
		return func(p uint16) bool { return !inner(p) }
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		return setOf(r.OrMatch.GetRules(), true)
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		return setOf(r.AndMatch.GetRules(), false)
	}
	return nil
}

// setOf ends at the first rule that answers until.
func setOf(rules []*listenerv3.ListenerFilterChainMatchPredicate, until bool) predicate {
	var list []predicate
	for _, r := range rules {
		list = append(list, predicateOf(r))
	}
	return func(p uint16) bool {
		for _, f := range list {
			if f(p) == until {
				return until
			}
		}
		return !until
	}
}

// maxPipePath is how long the path of a unix socket may be.
const maxPipePath = 107

// pipe checks a unix socket (source/common/network/address_impl.cc PipeInstance).
func (c *compiler) pipe(field string, p *corev3.Pipe) {
	path := p.GetPath()
	abstract := strings.HasPrefix(path, "@")
	switch {
	case path == "":
		c.fail(field+".path", "value length must be at least 1 characters")
	case abstract && p.GetMode() != 0:
		c.fail(field+".mode", "Cannot set mode for Abstract AF_UNIX sockets")
	case !abstract && strings.ContainsRune(path, 0):
		c.fail(field+".path", "UNIX domain socket pathname contains embedded null characters")
	case len(path) > maxPipePath:
		c.fail(field+".path", "Path \"%s\" exceeds maximum UNIX domain socket path size of 108",
			path)
	}
}

func (c *compiler) address(field string, m *corev3.Address) Address {
	if p := m.GetPipe(); p != nil {
		c.pipe(field+".pipe", p)
		return Address{Path: p.GetPath(), Mode: p.GetMode()}
	}
	s := m.GetSocketAddress()
	if s == nil {
		c.fail(field, "only socket addresses and pipes are carried out")
		return Address{}
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		c.fail(field+".socket_address.address", "malformed IP address: %s", s.GetAddress())
	}
	if s.GetPortValue() > 65535 {
		c.fail(field+".socket_address.port_value", "value must be less than or equal to 65535")
	}
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		c.notCarried(field+".socket_address.protocol", s.GetProtocol().String())
	}
	return Address{AddrPort: netip.AddrPortFrom(ip, uint16(s.GetPortValue()))}
}
