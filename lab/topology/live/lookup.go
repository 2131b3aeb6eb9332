package live

import (
	"maps"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/meshcore/resolve"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// located returns a snapshot in which clusters whose endpoints are DNS names have those addresses
// that find, the lab's DNS, gives to the pod: proxies, ours and Envoy, cannot ask it. The
// names of a lab change with its configuration only, and so with its snapshots.
func located(s *xds.Snapshot, find func(host string) []netip.Addr) *xds.Snapshot {
	out := *s
	copied := false
	for name, c := range s.Clusters {
		if !resolve.Is(c) {
			continue
		}
		if !copied { // most snapshots have none, and share their maps
			out.Clusters, out.Endpoints = maps.Clone(s.Clusters), maps.Clone(s.Endpoints)
			copied = true
		}
		to, endpoints := resolve.Fixed(c, find)
		out.Clusters[name], out.Endpoints[endpoints.ClusterName] = to, endpoints
	}
	return &out
}
