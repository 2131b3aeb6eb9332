// Package stock turns what istiod makes for Istio's Envoy and for istio-agent beside it into what
// any Envoy carries out, ours included:
//
//   - secrets come over ADS with everything else, for there is no agent that serves "sds-grpc";
//   - the ALPN of HTTP in Istio's mutual TLS is set by Envoy's own set_filter_state filter, in the
//     place of the filter istio.alpn, which only Istio's build has.
//
// Both are done between translation and the control server, and nowhere else. What proxy-config
// shows, and what is compared with istiod, is the snapshot before.
package stock

import (
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// agent is the cluster of the agent's SDS server (Istio pkg/model/security.go SDSClusterName).
const agent = "sds-grpc"

// Lower returns a proxy's snapshot as any Envoy carries it out. The snapshot itself is not changed;
// what is altered in no way is shared with it.
func Lower(s *xds.Snapshot) (*xds.Snapshot, error) { return NewLowering().Snapshot(s) }

// Lowering lowers the snapshots of several proxies. What they share they still share afterwards.
type Lowering struct {
	clusters  map[*clusterv3.Cluster]lowCluster
	listeners map[listenerUse]*listenerv3.Listener
}

// lowCluster is a lowered cluster, and whether its requests have an ALPN of their own.
type lowCluster struct {
	*clusterv3.Cluster
	mutual bool
}

// listenerUse is a listener of a proxy that has, or has not, clusters with Istio's mutual TLS.
type listenerUse struct {
	*listenerv3.Listener
	mutual bool
}

// NewLowering returns a Lowering.
func NewLowering() *Lowering {
	return &Lowering{
		clusters:  map[*clusterv3.Cluster]lowCluster{},
		listeners: map[listenerUse]*listenerv3.Listener{},
	}
}

// Snapshot does what Lower says.
func (w *Lowering) Snapshot(s *xds.Snapshot) (*xds.Snapshot, error) {
	out := *s
	out.Clusters = make(map[string]*clusterv3.Cluster, len(s.Clusters))
	mutual := false
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		c, err := w.cluster(s.Clusters[name])
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", name, err)
		}
		out.Clusters[name], mutual = c.Cluster, mutual || c.mutual
	}
	out.Listeners = make(map[string]*listenerv3.Listener, len(s.Listeners))
	for _, name := range slices.Sorted(maps.Keys(s.Listeners)) {
		l, err := w.listener(listenerUse{s.Listeners[name], mutual})
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", name, err)
		}
		out.Listeners[name] = l
	}
	return &out, nil
}

// cluster has a cluster's secrets come over ADS, and notes the ALPN of its requests.
func (w *Lowering) cluster(c *clusterv3.Cluster) (lowCluster, error) {
	if low, ok := w.clusters[c]; ok {
		return low, nil
	}
	mutual, agents, err := inspect(c)
	if err != nil {
		return lowCluster{}, err
	}
	low := lowCluster{c, mutual}
	if mutual || agents {
		low.Cluster = proto.CloneOf(c)
		if err := overADS(low.Cluster); err != nil {
			return lowCluster{}, err
		}
	}
	if mutual {
		noteALPN(low.Cluster)
	}
	w.clusters[c] = low
	return low, nil
}

// listener does the first for a listener, and has it set the second where a cluster needs it.
func (w *Lowering) listener(use listenerUse) (*listenerv3.Listener, error) {
	if low := w.listeners[use]; low != nil {
		return low, nil
	}
	low := use.Listener
	_, agents, err := inspect(low)
	if err != nil {
		return nil, err
	}
	if agents {
		low = proto.CloneOf(low)
		if err := overADS(low); err != nil {
			return nil, err
		}
	}
	if use.mutual {
		if low, err = setALPN(low); err != nil {
			return nil, err
		}
	}
	w.listeners[use] = low
	return low, nil
}

// inspect looks at the TLS contexts of a resource: whether one is Istio's mutual TLS towards an
// upstream, and whether one names the agent.
func inspect(m proto.Message) (mutual, agents bool, err error) {
	for _, socket := range xds.TransportSockets(m) {
		_, common, err := xds.TLSContext(socket)
		if err != nil {
			return false, false, err
		}
		mutual = mutual || slices.Contains(common.GetAlpnProtocols(), alpnIstio)
		for _, c := range xds.SecretConfigs(common) {
			agents = agents || fromAgent(c.GetSdsConfig())
		}
	}
	return mutual, agents, nil
}

func fromAgent(c *corev3.ConfigSource) bool {
	for _, g := range c.GetApiConfigSource().GetGrpcServices() {
		if g.GetEnvoyGrpc().GetClusterName() == agent {
			return true
		}
	}
	return false
}

// overADS rewrites, in place, the TLS contexts of a resource that is nobody else's.
func overADS(m proto.Message) error {
	for _, socket := range xds.TransportSockets(m) {
		context, common, err := xds.TLSContext(socket)
		if err != nil {
			return err
		}
		if context == nil {
			continue
		}
		for _, c := range xds.SecretConfigs(common) {
			if fromAgent(c.GetSdsConfig()) {
				c.SdsConfig.ConfigSourceSpecifier = &corev3.ConfigSource_Ads{
					Ads: &corev3.AggregatedConfigSource{}}
			}
		}
		packed, err := anypb.New(context)
		if err != nil {
			return err
		}
		socket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: packed}
	}
	return nil
}
