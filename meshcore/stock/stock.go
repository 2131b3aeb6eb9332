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
	clusters  map[*clusterv3.Cluster]*clusterv3.Cluster
	listeners map[*listenerv3.Listener]*listenerv3.Listener
}

// NewLowering returns a Lowering.
func NewLowering() *Lowering {
	return &Lowering{
		clusters:  map[*clusterv3.Cluster]*clusterv3.Cluster{},
		listeners: map[*listenerv3.Listener]*listenerv3.Listener{},
	}
}

// Snapshot does what Lower says.
func (w *Lowering) Snapshot(s *xds.Snapshot) (*xds.Snapshot, error) {
	out := *s
	var err error
	if out.Clusters, err = each(s.Clusters, w.clusters, lowerCluster); err != nil {
		return nil, err
	}
	if out.Listeners, err = each(s.Listeners, w.listeners, lowerListener); err != nil {
		return nil, err
	}
	return &out, nil
}

// each lowers the resources of one type, those that are known already aside.
func each[M interface {
	comparable
	proto.Message
	GetName() string
}](in map[string]M, known map[M]M, lower func(M) (M, error)) (map[string]M, error) {
	out := make(map[string]M, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		m := in[name]
		if _, ok := known[m]; !ok {
			low, err := lower(m)
			if err != nil {
				return nil, fmt.Errorf("%T %s: %w", m, name, err)
			}
			known[m] = low
		}
		out[name] = known[m]
	}
	return out, nil
}

// lowerCluster has a cluster's secrets come over ADS, and notes the ALPN of its requests.
func lowerCluster(c *clusterv3.Cluster) (*clusterv3.Cluster, error) {
	mutual, agents, err := inspect(c)
	if err != nil || !mutual && !agents {
		return c, err
	}
	out := proto.CloneOf(c)
	if mutual {
		noteALPN(out)
	}
	return out, overADS(out)
}

// lowerListener does the first for a listener, and has it set the second.
func lowerListener(l *listenerv3.Listener) (*listenerv3.Listener, error) {
	_, agents, err := inspect(l)
	if err != nil {
		return nil, err
	}
	out := l
	if agents {
		out = proto.CloneOf(l)
		if err := overADS(out); err != nil {
			return nil, err
		}
	}
	return setALPN(out)
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
