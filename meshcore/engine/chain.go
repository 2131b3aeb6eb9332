package engine

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networkextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// Chain is a compiled filter chain. RDS updates reach it without its replacement.
type Chain struct {
	Name string
	// HTTP holds what the driver needs of the HTTP connection manager; nil for a TCP chain.
	HTTP *HTTPOptions
	// StatPrefix is the stat_prefix of the chain's last filter.
	StatPrefix string
	// TCPIdle is tcp_proxy's idle_timeout: 1 h unless set, 0 for none.
	TCPIdle time.Duration
	// TCPDuration is tcp_proxy's max_downstream_connection_duration: 0 for none.
	TCPDuration time.Duration
	// TLS secures the chain's connections; nil: they are plain text. HandshakeTimeout bounds it
	// (transport_socket_connect_timeout; 0: none).
	TLS              *transport.Server
	HandshakeTimeout time.Duration
	// BufferLimit is per_connection_buffer_limit_bytes: how much of a request body is kept for a
	// retry (1 MiB unless set).
	BufferLimit int

	listener *Listener
	match    chainMatch
	hcm      *hcm
	tcp      *tcpProxy
	guards   []guard // network filters in front of these
	logs     []accessLog
	logKind  string // ACCESS_LOG_TYPE
	metadata *corev3.Metadata
}

// chainMatch is a compiled FilterChainMatch. An empty list asks for nothing.
type chainMatch struct {
	port          uint16 // 0: any
	dest          []netip.Prefix
	servers       []string // "*.example.com" as ".example.com"
	transport     string
	protocols     []string
	directSources []netip.Prefix
	sourceType    listenerv3.FilterChainMatch_ConnectionSourceType
	sources       []netip.Prefix
	sourcePorts   []uint32
}

func (c *compiler) chain(l *Listener, lm *listenerv3.Listener, m *listenerv3.FilterChain) *Chain {
	ch := &Chain{Name: m.GetName(), listener: l, BufferLimit: 1 << 20, metadata: m.GetMetadata()}
	if b := lm.GetPerConnectionBufferLimitBytes(); b != nil {
		ch.BufferLimit = int(b.GetValue())
	}
	ch.HandshakeTimeout = c.duration("transport_socket_connect_timeout",
		m.GetTransportSocketConnectTimeout())
	ch.TLS = c.serverSocket(m.GetTransportSocket())
	ch.match = c.chainMatch(m.GetFilterChainMatch())
	for i, f := range m.GetFilters() {
		leave := c.at("filters", i)
		terminal := true
		h, t := &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{}
		switch r, e := (&networkrbacv3.RBAC{}), (&networkextauthzv3.ExtAuthz{}); {
		case c.any(f.GetTypedConfig(), h):
			leaveAny := c.in("typed_config")
			ch.hcm = c.hcm(l, h)
			ch.HTTP, ch.StatPrefix = &ch.hcm.opt, h.GetStatPrefix()
			ch.logs, ch.logKind = c.accessLogs(h.GetAccessLog()), "DownstreamEnd"
			leaveAny()
		case c.any(f.GetTypedConfig(), t):
			leaveAny := c.in("typed_config")
			ch.tcp, ch.StatPrefix = c.tcpProxy(t), t.GetStatPrefix()
			ch.logs, ch.logKind = c.accessLogs(t.GetAccessLog()), "TcpConnectionEnd"
			ch.TCPIdle, ch.TCPDuration = ch.tcp.idle, ch.tcp.lasts
			leaveAny()
		case c.any(f.GetTypedConfig(), r):
			leaveAny := c.in("typed_config")
			ch.guards, terminal = append(ch.guards, guard{rbac: c.networkRBAC(r)}), false
			leaveAny()
		case c.any(f.GetTypedConfig(), e):
			leaveAny := c.in("typed_config")
			ch.guards, terminal = append(ch.guards, guard{authz: c.networkExtAuthz(e)}), false
			leaveAny()
		default:
			c.fail("typed_config", "%s %s", f.GetName(), notCarried)
		}
		if last := i == len(m.GetFilters())-1; terminal && !last {
			c.fail("", "%s must be the last filter of its chain", f.GetName())
		} else if !terminal && last {
			c.fail("", "non-terminal filter named %s is the last filter in a network filter "+
				"chain.", f.GetName())
		}
		leave()
	}
	asks := slices.ContainsFunc(ch.guards, func(g guard) bool { return g.authz != nil })
	if ch.hcm != nil && asks {
		c.notCarried("filters", networkExtAuthz+" in front of an HTTP connection manager")
	}
	return ch
}

