package istio

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// gateway checks what istiod's webhook checks (pkg/config/validation/validation.go).
func (c *checker) gateway() {
	g := c.object.Body.(*networkingv1alpha3.Gateway)
	if len(g.Servers) == 0 {
		c.errorf("spec.servers", "must have at least one server")
	}
	c.istioLabels("spec.selector", g.Selector)
	names := map[string]int{}
	for i, s := range g.Servers {
		f := at("spec.servers", i)
		if len(s.Hosts) == 0 {
			c.errorf(f+".hosts", "must have at least one host")
		}
		for j, h := range s.Hosts {
			c.gatewayHost(at(f+".hosts", j), h)
		}
		if s.Bind != "" && !isIP(s.Bind) {
			if strings.HasPrefix(s.Bind, "unix://") {
				c.errorf(f+".bind", "a Unix socket is not carried out yet")
			} else {
				c.errorf(f+".bind", "%q is not an IP address", s.Bind)
			}
		}
		if s.Port == nil {
			continue // reported as missing
		}
		c.serverPort(f+".port", s)
		c.serverTLS(f+".tls", s)
		if first, twice := names[s.Port.Name]; twice {
			c.errorf(
				f+".port.name",
				"port names in servers must be unique: servers[%d] is %s as well",
				first,
				s.Port.Name,
			)
		} else {
			names[s.Port.Name] = i
		}
	}
}

// carriedProtocols are those of servers that are carried out.
var carriedProtocols = []string{"HTTP", "HTTPS", "TLS", "TCP"}

// serverProtocols are what istiod takes, in its own order.
var serverProtocols = []string{
	"HTTP", "HTTPS", "TLS", "TCP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY", "MONGO",
	"REDIS", "MYSQL", "UDP",
}

func (c *checker) serverPort(field string, s *networkingv1alpha3.Server) {
	p := s.Port
	switch protocol := strings.ToUpper(p.Protocol); {
	case slices.Contains(carriedProtocols, protocol):
	case slices.Contains(serverProtocols, protocol):
		c.errorf(field+".protocol", "%s is not carried out yet; use %s", p.Protocol,
			strings.Join(carriedProtocols, ", "))
	default:
		c.errorf(field+".protocol", "%q is not a protocol; must be one of %s", p.Protocol,
			strings.Join(serverProtocols, ", "))
	}
	c.port(field+".number", int64(p.Number))
	if p.TargetPort > 0 { //nolint:staticcheck // refused, as Istio does
		c.errorf(field+".targetPort", "means nothing in a Gateway; remove it")
	}
	if p.Name == "" {
		c.errorf(field+".name", "must not be empty")
	}
}

// gatewayHost checks HOST and NAMESPACE/HOST.
func (c *checker) gatewayHost(field, host string) {
	if ns, rest, ok := strings.Cut(host, "/"); ok {
		if ns != "*" && ns != "." && !istioLabel.MatchString(ns) {
			c.errorf(field, "%q must be \"*\", \".\" or the name of a namespace", ns)
		}
		host = rest
	}
	if host == "*" || isIP(host) {
		return
	}
	if !strings.Contains(host, ".") {
		c.errorf(
			field,
			"short names are not allowed here; write the full name, such as %s.example.com",
			host,
		)
	}
	if msg := wildcardDomain(host); msg != "" {
		c.errorf(field, "%s", msg)
	} else if strings.Contains(host, "*") && !strings.HasPrefix(host, "*.") {
		c.errorf(field, "partial wildcard %q is not allowed", host)
	}
}
