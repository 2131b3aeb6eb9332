package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// row is one line of the graph.
type row struct {
	tree    string // lines that lead to it
	name    string
	service *model.Service // whose line it is
	version int            // index, of a version's line; else -1
	edge    *model.Edge
	note    string // of a line that is only told
	ink     Ink
}

// rows lays the graph out as a tree from those that nobody calls.
func rows(v *model.View) []row {
	t := &treeMaker{v: v, drawn: map[string]bool{}}
	var roots []string
	called, seen := map[string]bool{}, map[string]bool{}
	for _, e := range v.Edges {
		called[e.To] = called[e.To] || e.From != e.To && !e.Mirror
	}
	for _, e := range v.Edges {
		if !called[e.From] && !seen[e.From] {
			seen[e.From] = true
			roots = append(roots, e.From)
		}
	}
	if len(roots) == 0 && len(v.Edges) > 0 {
		roots = []string{v.Edges[0].From}
	}
	for _, r := range roots {
		t.out = append(t.out, row{name: r, version: -1})
		t.below(r, "")
	}
	return t.out
}

type treeMaker struct {
	v     *model.View
	drawn map[string]bool
	out   []row
}

// below adds what a caller calls.
func (t *treeMaker) below(caller, tree string) {
	t.drawn[caller] = true
	var edges []*model.Edge
	for i := range t.v.Edges {
		if e := &t.v.Edges[i]; e.From == caller {
			edges = append(edges, e)
		}
	}
	for i, e := range edges {
		branch, stem := "├─", "│ "
		if i == len(edges)-1 {
			branch, stem = "└─", "  "
		}
		if e.Mirror {
			t.out = append(t.out, row{tree: tree + branch, edge: e, version: -1,
				name: "⇢ " + e.To + " mirror"})
			continue
		}
		s := find(t.v, e.To)
		t.out = append(t.out, row{tree: tree + branch, name: e.To, service: s, edge: e,
			version: -1})
		if t.drawn[e.To] {
			continue // its versions and calls are told above
		}
		t.drawn[e.To] = true
		if s != nil {
			t.versions(s, e, tree+stem)
		}
		t.below(e.To, tree+stem)
	}
}

// versions adds the lines of a service: of its versions, and of what is wrong with it.
func (t *treeMaker) versions(s *model.Service, e *model.Edge, tree string) {
	if len(s.Versions) > 1 || s.Rule != nil {
		for i := range s.Versions {
			t.out = append(t.out, row{tree: tree, name: called(&s.Versions[i]), service: s,
				version: i})
		}
	}
	if e.Retries > 0 {
		t.out = append(t.out, row{tree: tree, version: -1, ink: Warn,
			note: fmt.Sprintf("↻ %s retries/s from %s", rate(e.Retries), e.From)})
	}
	for _, b := range t.v.Breakers {
		if b.Service == s.Name && b.Refused > 0 {
			t.out = append(t.out, row{tree: tree, version: -1, ink: Bad,
				note: fmt.Sprintf("⊘ limit reached: %s/s refused (%s)", rate(b.Refused), limit(b))})
		}
	}
	for _, o := range t.v.Out {
		if o.Service == s.Name {
			t.out = append(t.out, row{tree: tree, version: -1, ink: Warn, note: ejected(o, t.v.At)})
		}
	}
}

// called is how a version is called; there is none where no host was chosen, or it has no label.
func called(v *model.Version) string { return cmp.Or(v.Name, "(none)") }

// ejected tells of a host that is not sent to.
func ejected(o model.Ejected, now clock.Instant) string {
	who := o.Pod
	if who == "" {
		who = o.Address
	}
	who, _, _ = strings.Cut(who, ".")
	back := "may return now"
	if o.Back > now {
		back = "back in " + span(o.Back.Sub(now))
	}
	return fmt.Sprintf("◌ %s ejected, %s", who, back)
}

