package request

import (
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
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
	Backend    *Backend            `json:"backend"`
	Hops       []Hop               `json:"hops"`
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
}

// hops turns the records of one request into the hops, in the order in which proxies saw it.
func hops(records []observe.Request) []Hop {
	slices.SortStableFunc(records, func(a, b observe.Request) int { return int(a.Start - b.Start) })
	out := make([]Hop, 0, len(records))
	for _, r := range records {
		h := Hop{
			Reporter: string(r.Reporter), Workload: r.Workload, Pod: podOf(r.Proxy), Route: r.Route,
			Cluster: r.Cluster, Upstream: r.Upstream, Status: r.Status, Flags: r.Flags,
			Details: r.Details, Attempts: len(r.Attempts), DurationMS: millis(r.Duration),
			Config: r.Config, Chain: r.Chain,
		}
		for _, m := range r.Mirrors {
			h.Mirrors = append(h.Mirrors, m.Cluster)
		}
		out = append(out, h)
	}
	return out
}

// backend returns who answered: the destination of the first hop that had one, as its own sidecar
// reports it or, without one, as the endpoint says.
func backend(records []observe.Request) *Backend {
	for _, r := range records {
		if r.Reporter != observe.Source || r.Upstream == "" || r.Dest.Pod == "" {
			continue
		}
		if r.Details != "" && !strings.HasPrefix(r.Details, "via_upstream") {
			continue
		}
		d := r.Dest
		return &Backend{Workload: d.Workload, Version: d.Version, Pod: d.Pod, Namespace: d.Namespace}
	}
	return nil
}

func podOf(node string) string {
	pod, _, _ := strings.Cut(node, ".")
	return pod
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
