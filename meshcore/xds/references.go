package xds

import (
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// EndpointName returns the name under which a cluster asks for its endpoints; ok is false when the
// cluster does not use EDS. Envoy source/extensions/clusters/eds/eds.cc: service_name, else the
// name.
func EndpointName(c *clusterv3.Cluster) (name string, ok bool) {
	if c.GetType() != clusterv3.Cluster_EDS {
		return "", false
	}
	if n := c.GetEdsClusterConfig().GetServiceName(); n != "" {
		return n, true
	}
	return c.GetName(), true
}

// RouteNames returns the names of the route configurations that a listener asks for over RDS, in
// the order of its filter chains, each once.
func RouteNames(l *listenerv3.Listener) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	for _, chain := range Chains(l) {
		for _, f := range chain.GetFilters() {
			var hcm hcmv3.HttpConnectionManager
			if !f.GetTypedConfig().MessageIs(&hcm) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
				return nil, fmt.Errorf("listener %s: filter_chains[%s].filters[%s]: %w",
					l.GetName(), chain.GetName(), f.GetName(), err)
			}
			if n := hcm.GetRds().GetRouteConfigName(); n != "" && !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	return names, nil
}

// NodeID is a proxy's node id as Istio writes it: "sidecar~10.244.0.2~POD.NS~NS.svc.cluster.local".
type NodeID struct {
	Role           string // sidecar or router
	IP             string
	Pod, Namespace string
}

// String returns the id.
func (n NodeID) String() string {
	return strings.Join([]string{n.Role, n.IP, n.Key(), n.Namespace + ".svc.cluster.local"}, "~")
}

// Key returns what names the proxy in mesh-lab: POD.NAMESPACE.
func (n NodeID) Key() string { return n.Pod + "." + n.Namespace }

// ParseNodeID reads an id as String writes it.
func ParseNodeID(id string) (NodeID, error) {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return NodeID{}, fmt.Errorf("node id %q: want ROLE~IP~POD.NAMESPACE~DOMAIN", id)
	}
	// A pod's name may contain dots, a namespace may not.
	dot := strings.LastIndexByte(parts[2], '.')
	if dot <= 0 || dot == len(parts[2])-1 {
		return NodeID{}, fmt.Errorf("node id %q: %q is not POD.NAMESPACE", id, parts[2])
	}
	return NodeID{parts[0], parts[1], parts[2][:dot], parts[2][dot+1:]}, nil
}
