package translate

import (
	"cmp"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// clusterID is the name of the lab's only Kubernetes cluster, as istiod calls it by default.
const clusterID = "Kubernetes"

// Labels that Istio's injector gives to pods.
const (
	canonicalNameLabel     = "service.istio.io/canonical-name"
	canonicalRevisionLabel = "service.istio.io/canonical-revision"
)

// endpoints makes the ClusterLoadAssignments of a proxy's EDS clusters.
func (ix *index) endpoints(
	p *Pod, clusters map[string]*clusterv3.Cluster,
) map[string]*endpointv3.ClusterLoadAssignment {
	sc := ix.scope(p.Namespace)
	out := map[string]*endpointv3.ClusterLoadAssignment{}
	for _, s := range sc.imported {
		dr := sc.destinationRule(p, s.Host)
		for _, sp := range s.ports {
			add := func(subset *networkingv1alpha3.Subset) {
				name := clusterName("outbound", sp.number, subset.GetName(), s.Host)
				if c := clusters[name]; c.GetType() == clusterv3.Cluster_EDS && out[name] == nil {
					out[name] = ix.assignment(name, p, subsetOf{s, sp, dr, subset})
				}
			}
			add(nil)
			if dr != nil {
				for _, subset := range dr.spec.Subsets {
					add(subset)
				}
			}
		}
	}
	return out
}

// subsetOf is what a cluster's endpoints are: a port of a service, under a rule, all or a subset.
type subsetOf struct {
	service *service
	port    *port
	rule    *destinationRule
	subset  *networkingv1alpha3.Subset
}

func (ix *index) assignment(name string, p *Pod, of subsetOf) *endpointv3.ClusterLoadAssignment {
	policy := of.rule.policy(of.port.number, of.subset.GetName(), nil)
	outlier := policy.GetOutlierDetection()
	// Unready endpoints are listed as unhealthy, except where Envoy's panic would send to them.
	unready := outlier.GetMinHealthPercent() <= 0 || of.service.distribution != distributeAny
	groups := ix.groups(of, unready)
	locality := ix.localityPolicy(policy.GetLoadBalancer(), of.service)
	groups = locality.apply(groups, p, outlier != nil)
	return ix.located(name, groups, of)
}

// located lists the endpoints of each locality.
func (ix *index) located(
	name string, groups []*group, of subsetOf,
) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	mode, fixed := of.endpointTLS()
	for _, g := range groups {
		var list []*endpointv3.LbEndpoint
		for _, m := range g.members {
			list = append(list, ix.lbEndpoints[m].seen(fixed, mode))
		}
		out.Endpoints = append(out.Endpoints, g.proto(list))
	}
	return out
}

// groups sorts endpoints by locality, in the order of the localities' names.
func (ix *index) groups(of subsetOf, unready bool) []*group {
	var out []*group
	for _, in := range of.service.instances[of.port.number] {
		if !in.ready && !unready {
			continue
		}
		if Selects(of.subset.GetLabels(), in.labels(ix.podLabels)) {
			out = addToGroup(out, in.locality(), in)
		}
	}
	return out
}

func addToGroup(groups []*group, at Locality, in instance) []*group {
	i := 0
	for ; i < len(groups); i++ {
		if groups[i].at == at {
			groups[i].members = append(groups[i].members, in)
			groups[i].weight += in.weight()
			return groups
		}
		if groups[i].at.String() > at.String() {
			break
		}
	}
	groups = append(groups, nil)
	copy(groups[i+1:], groups[i:])
	groups[i] = &group{at: at, members: []instance{in}, weight: in.weight()}
	return groups
}

// lbEndpoint is an endpoint without and with the mark that its sidecar takes mutual TLS.
type lbEndpoint struct {
	plain, mutual *endpointv3.LbEndpoint // mutual is nil without a sidecar
	automatic     bool                   // mutual TLS where no rule decides
}

// seen returns the endpoint as a cluster lists it whose rule may fix the mode.
func (e *lbEndpoint) seen(
	fixed bool, mode networkingv1alpha3.ClientTLSSettings_TLSmode,
) *endpointv3.LbEndpoint {
	on := e.automatic
	if fixed {
		on = mode == tlsIstioMutual
	}
	if on && e.mutual != nil {
		return e.mutual
	}
	return e.plain
}

func (ix *index) newLbEndpoint(in instance) *lbEndpoint {
	out := &lbEndpoint{plain: plainLbEndpoint(in)}
	if in.takesMutualTLS() {
		out.mutual = proto.Clone(out.plain).(*endpointv3.LbEndpoint)
		out.mutual.Metadata = withSocketMatch(out.plain.Metadata)
		out.automatic = ix.peers.of(in.workload()).port(in.port) != mutualDisable
	}
	return out
}

func plainLbEndpoint(in instance) *endpointv3.LbEndpoint {
	health := corev3.HealthStatus_HEALTHY
	switch {
	case in.outsider != nil:
		health = corev3.HealthStatus_UNKNOWN
	case !in.ready:
		health = corev3.HealthStatus_UNHEALTHY
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: socketAddress(in.name(), in.port),
		}},
		HealthStatus:        health,
		LoadBalancingWeight: wrapperspb.UInt32(in.weight()),
		Metadata:            workloadMetadata(in),
	}
}

func socketAddress(ip string, number uint32) *corev3.Address {
	socket := &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: number},
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: socket}}
}

// workloadMetadata names the workload behind an endpoint:
// "workload;namespace;service;revision;cluster".
func workloadMetadata(in instance) *corev3.Metadata {
	text := ";;;;" + clusterID
	if p := in.pod; p != nil {
		name, revision := canonical(p.Labels)
		text = strings.Join([]string{p.Workload, p.Namespace, name, revision, clusterID}, ";")
	} else if w := in.outsider; w != nil {
		name, revision := canonical(w.labels)
		name = cmp.Or(name, w.name)
		text = strings.Join([]string{w.name, w.namespace, name, revision, clusterID}, ";")
	}
	fields := map[string]*structpb.Value{"workload": structpb.NewStringValue(text)}
	out := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {Fields: fields}}}
	return out
}

// canonical returns Istio's canonical service name and revision of a pod as its endpoints carry
// them; either may be empty. Istio pkg/kube/labels/labels.go CanonicalService.
func canonical(labels map[string]string) (name, revision string) {
	first := func(names ...string) string {
		for _, l := range names {
			if v, ok := labels[l]; ok {
				return v
			}
		}
		return ""
	}
	name = first(canonicalNameLabel, "app.kubernetes.io/name", "app")
	revision = first(canonicalRevisionLabel, "app.kubernetes.io/version", "version")
	return name, revision
}
