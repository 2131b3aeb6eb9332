package translate

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// httpOptionsKey is where Envoy looks for a cluster's HTTP options.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// inboundSource is the address that a sidecar binds to when it calls its own pod, so that the call
// is not captured again.
const inboundSource = "127.0.0.6"

// clusters makes the clusters of one proxy.
type clusters struct {
	ix      *index
	sc      *scope
	pod     *Pod
	gateway bool
	out     map[string]*clusterv3.Cluster
}

// sharedClusters makes the clusters that all proxies with the same scope and rules have in common.
func (ix *index) sharedClusters(p *Pod) map[string]*clusterv3.Cluster {
	c := &clusters{
		ix: ix, sc: ix.scope(p.Namespace), pod: p, gateway: p.Role == Gateway,
		out: map[string]*clusterv3.Cluster{},
	}
	for _, s := range c.sc.imported {
		c.outbound(s)
	}
	c.out[blackHoleCluster] = &clusterv3.Cluster{
		Name:                 blackHoleCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       ix.mesh.GetConnectTimeout(),
		AltStatName:          blackHoleCluster + ";",
	}
	if c.gateway {
		return c.out
	}
	c.out[passthroughCluster] = c.passthrough(passthroughCluster)
	in := c.passthrough(inboundPassthroughCluster)
	in.UpstreamBindConfig = bindTo(inboundSource)
	c.out[inboundPassthroughCluster] = in
	return c.out
}

func bindTo(address string) *corev3.BindConfig {
	return &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
	}}
}

// outbound makes a cluster for each port of a service, and for each subset of it.
func (c *clusters) outbound(s *service) {
	if s.external != "" {
		return // an alias: requests go to the clusters of the service that it names
	}
	dr := c.sc.destinationRule(c.pod, s.Host)
	for _, p := range s.ports {
		of := subsetOf{service: s, port: p, rule: dr}
		discovery := c.add(of, c.discovery(s))
		if dr == nil {
			continue
		}
		// A subset is found as the whole is, which PASSTHROUGH may have changed; the subset's own
		// policy cannot change it back. (istio cluster_builder.go buildSubsetCluster)
		for _, of.subset = range dr.spec.Subsets {
			own := discovery
			lb := of.subset.GetTrafficPolicy().GetLoadBalancer()
			if lb.GetSimple() == networkingv1alpha3.LoadBalancerSettings_PASSTHROUGH {
				own = clusterv3.Cluster_ORIGINAL_DST
			}
			c.add(of, own)
		}
	}
}

// add makes a cluster and returns how its endpoints are found.
func (c *clusters) add(
	of subsetOf, discovery clusterv3.Cluster_DiscoveryType,
) clusterv3.Cluster_DiscoveryType {
	s, p, dr, subset := of.service, of.port, of.rule, of.subset.GetName()
	name := clusterName("outbound", p.number, subset, s.Host)
	b := &clusterBuilder{ix: c.ix, out: &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: discovery},
		CommonLbConfig:       &clusterv3.Cluster_CommonLbConfig{},
		AltStatName:          name + ";",
		Metadata:             clusterMetadata(dr, subset, s),
	}}
	if s.entry.byName() && discovery != clusterv3.Cluster_ORIGINAL_DST {
		groups := c.ix.groups(of, true)
		if len(groups) == 0 {
			return discovery // istiod makes no cluster without a name to look up
		}
		b.lookUp(c.ix.located(name, groups, of))
	}
	b.upstreamProtocol(p, c.gateway)
	policy := dr.policy(p.number, subset, c.ix.mesh)
	b.h2Upgrade(p, policy.GetConnectionPool())
	b.connectionPool(policy.GetConnectionPool(), policy.GetRetryBudget())
	b.outlierDetection(s, policy.GetOutlierDetection())
	b.loadBalancer(s, policy.GetLoadBalancer())
	c.upstreamTransport(b, of, policy.GetTls())
	if dr != nil {
		keepsALPN(b.out.Metadata, policy.GetTls().GetMode())
	}
	if s.meshExternal() && subset == "" {
		b.out.Metadata.FilterMetadata["istio"].Fields["external"] = structpb.NewBoolValue(true)
	}
	if b.out.GetType() == clusterv3.Cluster_EDS {
		b.out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{
			ServiceName: name, EdsConfig: adsSource(),
		}
	}
	if b.out.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		b.noLookUp()
	}
	if _, ok := c.out[name]; !ok {
		c.out[name] = b.build()
	}
	return b.out.GetType()
}

