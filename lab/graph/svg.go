package graph

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode/utf8"
)

// Sizes of the drawing, in pixels.
const (
	boxHeight = 34
	rowGap    = 30
	columnGap = 190
	margin    = 20
	charWidth = 7.2
)

// place is where a node stands: a column from left to right, a row in it.
type place struct {
	column     int
	x, y, wide float64
}

// layers puts nodes into columns: behind everybody who leads to them. Circles are broken where the
// first node of one is met again.
func (g *Graph) layers() map[string]int {
	column, state := map[string]int{}, map[string]int{}
	next := map[string][]string{}
	for _, e := range g.Edges {
		if e.From != e.To {
			next[e.From] = append(next[e.From], e.To)
		}
	}
	var order []string // each behind those that it leads to
	circle := map[[2]string]bool{}
	var visit func(id string)
	visit = func(id string) {
		state[id] = 1
		for _, to := range next[id] {
			switch state[to] {
			case 0:
				visit(to)
			case 1:
				circle[[2]string{id, to}] = true
			}
		}
		state[id] = 2
		order = append(order, id)
	}
	for _, n := range g.Nodes {
		if state[n.ID] == 0 {
			visit(n.ID)
		}
	}
	slices.Reverse(order)
	for _, id := range order {
		for _, to := range next[id] {
			if !circle[[2]string{id, to}] {
				column[to] = max(column[to], column[id]+1)
			}
		}
	}
	return column
}

// sweeps is how often rows are put into order by their neighbours.
const sweeps = 6

// places lays the graph out.
func (g *Graph) places() (at map[string]*place, width, height float64) {
	columns := g.layers()
	at = map[string]*place{}
	var list [][]string
	for _, n := range g.Nodes {
		c := columns[n.ID]
		for len(list) <= c {
			list = append(list, nil)
		}
		list[c] = append(list[c], n.ID)
		at[n.ID] = &place{column: c, wide: float64(utf8.RuneCountInString(n.Label))*charWidth + 24}
	}
	row := map[string]float64{}
	number := func() {
		for _, ids := range list {
			for i, id := range ids {
				row[id] = float64(i) - float64(len(ids))/2
			}
		}
	}
	number()
	for range sweeps {
		for _, ids := range list {
			slices.SortStableFunc(ids, func(a, b string) int {
				return cmp.Compare(g.centre(a, row), g.centre(b, row))
			})
		}
		number()
	}
	x, most := float64(margin), 0
	for _, ids := range list {
		most = max(most, len(ids))
	}
	height = float64(most)*(boxHeight+rowGap) + 2*margin
	for _, ids := range list {
		wide := 0.0
		for i, id := range ids {
			p := at[id]
			p.x = x
			p.y = height/2 + (float64(i)-float64(len(ids))/2)*(boxHeight+rowGap) + rowGap/2
			wide = max(wide, p.wide)
		}
		x += wide + columnGap
	}
	return at, max(x-columnGap+margin, 200), height
}

// centre is the mean row of a node's neighbours.
func (g *Graph) centre(id string, row map[string]float64) float64 {
	sum, n := 0.0, 0
	for _, e := range g.Edges {
		if e.From == id && e.To != id {
			sum, n = sum+row[e.To], n+1
		}
		if e.To == id && e.From != id {
			sum, n = sum+row[e.From], n+1
		}
	}
	if n == 0 {
		return row[id]
	}
	return sum / float64(n)
}

// svgStyle has the drawing be readable on light and dark pages and in print.
const svgStyle = `<style>
.mesh text{font:12px ui-monospace,monospace;fill:#1f2328}
.mesh .edge{fill:none;stroke:#57606a;stroke-width:1.4}
.mesh .mirror,.mesh .fault,.mesh .retry{stroke-dasharray:5 4}
.mesh .fault{stroke:#bc4c00}.mesh .failing{stroke:#cf222e}
.mesh .say{font-size:10.5px;fill:#57606a}
.mesh .say{paint-order:stroke;stroke:var(--card,#fff);stroke-width:4px}
.mesh .box{fill:#f6f8fa;stroke:#57606a}.mesh .service{fill:#ddf4ff}
.mesh .gateway{fill:#fff8c5}.mesh .external{fill:#ffebe9}.mesh .outside{fill:#ffffff}
@media (prefers-color-scheme:dark){.mesh text{fill:#e6edf3}
.mesh .say{fill:#9198a1;stroke:var(--card,#0d1117)}
.mesh .edge{stroke:#9198a1}.mesh .box{fill:#21262d;stroke:#9198a1}.mesh .service{fill:#0c2d6b}
.mesh .gateway{fill:#4b2900}.mesh .external{fill:#5d0f12}.mesh .outside{fill:#0d1117}}
</style>`

