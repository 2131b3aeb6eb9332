package translate

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// exportToAnnotation limits who sees a Service.
const exportToAnnotation = "networking.istio.io/exportTo"

// exportSet says to which namespaces an object is visible: names, "*" (all), "." (its own), "~"
// (none).
type exportSet []string

func (e exportSet) has(ns string) bool { return slices.Contains(e, ns) }

func (e exportSet) public() bool { return e.has("*") }

// visible says whether an object of namespace owner is seen in namespace ns.
func (e exportSet) visible(owner, ns string) bool {
	return e.public() || e.has(ns) || e.has(".") && owner == ns
}

// newExportSet sorts what the object says; defaults apply when it says nothing.
func newExportSet(own, defaults []string) exportSet {
	if len(own) == 0 {
		own = defaults
	}
	if len(own) == 0 {
		own = []string{"*"}
	}
	out := slices.Clone(own)
	slices.Sort(out)
	return slices.Compact(out)
}

// port is one port of a service; UDP ports are left out everywhere.
type port struct {
	name     string
	number   uint32
	protocol protocol
	spec     *corev1.ServicePort
}

// service is a Service as proxies see it.
type service struct {
	*Service
	ports    []*port
	allPorts []*port // with those for UDP
	headless bool    // clusterIP: None: the client chose the pod by DNS
	external string  // type ExternalName: the name it stands for
	exportTo exportSet
	// distribution says which endpoints are preferred (spec.trafficDistribution).
	distribution distribution
	// instances are the endpoints by port number, in the order of the registry.
	instances map[uint32][]instance
	entry     *entry // nil: a Service of Kubernetes
	// accounts are the identities that its endpoints may have, sorted.
	accounts []string
}

// port returns the port with this number, or nil.
func (s *service) port(number uint32) *port {
	for _, p := range s.ports {
		if p.number == number {
			return p
		}
	}
	return nil
}

// index is one configuration, arranged for lookup. Immutable.
type index struct {
	mesh        *meshconfig.MeshConfig
	registry    *Registry
	services    []*service // oldest first
	byHost      map[string]*service
	onPod       map[*Pod][]*service // services that select a pod, oldest first
	rules       *ruleIndex
	vs          []*virtualService // oldest first
	gateways    []*istio.Object   // oldest first
	credentials credentials
	scopes      map[string]*scope // by namespace of a pod

	policyIndex *policyIndex

	podLabels   map[*Pod]map[string]string // with those that name where a pod runs
	lbEndpoints map[instance]*lbEndpoint
	peers       *peerPolicies
	files       fileTree
	systemRoots []byte
	// failoverLabels are the labels that some failover compares, sorted.
	failoverLabels []string
}

func newIndex(c *istio.Config, r *Registry) *index {
	ix := &index{
		mesh:     c.Mesh,
		registry: r,
		byHost:   map[string]*service{},
		onPod:    map[*Pod][]*service{},
		gateways: slices.SortedFunc(slices.Values(c.Kind("Gateway")), compareAge),
		vs:       mergedVirtualServices(c),
		scopes:   map[string]*scope{},

		credentials: newCredentials(c),
		podLabels:   map[*Pod]map[string]string{},
		lbEndpoints: map[instance]*lbEndpoint{},

		peers: newPeerPolicies(c),
		files: newFileTree(c),
	}
	for _, p := range r.Pods {
		ix.podLabels[p] = podLabels(p)
	}
	namespaces := map[string]*istio.Object{}
	for _, ns := range c.Kind("Namespace") {
		namespaces[ns.Name] = ns
	}
	for _, s := range r.Services {
		svc := newService(s, c)
		svc.distribution = distributionOf(s, namespaces)
		ix.services = append(ix.services, svc)
	}
	ix.services = append(ix.services, newEntryServices(c)...)
	slices.SortStableFunc(ix.services, compareServices)
	ix.selectPods(c)
	for _, s := range ix.services {
		if other := ix.byHost[s.Host]; other == nil || other.entry != nil && s.entry == nil {
			ix.byHost[s.Host] = s
		}
		for _, list := range s.instances {
			for _, in := range list {
				ix.lbEndpoints[in] = ix.newLbEndpoint(in)
			}
		}
		s.accounts = ix.accounts(s)
	}
	ix.rules = newRuleIndex(c)
	ix.policyIndex = newPolicyIndex(c)
	ix.failoverLabels = failoverLabels(c)
	for _, p := range r.Pods {
		if ix.scopes[p.Namespace] == nil {
			ix.scopes[p.Namespace] = ix.newScope(p.Namespace)
		}
	}
	return ix
}

