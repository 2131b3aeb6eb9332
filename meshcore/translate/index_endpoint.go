package translate

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// target returns the port of a pod that a Service's port leads to. A named target port is the
// container port of that name; a pod without one is no endpoint of the port.
func (p *port) target(pod *Pod) (uint32, bool) {
	t := p.spec.TargetPort
	if t.Type == intstr.Int {
		if t.IntVal == 0 {
			return p.number, true
		}
		return uint32(t.IntVal), true
	}
	protocol := p.spec.Protocol
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	for _, c := range pod.Containers {
		for _, cp := range c.Ports {
			if cp.Name == t.StrVal && (cp.Protocol == protocol || cp.Protocol == "") {
				return uint32(cp.ContainerPort), true
			}
		}
	}
	return 0, false
}

// instance is one endpoint of a service's port.
type instance struct {
	addr netip.Addr
	port uint32
	pod  *Pod // nil: an address outside of the lab, from Endpoints or an EndpointSlice
	// outsider: an endpoint of a ServiceEntry or a WorkloadEntry, which is no pod; then addr is
	// not valid where it has a DNS name.
	outsider *outsider

	ready bool
}

// selectPods finds the endpoints of every service.
func (ix *index) selectPods(c *istio.Config) {
	byIP := map[netip.Addr]*Pod{}
	for _, p := range ix.registry.Pods {
		byIP[p.IP] = p
	}
	for _, s := range ix.services {
		if s.entry != nil {
			continue // see entryEndpoints
		}
		s.instances = map[uint32][]instance{}
		if s.external != "" {
			continue
		}
		if len(s.Spec.Spec.Selector) > 0 {
			ix.selectByLabels(s)
			continue
		}
		s.listed(c, byIP)
	}
	ix.entryEndpoints(c)
}

func (ix *index) selectByLabels(s *service) {
	for _, p := range ix.registry.Pods {
		if p.Namespace != s.Namespace || !Selects(s.Spec.Spec.Selector, p.Labels) {
			continue
		}
		ix.onPod[p] = append(ix.onPod[p], s)
		if p.Guest {
			continue
		}
		ready := p.Ready || s.Spec.Spec.PublishNotReadyAddresses
		for _, sp := range s.ports {
			if number, ok := sp.target(p); ok {
				in := instance{addr: p.IP, port: number, pod: p, ready: ready}
				s.instances[sp.number] = append(s.instances[sp.number], in)
			}
		}
	}
}

// listed takes the endpoints of a Service without a selector from its EndpointSlices and Endpoints.
func (s *service) listed(c *istio.Config, byIP map[netip.Addr]*Pod) {
	add := func(address, portName string, number uint32, ready bool) {
		ip, err := netip.ParseAddr(address)
		if err != nil {
			return
		}
		for _, sp := range s.ports {
			if sp.name == portName {
				in := instance{addr: ip, port: number, pod: byIP[ip], ready: ready}
				s.instances[sp.number] = append(s.instances[sp.number], in)
			}
		}
	}
	for _, o := range c.Objects {
		if o.Namespace != s.Namespace {
			continue
		}
		switch body := o.Body.(type) {
		case *corev1.Endpoints:
			if o.Name == s.Name {
				addEndpoints(body, add)
			}
		case *discoveryv1.EndpointSlice:
			if o.Labels[discoveryv1.LabelServiceName] == s.Name {
				addSlice(body, add)
			}
		}
	}
}

// addEndpoint takes one address for one port of a Service.
type addEndpoint func(address, portName string, number uint32, ready bool)

func addEndpoints(e *corev1.Endpoints, add addEndpoint) {
	for _, subset := range e.Subsets {
		for _, p := range subset.Ports {
			for _, a := range subset.Addresses {
				add(a.IP, p.Name, uint32(p.Port), true)
			}
			for _, a := range subset.NotReadyAddresses {
				add(a.IP, p.Name, uint32(p.Port), false)
			}
		}
	}
}

func addSlice(e *discoveryv1.EndpointSlice, add addEndpoint) {
	for _, p := range e.Ports {
		if p.Port == nil {
			continue
		}
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		for _, ep := range e.Endpoints {
			if gone := ep.Conditions.Terminating; gone != nil && *gone {
				continue
			}
			ready := ep.Conditions.Ready == nil || *ep.Conditions.Ready
			for _, a := range ep.Addresses {
				add(a, name, uint32(*p.Port), ready)
			}
		}
	}
}