// SVG draws a graph, from left to right.
func (g *Graph) SVG() string {
	at, width, height := g.places()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="mesh" width="%.0f" `+
		`height="%.0f" viewBox="0 0 %.0f %.0f" role="img" aria-label="the mesh">`+"\n",
		width, height, width, height)
	b.WriteString(svgStyle + "\n" + `<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" ` +
		`markerWidth="8" markerHeight="8" orient="auto-start-reverse">` +
		`<path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>` + "\n")
	var labels strings.Builder     // above all lines
	between := map[[2]string]int{} // edges of two nodes stand beside each other
	for _, e := range g.Edges {
		k := [2]string{e.From, e.To}
		from, to := at[e.From], at[e.To]
		if from == nil || to == nil {
			continue
		}
		line, label := svgEdge(&e, from, to, float64(between[k]))
		b.WriteString(line)
		labels.WriteString(label)
		between[k]++
	}
	b.WriteString(labels.String())
	for _, n := range g.Nodes {
		p := at[n.ID]
		radius := 4
		if n.Kind == Service || n.Kind == Outside {
			radius = boxHeight / 2
		}
		fmt.Fprintf(&b, `<rect class="box %s" x="%.0f" y="%.0f" width="%.0f" height="%d" rx="%d">`+
			`<title>%s %s</title></rect><text x="%.0f" y="%.0f">%s</text>`+"\n",
			n.Kind, p.x, p.y, p.wide, boxHeight, radius, n.Kind, html.EscapeString(n.ID),
			p.x+12, p.y+boxHeight/2+4, html.EscapeString(n.Label))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// svgEdge draws an edge as a curve, and writes what it says at its middle.
func svgEdge(e *Edge, from, to *place, nth float64) (line, label string) {
	x1, y1 := from.x+from.wide, from.y+boxHeight/2
	x2, y2 := to.x, to.y+boxHeight/2
	bend := (x2 - x1) / 2
	path := ""
	middle := [2]float64{(x1 + x2) / 2, (y1+y2)/2 - 5 + 14*nth}
	switch {
	case from == to: // to itself
		path = fmt.Sprintf("M%.0f %.0f C%.0f %.0f %.0f %.0f %.0f %.0f", x1, y1,
			x1+40, y1-30-14*nth, x1-40, from.y-30-14*nth, x1-20, from.y)
		middle = [2]float64{x1, from.y - 12 - 14*nth}
	case x2 <= x1: // back
		path = fmt.Sprintf("M%.0f %.0f C%.0f %.0f %.0f %.0f %.0f %.0f", from.x, y1,
			from.x-60, y1+40, to.x+to.wide+60, y2+40, to.x+to.wide, y2)
	default:
		path = fmt.Sprintf("M%.0f %.0f C%.0f %.0f %.0f %.0f %.0f %.0f", x1, y1,
			x1+bend, y1+18*nth, x2-bend, y2+18*nth, x2, y2)
	}
	class := "edge " + string(e.Is)
	if e.Errors > 0 {
		class += " failing"
	}
	line = fmt.Sprintf(`<path class="%s" d="%s" marker-end="url(#tip)"/>`+"\n", class, path)
	if l := e.label(); l != "" {
		label = fmt.Sprintf(`<text class="say" text-anchor="middle" x="%.0f" y="%.0f">%s</text>`,
			middle[0], middle[1], html.EscapeString(l)) + "\n"
	}
	return line, label
}
