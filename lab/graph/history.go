package graph

import (
	"cmp"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// key is one relation between two nodes.
type key struct {
	from, to string
	is       Relation
}

// OfHistory draws what was recorded: who called which version, how often, and what became of it.
func OfHistory(h *observe.History) *Graph {
	b := &counter{g: &Graph{}, edges: map[key]*Edge{}}
	b.span(h)
	for i := range h.Requests {
		b.request(&h.Requests[i])
	}
	for k, e := range b.edges {
		e.From, e.To, e.Is = k.from, k.to, k.is
		if s := b.lasted.Seconds(); s > 0 {
			e.Rate = float64(e.Requests) / s
		}
		b.g.Edges = append(b.g.Edges, *e)
	}
	return b.g.sort()
}

type counter struct {
	g      *Graph
	edges  map[key]*Edge
	lasted time.Duration
}

// span is how long requests came.
func (b *counter) span(h *observe.History) {
	for i := range h.Requests {
		r := &h.Requests[i]
		if d := r.Start.Add(r.Duration).Sub(h.Requests[0].Start); d > b.lasted {
			b.lasted = d
		}
	}
}

func (b *counter) count(from, to string, is Relation) *Edge {
	k := key{from, to, is}
	e := b.edges[k]
	if e == nil {
		e = &Edge{}
		b.edges[k] = e
	}
	e.Requests++
	return e
}

// request counts one hop: what a proxy sent, and what came to a proxy from someone without one.
func (b *counter) request(r *observe.Request) {
	self := workloadID(r.Workload, r.Namespace)
	b.g.add(Node{ID: self, Kind: Workload, Label: r.Workload})
	if r.Reporter == observe.Destination {
		if r.TLS == "" { // the client has no proxy that would tell
			b.g.add(Node{ID: "outside", Kind: Outside, Label: "outside"})
			b.done(b.count("outside", self, Calls), r)
		}
		return
	}
	to := b.dest(r)
	e := b.count(self, to, Calls)
	e.MTLS = e.MTLS || r.UpstreamTLS != ""
	b.done(e, r)
	for range max(len(r.Attempts)-1, 0) {
		b.count(self, to, Retry)
	}
	if strings.Contains(r.Flags, "DI") || strings.Contains(r.Flags, "FI") {
		b.count(self, to, Fault)
	}
	for _, m := range r.Mirrors {
		at := cmp.Or(m.Pod, clusterHost(m.Cluster))
		id := workloadID(at, r.Namespace)
		b.g.add(Node{ID: id, Kind: Workload, Label: at})
		b.count(self, id, Mirror)
	}
}

func (b *counter) done(e *Edge, r *observe.Request) {
	if r.Status >= 500 || r.Status == 0 && r.Flags != "" {
		e.Errors++
	}
}

// dest is the node that a hop led to.
func (b *counter) dest(r *observe.Request) string {
	if w := r.Dest; w.Workload != "" {
		id := workloadID(w.Workload, w.Namespace)
		b.g.add(Node{ID: id, Kind: Workload, Label: w.Workload})
		return id
	}
	host := cmp.Or(clusterHost(r.Cluster), r.Authority, r.Upstream, "nowhere")
	kind := Service
	if r.Cluster == "PassthroughCluster" || !strings.HasSuffix(host, ".svc.cluster.local") {
		kind = External
	}
	b.g.add(Node{ID: host, Kind: kind, Label: shortHost(host)})
	return host
}

// clusterHost is the host in a cluster's name.
func clusterHost(name string) string {
	if p := strings.Split(name, "|"); len(p) == 4 {
		return p[3]
	}
	return ""
}

func workloadID(name, namespace string) string {
	if namespace == "" {
		return name
	}
	return name + "." + namespace
}

// shortHost is a Service's host without what all have in common.
func shortHost(host string) string { return strings.TrimSuffix(host, ".svc.cluster.local") }
