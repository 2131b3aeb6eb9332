package screen

import (
	"fmt"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

var (
	dim  = Style{Ink: Dim}
	bold = Style{Bold: true}
)

// service draws all that is known of one service.
func (p *painter) service(b pane) {
	s := find(p.v, p.ui.Service)
	if s == nil {
		p.nothing(b)
		return
	}
	x := b.text(0, 0, s.Name, bold)
	x = b.text(x, 0, "  called by "+strings.Join(s.Callers, ", "), dim)
	b.right(b.w, 0, clip(fmt.Sprintf("%s req/s   %s failed", rate(s.Rate), percent(s.Bad)),
		b.w-x-2), Style{})
	y := p.versions(b, 2, s)
	if len(s.Versions) > 1 && b.h-y > 9 {
		h := min(b.h-y-7, 10)
		b.part(0, y, b.w, h).stack(s, s.Versions)
		y += h + 1
	}
	w := b.w - 8
	for _, l := range []struct {
		name   string
		values []float64
		ink    Ink
	}{{"req/s", s.Past, Accent}, {"failed", s.BadPast, Bad}, {"p99", s.P99, Series4}} {
		if y < b.h {
			b.text(0, y, l.name, dim)
			b.spark(8, y, w, l.values, Style{Ink: l.ink})
		}
		y++
	}
	p.protection(b.part(0, y, b.w, b.h-y), s)
}

// versions draws a table of a service's versions from y on and returns where it ends.
func (p *painter) versions(b pane, y int, s *model.Service) int {
	c := columnsOf(b.w)
	head := "VERSION"
	if s.Rule != nil {
		head += "  by VirtualService " + s.Rule.Object
		if s.Rule.Mixed {
			head += ", among other rules"
		}
	}
	b.text(0, y, clip(head, c.p50-8), dim)
	b.right(c.p50, y, "p50", dim)
	b.right(c.p99, y, "p99", dim)
	b.right(c.bad, y, "failed", dim)
	y++
	for i := range s.Versions {
		v := &s.Versions[i]
		ink := Style{Ink: series(i)}
		want, told := p.want(s, v)
		b.text(0, y, "▪ "+clip(called(v), 12), ink)
		b.part(15, y, c.p50-9-15-20, 1).bar(v.Of, want, ink)
		st := Style{}
		if h := v.Share; h != nil && h.Drift {
			st = Style{Ink: Bad, Bold: true}
			told = "▲ " + told
		}
		at := c.p50 - 27
		b.right(at+7, y, percent(v.Of), st)
		if st.Ink == Plain {
			st = dim
		}
		b.text(at+8, y, clip(told, 13), st)
		b.right(c.p50, y, millis(v.Times.P50), Style{})
		b.right(c.p99, y, millis(v.Times.P99), Style{})
		b.right(c.bad, y, percent(v.Bad), failure(v.Bad))
		y++
		if h := v.Share; h != nil && h.Draws > 0 && b.h > 24 {
			b.text(15, y, clip(fmt.Sprintf(
				"%s of %s since these weights; the truth lies in %.1f to %.1f %%",
				percent(h.Got), thousands(h.Draws), 100*h.Low, 100*h.High), b.w-15), dim)
			y++
		}
	}
	return y + 1
}

func failure(bad float64) Style {
	switch {
	case bad > 0.05:
		return Style{Ink: Bad}
	case bad > 0:
		return Style{Ink: Warn}
	}
	return Style{Ink: Good}
}

// protection lists limits, ejected hosts, retries and mirrors of a service.
func (p *painter) protection(b pane, s *model.Service) {
	y := 0
	line := func(mark, text string, st Style) {
		b.text(0, y, mark, st)
		b.text(2, y, clip(text, b.w-2), Style{})
		y++
	}
	for _, x := range p.v.Breakers {
		if x.Service != s.Name {
			continue
		}
		st, state := Style{Ink: Good}, "closed"
		if x.Refused > 0 {
			st, state = Style{Ink: Bad, Bold: true}, rate(x.Refused)+"/s refused"
		}
		name := "limit"
		if x.Subset != "" {
			name += " " + x.Subset
		}
		line("⊘", fmt.Sprintf("%s  %s   %s   about %.1f at a time", name, limit(x), state, x.Busy),
			st)
	}
	for _, o := range p.v.Out {
		if o.Service == s.Name {
			by, _, _ := strings.Cut(o.By, ".")
			text := strings.TrimPrefix(ejected(o, p.v.At), "◌ ")
			line("◌", fmt.Sprintf("%s   by %s, time %d", text, by, o.Times), Style{Ink: Warn})
		}
	}
	for _, e := range p.v.Edges {
		switch {
		case e.To == s.Name && e.Mirror:
			line("⇢", fmt.Sprintf("%s copies/s mirrored by %s", rate(e.Rate), e.From), dim)
		case e.To == s.Name && e.Retries > 0:
			line("↻", fmt.Sprintf("%s retries/s from %s", rate(e.Retries), e.From),
				Style{Ink: Warn})
		}
	}
}

// requests draws the tap.
func (p *painter) requests(b pane) {
	x := b.text(0, 0, "/ ", Style{Ink: Accent, Bold: true})
	switch {
	case p.ui.Typing:
		x = b.text(x, 0, p.ui.Filter, bold)
		b.text(x, 0, "▏", Style{Ink: Accent})
	case p.ui.Filter == "":
		b.text(x, 0, "all; filter by status (5xx), flag (UO), path (/a), from:, to:, version:, id:",
			dim)
	default:
		b.text(x, 0, clip(p.ui.Filter, b.w-4), bold)
	}
	name := nameWidth(b.w)
	path := 9 + 2*name + 3 + 4
	b.text(0, 2, "AT", dim)
	b.text(9, 2, "FROM → TO", dim)
	b.text(path, 2, "REQUEST", dim)
	b.right(b.w-20, 2, "STATUS", dim)
	b.text(b.w-19, 2, "FLAGS", dim)
	b.right(b.w-4, 2, "TOOK", dim)
	b.right(b.w, 2, "TRY", dim)
	if len(p.f.Tap) == 0 {
		b.text(2, 4, "no request, so far", dim)
		return
	}
	chosen := p.ui.Row[Requests]
	top := max(0, chosen-(b.h-4))
	for i := top; i < len(p.f.Tap) && 3+i-top < b.h; i++ {
		p.tapped(b, 3+i-top, i)
	}
}

// nameWidth is the room for a service's name.
func nameWidth(w int) int {
	switch {
	case w >= 110:
		return 20
	case w >= 96:
		return 16
	}
	return 11
}

// tapped draws one request.
func (p *painter) tapped(b pane, y, i int) {
	name := nameWidth(b.w)
	path := 9 + 2*name + 3 + 4
	r := &p.f.Tap[i]
	st := Style{}
	if i == p.ui.Row[Requests] {
		st.On = Selected
		b.fill(y, st)
	}
	p.zones = append(p.zones, Zone{X: b.x, Y: b.y + y, W: b.w, Tab: -1, Row: i})
	grey := Style{Ink: Dim, On: st.On}
	b.text(0, y, clockTime(r.Start), grey)
	x := b.text(9, y, clip(r.From, name), st)
	x = b.text(x, y, " → ", grey)
	x = b.text(x, y, clip(r.To, name), st)
	b.text(x+1, y, clip(r.Dest.Version, path-x-2), grey)
	b.text(path, y, clip(r.Method+" "+r.Path, b.w-25-path), st)
	status := Style{Ink: Good, On: st.On}
	switch {
	case model.Bad(&r.Request):
		status.Ink = Bad
	case r.Status >= 400 || r.Flags != "":
		status.Ink = Warn
	}
	b.right(b.w-20, y, fmt.Sprint(r.Status), status)
	b.text(b.w-19, y, clip(r.Flags, 8), status)
	b.right(b.w-4, y, millis(r.Duration), st)
	if n := len(r.Attempts); n > 1 {
		b.right(b.w, y, fmt.Sprint(n), Style{Ink: Warn, On: st.On})
	}
}

// faults draws what is broken, with its receipts.
func (p *painter) faults(b pane) {
	if len(p.v.Faults) == 0 {
		b.text(2, 1, "Nothing is broken.", dim)
		if p.ui.Actions {
			b.text(2, 3, "f breaks something; what it did is shown here, and x heals it.", dim)
		}
		return
	}
	b.text(0, 0, "FAULT", dim)
	b.right(b.w-14, 0, "TOOK EFFECT", dim)
	b.right(b.w, 0, "SINCE", dim)
	y := 1
	for i, f := range p.v.Faults {
		if y+1 >= b.h {
			break
		}
		st := Style{}
		if i == p.ui.Row[Faults] {
			st.On = Selected
			b.fill(y, st)
		}
		p.zones = append(p.zones, Zone{X: b.x, Y: b.y + y, W: b.w, Tab: -1, Row: i})
		x := b.text(0, y, "✗ ", Style{Ink: Bad, On: st.On})
		name := f.Kind + " " + f.Target
		if f.Istio != "" {
			name = f.Istio
		}
		b.text(x, y, clip(name, b.w-42), Style{On: st.On, Bold: true})
		fired := Style{On: st.On}
		if f.Fired == 0 {
			fired.Ink = Warn
		}
		b.right(b.w-14, y, clip(thousands(f.Fired)+" "+f.Unit, 28), fired)
		if f.From > 0 {
			b.right(b.w, y, span(p.v.At.Sub(f.From)), Style{Ink: Dim, On: st.On})
		}
		b.text(2, y+1, clip(receipt(f), b.w-2), dim)
		y += 3
	}
}

// receipt tells where a fault showed.
func receipt(f model.Fault) string {
	var parts []string
	if f.Istio != "" {
		parts = append(parts, f.Target)
	} else if f.Name != "" {
		parts = append(parts, f.Name)
	}
	if f.Fired > 0 && f.Last > 0 {
		parts = append(parts, "first "+clockTime(f.First)+", last "+clockTime(f.Last))
	}
	if f.Fired == 0 {
		parts = append(parts, "no effect so far")
	}
	if f.Bytes > 0 {
		parts = append(parts, thousands(f.Bytes)+" bytes")
	}
	if n := len(f.Evidence); n > 0 {
		parts = append(parts, f.Evidence[n-1])
	}
	return strings.Join(parts, " · ")
}

// marks of outcomes.
var marks = map[assert.Outcome]struct {
	r   string
	ink Ink
}{assert.Pass: {"✔", Good}, assert.Fail: {"✘", Bad}, assert.Inconclusive: {"?", Warn}}

// steps draws the story and its verdicts.
func (p *painter) steps(b pane) {
	s := p.v.Story
	if s == nil {
		b.text(2, 1, "No scenario runs here: mesh-lab run SCENARIO --watch shows one.", dim)
		return
	}
	x := b.text(0, 0, s.Name, bold)
	b.text(x, 0, "  "+clip(s.About, b.w-x-2), dim)
	var lines []func(y int)
	at := 0
	for i := range s.Steps {
		step := &s.Steps[i]
		if step.State == feed.Running || step.State == feed.Done {
			at = len(lines)
		}
		lines = append(lines, func(y int) { stepLine(b, y, i, step) })
		for _, v := range step.Said {
			lines = append(lines, func(y int) { said(b, y, step, &v) })
			if v.Outcome == assert.Fail && v.Reason != "" {
				lines = append(lines, func(y int) {
					b.text(6, y, clip(v.Reason, b.w-6), Style{Ink: Bad})
				})
			}
		}
		if len(step.Said) == 0 {
			for _, w := range step.Wants {
				lines = append(lines, func(y int) { b.text(4, y, clip("· "+w, b.w-4), dim) })
			}
		}
		lines = append(lines, func(int) {})
	}
	if s.Over != "" {
		lines = append(lines, func(y int) { b.text(0, y, strings.ToUpper(s.Over), bold) })
		at = len(lines)
	}
	top := max(0, min(at-2, len(lines)-(b.h-2)))
	if r := p.ui.Row[Steps]; r > 0 {
		top = min(max(0, top+r), max(0, len(lines)-1))
	}
	for i, f := range lines[min(top, len(lines)):] {
		if 2+i < b.h {
			f(2 + i)
		}
	}
}

func stepLine(b pane, y, i int, s *feed.Step) {
	mark, ink, st := "○", Dim, dim
	switch s.State {
	case feed.Running:
		mark, ink, st = "◐", Accent, bold
	case feed.Done:
		m := marks[s.Verdict]
		mark, ink, st = m.r, m.ink, bold
	}
	x := b.text(0, y, mark, Style{Ink: ink, Bold: true})
	x = b.text(x+1, y, fmt.Sprintf("%d  %s", i+1, s.Name), st)
	if s.State == feed.Running {
		doing := s.Doing
		if s.Sent > 0 {
			doing += fmt.Sprintf("  %s requests", thousands(s.Sent))
		}
		if s.Failed > 0 {
			doing += fmt.Sprintf("  %s failed", thousands(s.Failed))
		}
		b.text(x+2, y, clip(doing, b.w-x-2), Style{Ink: Accent})
	}
}

func said(b pane, y int, s *feed.Step, v *assert.Verdict) {
	m := marks[v.Outcome]
	if v.Outcome == assert.Inconclusive && s.State == feed.Running {
		m.r, m.ink = "…", Accent
	}
	b.text(4, y, m.r, Style{Ink: m.ink, Bold: true})
	b.text(6, y, clip(v.Name, 24), Style{})
	b.text(31, y, clip(v.Observed, b.w-31-22), Style{})
	if v.Wanted != "" {
		b.text(b.w-21, y, clip("wanted "+v.Wanted, 21), dim)
	}
}

// proxies draws what each proxy has ACKed.
func (p *painter) proxies(b pane) {
	types := []string{"CDS", "EDS", "LDS", "RDS", "SDS"}
	wide := min(34, b.w-5*11-1)
	b.text(0, 0, "PROXY", dim)
	for i, t := range types {
		b.text(wide+i*11, 0, t, dim)
	}
	y := 1
	for i, x := range p.v.Proxies {
		if i < p.ui.Row[Proxies] {
			continue
		}
		if y >= b.h {
			break
		}
		b.text(0, y, clip(x.Node, wide-1), Style{})
		nack := ""
		for _, t := range x.Types {
			for k, name := range types {
				if name == t.Type {
					text, ink := state(t)
					b.text(wide+k*11, y, text, Style{Ink: ink})
				}
			}
			if t.Nack != "" {
				nack = t.Type + ": " + t.Nack
			}
		}
		y++
		if nack != "" && y < b.h {
			b.text(2, y, clip("✘ "+nack, b.w-2), Style{Ink: Bad})
			y++
		}
	}
}

// state tells which version a proxy has.
func state(t feed.TypeState) (string, Ink) {
	version := []rune(t.Acked)
	short := string(version[:min(7, len(version))])
	switch {
	case t.Nack != "":
		return "✘ " + short, Bad
	case t.Sent != t.Acked:
		return "… " + short, Warn
	case t.Acked == "":
		return "–", Dim
	}
	return "✔ " + short, Good
}
