package istio

import (
	"slices"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// h2 are the protocols that Istio speaks as HTTP/2.
var h2 = []string{"http2", "grpc", "grpc-web", "kubernetes.io/h2c"}

// http2 refuses Services with HTTP/2 ports, save those that an extension provider names: proxies
// call them, and nothing else has to.
func (r *reader) http2(c *Config, base *Config) {
	asked := authorizers(c.Mesh)
	if base != nil && c.meshFrom < base.meshFrom {
		asked = authorizers(base.Mesh)
	}
	for _, o := range c.Objects {
		s, ok := o.Body.(*corev1.Service)
		if !ok || slices.Contains(asked, fullHost(o.Name, o.Namespace)) {
			continue
		}
		check := newChecker(o, &r.diags)
		for i := range s.Spec.Ports {
			check.http2Port(at("spec.ports", i), &s.Spec.Ports[i])
		}
	}
}

// authorizers are the hosts that the mesh's external authorizers are at.
func authorizers(m *meshconfig.MeshConfig) []string {
	var out []string
	for _, p := range m.GetExtensionProviders() {
		name := p.GetEnvoyExtAuthzHttp().GetService() + p.GetEnvoyExtAuthzGrpc().GetService()
		if _, host, ok := strings.Cut(name, "/"); ok {
			name = host
		}
		out = append(out, name)
	}
	return out
}

func (c *checker) http2Port(field string, p *corev1.ServicePort) {
	const other = "or have an extensionProvider of MeshConfig that asks for authorization name it"
	if p.AppProtocol != nil {
		if slices.Contains(h2, strings.ToLower(*p.AppProtocol)) {
			c.errorf(field+".appProtocol",
				"%s is HTTP/2, which is not carried out yet; use http, %s", *p.AppProtocol, other)
		}
		return
	}
	prefix, _, _ := strings.Cut(strings.ToLower(p.Name), "-")
	if p.Protocol != corev1.ProtocolUDP && slices.Contains(h2, prefix) {
		c.errorf(field+".name", "%s declares HTTP/2, which is not carried out yet; "+
			"begin the name with http-, %s", p.Name, other)
	}
}
