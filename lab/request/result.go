package request

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Result is what one request got, as the contract spells it.
type Result struct {
	N          int                 `json:"n"`
	RequestID  string              `json:"request_id"`
	Status     int                 `json:"status"`
	GRPCStatus *int                `json:"grpc_status"`
	Error      string              `json:"error"`
	DurationMS float64             `json:"duration_ms"`
	Headers    map[string][]string `json:"headers"`
	Body       string              `json:"body"`
	TLS        *TLS                `json:"tls,omitempty"` // of https:// and tls://
	Backend    *Backend            `json:"backend"`
	Hops       []Hop               `json:"hops"`
}

// TLS is how a connection of the client was protected.
type TLS struct {
	Version     string   `json:"version"` // TLSv1.3
	Cipher      string   `json:"cipher"`
	SNI         string   `json:"sni"` // what was asked for
	ALPN        string   `json:"alpn"`
	Certificate []string `json:"certificate"` // DNS names of the server's
	URIs        []string `json:"uris,omitempty"`
	Subject     string   `json:"subject"`
}

// Backend is the workload that answered.
type Backend struct {
	Workload  string `json:"workload"`
	Version   string `json:"version"`
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
}

// Hop is one proxy's record of the request.
type Hop struct {
	Reporter   string   `json:"reporter"`
	Workload   string   `json:"workload"`
	Pod        string   `json:"pod"`
	Route      string   `json:"route"`
	Cluster    string   `json:"cluster"`
	Upstream   string   `json:"upstream"`
	Status     int      `json:"status"`
	Flags      string   `json:"flags"`
	Details    string   `json:"details"`
	Attempts   int      `json:"attempts"`
	DurationMS float64  `json:"duration_ms"`
	Config     string   `json:"config,omitempty"`
	Chain      string   `json:"chain,omitempty"`
	Mirrors    []string `json:"mirrors,omitempty"`
	// SNI, TLS and Peer are of the connection that came, the others of the one that went on.
	SNI             string `json:"sni,omitempty"`
	TLS             string `json:"tls,omitempty"`
	Peer            string `json:"peer,omitempty"`
	UpstreamTLS     string `json:"upstream_tls,omitempty"`
	UpstreamPeer    string `json:"upstream_peer,omitempty"`
	UpstreamFailure string `json:"upstream_failure,omitempty"`
	Policy          string `json:"policy,omitempty"` // what refused it
	// Shadow is what a policy in dry run would have done, and which.
	Shadow string `json:"shadow,omitempty"`
	// Record is what the hop is made of; nil when the result has come as JSON.
	Record *observe.Request `json:"-"`
}

// hops turns the records of one request into the hops, in the order in which proxies saw it.
func hops(records []observe.Request) []Hop {
	slices.SortStableFunc(records, func(a, b observe.Request) int { return int(a.Start - b.Start) })
	out := make([]Hop, 0, len(records))
	for _, r := range records {
		h := Hop{
			Record:   &r,
			Reporter: string(r.Reporter), Workload: r.Workload, Pod: podOf(r.Proxy), Route: r.Route,
			Cluster: r.Cluster, Upstream: r.Upstream, Status: r.Status, Flags: r.Flags,
			Details: r.Details, Attempts: len(r.Attempts), DurationMS: millis(r.Duration),
			Config: r.Config, Chain: r.Chain, SNI: r.SNI, TLS: r.TLS, Peer: r.Peer,
			UpstreamTLS: r.UpstreamTLS, UpstreamPeer: r.UpstreamPeer,
			UpstreamFailure: r.UpstreamFailure, Policy: r.Policy, Shadow: r.Shadow,
		}
		for _, m := range r.Mirrors {
			h.Mirrors = append(h.Mirrors, m.Cluster)
		}
		out = append(out, h)
	}
	return out
}

// backend returns who answered: the pod at the address of the first hop's upstream host. The first
// hop of a client without a sidecar is the server's.
func backend(reg *translate.Registry, records []observe.Request) *Backend {
	if len(records) == 0 || !answered(&records[0]) {
		return nil
	}
	at, err := netip.ParseAddrPort(records[0].Upstream)
	if err != nil {
		return nil
	}
	for _, p := range reg.Pods {
		if p.IP == at.Addr() {
			return &Backend{
				Workload: p.Workload, Version: p.Labels["version"],
				Pod: p.Name, Namespace: p.Namespace,
			}
		}
	}
	return nil
}

// answered says whether the upstream host answered, and not the proxy: a response came from it, a
// tunnel stood, or bytes were carried.
func answered(r *observe.Request) bool {
	return strings.HasPrefix(r.Details, "via_upstream") ||
		r.Status == http.StatusSwitchingProtocols ||
		r.Protocol == anyTCP && !strings.Contains(r.Flags, "U")
}

func podOf(node string) string {
	pod, _, _ := strings.Cut(node, ".")
	return pod
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
