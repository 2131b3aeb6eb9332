package resolve

import (
	"net/netip"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

func TestFixed(t *testing.T) {
	known := map[string][]netip.Addr{
		"a": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
	}
	lookup := func(name string) []netip.Addr { return known[name] }
	for _, c := range []struct {
		as    clusterv3.Cluster_DiscoveryType
		names []string
		want  []string
	}{
		{clusterv3.Cluster_STRICT_DNS, []string{"a"}, []string{"192.0.2.1", "192.0.2.2"}},
		{clusterv3.Cluster_STRICT_DNS, []string{"unknown", "192.0.2.9"}, []string{"192.0.2.9"}},
		{clusterv3.Cluster_LOGICAL_DNS, []string{"a"}, []string{"192.0.2.1"}},
		{clusterv3.Cluster_LOGICAL_DNS, []string{"unknown"}, nil},
	} {
		group := &endpointv3.LocalityLbEndpoints{}
		for _, name := range c.names {
			socket := &corev3.SocketAddress{Address: name}
			group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: &corev3.Address{
						Address: &corev3.Address_SocketAddress{SocketAddress: socket},
					},
				}},
			})
		}
		from := &clusterv3.Cluster{
			Name:                 "c",
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: c.as},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: "c", Endpoints: []*endpointv3.LocalityLbEndpoints{group},
			},
		}
		to, endpoints := Fixed(from, lookup)
		var got []string
		for _, e := range endpoints.Endpoints[0].LbEndpoints {
			got = append(got, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v %v: got %v, want %v", c.as, c.names, got, c.want)
		}
		if to.GetType() != clusterv3.Cluster_EDS || to.LoadAssignment != nil ||
			to.EdsClusterConfig.ServiceName != endpoints.ClusterName {
			t.Errorf("%v %v: the cluster does not ask for its endpoints: %v", c.as, c.names, to)
		}
	}
}
