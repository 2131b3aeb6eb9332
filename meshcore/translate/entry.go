package translate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Resolutions with short names.
const (
	resolveNone       = networkingv1alpha3.ServiceEntry_NONE
	resolveDNS        = networkingv1alpha3.ServiceEntry_DNS
	resolveRoundRobin = networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN
)

// entry is what a service has of a ServiceEntry.
type entry struct {
	*networkingv1alpha3.ServiceEntry
	object *istio.Object
	cidr   string // the address is a network
}

// byName says whether its endpoints are found by DNS; false without an entry.
func (e *entry) byName() bool {
	return e != nil && (e.Resolution == resolveDNS || e.Resolution == resolveRoundRobin)
}

// none: the client has chosen the address.
func (e *entry) none() bool { return e != nil && e.Resolution == resolveNone }

// unbound: no address tells its connections apart from others to the port. One with resolution
// NONE whose endpoints are known has a listener for each of them.
func (e *entry) unbound() bool {
	return e != nil && (e.Resolution != resolveNone || e.cidr != "" || e.WorkloadSelector == nil)
}

// networks lists the service's address if it is a network: what tells its connections apart.
func (s *service) networks() []string {
	if s.entry == nil || s.entry.cidr == "" {
		return nil
	}
	return []string{s.entry.cidr}
}

// meshExternal says whether the service is outside of the mesh.
func (s *service) meshExternal() bool {
	return s.entry != nil && s.entry.Location == networkingv1alpha3.ServiceEntry_MESH_EXTERNAL
}

// passthrough: the client has chosen the endpoint.
func (s *service) passthrough() bool { return s.headless || s.entry.none() }

// outsider is an endpoint that is no pod: of a ServiceEntry or a WorkloadEntry.
type outsider struct {
	*networkingv1alpha3.WorkloadEntry
	name, namespace string // of its workload
	labels          map[string]string
	locality        Locality
}

// newEntryServices makes a service for each host and address of each ServiceEntry. Istio
// pilot/pkg/serviceregistry/serviceentry/conversion.go convertServices.
func newEntryServices(c *istio.Config) []*service {
	var out []*service
	for _, o := range c.Kind("ServiceEntry") {
		spec := o.Body.(*networkingv1alpha3.ServiceEntry)
		addresses := spec.Addresses
		if len(addresses) == 0 {
			addresses = []string{""}
		}
		for _, host := range spec.Hosts {
			for _, address := range addresses {
				out = append(out, newEntryService(o, spec, host, address, c))
			}
		}
	}
	return out
}

func newEntryService(
	o *istio.Object, spec *networkingv1alpha3.ServiceEntry, host, address string, c *istio.Config,
) *service {
	e := &entry{ServiceEntry: spec, object: o}
	s := &service{
		Service: &Service{
			Name: host, Namespace: o.Namespace, Host: host, Object: o, Created: o.Created,
			Spec: &corev1.Service{},
		},
		entry:     e,
		exportTo:  newExportSet(spec.ExportTo, c.Mesh.GetDefaultServiceExportTo()),
		instances: map[uint32][]instance{},
	}
	if ip, err := netip.ParseAddr(address); err == nil {
		s.VIP = ip
	} else if p, err := netip.ParsePrefix(address); err == nil && p.Bits() == p.Addr().BitLen() {
		s.VIP = p.Addr()
	} else if err == nil {
		e.cidr = address
	}
	for _, p := range spec.Ports {
		made := &port{
			name: p.Name, number: p.Number, protocol: parseProtocol(p.Protocol),
			spec: &corev1.ServicePort{
				Name: p.Name, Port: int32(p.Number),
				TargetPort: intstr.FromInt32(int32(cmp.Or(p.TargetPort, p.Number))),
			},
		}
		s.allPorts = append(s.allPorts, made)
		if made.protocol != protoUDP {
			s.ports = append(s.ports, made)
		}
	}
	return s
}

// entryEndpoints finds the endpoints of ServiceEntries, and adds those that are Kubernetes'
// Services' as well: of a ServiceEntry for its host in its namespace, and WorkloadEntries that it
// selects.
func (ix *index) entryEndpoints(c *istio.Config) {
	workloads := workloadEntries(c)
	for _, s := range ix.services {
		if s.entry != nil {
			ix.entryInstances(s, workloads)
		} else if selector := s.Spec.Spec.Selector; len(selector) > 0 && s.external == "" {
			for _, w := range workloads {
				if w.namespace == s.Namespace && Selects(selector, w.labels) {
					s.addOutsider(w)
				}
			}
		}
	}
	for _, s := range ix.services {
		if s.entry != nil {
			continue
		}
		for _, other := range ix.services {
			if other.entry != nil && other.Host == s.Host && other.Namespace == s.Namespace {
				s.share(other)
			}
		}
	}
}

// share puts the endpoints of a ServiceEntry for the same host in front of a Service's own, by the
// names of ports: istiod keeps endpoints by host, those of ServiceEntries first.
func (s *service) share(from *service) {
	for _, p := range s.ports {
		for _, other := range from.ports {
			if other.name == p.name {
				s.instances[p.number] = slices.Concat(
					from.instances[other.number], s.instances[p.number])
			}
		}
	}
}

