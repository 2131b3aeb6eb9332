package fidelity

// Why nothing shows a field.
const (
	byDefault = "its one value is the default"
	unread    = "no proxy reads it, and no request depends on it"
	kernel    = "no resource has it: lab/topology/docker/capture tests it by connections"
	behind    = "it is about what is behind the proxy, as lab/topology/embedded tests it"
)

// reasons says why nothing shows a field that is carried out.
var reasons = map[string]string{
	"ConfigMap.binaryData": unread,
	"ConfigMap.immutable":  unread,
	"Secret.immutable":     unread,

	"Deployment.paused":                            byDefault,
	"MeshConfig.defaultConfig.interceptionMode":    byDefault,
	"MeshConfig.enableEnvoyAccessLogService":       byDefault,
	"MeshConfig.h2UpgradePolicy":                   byDefault,
	"MeshConfig.proxyHttpPort":                     byDefault,
	"MeshConfig.proxyInboundListenPort":            byDefault,
	"MeshConfig.proxyListenPort":                   byDefault,
	"Pod.hostNetwork":                              byDefault,
	"label istio.io/use-waypoint":                  byDefault,
	"label istio.io/use-waypoint-canary":           byDefault,
	"label istio.io/use-waypoint-canary-namespace": byDefault,
	"label istio.io/use-waypoint-namespace":        byDefault,

	"DestinationRule.trafficPolicy.connectionPool.http.useClientProtocol": byDefault,

	"AuthorizationPolicy.targetRef.namespace": "a policy that has it is refused, as Istio does",

	"MeshConfig.extensionProviders.envoyExtAuthzHttp.clearRouteCache": "only false is carried out",
	"MeshConfig.extensionProviders.envoyExtAuthzGrpc.clearRouteCache": "only false is carried out",

	"annotation mesh-lab.dev/command":     behind,
	"annotation mesh-lab.dev/command-dir": behind,
	"annotation mesh-lab.dev/forward-to":  behind,

	"Gateway.servers.port.targetPort": "a Gateway that has it is refused: it is a ServiceEntry's",

	"annotation traffic.sidecar.istio.io/excludeInboundPorts":     kernel,
	"annotation traffic.sidecar.istio.io/excludeInterfaces":       kernel,
	"annotation traffic.sidecar.istio.io/excludeOutboundIPRanges": kernel,
	"annotation traffic.sidecar.istio.io/excludeOutboundPorts":    kernel,
}

// reason returns why nothing shows a field; empty if nobody has said.
func reason(path string) string { return reasons[path] }
