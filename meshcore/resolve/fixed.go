package resolve

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// Fixed returns a cluster of type STRICT_DNS or LOGICAL_DNS as one with endpoints, at the addresses
// that its names have now: where the names are known beforehand, nothing need be looked up. A name
// without addresses has no endpoints.
func Fixed(
	from *clusterv3.Cluster, lookup func(name string) []netip.Addr,
) (*clusterv3.Cluster, *endpointv3.ClusterLoadAssignment) {
	c := &cluster{
		from: from, to: plain(from, clusterv3.Cluster_EDS), found: map[string][]netip.Addr{},
	}
	for _, name := range names(from) {
		addrs := []netip.Addr{}
		if a, err := netip.ParseAddr(name); err == nil {
			addrs = append(addrs, a)
		} else {
			addrs = append(addrs, lookup(name)...)
		}
		if from.GetType() == clusterv3.Cluster_LOGICAL_DNS && len(addrs) > 1 {
			addrs = addrs[:1] // as in Resolver.lookup
		}
		c.found[name] = addrs
	}
	return c.to, c.assignment()
}
