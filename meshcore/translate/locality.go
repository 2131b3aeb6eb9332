package translate

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Labels that name where a pod runs.
const (
	networkLabel = "topology.istio.io/network"
	clusterLabel = "topology.istio.io/cluster"
	regionLabel  = "topology.kubernetes.io/region"
	zoneLabel    = "topology.kubernetes.io/zone"
	subzoneLabel = "topology.istio.io/subzone"
	nodeLabel    = "kubernetes.io/hostname"
)

// distribution is a Service's preference for near endpoints.
type distribution int

const (
	distributeAny distribution = iota
	distributeSameZone
	distributeSameNode
)

// distributionOf reads spec.trafficDistribution, else the annotation of the Service, else that of
// its namespace. Istio pilot/pkg/model/service.go GetTrafficDistribution.
func distributionOf(s *Service, namespaces map[string]*istio.Object) distribution {
	if d := s.Spec.Spec.TrafficDistribution; d != nil {
		if out, ok := parseDistribution(*d); ok {
			return out
		}
	}
	const annotation = "networking.istio.io/traffic-distribution"
	if s.Object != nil && s.Object.Annotations[annotation] != "" {
		out, _ := parseDistribution(s.Object.Annotations[annotation])
		return out
	}
	if ns := namespaces[s.Namespace]; ns != nil {
		out, _ := parseDistribution(ns.Annotations[annotation])
		return out
	}
	return distributeAny
}

func parseDistribution(text string) (distribution, bool) {
	switch strings.ToLower(text) {
	case "preferclose", "prefersamezone":
		return distributeSameZone, true
	case "prefersamenode":
		return distributeSameNode, true
	}
	return distributeAny, false
}

// localityPolicy is how near and far endpoints of a cluster are treated; nil: alike.
type localityPolicy struct {
	setting *networkingv1alpha3.LocalityLoadBalancerSetting
	force   bool // fail over without outlier detection too: unready endpoints are listed as such
	labels  map[*Pod]map[string]string
}

// localityPolicy: the DestinationRule's, else the Service's, else the mesh's. Istio
// pilot/pkg/networking/core/loadbalancer/loadbalancer.go GetEffectiveLbSetting.
func (ix *index) localityPolicy(
	lb *networkingv1alpha3.LoadBalancerSettings, s *service,
) *localityPolicy {
	set := lb.GetLocalityLbSetting()
	if set == nil && s.distribution != distributeAny {
		prefer := []string{networkLabel, regionLabel, zoneLabel}
		if s.distribution == distributeSameNode {
			prefer = append(prefer, subzoneLabel, nodeLabel)
		}
		set = &networkingv1alpha3.LocalityLoadBalancerSetting{FailoverPriority: prefer}
		return &localityPolicy{setting: set, force: true, labels: ix.podLabels}
	}
	if set == nil {
		set = ix.mesh.GetLocalityLbSetting()
	}
	if set == nil || set.Enabled != nil && !set.Enabled.Value {
		return nil
	}
	return &localityPolicy{setting: set, labels: ix.podLabels}
}

// weighted says whether Envoy is to choose a locality by weight first.
func (l *localityPolicy) weighted(outlier bool) bool {
	if l == nil {
		return false
	}
	failover := l.setting.Failover != nil || l.setting.FailoverPriority != nil
	return (l.force || outlier) && failover || l.setting.Distribute != nil
}

// group is the endpoints of one locality, and of one priority in it.
type group struct {
	at       Locality
	members  []instance
	weight   uint32
	priority int
}

// apply sets weights and priorities as seen from a proxy. Istio
// pilot/pkg/networking/core/loadbalancer/loadbalancer.go ApplyLocalityLoadBalancer.
func (l *localityPolicy) apply(groups []*group, from *Pod, outlier bool) []*group {
	switch {
	case l == nil:
	case l.setting.Distribute != nil:
		distribute(groups, from.Locality, l.setting.Distribute)
	case !outlier && !l.force: // Envoy would never leave the first priority
	case len(l.setting.FailoverPriority) > 0:
		groups = byLabels(groups, from, l.setting.FailoverPriority, l.labels)
		if len(l.setting.Failover) > 0 {
			failover(groups, from.Locality, l.setting.Failover)
		}
	default:
		failover(groups, from.Locality, l.setting.Failover)
	}
	return groups
}

// distribute weighs localities by the first rule that begins at the proxy's; those that it does not
// name get no endpoint.
func distribute(
	groups []*group, from Locality,
	rules []*networkingv1alpha3.LocalityLoadBalancerSetting_Distribute,
) {
	i := 0
	for i < len(rules) && !from.matches(rules[i].From) {
		i++
	}
	if i == len(rules) {
		return
	}
	rest := slices.Clone(groups)
	// istiod walks the map in any order, so overlapping names share out at random there; here the
	// most specific name takes its localities first.
	for _, name := range slices.SortedFunc(maps.Keys(rules[i].To), compareLocalityNames) {
		var hit []*group
		total := uint32(0)
		rest = slices.DeleteFunc(rest, func(g *group) bool {
			if !g.at.matches(name) {
				return false
			}
			hit, total = append(hit, g), total+g.weight
			return true
		})
		for _, g := range hit {
			share := float64(g.weight*rules[i].To[name]) / float64(total)
			if share > 0 {
				g.weight = uint32(math.Ceil(share))
			}
		}
	}
	for _, g := range rest {
		g.members = nil
	}
}