// compareServices orders Services from the oldest. Istio pilot/pkg/model/push_context.go
// SortServicesByCreationTime.
func compareServices(a, b *service) int {
	if a.Object != nil && b.Object != nil {
		return compareAge(a.Object, b.Object)
	}
	if a.Object != nil || b.Object != nil { // Services made by the lab come last
		if a.Object != nil {
			return -1
		}
		return 1
	}
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
}

func newService(s *Service, c *istio.Config) *service {
	out := &service{Service: s, headless: s.Spec.Spec.ClusterIP == corev1.ClusterIPNone}
	if s.Spec.Spec.Type == corev1.ServiceTypeExternalName {
		out.external = s.Spec.Spec.ExternalName
	}
	for i := range s.Spec.Spec.Ports {
		spec := &s.Spec.Spec.Ports[i]
		p := &port{
			name: spec.Name, number: uint32(spec.Port), protocol: portProtocol(spec), spec: spec,
		}
		out.allPorts = append(out.allPorts, p)
		if p.protocol != protoUDP {
			out.ports = append(out.ports, p)
		}
	}
	var own []string
	if s.Object != nil && s.Object.Annotations[exportToAnnotation] != "" {
		for ns := range strings.SplitSeq(s.Object.Annotations[exportToAnnotation], ",") {
			own = append(own, strings.TrimSpace(ns))
		}
	}
	out.exportTo = newExportSet(own, c.Mesh.GetDefaultServiceExportTo())
	return out
}

// scope is what the proxies of one namespace see: Istio's default SidecarScope.
type scope struct {
	namespace string
	// services makes listeners and routes: exported to the namespace by name first, then the public
	// ones, each oldest first.
	services []*service
	// imported makes clusters: services, and what the VirtualServices of the namespace name.
	imported []*service
	byHost   map[string]*service // imported, by host
	rules    map[string][]*destinationRule
	vs       []*virtualService // of the mesh gateway
	l4       []*virtualService // those of vs that have rules for connections
	// selecting is the rules among them that apply to some workloads of the namespace only.
	selecting []*destinationRule
}

func (ix *index) newScope(ns string) *scope {
	sc := &scope{
		namespace: ns,
		byHost:    map[string]*service{},
		rules:     map[string][]*destinationRule{},
		vs:        ix.virtualServices(meshGateway, ns),
	}
	for _, vs := range sc.vs {
		if len(vs.spec.Tls)+len(vs.spec.Tcp) > 0 {
			sc.l4 = append(sc.l4, vs)
		}
	}
	var public []*service
	for _, s := range ix.services {
		switch {
		case s.exportTo.public():
			public = append(public, s)
		case s.exportTo.has("~"): // to nobody, whatever else is listed
		case s.exportTo.visible(s.Namespace, ns):
			sc.services = append(sc.services, s)
		}
	}
	sc.services = append(sc.services, public...)
	for _, s := range sc.services {
		sc.importService(s)
	}
	sc.inferServices(ix)
	for _, s := range sc.imported {
		sc.rules[s.Host] = ix.rules.lookup(ix.mesh.GetRootNamespace(), ns, s)
		for _, dr := range sc.rules[s.Host] {
			if dr.spec.WorkloadSelector != nil && dr.namespace == ns {
				sc.selecting = append(sc.selecting, dr)
			}
		}
	}
	return sc
}

// importService adds a service to those that have clusters: one for each host, the first, but for
// one of Kubernetes, which wins. Ports of several ServiceEntries of a namespace for one host are
// put together. Istio pilot/pkg/model/sidecar.go appendSidecarServices.
func (sc *scope) importService(s *service) {
	have := sc.byHost[s.Host]
	if have == nil {
		sc.imported = append(sc.imported, s)
		sc.byHost[s.Host] = s
		return
	}
	use := have
	switch {
	case have.entry == nil:
	case s.entry == nil:
		use = s
	case have.mergesWith(s):
		use = have.withMorePorts(s)
	}
	sc.imported[slices.Index(sc.imported, have)] = use
	sc.byHost[s.Host] = use
}