func (c *compiler) chainMatch(m *listenerv3.FilterChainMatch) chainMatch {
	defer c.in("filter_chain_match")()
	out := chainMatch{port: uint16(m.GetDestinationPort().GetValue()),
		transport: m.GetTransportProtocol(), protocols: m.GetApplicationProtocols(),
		sourceType: m.GetSourceType(), sourcePorts: m.GetSourcePorts(),
		dest:          c.prefixes("prefix_ranges", m.GetPrefixRanges()),
		directSources: c.prefixes("direct_source_prefix_ranges", m.GetDirectSourcePrefixRanges()),
		sources:       c.prefixes("source_prefix_ranges", m.GetSourcePrefixRanges())}
	if slices.Contains(m.GetServerNames(), "") || slices.Contains(out.protocols, "") {
		c.notCarried("", "an empty server name or application protocol")
	}
	for _, s := range m.GetServerNames() {
		s = strings.ToLower(s)
		if strings.HasPrefix(s, "*.") {
			s = s[1:]
		} else if strings.Contains(s, "*") {
			c.fail("server_names", "partial wildcards are not supported in server_names: %s", s)
		}
		out.servers = append(out.servers, s)
	}
	return out
}

func (c *compiler) prefixes(field string, list []*corev3.CidrRange) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range list {
		ip, err := netip.ParseAddr(r.GetAddressPrefix())
		if err != nil {
			c.fail(field, "malformed IP address: %s", r.GetAddressPrefix())
			continue
		}
		// Longer than the address is the whole address (network/cidr_range.cc CidrRange::create).
		bits := min(int(r.GetPrefixLen().GetValue()), ip.BitLen())
		out = append(out, netip.PrefixFrom(ip, bits).Masked())
	}
	return out
}

// duplicateChains refuses chains with the same match, as Envoy does (filter_chain_manager_impl.cc).
func (c *compiler) duplicateChains(l *Listener) {
	for i, a := range l.chains {
		m := &a.match
		if twice(m.dest) || twice(m.servers) || twice(m.protocols) || twice(m.sources) ||
			twice(m.directSources) || twice(m.sourcePorts) {
			c.fail("filter_chains",
				"multiple filter chains with overlapping matching rules are defined: '%s'", a.Name)
			return
		}
		for _, b := range l.chains[:i] {
			if a.match.equal(&b.match) {
				c.fail("filter_chains",
					"filter chain '%s' has the same matching rules defined as '%s'", a.Name, b.Name)
				return
			}
			if a.match.overlaps(&b.match) {
				c.fail("filter_chains", "multiple filter chains with overlapping matching rules "+
					"are defined: '%s' and '%s'", a.Name, b.Name)
				return
			}
		}
	}
}

// overlaps says that one connection could satisfy both matches equally well: they share a value of
// each criterion (filter_chain_manager_impl.cc addFilterChains puts every combination in a tree).
func (m *chainMatch) overlaps(o *chainMatch) bool {
	return m.port == o.port && m.transport == o.transport && m.sourceType == o.sourceType &&
		share(m.dest, o.dest) && share(m.servers, o.servers) && share(m.protocols, o.protocols) &&
		share(m.directSources, o.directSources) && share(m.sources, o.sources) &&
		share(m.sourcePorts, o.sourcePorts)
}

// share says that two lists have an element in common, or are both empty.
func share[T comparable](a, b []T) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(v T) bool { return slices.Contains(b, v) })
}

// twice says that a list has an element twice.
func twice[T comparable](list []T) bool {
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			return true
		}
	}
	return false
}

func (m *chainMatch) equal(o *chainMatch) bool {
	return m.port == o.port && m.transport == o.transport && m.sourceType == o.sourceType &&
		slices.Equal(m.dest, o.dest) && slices.Equal(m.servers, o.servers) &&
		slices.Equal(m.protocols, o.protocols) && slices.Equal(m.sources, o.sources) &&
		slices.Equal(m.directSources, o.directSources) &&
		slices.Equal(m.sourcePorts, o.sourcePorts)
}

// Chain returns the filter chain of a connection; nil means that none matches and the
// connection is closed (Envoy: NR, filter_chain_not_found).
//
// The criteria are looked at one after the other, and each keeps only the chains with the most
// specific value that fits; what was dropped never comes back, even if the rest fails later
// (source/common/listener_manager/filter_chain_manager_impl.cc findFilterChain).
func (l *Listener) Chain(ci *ConnInfo) *Chain { return l.chain(ci, nil) }

