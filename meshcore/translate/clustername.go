package translate

import (
	"strconv"
	"strings"
)

// Clusters that every proxy has.
const (
	blackHoleCluster          = "BlackHoleCluster"
	passthroughCluster        = "PassthroughCluster"
	inboundPassthroughCluster = "InboundPassthroughCluster"
)

// clusterName names a cluster as istiod does: "outbound|9080|v2|reviews.default.svc.cluster.local".
// Istio pilot/pkg/model/service.go BuildSubsetKey.
func clusterName(direction string, port uint32, subset, host string) string {
	return direction + "|" + strconv.FormatUint(uint64(port), 10) + "|" + subset + "|" + host
}

// parseClusterName takes such a name apart.
func parseClusterName(name string) (host, port string, ok bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 {
		return "", "", false
	}
	return parts[3], parts[1], true
}

// inboundClusterName names the cluster of a port of the pod itself.
func inboundClusterName(target uint32) string { return clusterName("inbound", target, "", "") }
