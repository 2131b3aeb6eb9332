package istio

import (
	"net/netip"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// serviceEntry checks what istiod's webhook checks (pkg/config/validation/validation.go
// ValidateServiceEntry).
func (c *checker) serviceEntry() {
	se := c.object.Body.(*networkingv1alpha3.ServiceEntry)
	if se.Resolution == networkingv1alpha3.ServiceEntry_DYNAMIC_DNS {
		c.errorf("spec.resolution", "DYNAMIC_DNS is not carried out yet (only NONE, STATIC, DNS, "+
			"DNS_ROUND_ROBIN)")
		return
	}
	if s := se.WorkloadSelector; s != nil {
		if se.Endpoints != nil {
			c.errorf("spec.endpoints",
				"only one of workloadSelector or endpoints is allowed in a ServiceEntry")
		}
		if len(s.Labels) == 0 {
			c.warnf("spec.workloadSelector", "has no labels: every workload of the namespace is "+
				"an endpoint")
		}
		c.istioLabels("spec.workloadSelector.labels", s.Labels)
	}
	c.entryHosts(se)
	c.entryAddresses(se)
	c.entryPorts(se)
	c.entryEndpoints(se)
	c.exportTo("spec.exportTo", se.ExportTo)
}

// byName says whether the endpoints are found by DNS.
func byName(se *networkingv1alpha3.ServiceEntry) bool {
	return se.Resolution == networkingv1alpha3.ServiceEntry_DNS ||
		se.Resolution == networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN
}

func (c *checker) entryHosts(se *networkingv1alpha3.ServiceEntry) {
	if len(se.Hosts) == 0 {
		c.errorf("spec.hosts", "a ServiceEntry must have at least one host")
	}
	for i, host := range se.Hosts {
		f := at("spec.hosts", i)
		if host == "*" {
			c.errorf(f, "invalid host *: name the hosts, or *.DOMAIN")
		} else if msg := wildcardDomain(host); msg != "" {
			c.errorf(f, "%s", msg)
		} else if msg := domain(host); msg != "" && byName(se) && len(se.Endpoints) == 0 {
			c.errorf(f, "hosts must be FQDN or contain only prefix wildcards if no endpoints are "+
				"provided for resolution mode %s: %s", se.Resolution, msg)
		}
	}
	if se.Resolution == networkingv1alpha3.ServiceEntry_NONE || len(se.Hosts) < 2 {
		return
	}
	for i, p := range se.Ports {
		if speaks := strings.ToUpper(p.Protocol); !slices.Contains(toldApart, speaks) {
			c.errorf(at("spec.ports", i)+".protocol",
				"multiple hosts provided with non-HTTP, non-TLS ports")
			return
		}
	}
}

// entryProtocols is what a port may be declared as (pkg/config/protocol/instance.go); of a protocol
// in toldApart, several hosts are told apart.
var (
	entryProtocols = []string{
		"HTTP", "HTTP_PROXY", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "UDP", "MONGO",
		"REDIS", "MYSQL",
	}
	toldApart = entryProtocols[:7]
)

func (c *checker) entryAddresses(se *networkingv1alpha3.ServiceEntry) {
	for i, address := range se.Addresses {
		f := at("spec.addresses", i)
		if !strings.Contains(address, "/") {
			c.ip(f, address)
			continue
		}
		p, err := netip.ParsePrefix(address)
		switch {
		case err != nil:
			c.errorf(f, "%q is not a network in CIDR notation", address)
		case !p.Addr().Is4():
			c.errorf(f, "the IPv6 network %s is not carried out yet (only IPv4)", address)
		case byName(se):
			c.errorf(f, "CIDR addresses are allowed only for NONE/STATIC resolution types")
		}
	}
}

func (c *checker) entryPorts(se *networkingv1alpha3.ServiceEntry) {
	names, numbers := map[string]bool{}, map[uint32]bool{}
	for i, p := range se.Ports {
		f := at("spec.ports", i)
		if names[p.Name] {
			c.errorf(f+".name", "service entry port name %q already defined", p.Name)
		}
		if numbers[p.Number] {
			c.errorf(f+".number", "service entry port %d already defined", p.Number)
		}
		names[p.Name], numbers[p.Number] = true, true
		if !istioLabel.MatchString(p.Name) {
			c.errorf(f+".name", "invalid port name: it must be a DNS label: "+aLabel)
		}
		c.port(f+".number", int64(p.Number))
		if p.TargetPort != 0 {
			c.port(f+".targetPort", int64(p.TargetPort))
		}
		switch speaks := strings.ToUpper(p.Protocol); speaks {
		case "HTTP2", "GRPC", "GRPC-WEB":
			c.errorf(f+".protocol",
				"%s is HTTP/2, which is not carried out yet; write HTTP", speaks)
		default:
			if speaks != "" && !slices.Contains(entryProtocols, speaks) {
				c.errorf(f+".protocol", "unsupported protocol: %s", p.Protocol)
			}
		}
	}
}

func (c *checker) entryEndpoints(se *networkingv1alpha3.ServiceEntry) {
	const none, roundRobin = networkingv1alpha3.ServiceEntry_NONE,
		networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN
	switch {
	case se.Resolution == none && len(se.Endpoints) > 0:
		c.errorf("spec.endpoints", "no endpoints should be provided for resolution type none")
	case se.Resolution == none && se.WorkloadSelector != nil:
		c.warnf("spec.workloadSelector", "should not be set when resolution is NONE")
	case se.Resolution == roundRobin && len(se.Endpoints) > 1:
		c.errorf("spec.endpoints",
			"there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN")
	}
	for i, e := range se.Endpoints {
		f := at("spec.endpoints", i)
		c.endpointEntry(f, e, byName(se))
		for _, name := range sortedNames(e.Ports) {
			known := slices.ContainsFunc(se.Ports, func(p *networkingv1alpha3.ServicePort) bool {
				return p.Name == name
			})
			if !known {
				c.errorf(in(f+".ports", name),
					"endpoint port %d is not defined by the service entry", e.Ports[name])
			}
		}
	}
}

func (c *checker) workloadEntry() {
	c.endpointEntry("spec", c.object.Body.(*networkingv1alpha3.WorkloadEntry), true)
}

// endpointEntry checks one endpoint (pkg/config/validation/validation.go validateWorkloadEntry).
func (c *checker) endpointEntry(
	field string, e *networkingv1alpha3.WorkloadEntry, names bool,
) {
	f := field + ".address"
	switch address := e.Address; {
	case address == "":
		c.errorf(f, "address is required")
	case strings.HasPrefix(address, "unix:"):
		c.errorf(f, "a Unix domain socket is not carried out yet; give an IP address")
	case isIP(address):
		c.ip4(f, address)
	case !names:
		c.errorf(f, "endpoint address %q is not a valid IP address", address)
	case domain(address) != "":
		c.errorf(f, "endpoint address %q is not a valid FQDN or an IP address", address)
	}
	for _, name := range sortedNames(e.Ports) {
		if !istioLabel.MatchString(name) {
			c.errorf(in(field+".ports", name), "invalid port name: it must be a DNS label: "+aLabel)
		}
		c.port(in(field+".ports", name), int64(e.Ports[name]))
	}
	c.istioLabels(field+".labels", e.Labels)
}