// mergesWith compares what two services of ServiceEntries must have in common to be one.
func (s *service) mergesWith(o *service) bool {
	return s.Namespace == o.Namespace && s.entry.Resolution == o.entry.Resolution &&
		sameLabels(s.Object.Labels, o.Object.Labels) &&
		sameLabels(s.entry.WorkloadSelector.GetLabels(), o.entry.WorkloadSelector.GetLabels()) &&
		slices.Equal(s.exportTo, o.exportTo)
}

// withMorePorts returns the service with those ports of another that it does not have.
func (s *service) withMorePorts(o *service) *service {
	out := *s
	out.ports, out.instances = slices.Clone(s.ports), maps.Clone(s.instances)
	for _, p := range o.ports {
		if s.port(p.number) == nil {
			out.ports = append(out.ports, p)
			out.instances[p.number] = o.instances[p.number]
		}
	}
	return &out
}

// inferServices adds the services of the own namespace that are exported to nobody here but named
// by a visible VirtualService, with the ports it names. Istio pilot/pkg/model/sidecar.go
// collectImportedServices.
func (sc *scope) inferServices(ix *index) {
	for _, vs := range sc.vs {
		for _, d := range vs.destinations(sc.namespace) {
			s := ix.byHost[d.host]
			if s == nil || sc.byHost[d.host] != nil || s.Namespace != sc.namespace {
				continue
			}
			if trimmed := s.withPorts(d.ports); trimmed != nil {
				sc.imported = append(sc.imported, trimmed)
				sc.byHost[d.host] = trimmed
			}
		}
	}
}

// withPorts returns the service with only these ports; all when the list is empty or holds 0.
func (s *service) withPorts(ports []uint32) *service {
	if len(ports) == 0 || slices.Contains(ports, 0) {
		return s
	}
	out := *s
	out.ports = nil
	for _, p := range s.ports {
		if slices.Contains(ports, p.number) {
			out.ports = append(out.ports, p)
		}
	}
	if len(out.ports) == 0 {
		return nil
	}
	return &out
}

// scope returns what proxies of a namespace see.
func (ix *index) scope(ns string) *scope {
	if sc := ix.scopes[ns]; sc != nil {
		return sc
	}
	return ix.newScope(ns) // not the namespace of a pod: nobody asks twice
}

// destinationRule returns the merged DestinationRule that a proxy applies to a host that it knows;
// nil if there is none.
func (ix *index) destinationRule(p *Pod, host string) *destinationRule {
	return ix.scope(p.Namespace).destinationRule(p, host)
}

// destinationRule: see index.destinationRule.
func (sc *scope) destinationRule(p *Pod, host string) *destinationRule {
	var catchAll *destinationRule
	for _, dr := range sc.rules[host] {
		selector := dr.spec.GetWorkloadSelector()
		if selector == nil {
			catchAll = dr
		} else if dr.namespace == p.Namespace && Selects(selector.GetMatchLabels(), p.Labels) {
			return dr
		}
	}
	return catchAll
}

// virtualServices returns the VirtualServices that apply at a gateway ("mesh", or "NAMESPACE/NAME")
// for proxies of a namespace, in the order in which they win: visible to this namespace only,
// exported to it by others, public; each oldest first. Istio pilot/pkg/model/push_context.go
// initVirtualServices.
func (ix *index) virtualServices(gateway, ns string) []*virtualService {
	var private, exported, public []*virtualService
	for _, vs := range ix.vs {
		if !vs.boundTo(gateway) {
			continue
		}
		switch {
		case vs.exportTo.public():
			public = append(public, vs)
		case vs.exportTo.has("~"):
		case !vs.exportTo.visible(vs.object.Namespace, ns):
		case vs.object.Namespace == ns:
			private = append(private, vs)
		default:
			exported = append(exported, vs)
		}
	}
	return slices.Concat(private, exported, public)
}

// boundTo says whether a VirtualService names a gateway; naming none means the mesh.
func (vs *virtualService) boundTo(gateway string) bool {
	if len(vs.spec.Gateways) == 0 {
		return gateway == meshGateway
	}
	return slices.Contains(vs.spec.Gateways, gateway)
}
