package graph

import (
	"fmt"
	"strconv"
	"strings"
)

// Formats are the names of the renderers.
var Formats = []string{"text", "mermaid", "dot", "svg", "json"}

// label is what an edge says.
func (e *Edge) label() string {
	var out []string
	if e.Label != "" {
		out = append(out, e.Label)
	}
	if e.Requests > 0 {
		text := strconv.Itoa(e.Requests)
		if e.Rate >= 0.05 {
			text += fmt.Sprintf(" (%.1f/s)", e.Rate)
		}
		out = append(out, text)
	}
	if e.Errors > 0 {
		out = append(out, fmt.Sprintf("%.1f %% failed",
			100*float64(e.Errors)/float64(max(e.Requests, 1))))
	}
	if e.Is == Mirror || e.Is == Fault || e.Is == Retry {
		out = append([]string{string(e.Is)}, out...)
	}
	if e.MTLS {
		out = append(out, "mTLS")
	}
	return strings.Join(out, " · ")
}

// Text writes a graph as lines for people: each node with where it leads.
func (g *Graph) Text() string {
	var b strings.Builder
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%s  (%s)\n", n.Label, n.Kind)
		for _, e := range g.Edges {
			if e.From != n.ID {
				continue
			}
			line := "  " + arrows[e.Is] + " " + g.node(e.To).Label
			if l := e.label(); l != "" {
				line += "   " + l
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

var arrows = map[Relation]string{
	Calls: "→", Routes: "→", Mirror: "⇢", Fault: "↯", Retry: "↻",
}

// names gives nodes short names that every language takes.
func (g *Graph) names() map[string]string {
	out := map[string]string{}
	for i, n := range g.Nodes {
		out[n.ID] = "n" + strconv.Itoa(i+1)
	}
	return out
}

var mermaidNodes = map[Kind][2]string{
	Outside: {"((", "))"}, Gateway: {"{{", "}}"}, Service: {"([", "])"}, Workload: {"[", "]"},
	External: {"[(", ")]"},
}

// Mermaid writes a graph as Mermaid's flowchart, which GitHub and GitLab show.
func (g *Graph) Mermaid() string {
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;").Replace(s) + `"`
	}
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	names := g.names()
	for _, n := range g.Nodes {
		shape := mermaidNodes[n.Kind]
		fmt.Fprintf(&b, "  %s%s%s%s\n", names[n.ID], shape[0], quote(n.Label), shape[1])
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Is != Calls && e.Is != Routes {
			arrow = "-.->"
		}
		if l := e.label(); l != "" {
			arrow += "|" + quote(l) + "|"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", names[e.From], arrow, names[e.To])
	}
	return b.String()
}

var dotShapes = map[Kind]string{
	Outside: "circle", Gateway: "hexagon", Service: "ellipse", Workload: "box",
	External: "cylinder",
}

// DOT writes a graph for Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	b.WriteString("digraph mesh {\n  rankdir=LR;\n")
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "  %s [label=%s, shape=%s];\n", quote(n.ID), quote(n.Label),
			dotShapes[n.Kind])
	}
	for _, e := range g.Edges {
		style := "solid"
		if e.Is != Calls && e.Is != Routes {
			style = "dashed"
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s, style=%s];\n", quote(e.From), quote(e.To),
			quote(e.label()), style)
	}
	b.WriteString("}\n")
	return b.String()
}
