// Package observe holds what happened in a run, as plain values: one record for each request at
// each proxy, and pushes, faults and changes. Together they are the History, from which everything
// after a run is computed.
package observe

import (
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Reporter says at which end of a hop a record was made.
type Reporter string

// The reporters, as Istio's standard metrics name them.
const (
	Source      Reporter = "source"      // an outbound listener, or a gateway
	Destination Reporter = "destination" // an inbound listener
)

// Request is one proxy's access-log record of one request, in the vocabulary of Envoy's access log.
// Absent strings are empty (Envoy prints "-").
type Request struct {
	ID        string        `json:"id"`       // x-request-id; joins the records of one request
	Start     clock.Instant `json:"start_ns"` // request head complete
	Duration  time.Duration `json:"duration_ns"`
	Reporter  Reporter      `json:"reporter"`
	Protocol  string        `json:"protocol"` // HTTP/1.1, HTTP/2, TCP
	Proxy     string        `json:"proxy"`    // node: POD.NAMESPACE
	Workload  string        `json:"workload"` // the proxy's own workload, version and namespace
	Version   string        `json:"version,omitempty"`
	Namespace string        `json:"namespace"`

	Method    string `json:"method,omitempty"`
	Path      string `json:"path,omitempty"` // as the proxy matched it
	Authority string `json:"authority,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`

	Status   int    `json:"status"`            // response_code; 0 when no response was sent
	Flags    string `json:"flags,omitempty"`   // response_flags, comma separated: "UF,URX"
	Details  string `json:"details,omitempty"` // response_code_details
	Route    string `json:"route,omitempty"`   // route_name
	Cluster  string `json:"cluster,omitempty"` // upstream_cluster
	Listener string `json:"listener,omitempty"`
	Chain    string `json:"chain,omitempty"`  // filter_chain_name
	Config   string `json:"config,omitempty"` // the route's Istio object (metadata istio.config)

	Upstream      string        `json:"upstream,omitempty"` // upstream_host, the last attempt's
	Dest          Workload      `json:"dest,omitzero"`      // the upstream host's, by its metadata
	Attempts      []Attempt     `json:"attempts,omitempty"` // one for each upstream try, in order
	Mirrors       []Attempt     `json:"mirrors,omitempty"`  // one for each copy sent
	Local         string        `json:"local,omitempty"`    // downstream_local_address
	Remote        string        `json:"remote,omitempty"`   // downstream_remote_address
	BytesReceived int64         `json:"bytes_received"`
	BytesSent     int64         `json:"bytes_sent"`
	UpstreamTime  time.Duration `json:"upstream_time_ns,omitempty"` // to the response head
	FaultDelay    time.Duration `json:"fault_delay_ns,omitempty"`

	SNI  string `json:"sni,omitempty"`  // requested_server_name
	TLS  string `json:"tls,omitempty"`  // downstream_tls_version, "TLSv1.3"; empty for plain text
	Peer string `json:"peer,omitempty"` // downstream_peer_uri_san, the client's identity
	// UpstreamTLS is the TLS version of the last attempt's connection, UpstreamPeer the identity
	// that the upstream showed, UpstreamFailure upstream_transport_failure_reason.
	UpstreamTLS     string `json:"upstream_tls,omitempty"`
	UpstreamPeer    string `json:"upstream_peer,omitempty"`
	UpstreamFailure string `json:"upstream_failure,omitempty"`
	// Policy names what refused the request, as the filter that did names it: of an
	// AuthorizationPolicy "ns[NS]-policy[NAME]-rule[N]", "none" when no ALLOW rule held; of a
	// RequestAuthentication its reason ("Jwt is expired"); of an external authorizer "ext_authz".
	Policy string `json:"policy,omitempty"`
	// Shadow is what a policy in dry run would have done: "allowed" or "denied", and by which.
	Shadow string `json:"shadow,omitempty"`

	// Draw is the random value that all draws of the exchange are made from, where it is known.
	Draw uint64 `json:"draw,omitempty"`
	Hash uint64 `json:"hash,omitempty"` // the hash policy's value, 0 without one
	// Headers are those that the run keeps; the lines of one are joined by commas, as Envoy tells
	// them.
	Headers map[string]string `json:"headers,omitempty"`
	// Exact names, by decision (abort, delay, split, mirror), the sequence of draws that the
	// proxy took the request's from; nil when it drew at random.
	Exact map[string]string `json:"exact,omitempty"`
}

// Attempt is one try at an upstream host, or one mirrored copy.
type Attempt struct {
	Cluster  string        `json:"cluster,omitempty"`
	Upstream string        `json:"upstream,omitempty"`
	Pod      string        `json:"pod,omitempty"`
	Version  string        `json:"version,omitempty"`
	Status   int           `json:"status,omitempty"`
	GRPC     string        `json:"grpc_status,omitempty"` // the answer's header grpc-status
	Flags    string        `json:"flags,omitempty"`
	Start    clock.Instant `json:"start_ns"`
	Duration time.Duration `json:"duration_ns"`
}

// Workload names a pod and what it belongs to.
type Workload struct {
	Pod       string `json:"pod,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Service   string `json:"service,omitempty"` // canonical service: the app label
	Version   string `json:"version,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Push is one resource type's update of one proxy.
type Push struct {
	At      clock.Instant `json:"at_ns"` // sent
	Acked   clock.Instant `json:"acked_ns,omitempty"`
	Proxy   string        `json:"proxy"`
	Type    string        `json:"type"` // CDS, EDS, LDS, RDS, SDS
	Version string        `json:"version"`
	Nack    string        `json:"nack,omitempty"` // the proxy's reason, empty for an ACK
}

// Fault is one thing that was broken, with its receipt: how often and when it took effect, from the
// place where it acts.
type Fault struct {
	ID       int           `json:"id,omitempty"` // from 1; the same as it goes on
	From     clock.Instant `json:"from_ns"`
	Until    clock.Instant `json:"until_ns,omitempty"` // healed; 0: not, or a moment
	Name     string        `json:"name,omitempty"`
	Kind     string        `json:"kind"`
	Target   string        `json:"target"`
	Fired    int64         `json:"fired"`           // how often it took effect
	Unit     string        `json:"unit,omitempty"`  // what Fired counts
	Bytes    int64         `json:"bytes,omitempty"` // that it held, delayed or dropped
	First    clock.Instant `json:"first_ns,omitempty"`
	Last     clock.Instant `json:"last_ns,omitempty"`
	Evidence []string      `json:"evidence,omitempty"` // what the place said where it acts
	// Skipped is why it was not done, where a topology can not.
	Skipped string `json:"skipped,omitempty"`
}

// Title is how a reader knows a fault: what it breaks and, when it has one of its own, its name.
func (f *Fault) Title() string {
	title := strings.TrimSpace(f.Kind + " " + f.Target)
	if f.Name != "" && !strings.HasPrefix(f.Name, strings.ReplaceAll(f.Kind, " ", "-")) {
		title += " (" + f.Name + ")"
	}
	return title
}

// Change is something that the run did: a step begun, a configuration applied, a host ejected. The
// What of an ejection and of its end is "CLUSTER ADDRESS": "outbound|80||a.b.svc.cluster.local
// 10.244.0.2:80".
type Change struct {
	At   clock.Instant `json:"at_ns"`
	Kind string        `json:"kind"` // step, apply, delete, load, eject, uneject, fault, heal, ...
	What string        `json:"what"`
	By   string        `json:"by,omitempty"` // the proxy that saw it, for ejections
}

// Client is one request as its sender saw it (load generator or request command).
type Client struct {
	ID       string        `json:"id,omitempty"`
	Step     string        `json:"step"`
	From     string        `json:"from"`
	Start    clock.Instant `json:"start_ns"`
	Duration time.Duration `json:"duration_ns"`
	Status   int           `json:"status"` // 0 with Error
	Error    string        `json:"error,omitempty"`
}

// History is the whole record of a run.
type History struct {
	Requests []Request
	Clients  []Client
	Pushes   []Push
	Faults   []Fault
	Changes  []Change
}
