package istio

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// l4Routes checks the rules for connections of a VirtualService (pkg/config/validation/
// validation.go validateTLSRoute, validateTCPRoute).
func (c *checker) l4Routes(vs *networkingv1alpha3.VirtualService, delegate bool) {
	if delegate && len(vs.Tls) > 0 {
		c.errorf("spec.tls", "delegate virtual service must have no tls route specified")
	}
	if delegate && len(vs.Tcp) > 0 {
		c.errorf("spec.tcp", "delegate virtual service must have no tcp route specified")
	}
	for i, r := range vs.Tls {
		f := at("spec.tls", i)
		if len(r.Match) == 0 {
			c.errorf(f+".match", "TLS route must have at least one match condition")
		}
		for j, m := range r.Match {
			c.sniHosts(at(f+".match", j)+".sniHosts", m, vs)
			c.l4Match(at(f+".match", j), m)
		}
		c.l4Destinations(f+".route", "TLS route is required", r.Route)
	}
	for i, r := range vs.Tcp {
		f := at("spec.tcp", i)
		for j, m := range r.Match {
			c.l4Match(at(f+".match", j), m)
		}
		c.l4Destinations(f+".route", "TCP route is required", r.Route)
	}
	unreachableL4(c, "tls", vs.Tls)
	unreachableL4(c, "tcp", vs.Tcp)
}

// l4Match is what the matches of tls and tcp rules share.
type l4Match interface {
	proto.Message
	GetDestinationSubnets() []string
	GetPort() uint32
	GetSourceLabels() map[string]string
	GetGateways() []string
	GetSourceNamespace() string
}

func (c *checker) l4Match(field string, m l4Match) {
	for i, s := range m.GetDestinationSubnets() {
		f := at(field+".destinationSubnets", i)
		p, err := netip.ParsePrefix(s)
		if strings.Contains(s, "/") {
			if err != nil {
				c.errorf(f, "%v is not a valid CIDR block; write for example 10.0.0.0/16", s)
				continue
			}
			s = p.Addr().String()
		} else if !isIP(s) {
			c.errorf(f, "%q is not an IP address or a network; write for example 10.0.0.0/16", s)
			continue
		}
		c.ip4(f, s)
	}
	if p := m.GetPort(); p != 0 {
		c.port(field+".port", int64(p))
	}
	c.istioLabels(field+".sourceLabels", m.GetSourceLabels())
	c.gatewayNames(field+".gateways", m.GetGateways())
	if ns := m.GetSourceNamespace(); ns != "" && !istioLabel.MatchString(ns) {
		c.errorf(field+".sourceNamespace", "%q is not the name of a namespace", ns)
	}
}

// sniHosts: each must be a name, or a wildcard, within the hosts of the VirtualService.
func (c *checker) sniHosts(
	field string, m *networkingv1alpha3.TLSMatchAttributes, vs *networkingv1alpha3.VirtualService,
) {
	if len(m.SniHosts) == 0 {
		c.errorf(field, "TLS match must have at least one SNI host")
	}
	for i, h := range m.SniHosts {
		f := at(field, i)
		msg := wildcardDomain(h)
		if gatewaysOnly(vs) {
			msg = sniDomain(h)
		}
		within := func(host string) bool { return subsetOf(h, host) }
		switch {
		case msg != "" && isIP(h):
			c.warnf(f, "using an IP address (%q) goes against SNI spec and most clients do not "+
				"support this", h)
		case msg != "":
			c.errorf(f, "%s", msg)
		case !slices.ContainsFunc(vs.Hosts, within):
			c.errorf(f, "SNI host %q is not a compatible subset of any of the virtual service "+
				"hosts: [%s]", h, strings.Join(vs.Hosts, ", "))
		case strings.Contains(h, "*") && h != "*" && !strings.HasPrefix(h, "*."):
			c.errorf(f, "partial wildcard %q: Envoy refuses the whole listener then; write *.%s",
				h, strings.TrimLeft(h, "*-."))
		}
	}
}

