// Package graph draws a mesh: who calls whom, by which rules and how much of it. The graph is made
// of a configuration (Of) or of what was recorded (OfHistory); renderers write it as text, Mermaid,
// DOT and SVG. Nothing here asks anything of a network.
package graph

import (
	"cmp"
	"slices"
)

// Kind is what a node is.
type Kind string

// The kinds of nodes.
const (
	Outside  Kind = "outside"  // clients from outside of the mesh
	Gateway  Kind = "gateway"  //
	Service  Kind = "service"  // a name, by which workloads are called
	Workload Kind = "workload" // one version of an app
	External Kind = "external" // a server outside of the mesh
)

// Relation is what an edge is.
type Relation string

// The kinds of edges.
const (
	Calls  Relation = "calls"  // were seen, or a gateway's routes
	Routes Relation = "routes" // a service's to a version, by a rule or by its selector
	Mirror Relation = "mirror" // copies
	Fault  Relation = "fault"  // delays and aborts that a rule injects
	Retry  Relation = "retry"  // tries beyond the first
)

// Node is a place in the mesh.
type Node struct {
	ID    string `json:"id"`
	Kind  Kind   `json:"kind"`
	Label string `json:"label"`
}

// Edge leads from one node to another.
type Edge struct {
	From  string   `json:"from"`
	To    string   `json:"to"`
	Is    Relation `json:"is"`
	Label string   `json:"label,omitempty"` // "90 %", "v2", "50 % delayed by 2s"
	MTLS  bool     `json:"mtls,omitempty"`

	// Of a run: how many were seen, how many of them failed (5xx, or no answer), and how many there
	// were in a second.
	Requests int     `json:"requests,omitempty"`
	Errors   int     `json:"errors,omitempty"`
	Rate     float64 `json:"rate,omitempty"`
}

// Graph is a mesh: nodes by kind and name, edges by their ends.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// add adds a node once.
func (g *Graph) add(n Node) {
	if !slices.ContainsFunc(g.Nodes, func(o Node) bool { return o.ID == n.ID }) {
		g.Nodes = append(g.Nodes, n)
	}
}

// edge adds an edge once.
func (g *Graph) edge(e Edge) {
	if !slices.Contains(g.Edges, e) {
		g.Edges = append(g.Edges, e)
	}
}

var order = []Kind{Outside, Gateway, Service, Workload, External}

// sort brings nodes and edges into an order that is always the same.
func (g *Graph) sort() *Graph {
	rank := func(k Kind) int { return slices.Index(order, k) }
	slices.SortFunc(g.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To),
			cmp.Compare(a.Is, b.Is), cmp.Compare(a.Label, b.Label))
	})
	return g
}

// node finds a node.
func (g *Graph) node(id string) Node {
	for _, n := range g.Nodes {
		if n.ID == id {
			return n
		}
	}
	return Node{ID: id, Label: id}
}