// limit names what a limit allows.
func limit(b model.Breaker) string {
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{b.Connections, "connection"}, {b.Pending, "waiting"}, {b.Requests, "request"},
		{b.Retries, "retry"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return strings.Join(parts, ", ")
}

func find(v *model.View, name string) *model.Service {
	for i := range v.Services {
		if v.Services[i].Name == name {
			return &v.Services[i]
		}
	}
	return nil
}

// columns are where the numbers of the graph stand.
type columns struct{ rate, spark, width, p50, p99, bad int }

func columnsOf(w int) columns {
	c := columns{bad: w, p99: w - 8, p50: w - 18}
	c.rate = 32
	if w >= 110 {
		c.rate = 40
	}
	c.spark = c.rate + 2
	c.width = c.p50 - 10 - c.spark
	return c
}

// overview draws the graph and how the chosen service is split.
func (p *painter) overview(b pane) {
	all := rows(p.v)
	if len(all) == 0 {
		p.nothing(b)
		return
	}
	graph := b
	if len(all)+1 < b.h-7 {
		graph = b.part(0, 0, b.w, len(all)+1)
	} else if len(all)+1 > b.h {
		graph = b.part(0, 0, b.w, b.h)
	}
	p.graph(graph, all)
	rest := b.part(0, graph.h+1, b.w, b.h-graph.h-1)
	if s := find(p.v, p.ui.Service); s != nil && rest.h >= 6 {
		right := rest
		if rest.w >= 120 {
			right = rest.part(rest.w*3/5+2, 0, rest.w*2/5-2, rest.h)
			rest = rest.part(0, 0, rest.w*3/5, rest.h)
		} else if rest.h >= 14 {
			right = rest.part(0, rest.h-5, rest.w, 5)
			rest = rest.part(0, 0, rest.w, rest.h-6)
		} else {
			right.h = 0
		}
		p.over(rest, s)
		p.events(right)
	} else if rest.h >= 3 {
		p.events(rest)
	}
}

// nothing says what to do when nothing was sent yet.
func (p *painter) nothing(b pane) {
	lines := []string{"No request has been seen yet."}
	if p.ui.Actions {
		lines = append(lines, "", "l starts a load from here; so does",
			"mesh-lab load --from WORKLOAD URL in another terminal.")
	}
	for i, l := range lines {
		b.text(2, 1+i, l, Style{Ink: Dim})
	}
	var pods []string
	for _, x := range p.v.Config.Pods {
		pods = append(pods, x.Workload)
	}
	b.text(2, 2+len(lines), clip(strings.Join(pods, "  "), b.w-2), Style{})
}

// graph draws the tree of calls.
func (p *painter) graph(b pane, all []row) {
	c := columnsOf(b.w)
	dim := Style{Ink: Dim}
	b.text(0, 0, "CALLS", dim)
	b.right(c.rate, 0, "req/s", dim)
	b.right(c.p50, 0, "p50", dim)
	b.right(c.p99, 0, "p99", dim)
	b.right(c.bad, 0, "failed", dim)
	top := 0
	for i, r := range all { // what is chosen is seen
		if r.service != nil && r.version < 0 && r.service.Name == p.ui.Service && i > b.h-3 {
			top = i - (b.h - 3)
			break
		}
	}
	for i, r := range all[top:] {
		y := i + 1
		if y >= b.h {
			break
		}
		p.row(b, y, r, c)
	}
}

func (p *painter) row(b pane, y int, r row, c columns) {
	on := None
	if r.service != nil && r.version < 0 && r.note == "" {
		p.zones = append(p.zones, Zone{X: b.x, Y: b.y + y, W: b.w, Tab: -1, Row: -1,
			Service: r.service.Name})
		if r.service.Name == p.ui.Service {
			on = Selected
			b.fill(y, Style{On: on})
		}
	}
	x := b.text(0, y, r.tree, Style{Ink: Dim, On: on})
	switch {
	case r.note != "":
		b.text(x+2, y, clip(r.note, b.w-x-2), Style{Ink: r.ink})
	case r.version >= 0:
		p.version(b, y, x, r, c)
	case r.edge == nil:
		b.text(0, y, r.name, Style{Bold: true})
	default:
		e := r.edge
		st := Style{On: on, Bold: r.service != nil}
		if e.Mirror {
			st.Ink = Dim
		}
		b.text(x+1, y, clip(r.name, c.rate-8-x), st)
		p.numbers(b, y, e.Traffic, c, on)
	}
}

// numbers draws an edge's.
func (p *painter) numbers(b pane, y int, t model.Traffic, c columns, on Ground) {
	st := Style{On: on}
	b.right(c.rate, y, rate(t.Rate), st)
	b.spark(c.spark, y, c.width, t.Past, Style{Ink: Accent, On: on})
	b.right(c.p50, y, millis(t.Times.P50), st)
	b.right(c.p99, y, millis(t.Times.P99), st)
	switch {
	case t.Bad > 0.05:
		st.Ink = Bad
	case t.Bad > 0:
		st.Ink = Warn
	default:
		st.Ink = Good
	}
	if t.Rate == 0 {
		st.Ink = Dim
	}
	b.right(c.bad, y, percent(t.Bad), st)
}

// version draws one version's share as a bar.
func (p *painter) version(b pane, y, x int, r row, c columns) {
	s := r.service
	v := &s.Versions[r.version]
	ink := series(r.version)
	x = b.text(x+2, y, "▪ ", Style{Ink: ink})
	x = b.text(x, y, clip(r.name, 12), Style{Ink: ink})
	at := max(x+1, c.rate-13)
	end := c.p50 - 9
	want, told := p.want(s, v)
	b.part(at, y, end-at-1, 1).bar(v.Of, want, Style{Ink: ink})
	st := Style{}
	if v.Share != nil && v.Share.Drift {
		st = Style{Ink: Bad, Bold: true}
		told = "▲ " + told
	}
	b.right(c.p50, y, percent(v.Of), st)
	if st.Ink == Plain {
		st.Ink = Dim
	}
	b.text(c.p50+2, y, clip(told, b.w-c.p50-2), st)
}

// want is the band of what is wanted of a version, and how it is told.
func (p *painter) want(s *model.Service, v *model.Version) (band, string) {
	if s.Wanted != nil {
		w := s.Wanted.Shares[v.Name]
		t := s.Wanted.Tolerance
		if w == 0 || w == 1 {
			return band{w, w}, fmt.Sprintf("wanted %.3g", 100*w)
		}
		return band{max(0, w-t), min(1, w+t)}, fmt.Sprintf("wanted %.3g ± %.2g", 100*w, 100*t)
	}
	if v.Share == nil {
		return band{1, 0}, ""
	}
	w := v.Share.Want
	return band{w - 0.01, w + 0.01}, fmt.Sprintf("wanted %.3g", 100*w)
}

// over draws a service's split over time.
func (p *painter) over(b pane, s *model.Service) {
	x := b.text(0, 0, s.Name, Style{Bold: true})
	if len(s.Versions) > 1 {
		x = b.text(x, 0, "  split over time", Style{Ink: Dim})
		for i, v := range s.Versions {
			x = b.text(x, 0, "  ▪ "+called(&v), Style{Ink: series(i)})
		}
		b.part(0, 1, b.w, min(b.h-1, 12)).stack(s, s.Versions)
		return
	}
	b.text(x, 0, "  requests a second, and p99", Style{Ink: Dim})
	b.text(0, 2, "req/s", Style{Ink: Dim})
	b.spark(8, 2, b.w-8, s.Past, Style{Ink: Accent})
	b.text(0, 4, "failed", Style{Ink: Dim})
	b.spark(8, 4, b.w-8, s.BadPast, Style{Ink: Bad})
	b.text(0, 5, "p99", Style{Ink: Dim})
	b.spark(8, 5, b.w-8, s.P99, Style{Ink: Series4})
}

// events draws what the run did, the newest first.
func (p *painter) events(b pane) {
	if b.h < 2 {
		return
	}
	b.text(0, 0, "EVENTS", Style{Ink: Dim})
	for i, e := range p.v.Events {
		if i+1 >= b.h {
			break
		}
		x := b.text(0, i+1, clockTime(e.At)+"  ", Style{Ink: Dim})
		x = b.text(x, i+1, fmt.Sprintf("%-8s", e.Kind), Style{Ink: Accent})
		b.text(x+1, i+1, clip(e.What, b.w-x-1), Style{})
	}
}

// Order lists the services as they stand in the graph.
func Order(v *model.View) []string {
	var out []string
	for _, r := range rows(v) {
		if r.service != nil && r.version < 0 && !slices.Contains(out, r.service.Name) {
			out = append(out, r.service.Name)
		}
	}
	return out
}