// lookUp has the cluster's endpoints be looked up in DNS. Istio
// pilot/pkg/networking/core/cluster_builder.go buildCluster.
func (b *clusterBuilder) lookUp(endpoints *endpointv3.ClusterLoadAssignment) {
	b.out.LoadAssignment = endpoints
	b.out.DnsLookupFamily = clusterv3.Cluster_V4_ONLY
	b.out.DnsRefreshRate = b.ix.mesh.GetDnsRefreshRate()
	b.out.DnsJitter = durationpb.New(100 * time.Millisecond)
	b.out.RespectDnsTtl = true
	b.out.TypedDnsResolverConfig = &corev3.TypedExtensionConfig{
		Name: "envoy.network.dns_resolver.cares",
		TypedConfig: typed(&caresv3.CaresDnsResolverConfig{
			UdpMaxQueries: wrapperspb.UInt32(100),
		}),
	}
}

// noLookUp takes back the endpoints where PASSTHROUGH leaves the choice to the client.
func (b *clusterBuilder) noLookUp() { b.out.LoadAssignment = nil }

// discovery: the client of a headless Service has chosen the pod itself, by DNS; a gateway has no
// original destination to keep to.
func (c *clusters) discovery(s *service) clusterv3.Cluster_DiscoveryType {
	switch {
	case s.passthrough() && !c.gateway:
		return clusterv3.Cluster_ORIGINAL_DST
	case s.entry.byName() && s.entry.Resolution == resolveRoundRobin:
		return clusterv3.Cluster_LOGICAL_DNS
	case s.entry.byName():
		return clusterv3.Cluster_STRICT_DNS
	}
	return clusterv3.Cluster_EDS
}

// passthrough makes a cluster that calls the address that the client called.
func (c *clusters) passthrough(name string) *clusterv3.Cluster {
	b := &clusterBuilder{ix: c.ix, out: &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		AltStatName:          passthroughCluster + ";",
	}}
	b.useDownstreamProtocol()
	b.httpOptions().CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
		IdleTimeout: durationpb.New(5 * time.Minute),
	}
	options := b.options
	b.options = nil // what the mesh's pool says of HTTP does not reach these clusters
	b.connectionPool(c.ix.mesh.GetDefaultTrafficPolicy().GetConnectionPool(), nil)
	b.options = options
	return b.build()
}

// inboundClusters makes the clusters of a sidecar's own ports.
func (ix *index) inboundClusters(ports []*inboundPort, sc *scope) []*clusterv3.Cluster {
	var out []*clusterv3.Cluster
	for _, ip := range ports {
		name := inboundClusterName(ip.target)
		first := ip.uses[0]
		b := &clusterBuilder{ix: ix, out: &clusterv3.Cluster{
			Name:                 name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
			LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
			CommonLbConfig:       &clusterv3.Cluster_CommonLbConfig{},
			AltStatName:          name + ";",
			// Never forgotten, whatever the load: the cluster has the pod's own address only.
			CleanupInterval:    &durationpb.Duration{Seconds: maxSeconds},
			UpstreamBindConfig: bindTo(inboundSource),
		}}
		var from *destinationRule
		dr := sc.inboundRule(first.service.Host)
		if dr != nil && dr.spec.TrafficPolicy != nil {
			from = dr
		}
		b.out.Metadata = clusterMetadata(from, "", ip.services()...)
		b.upstreamProtocol(first.port, false)
		policy := dr.policy(first.port.number, "", ix.mesh)
		b.connectionPool(policy.GetConnectionPool(), policy.GetRetryBudget())
		out = append(out, b.build())
	}
	return out
}

// maxSeconds is istiod's "for ever": 292 years.
const maxSeconds = (math.MaxInt64 - 999_999_999) / int64(time.Second)