// chain is Chain; after each criterion it tells which chains are left, unless told is nil.
func (l *Listener) chain(ci *ConnInfo, told func(criterion string, left []*Chain)) *Chain {
	list := l.byPort[ci.Local.Port()]
	if len(list) == 0 {
		list = l.byPort[0]
	}
	left := func(criterion string) {
		if told != nil {
			told(criterion, list)
		}
	}
	left("destination port")
	list = bestPrefix(list, ci.Local.Addr(), func(m *chainMatch) []netip.Prefix { return m.dest })
	left("destination address")
	list = bestServer(list, ci.SNI)
	left("server name")
	list = bestString(list, ci.Transport, func(m *chainMatch) string { return m.transport })
	left("transport")
	list = bestProtocol(list, ci.ALPN)
	left("application protocol")
	list = bestPrefix(list, ci.Direct.Addr(),
		func(m *chainMatch) []netip.Prefix { return m.directSources })
	left("direct source address")
	list = bestSourceType(list, ci)
	left("source type")
	list = bestPrefix(list, ci.Remote.Addr(),
		func(m *chainMatch) []netip.Prefix { return m.sources })
	left("source address")
	list = bestSourcePort(list, uint32(ci.Remote.Port()))
	left("source port")
	if len(list) > 0 {
		return list[0]
	}
	return l.fallback
}

// keep returns the chains for which f holds.
func keep(list []*Chain, f func(*chainMatch) bool) []*Chain {
	if !slices.ContainsFunc(list, func(c *Chain) bool { return !f(&c.match) }) {
		return list
	}
	var out []*Chain
	for _, c := range list {
		if f(&c.match) {
			out = append(out, c)
		}
	}
	return out
}

func bestPrefix(list []*Chain, ip netip.Addr, of func(*chainMatch) []netip.Prefix) []*Chain {
	best := -1 // the longest prefix that fits; none is 0.0.0.0/0
	for _, c := range list {
		ps := of(&c.match)
		if len(ps) == 0 {
			best = max(best, 0)
		}
		for _, p := range ps {
			if p.Contains(ip) {
				best = max(best, p.Bits())
			}
		}
	}
	return keep(list, func(m *chainMatch) bool {
		ps := of(m)
		return best == 0 && len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool {
			return p.Bits() == best && p.Contains(ip)
		})
	})
}

func bestServer(list []*Chain, sni string) []*Chain {
	has := func(name string) bool {
		return slices.ContainsFunc(list, func(c *Chain) bool {
			return slices.Contains(c.match.servers, name)
		})
	}
	try := func(name string) []*Chain {
		return keep(list, func(m *chainMatch) bool { return slices.Contains(m.servers, name) })
	}
	if sni != "" {
		if has(sni) {
			return try(sni)
		}
		for i := 1; i < len(sni)-1; i++ {
			if sni[i] == '.' && has(sni[i:]) {
				return try(sni[i:])
			}
		}
	}
	return keep(list, func(m *chainMatch) bool { return len(m.servers) == 0 })
}

func bestString(list []*Chain, want string, of func(*chainMatch) string) []*Chain {
	if exact := keep(list, func(m *chainMatch) bool { return of(m) == want }); len(exact) > 0 {
		return exact
	}
	return keep(list, func(m *chainMatch) bool { return of(m) == "" })
}

func bestProtocol(list []*Chain, alpn []string) []*Chain {
	for _, p := range alpn {
		fits := keep(list, func(m *chainMatch) bool { return slices.Contains(m.protocols, p) })
		if len(fits) > 0 {
			return fits
		}
	}
	return keep(list, func(m *chainMatch) bool { return len(m.protocols) == 0 })
}

func bestSourceType(list []*Chain, ci *ConnInfo) []*Chain {
	special := listenerv3.FilterChainMatch_EXTERNAL
	if ci.Remote.Addr() == ci.Local.Addr() || ci.Remote.Addr().IsLoopback() {
		special = listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK
	}
	fits := keep(list, func(m *chainMatch) bool { return m.sourceType == special })
	if len(fits) > 0 {
		return fits
	}
	return keep(list, func(m *chainMatch) bool {
		return m.sourceType == listenerv3.FilterChainMatch_ANY
	})
}

func bestSourcePort(list []*Chain, port uint32) []*Chain {
	fits := keep(list, func(m *chainMatch) bool { return slices.Contains(m.sourcePorts, port) })
	if len(fits) > 0 {
		return fits
	}
	return keep(list, func(m *chainMatch) bool { return len(m.sourcePorts) == 0 })
}
