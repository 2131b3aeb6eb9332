package translate

import (
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// chain is one filter chain of an outbound or gateway listener in the making. Istio
// pilot/pkg/networking/core/listener.go filterChainOpts.
type chain struct {
	sni       []string // names, "*.names"; "*" is any
	cidrs     []string // of the destination: addresses or networks
	alpn      []string
	transport string
	metadata  *corev3.Metadata
	socket    *corev3.TransportSocket // nil: plain text
	http      bool                    // its filter is a connection manager
	filters   []*listenerv3.Filter
	from      ruleRef // the rule or the server that it is made of, if it is one
}

// ruleRef is a place in an object.
type ruleRef struct {
	object *istio.Object
	field  string
}

// everything says that the chain takes every connection.
func (c *chain) everything() bool {
	return (len(c.sni) == 0 || slices.Contains(c.sni, "*")) && len(c.alpn) == 0 &&
		c.transport == "" && len(c.cidrs) == 0
}

// build makes the filter chain; its match is nil when it takes everything.
func (c *chain) build() *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		FilterChainMatch: c.match(),
		Filters:          c.filters,
		TransportSocket:  c.socket,
		Metadata:         c.metadata,
		// Against clients that never end their handshake.
		TransportSocketConnectTimeout: chainTimeout(),
	}
}

func (c *chain) match() *listenerv3.FilterChainMatch {
	if c.everything() {
		return nil
	}
	out := &listenerv3.FilterChainMatch{
		ApplicationProtocols: c.alpn, TransportProtocol: c.transport,
	}
	if !slices.Contains(c.sni, "*") {
		out.ServerNames = slices.Sorted(slices.Values(c.sni))
	}
	for _, s := range slices.Sorted(slices.Values(c.cidrs)) {
		// As written, host bits and all: Envoy masks them.
		p, ok := parsePrefix(s)
		if !ok || p.Addr().IsUnspecified() {
			continue
		}
		out.PrefixRanges = append(out.PrefixRanges, &corev3.CidrRange{
			AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())),
		})
	}
	return out
}

// parsePrefix reads a network, or an address as a network of its own.
func parsePrefix(s string) (netip.Prefix, bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p, err == nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// clashes says that Envoy would refuse a listener with both chains, for they match alike.
func (c *chain) clashes(o *chain) bool {
	return c.transport == o.transport && slices.Equal(c.alpn, o.alpn) &&
		slices.Equal(nameSet(c.sni), nameSet(o.sni)) &&
		slices.Equal(prefixSet(c.cidrs), prefixSet(o.cidrs))
}

func nameSet(names []string) []string {
	set := slices.Sorted(slices.Values(names))
	set = slices.DeleteFunc(set, func(s string) bool { return s == "*" })
	return slices.Compact(set)
}

func prefixSet(cidrs []string) []string {
	var set []string
	for _, s := range cidrs {
		if p, ok := parsePrefix(s); ok && !p.Addr().IsUnspecified() {
			set = append(set, p.Masked().String())
		}
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// addChains appends those of the new chains that clash with none before them.
func addChains(chains, more []*chain) []*chain {
	for _, c := range more {
		if !slices.ContainsFunc(chains, c.clashes) {
			chains = append(chains, c)
		}
	}
	return chains
}

// needSNI says that some chain is chosen by what a TLS client says at first.
func needSNI(chains []*chain) bool {
	return slices.ContainsFunc(chains, func(c *chain) bool {
		return len(c.sni) > 0 || c.socket != nil
	})
}

// overlaps says that one connection could fit both chains equally well, so that Envoy refuses a
// listener with both. Envoy source/common/listener_manager/filter_chain_manager_impl.cc
// addFilterChains.
func (c *chain) overlaps(o *chain) bool {
	lower := func(names []string) []string {
		if slices.Contains(names, "*") {
			return nil
		}
		return strings.Fields(strings.ToLower(strings.Join(names, " ")))
	}
	return c.transport == o.transport && share(c.alpn, o.alpn) &&
		share(lower(c.sni), lower(o.sni)) && share(prefixSet(c.cidrs), prefixSet(o.cidrs))
}

// share says that two lists have an element in common, or are both empty.
func share(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// repeats says that the chain has a network twice.
func (c *chain) repeats() bool { return len(prefixSet(c.cidrs)) < len(c.cidrs) }