// gatewaysOnly: the rules of a VirtualService are for gateways, not for sidecars.
func gatewaysOnly(vs *networkingv1alpha3.VirtualService) bool {
	return len(vs.Gateways) > 0 && !slices.Contains(vs.Gateways, meshGateway)
}

// namesSNI: some rule of a VirtualService looks at the SNI.
func namesSNI(vs *networkingv1alpha3.VirtualService) bool {
	return slices.ContainsFunc(vs.Tls, func(r *networkingv1alpha3.TLSRoute) bool {
		return slices.ContainsFunc(r.Match, func(m *networkingv1alpha3.TLSMatchAttributes) bool {
			return len(m.SniHosts) > 0
		})
	})
}

// sniDomain is wildcardDomain for gateways, where a name may also be that of a cluster as the SNI
// of mutual TLS has it: outbound_.PORT_.SUBSET_.HOST (pkg/config/validation/agent/validation.go
// ValidateWildcardDomainForVirtualServiceBoundToGateway).
func sniDomain(name string) string {
	if !strings.HasPrefix(name, "outbound_") {
		return wildcardDomain(name)
	}
	parts := strings.Split(name, "_")
	const form = "outbound_.PORT_.SUBSET_.HOST"
	if len(parts) < 4 {
		return fmt.Sprintf("domain name %s invalid, should follow '%s' format", name, form)
	}
	port, host := strings.Trim(parts[1], "."), strings.Trim(parts[3], ".")
	if !strings.ContainsAny(port, "0123456789") {
		return fmt.Sprintf("domain name %q invalid (label %q invalid). should follow %s format",
			name, port, form)
	}
	if !strings.ContainsFunc(host, func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}) {
		return fmt.Sprintf("domain name %q invalid (label %q invalid). should follow %s format",
			name, host, form)
	}
	return ""
}

// subsetOf reports whether every name that a stands for is one that b stands for
// (pkg/config/host/name.go SubsetOf).
func subsetOf(a, b string) bool {
	aSuffix, aWild := strings.CutPrefix(a, "*")
	bSuffix, bWild := strings.CutPrefix(b, "*")
	switch {
	case aWild && bWild:
		return strings.HasSuffix(aSuffix, bSuffix)
	case bWild:
		return strings.HasSuffix(a, bSuffix)
	}
	return a == b
}

// l4Destinations checks weighted destinations of connections.
func (c *checker) l4Destinations(
	field, missing string, routes []*networkingv1alpha3.RouteDestination,
) {
	if len(routes) == 0 {
		c.errorf(field, "%s", missing)
	}
	total := int64(0)
	for i, r := range routes {
		f := at(field, i)
		if r.Destination == nil {
			c.errorf(f+".destination", "destination is required")
		}
		c.destination(f+".destination", r.Destination)
		if r.Weight < 0 {
			c.errorf(f+".weight", "weight %d < 0", r.Weight)
		}
		total += int64(r.Weight)
	}
	if len(routes) > 1 && total == 0 {
		c.errorf(field, "total destination weight = 0; nothing could be sent anywhere")
	}
}

// unreachableL4 warns of rules that no connection can reach.
func unreachableL4[M l4Match, R interface{ GetMatch() []M }](
	c *checker, kind string, routes []R,
) {
	everything := -1
	seen := map[string]string{}
	for i, r := range routes {
		f := at("spec."+kind, i)
		if everything >= 0 {
			c.warnf(f, "is never used: %s[%d] has no match, so it takes every connection", kind,
				everything)
			continue
		}
		if len(r.GetMatch()) == 0 {
			everything = i
		}
		for j, m := range r.GetMatch() {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if err != nil {
				continue
			}
			mf := at(f+".match", j)
			if first := seen[string(b)]; first != "" {
				c.warnf(mf, "is never used: %s is the same", first)
				continue
			}
			seen[string(b)] = strings.TrimPrefix(mf, "spec.")
		}
	}
}
