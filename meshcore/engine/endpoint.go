package engine

import (
	"net/netip"
	"strings"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// Endpoint is one upstream host of one cluster. It is the same value as long as the cluster's own
// configuration and the host's address stay, so that pools and counts can hang on it.
type Endpoint struct {
	Addr    Address
	Source  netip.Addr // upstream_bind_config's address; invalid when there is none
	Cluster *Cluster
	// Pool is the driver's: its connection pool to this endpoint.
	Pool atomic.Value

	host    lb.Host
	monitor *outlier.Monitor // nil without outlier detection
	dest    atomic.Pointer[observe.Workload]
	// metadata is the LbEndpoint's.
	metadata atomic.Pointer[corev3.Metadata]
	tls      atomic.Pointer[transport.Client]
	hostname string // for auto_host_sni
}

// Active returns the number of requests in flight (Envoy's host rq_active).
func (ep *Endpoint) Active() int64 { return ep.host.Active.Load() }

// Workload says whose pod it is, as far as the endpoint's metadata tells.
func (ep *Endpoint) Workload() observe.Workload {
	if w := ep.dest.Load(); w != nil {
		return *w
	}
	return observe.Workload{}
}

func (c *Cluster) newEndpoint(addr Address) *Endpoint {
	ep := &Endpoint{Addr: addr, Source: c.source, Cluster: c}
	ep.host.Address = addr.String()
	ep.host.Value = ep
	ep.tls.Store(c.sockets.of(nil, nil))
	if c.detector != nil {
		ep.monitor = c.detector.Add(ep)
	}
	return ep
}

// assignment is a compiled ClusterLoadAssignment.
type assignment struct {
	localities     []localityHosts
	factor         uint32
	weightedHealth bool
}

type localityHosts struct {
	lb.LocalityEndpoints // without its Endpoints
	hosts                []assigned
	metadata             *corev3.Metadata
}

type assigned struct {
	addr      Address
	weight    uint32
	unhealthy bool
	hashKey   string
	workload  observe.Workload
	metadata  *corev3.Metadata
	hostname  string
}

func (c *compiler) assignment(m *endpointv3.ClusterLoadAssignment) *assignment {
	a := &assignment{weightedHealth: m.GetPolicy().GetWeightedPriorityHealth(),
		factor: m.GetPolicy().GetOverprovisioningFactor().GetValue()}
	for i, l := range m.GetEndpoints() {
		leave := c.at("endpoints", i)
		out := localityHosts{metadata: l.GetMetadata(), LocalityEndpoints: lb.LocalityEndpoints{
			Priority: l.GetPriority(), Weight: l.GetLoadBalancingWeight().GetValue(),
			Locality: lb.Locality{Region: l.GetLocality().GetRegion(),
				Zone: l.GetLocality().GetZone(), SubZone: l.GetLocality().GetSubZone()}}}
		if l.GetPriority() > 128 {
			c.fail("priority", "value must be less than or equal to 128")
		}
		for j, e := range l.GetLbEndpoints() {
			leave := c.at("lb_endpoints", j)
			out.hosts = append(out.hosts, c.assigned(e))
			leave()
		}
		a.localities = append(a.localities, out)
		leave()
	}
	return a
}

func (c *compiler) assigned(m *endpointv3.LbEndpoint) assigned {
	out := assigned{addr: c.address("endpoint.address", m.GetEndpoint().GetAddress()),
		weight: m.GetLoadBalancingWeight().GetValue(), workload: workloadOf(m.GetMetadata()),
		metadata: m.GetMetadata(), hostname: m.GetEndpoint().GetHostname()}
	if w := m.GetLoadBalancingWeight(); w != nil && w.GetValue() == 0 {
		c.fail("load_balancing_weight", "value must be greater than or equal to 1")
	}
	switch m.GetHealthStatus() {
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT:
		out.unhealthy = true
	case corev3.HealthStatus_DEGRADED:
		c.fail("health_status", "DEGRADED "+notCarried)
	}
	lbMeta := m.GetMetadata().GetFilterMetadata()["envoy.lb"].GetFields()
	out.hashKey = lbMeta["hash_key"].GetStringValue()
	return out
}

// workloadOf reads istiod's endpoint metadata: istio.workload is
// "name;namespace;app;version;cluster".
func workloadOf(m *corev3.Metadata) observe.Workload {
	text := m.GetFilterMetadata()["istio"].GetFields()["workload"].GetStringValue()
	part := strings.Split(text, ";")
	if len(part) < 4 {
		return observe.Workload{}
	}
	return observe.Workload{Pod: part[0], Workload: part[0], Namespace: part[1],
		Service: part[2], Version: part[3]}
}