// inboundRule returns the rule that applies to a service's own pods: workload selectors do not
// count.
func (sc *scope) inboundRule(host string) *destinationRule {
	var out *destinationRule
	for _, dr := range sc.rules[host] {
		if dr.spec.GetWorkloadSelector() == nil {
			out = dr
		}
	}
	return out
}

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// clusterMetadata names the services and the rule behind a cluster, for telemetry.
func clusterMetadata(dr *destinationRule, subset string, services ...*service) *corev3.Metadata {
	var list []*structpb.Value
	for _, s := range services {
		fields := map[string]*structpb.Value{
			"host":      structpb.NewStringValue(s.Host),
			"name":      structpb.NewStringValue(s.Name),
			"namespace": structpb.NewStringValue(s.Namespace),
		}
		list = append(list, structpb.NewStructValue(&structpb.Struct{Fields: fields}))
	}
	fields := map[string]*structpb.Value{
		"services": structpb.NewListValue(&structpb.ListValue{Values: list}),
	}
	if dr != nil {
		fields["config"] = structpb.NewStringValue("/apis/networking.istio.io/v1/namespaces/" +
			dr.namespace + "/destination-rule/" + dr.from[0].Name)
	}
	if subset != "" {
		fields["subset"] = structpb.NewStringValue(subset)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {Fields: fields}}}
}

// clusterBuilder makes one cluster.
type clusterBuilder struct {
	ix      *index
	out     *clusterv3.Cluster
	options *httpv3.HttpProtocolOptions
}

func (b *clusterBuilder) httpOptions() *httpv3.HttpProtocolOptions {
	if b.options == nil {
		b.options = &httpv3.HttpProtocolOptions{}
	}
	return b.options
}

func (b *clusterBuilder) build() *clusterv3.Cluster {
	if b.options != nil {
		if b.options.UpstreamProtocolOptions == nil { // Envoy demands one
			b.options.UpstreamProtocolOptions = explicitHTTP1()
		}
		b.out.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			httpOptionsKey: typed(b.options),
		}
	}
	return b.out
}

func (b *clusterBuilder) loadBalancer(s *service, lb *networkingv1alpha3.LoadBalancerSettings) {
	out := b.out
	if out.CommonLbConfig.HealthyPanicThreshold == nil {
		// Pods that are not ready are listed too: panic would send to them.
		out.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: 0}
	}
	if l := b.ix.localityPolicy(lb, s); l.weighted(out.OutlierDetection != nil) {
		weighted := &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{}
		out.CommonLbConfig.LocalityConfigSpecifier =
			&clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: weighted,
			}
	}
	if out.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return
	}
	switch lb.GetSimple() {
	case networkingv1alpha3.LoadBalancerSettings_RANDOM:
		out.LbPolicy = clusterv3.Cluster_RANDOM
	case networkingv1alpha3.LoadBalancerSettings_ROUND_ROBIN:
		out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if w := slowStart(lb); w != nil {
			out.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: w},
			}
		}
	case networkingv1alpha3.LoadBalancerSettings_PASSTHROUGH:
		out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
	default:
		out.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if w := slowStart(lb); w != nil {
			out.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
				LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: w},
			}
		}
	}
	b.consistentHash(lb.GetConsistentHash())
}

// slowStart gives new endpoints less at first.
func slowStart(lb *networkingv1alpha3.LoadBalancerSettings) *clusterv3.Cluster_SlowStartConfig {
	w := lb.GetWarmup()
	if w == nil {
		if d := lb.GetWarmupDurationSecs(); d != nil {
			return &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: d}
		}
		return nil
	}
	aggression, least := 1.0, 10.0
	if w.Aggression != nil {
		aggression = w.Aggression.Value
	}
	if w.MinimumPercent != nil {
		least = w.MinimumPercent.Value
	}
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow: w.Duration,
		// Envoy demands a runtime key; istiod writes this one.
		Aggression:       &corev3.RuntimeDouble{DefaultValue: aggression, RuntimeKey: "("},
		MinWeightPercent: &typev3.Percent{Value: least},
	}
}

func (b *clusterBuilder) consistentHash(h *consistentHash) {
	if h == nil {
		return
	}
	b.out.LbPolicy = clusterv3.Cluster_RING_HASH
	ring := uint64(1024)
	switch {
	case h.GetMaglev() != nil:
		b.out.LbPolicy = clusterv3.Cluster_MAGLEV
		if size := h.GetMaglev().TableSize; size != 0 {
			b.out.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{
				MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{
					TableSize: wrapperspb.UInt64(size),
				},
			}
		}
		return
	case h.GetRingHash() != nil:
		ring = h.GetRingHash().MinimumRingSize
	case h.GetMinimumRingSize() != 0: //nolint:staticcheck // deprecated, and used everywhere
		ring = h.GetMinimumRingSize() //nolint:staticcheck
	}
	if ring != 0 {
		b.out.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{
			RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
				MinimumRingSize: wrapperspb.UInt64(ring),
			},
		}
	}
}
