package live

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// WorkloadOf is how records name a pod.
func WorkloadOf(s *translate.Pod) observe.Workload {
	return observe.Workload{
		Pod: s.Name, Workload: s.Workload, Namespace: s.Namespace,
		Service: s.Labels["app"], Version: s.Labels["version"],
	}
}

// NodeID is the node id that Istio's agent gives to a proxy.
func NodeID(s *translate.Pod) string {
	role := "sidecar"
	if s.Role == translate.Gateway {
		role = "router"
	}
	return fmt.Sprintf("%s~%s~%s~%s.svc.%s", role, s.IP, s.ID(), s.Namespace, clusterDomain)
}
