package fidelity

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is a way in which mesh-lab is known to differ from Istio and Envoy in a cluster.
type Difference struct {
	ID    string
	What  string
	Plane string // where: Meshcore, Envoy, both, or the control plane
	Why   string
	Felt  string // what a request experiences
	// Fields are the paths, and beginnings of paths, of istio.Supported that it touches.
	Fields []string
}

const (
	both         = "both"
	controlPlane = "control plane"
)

// Differences lists the known ones, by ID.
func Differences() []Difference { return slices.Clone(known) }

// known is sorted by ID.
var known = []Difference{
	{
		ID:    "access-log-lines",
		What:  "Some operators of access logs have another value, or are refused.",
		Plane: Meshcore,
		Why:   "What is not noted can not be told; each is listed below.",
		Felt:  "Nothing: [Access logs](#access-logs).",
		Fields: []string{
			"MeshConfig.accessLogFormat",
		},
	},
	{
		ID:    "authorizer-behind-sidecar",
		What:  "An external authorizer can not be called over gRPC through a sidecar of its own.",
		Plane: Meshcore,
		Why:   "Sidecars do not carry HTTP/2 yet; only calls to authorizers do.",
		Felt:  "403 with UAEX, `ext_authz_error`. Istio's sample has no sidecar.",
		Fields: []string{
			"MeshConfig.extensionProviders",
		},
	},
	{
		ID: "authorizer-framing",
		What: "An external authorizer does not change what frames a request: `content-length`, " +
			"`transfer-encoding`, `connection`, `upgrade`.",
		Plane: Meshcore,
		Why:   "Envoy sends what it is told, and the request's body is cut or never ends.",
		Felt:  "The request arrives whole.",
		Fields: []string{
			"MeshConfig.extensionProviders",
		},
	},
	{
		ID:    "capture",
		What:  "A PROXY protocol header tells a sidecar the original destination, not iptables.",
		Plane: both,
		Why: "The lab needs no root: [decision 2]" +
			"(decisions/0002-proxy-protocol-capture.md).",
		Felt: "Nothing; addresses in records are those of a cluster.",
	},
	{
		ID:    "draws",
		What:  "What is random has the same distributions and other draws.",
		Plane: Meshcore,
		Why:   "A seed decides: [decision 4](decisions/0004-draws-by-number.md). Envoy has none.",
		Felt: "Which of two equal hosts is asked first, and which request a fault strikes, " +
			"differs.",
		Fields: []string{
			"VirtualService.http.route.weight", "VirtualService.http.fault.delay.percent",
			"VirtualService.http.fault.abort.percent", "VirtualService.http.mirrorPercent",
			"VirtualService.http.mirrors.percentage",
			"DestinationRule.trafficPolicy.loadBalancer.simple",
		},
	},
	{
		ID:    "endpoint-hostnames",
		What:  "The hostname of an endpoint gives it no DNS name.",
		Plane: both,
		Why:   "The lab's DNS knows the pods of headless Services only.",
		Felt:  "HOSTNAME.SERVICE of a Service without selector is unknown.",
		Fields: []string{
			"EndpointSlice.endpoints.hostname", "Endpoints.subsets.addresses.hostname",
		},
	},
	{
		ID:    "exact-draws",
		What:  "`--exact` enumerates the draws of routes, which neither Istio nor Envoy does.",
		Plane: both,
		Why: "A share is then proven to the request: " +
			"[decision 5](decisions/0005-exact-draws.md). For a real Envoy that alters the " +
			"configuration, which the report lists.",
		Felt: "A mirror's draw is independent of the weights', as it nearly is in Envoy, which " +
			"takes one random value modulo 1,000,000 and modulo their total. Weights of TCP " +
			"connections stay random.",
		Fields: []string{"VirtualService.http.route.weight", "VirtualService.http.mirrorPercent"},
	},
	{
		ID:    "exact-limits",
		What:  "A circuit breaker never admits more than its limit.",
		Plane: Meshcore,
		Why: "It counts before it admits. Envoy's workers look first and count later, so that " +
			"several of them can pass a limit by a few.",
		Felt: "Under load a few requests fewer are admitted than by an Envoy of several workers.",
		Fields: []string{
			"DestinationRule.trafficPolicy.connectionPool.tcp.maxConnections",
			"DestinationRule.trafficPolicy.connectionPool.http.http1MaxPendingRequests",
			"DestinationRule.trafficPolicy.connectionPool.http.http2MaxRequests",
			"DestinationRule.trafficPolicy.connectionPool.http.maxRetries",
			"DestinationRule.trafficPolicy.retryBudget",
		},
	},
	{
		ID:    "header-case",
		What:  "`header_key_format` changes nothing: header names leave the proxy in lower case.",
		Plane: Meshcore,
		Why:   "HTTP names have no case; istiod sets it only when told to keep the case.",
		Felt:  "Nothing that HTTP knows of.",
	},
	{
		ID:    "nack-wording",
		What:  "A NACK is worded otherwise than Envoy's; it names resource and field path.",
		Plane: Meshcore,
		Why:   "Envoy's words follow its code.",
		Felt:  "Nothing.",
	},
	{
		ID:    "new-cookie",
		What:  "A new cookie is a hash of other addresses than in a recording.",
		Plane: both,
		Why:   "It is made of the connection's addresses and ephemeral port, as Envoy's.",
		Felt:  "A first request may go to another pod; what comes after follows the cookie.",
		Fields: []string{
			"DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpCookie",
		},
	},
	{
		ID:    "one-sweep-one-ejection",
		What:  "A host that fails two tests of one sweep of outlier detection is ejected once.",
		Plane: Meshcore,
		Why:   "Envoy counts it twice, so that its ejected count never returns to zero.",
		Felt:  "Nothing with istiod's resources, which ask for neither test.",
	},
	{
		ID:    "one-worker",
		What:  "One set of balancers, pools and counters serves all connections of a proxy.",
		Plane: both,
		Why:   "It is so in an Envoy with one worker, as the lab starts it.",
		Felt:  "A strict rotation is seen as one; an Envoy of several workers has one for each.",
		Fields: []string{
			"DestinationRule.trafficPolicy.loadBalancer.simple",
		},
	},
	{
		ID: "one-zone",
		What: "One node, no scaling, no probes; localities are those that the pods' labels " +
			"say.",
		Plane:  both,
		Why:    "The lab is one machine. A pod is ready when its app listens.",
		Felt:   "Nothing that differs from a cluster in the same state.",
		Fields: []string{"label topology.istio.io/"},
	},
	{
		ID:     "passthrough",
		What:   "Behind a Service's address the lab's network chooses a pod.",
		Plane:  both,
		Why:    "In a cluster a node does, and not the proxy either.",
		Felt:   "Another pod than in a recording, as it would be on another day.",
		Fields: []string{"DestinationRule.trafficPolicy.loadBalancer.simple"},
	},
	{
		ID:    "relocated",
		What:  "A real Envoy is given resources whose addresses are moved to loopback.",
		Plane: Envoy,
		Why: "It dials by itself: `meshcore/envoy/relocate`. Rings are hashed over the " +
			"addresses of a cluster.",
		Felt: "Nothing; records have the addresses of a cluster.",
	},
	{
		ID:    "strict-framing",
		What:  "Malformed HTTP/1.1 that Envoy lets pass is refused.",
		Plane: Meshcore,
		Why:   "Readers that disagree on it see different messages; each case is listed below.",
		Felt:  "400 or 502 in place of an answer: [Bytes on the wire](#bytes-on-the-wire).",
	},
	{
		ID:     "target-port",
		What:   "Some inbound clusters of headless Services were recorded as `inbound|0||`.",
		Plane:  controlPlane,
		Why:    "They were recorded without the API server, which fills in targetPort.",
		Felt:   "Nothing; the recording is wrong there.",
		Fields: []string{"Service.ports.targetPort"},
	},
	{
		ID:    "target-ref",
		What:  "An endpoint is the pod that has its address, whatever its targetRef says.",
		Plane: controlPlane,
		Why:   "istiod waits with an endpoint whose targetRef names a pod that is not there.",
		Felt:  "Such an endpoint is asked here, and fails; in a cluster it is left out.",
		Fields: []string{
			"EndpointSlice.endpoints.targetRef", "Endpoints.subsets.addresses.targetRef",
		},
	},
	{
		ID: "tls-alerts",
		What: "A certificate that is not accepted is answered with the alert bad_certificate, " +
			"where Envoy tells more: unknown_ca, certificate_expired, certificate_unknown.",
		Plane: Meshcore,
		Why: "crypto/tls lets only a server that checks a client's chain say what is wrong with " +
			"it.",
		Felt: "The peer's log names another alert; our own names what Envoy's does.",
	},
	{
		ID:    "tls-close-notify",
		What:  "A client of HTTP that ends TLS but not the connection is not noticed.",
		Plane: Meshcore,
		Why:   "The sockets are watched for the peer's end, not read ahead.",
		Felt:  "Its request is served to its end; in Envoy it is cancelled.",
	},
	{
		ID:    "tls-suite",
		What:  "With TLS 1.3 the cipher suite may be another.",
		Plane: Meshcore,
		Why:   "crypto/tls has an order of its own for these, and all of them are good.",
		Felt:  "Nothing; access logs name it.",
	},
	{
		ID:    "tls-tcp-dial",
		What:  "The upstream of a TCP connection is connected to when the TLS handshake is over.",
		Plane: Meshcore,
		Why:   "Envoy begins with both at once.",
		Felt:  "Of a client that is turned away the upstream never hears.",
	},
	{
		ID: "token-issuer-twice",
		What: "Of several rules for one issuer at a workload, where a token without a provider " +
			"of its own is judged, the one that is first by name is asked.",
		Plane: Meshcore,
		Why: "Envoy asks the one that comes first in a hash table (jwks_cache.cc), which may be " +
			"another one after each start.",
		Felt:   "Audiences of one of the rules decide; in a cluster nobody can say of which.",
		Fields: []string{"RequestAuthentication.jwtRules.issuer"},
	},
	{
		ID: "token-keys",
		What: "Keys of token issuers come from the lab or from loopback addresses, before a " +
			"change is over.",
		Plane: controlPlane,
		Why: "Nothing leaves the machine, and what a change leads to is known when it returns. " +
			"`mesh-lab control-plane` fetches from anywhere.",
		Felt: "An issuer outside of the lab is one whose keys can not be fetched: its tokens " +
			"get 401, and a warning says so. An issuer that starts together with its policy is " +
			"asked at once, where istiod tries again after a second.",
		Fields: []string{
			"RequestAuthentication.jwtRules.jwksUri", "RequestAuthentication.jwtRules.issuer",
		},
	},
	{
		ID:    "workload-name",
		What:  "The label that gives a workload another name does not change endpoints' metadata.",
		Plane: controlPlane,
		Why:   "Telemetry alone uses that name.",
		Felt:  "Nothing.",
		Fields: []string{
			"label service.istio.io/workload-name",
		},
	},
}

// differencesOf returns the IDs of the differences that touch a field.
func differencesOf(path string) []string {
	var out []string
	for _, d := range known {
		touches := func(f string) bool { return strings.HasPrefix(path, f) }
		if slices.ContainsFunc(d.Fields, touches) {
			out = append(out, d.ID)
		}
	}
	return out
}

// differences writes the list of the known ones.
func differences([]Evidence) string {
	var b strings.Builder
	b.WriteString("| id | what differs | data plane | why | what a request experiences |\n" +
		"|---|---|---|---|---|\n")
	for _, d := range known {
		cells := []string{d.What, d.Plane, d.Why, d.Felt}
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		fmt.Fprintf(&b, "| <a id=\"%s\"></a>%s | %s |\n", d.ID, d.ID, strings.Join(cells, " | "))
	}
	return b.String()
}