func (ix *index) entryInstances(s *service, workloads []*outsider) {
	e := s.entry
	switch {
	case e.WorkloadSelector != nil:
		selector := e.WorkloadSelector.Labels
		for _, p := range ix.registry.Pods {
			if p.Namespace == s.Namespace && p.Role != External && !p.Guest && p.Ready &&
				Selects(selector, p.Labels) {
				ix.entryPod(s, p)
			}
		}
		for _, w := range workloads {
			if w.namespace == s.Namespace && Selects(selector, w.labels) {
				s.addOutsider(w)
			}
		}
	case len(e.Endpoints) > 0:
		for i, w := range e.Endpoints {
			s.addOutsider(newOutsider(w, e.object.Name+"-"+strconv.Itoa(i), s.Namespace, nil))
		}
	case e.byName():
		w := &networkingv1alpha3.WorkloadEntry{Address: s.Host}
		s.addOutsider(newOutsider(w, e.object.Name, s.Namespace, nil))
	}
}

// entryPod makes a pod an endpoint of each port, and the ports the pod's own.
func (ix *index) entryPod(s *service, p *Pod) {
	ix.onPod[p] = append(ix.onPod[p], s)
	for _, sp := range s.ports {
		if number, ok := sp.target(p); ok {
			s.instances[sp.number] = append(s.instances[sp.number],
				instance{addr: p.IP, port: number, pod: p, ready: true})
		}
	}
}

// workloadEntries lists the WorkloadEntries.
func workloadEntries(c *istio.Config) []*outsider {
	var out []*outsider
	for _, o := range c.Kind("WorkloadEntry") {
		w := o.Body.(*networkingv1alpha3.WorkloadEntry)
		out = append(out, newOutsider(w, o.Name, o.Namespace, o.Labels))
	}
	return out
}

func newOutsider(
	w *networkingv1alpha3.WorkloadEntry, name, namespace string, labels map[string]string,
) *outsider {
	out := &outsider{WorkloadEntry: w, name: name, namespace: namespace, labels: labels}
	if len(w.Labels) > 0 {
		out.labels = maps.Clone(w.Labels)
		maps.Copy(out.labels, labels)
	}
	text := cmp.Or(w.Locality, strings.ReplaceAll(w.Labels["istio-locality"], ".", "/"))
	parts := append(strings.SplitN(text, "/", 3), "", "")
	out.locality = Locality{Region: parts[0], Zone: parts[1], Subzone: parts[2]}
	out.labels = placedLabels(out.labels, out.locality)
	return out
}

// addOutsider adds an endpoint to each port: its own number for the port's name, else the target of
// the port.
func (s *service) addOutsider(w *outsider) {
	for _, sp := range s.ports {
		number := w.Ports[sp.name]
		if t := sp.spec.TargetPort; number == 0 && t.Type == intstr.String {
			number = w.Ports[t.StrVal]
		} else if number == 0 {
			number = cmp.Or(uint32(t.IntVal), sp.number)
		}
		if number == 0 {
			continue // a named target port that it does not have
		}
		in := instance{port: number, outsider: w, ready: true}
		in.addr, _ = netip.ParseAddr(w.Address)
		s.instances[sp.number] = append(s.instances[sp.number], in)
	}
}

// takesMutualTLS: by its label, else if it has an identity.
func (w *outsider) takesMutualTLS() bool {
	if mode, ok := w.labels[tlsModeLabel]; ok {
		return mode == istioSocket
	}
	return w.ServiceAccount != ""
}

// name returns the address as endpoints have it: an IP, or a DNS name.
func (in instance) name() string {
	if in.outsider != nil {
		return in.outsider.Address
	}
	return in.addr.String()
}

func (in instance) takesMutualTLS() bool {
	if in.outsider != nil {
		return in.outsider.takesMutualTLS()
	}
	return in.pod.takesMutualTLS()
}

// workload describes the endpoint as policies select it.
func (in instance) workload() *Pod {
	if in.outsider != nil {
		return &Pod{Namespace: in.outsider.namespace, Labels: in.outsider.labels}
	}
	return in.pod
}

// account returns the identity of the endpoint; ok is false without one.
func (in instance) account() (namespace, name string, ok bool) {
	switch {
	case in.outsider != nil:
		return in.outsider.namespace, in.outsider.ServiceAccount, in.outsider.ServiceAccount != ""
	case in.pod != nil:
		return in.pod.Namespace, in.pod.ServiceAccount, true
	}
	return "", "", false
}

func (in instance) locality() Locality {
	switch {
	case in.outsider != nil:
		return in.outsider.locality
	case in.pod != nil:
		return in.pod.Locality
	}
	return Locality{}
}

func (in instance) weight() uint32 {
	if in.outsider != nil {
		return max(in.outsider.Weight, 1)
	}
	return 1
}

// labels returns the labels by which subsets and failover choose.
func (in instance) labels(pods map[*Pod]map[string]string) map[string]string {
	if in.outsider != nil {
		return in.outsider.labels
	}
	return pods[in.pod]
}