func compareLocalityNames(a, b string) int {
	return cmp.Or(strings.Count(a, "*")-strings.Count(b, "*"),
		strings.Count(b, "/")-strings.Count(a, "/"), strings.Compare(a, b))
}

// failover orders localities by what they share with the proxy's: all, region and zone, region,
// nothing; a rule for the proxy's region puts one other region before the rest.
func failover(
	groups []*group, from Locality,
	rules []*networkingv1alpha3.LocalityLoadBalancerSetting_Failover,
) {
	for _, g := range groups {
		distance := from.distance(g.at)
		if distance == 3 {
			for _, r := range rules {
				if r.From == from.Region {
					if g.at.Region != r.To {
						distance = 4
					}
					break
				}
			}
		}
		g.priority = g.priority*5 + distance
	}
	compact(groups)
}

// byLabels splits each locality by how many of the labels, in order, agree with the proxy's. A
// disagreeing network, if it comes first, only puts an endpoint behind all that agree in it.
func byLabels(
	groups []*group, from *Pod, names []string, labels map[*Pod]map[string]string,
) []*group {
	own := labels[from]
	var out []*group
	for _, g := range groups {
		split := map[int]*group{}
		for _, m := range g.members {
			at := labelDistance(own, m.labels(labels), names)
			if split[at] == nil {
				split[at] = &group{at: g.at, priority: at}
			}
			split[at].members = append(split[at].members, m)
			split[at].weight += m.weight()
		}
		for _, at := range slices.Sorted(maps.Keys(split)) {
			out = append(out, split[at])
		}
	}
	compact(out)
	return out
}

func labelDistance(own, other map[string]string, names []string) int {
	far := 0
	for i, name := range names {
		name, value, given := strings.Cut(name, "=")
		if !given {
			value = own[name]
		}
		if value == other[name] {
			continue
		}
		if i == 0 && name == networkLabel {
			far = len(names)
			continue
		}
		return far + len(names) - i
	}
	return far
}

// failoverLabels lists the labels that failover priorities of the configuration name. Those of
// trafficDistribution are a pod's locality.
func failoverLabels(c *istio.Config) []string {
	var out []string
	add := func(lb *networkingv1alpha3.LocalityLoadBalancerSetting) {
		for _, name := range lb.GetFailoverPriority() {
			name, _, _ = strings.Cut(name, "=")
			out = append(out, name)
		}
	}
	policy := func(p *networkingv1alpha3.TrafficPolicy) {
		add(p.GetLoadBalancer().GetLocalityLbSetting())
		for _, s := range p.GetPortLevelSettings() {
			add(s.GetLoadBalancer().GetLocalityLbSetting())
		}
	}
	for _, o := range c.Kind("DestinationRule") {
		dr := o.Body.(*networkingv1alpha3.DestinationRule)
		policy(dr.TrafficPolicy)
		for _, s := range dr.Subsets {
			policy(s.TrafficPolicy)
		}
	}
	add(c.Mesh.GetLocalityLbSetting())
	slices.Sort(out)
	return slices.Compact(out)
}

// compact renumbers priorities from 0 without gaps: Envoy wants them so.
func compact(groups []*group) {
	used := map[int]bool{}
	for _, g := range groups {
		used[g.priority] = true
	}
	order := slices.Sorted(maps.Keys(used))
	for _, g := range groups {
		g.priority, _ = slices.BinarySearch(order, g.priority)
	}
}

// podLabels returns a pod's labels with those that name where it runs.
func podLabels(p *Pod) map[string]string {
	return placedLabels(p.Labels, p.Locality)
}

func placedLabels(labels map[string]string, at Locality) map[string]string {
	out := make(map[string]string, len(labels)+4)
	maps.Copy(out, labels)
	set := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	set(regionLabel, at.Region)
	set(zoneLabel, at.Zone)
	set(subzoneLabel, at.Subzone)
	set(clusterLabel, clusterID)
	return out
}

// String returns "region/zone/subzone", without empty ends.
func (l Locality) String() string {
	s := l.Region
	if l.Zone != "" {
		s += "/" + l.Zone
		if l.Subzone != "" {
			s += "/" + l.Subzone
		}
	}
	return s
}

// matches compares with "region/zone/subzone", where "*" and what is left out at the end match all.
func (l Locality) matches(name string) bool {
	parts := append(strings.SplitN(name, "/", 3), "", "")
	return (parts[0] == "*" || parts[0] == l.Region) &&
		(parts[1] == "*" || parts[1] == "" || parts[1] == l.Zone) &&
		(parts[2] == "*" || parts[2] == "" || parts[2] == l.Subzone)
}

func (l Locality) distance(o Locality) int {
	switch {
	case l.Region != o.Region:
		return 3
	case l.Zone != o.Zone:
		return 2
	case l.Subzone != o.Subzone:
		return 1
	}
	return 0
}

func (l Locality) proto() *corev3.Locality {
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.Subzone}
}

func (g *group) proto(endpoints []*endpointv3.LbEndpoint) *endpointv3.LocalityLbEndpoints {
	return &endpointv3.LocalityLbEndpoints{
		Locality: g.at.proto(), LbEndpoints: endpoints,
		LoadBalancingWeight: wrapperspb.UInt32(g.weight), Priority: uint32(g.priority),
	}
}
