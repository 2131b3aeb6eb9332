package page

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// lane is one row of the timeline.
type lane struct {
	name  string
	marks []moment
}

// moment is what happened at a time, or for a time.
type moment struct {
	from, until clock.Instant // equal: a moment
	class, tip  string
	label       string
}

// laneHeight is in the units of the figure.
const laneHeight = 26.0

// timeline draws the whole run: steps, what was changed, pushes, faults, ejections.
func (x *index) timeline(res *reports.Result) template.HTML {
	at := span{0, clock.Instant(x.run.Header.Duration)}
	if at.until <= 0 {
		return ""
	}
	lanes := []lane{x.stepLane(), x.loadLane(), x.changeLane(), x.pushLane()}
	lanes = append(lanes, faultLane(res), x.ejectionLane(), x.verdictLane(res))
	p := &plot{at: at, ymax: 1}
	var body strings.Builder
	y := 6.0
	for _, l := range lanes {
		if len(l.marks) == 0 {
			continue
		}
		fmt.Fprintf(&body, `<text x="%g" y="%.1f" text-anchor="end">%s</text>`, left+24,
			y+laneHeight/2+2, template.HTMLEscapeString(l.name))
		for i, m := range l.marks {
			room := width
			for _, next := range l.marks[i+1:] {
				if next.from > m.from {
					room = laneX(at, next.from)
					break
				}
			}
			body.WriteString(m.draw(at, y, room-8))
		}
		y += laneHeight
	}
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %g %.1f" role="img" aria-label="timeline">`, width, y+24)
	x.axis(p, y)
	p.b.WriteString(body.String())
	return p.end()
}

// laneX places an instant in the timeline, whose names need more room than an axis.
func laneX(at span, t clock.Instant) float64 {
	return left + 32 + (plotWidth-32)*float64(t-at.from)/float64(at.until-at.from)
}

// axis labels the time beneath the lanes.
func (x *index) axis(p *plot, y float64) {
	step := roundStep(x.run.Header.Duration / timeTicks)
	for t := step * 0; step > 0 && t <= x.run.Header.Duration; t += step {
		at := laneX(p.at, clock.Instant(t))
		fmt.Fprintf(&p.b, `<line class="grid" x1="%.1f" x2="%.1f" y1="0" y2="%.1f"/>`, at, at,
			y+4)
		p.text(at, y+18, "middle", fmt.Sprintf("%.4g s", t.Seconds()))
	}
}

// draw draws a mark; the label of a moment has room up to a place.
func (m moment) draw(at span, y, until float64) string {
	x0, x1 := laneX(at, m.from), laneX(at, max(m.until, m.from))
	tip := template.HTMLEscapeString(m.tip)
	if m.until <= m.from {
		s := fmt.Sprintf(`<circle class="%s" cx="%.1f" cy="%.1f" r="4"><title>%s</title>`+
			`</circle>`, m.class, x0, y+laneHeight/2-2, tip)
		return s + m.told(x0+7, y, until, "")
	}
	s := fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%g" rx="2">`+
		`<title>%s</title></rect>`, m.class, x0, y, max(x1-x0-1, 1.5), laneHeight-6, tip)
	return s + m.told(x0+4, y, x1, ` class="in"`)
}

// told writes a mark's label where there is room for it.
func (m moment) told(x, y, until float64, class string) string {
	room, label := int((until-x)/6.2), []rune(m.label)
	if len(label) == 0 || room < 4 {
		return ""
	}
	if len(label) > room {
		label = append(label[:room-1], '…')
	}
	return fmt.Sprintf(`<text%s x="%.1f" y="%.1f">%s</text>`, class, x, y+laneHeight/2+1,
		template.HTMLEscapeString(string(label)))
}

func (x *index) stepLane() lane {
	l := lane{name: "step"}
	for i := range x.run.Header.Steps {
		s := &x.run.Header.Steps[i]
		from := s.From
		if len(s.Did) > 0 {
			from = s.Did[0].From
		}
		l.marks = append(l.marks, moment{from, s.Until, fmt.Sprintf("c%d", i%2*2), s.Name, s.Name})
	}
	return l
}

func (x *index) loadLane() lane {
	l := lane{name: "traffic"}
	for i := range x.run.Header.Steps {
		for _, d := range x.run.Header.Steps[i].Did {
			if d.Kind == "load" || d.Kind == "request" {
				tip := d.Kind + " " + d.What
				l.marks = append(l.marks, moment{d.From, d.Until, "o0", tip, d.What})
			}
		}
	}
	return l
}

func (x *index) changeLane() lane {
	l := lane{name: "changes"}
	for i := range x.run.History.Changes {
		c := &x.run.History.Changes[i]
		switch c.Kind {
		case "step", "eject", "uneject", "fault", "heal":
			continue
		}
		what := c.Kind + " " + c.What[strings.LastIndexByte(c.What, '/')+1:]
		l.marks = append(l.marks, moment{c.At, c.At, "c1", c.Kind + " " + c.What, what})
	}
	return l
}

func (x *index) pushLane() lane {
	l := lane{name: "pushes"}
	for i := range x.run.History.Pushes {
		p := &x.run.History.Pushes[i]
		tip, class := fmt.Sprintf("%s to %s", p.Type, p.Proxy), "c2"
		switch {
		case p.Nack != "":
			tip, class = tip+" NACKed: "+p.Nack, "o2"
		case p.Acked > 0:
			tip += " ACKed"
		}
		l.marks = append(l.marks, moment{p.At, max(p.Acked, p.At), class, tip, ""})
	}
	return l
}

// verdictLane marks when each step was judged, and since when what failed was broken.
func (x *index) verdictLane(res *reports.Result) lane {
	l := lane{name: "verdicts"}
	for i := range res.Steps {
		s := &res.Steps[i]
		for k := range s.Expectations {
			if e := &s.Expectations[k]; e.Since != nil {
				l.marks = append(l.marks, moment{*e.Since, *e.Since, "o2",
					e.Name + " is broken: " + e.Reason, "✘ " + e.Name})
			}
		}
		if i < len(x.run.Header.Steps) {
			at := x.run.Header.Steps[i].Until
			class := map[assert.Outcome]string{
				assert.Fail: "o2", assert.Inconclusive: "o1"}[s.Verdict]
			l.marks = append(l.marks, moment{at, at, cmp.Or(class, "o0"),
				s.Name + ": " + s.Verdict.String(), mark(s.Verdict)})
		}
	}
	slices.SortStableFunc(l.marks, func(a, b moment) int { return cmp.Compare(a.from, b.from) })
	return l
}

func faultLane(res *reports.Result) lane {
	l := lane{name: "faults"}
	for i := range res.Faults {
		f := &res.Faults[i]
		until, class := max(f.Until, f.From), "o2"
		if f.Skipped != "" {
			class = "o1"
		}
		l.marks = append(l.marks, moment{f.From, until, class, f.Title() + ": " + f.Receipt(),
			f.Title()})
	}
	return l
}

// faultView is a fault with its receipt; one that did nothing proves nothing.
type faultView struct {
	Verdict             assert.Outcome
	What, Receipt, When string
	Evidence            []string
}

func faultsOf(res *reports.Result) []faultView {
	var out []faultView
	for i := range res.Faults {
		f := &res.Faults[i]
		v := faultView{
			Verdict: assert.Pass, What: f.Title(), Receipt: f.Receipt(), Evidence: f.Evidence,
		}
		if f.Fired == 0 || f.Skipped != "" {
			v.Verdict = assert.Inconclusive
		}
		if f.Until > 0 {
			v.When = reports.Took(time.Duration(f.From)) + " to " +
				reports.Took(time.Duration(f.Until))
		}
		out = append(out, v)
	}
	return out
}

// ejectionLane draws how long each host was ejected, at the first proxy that said so.
func (x *index) ejectionLane() lane {
	l := lane{name: "ejected"}
	out := map[string]int{}
	for i := range x.run.History.Changes {
		c := &x.run.History.Changes[i]
		key := c.By + " " + c.What
		switch c.Kind {
		case "eject":
			out[key] = len(l.marks)
			l.marks = append(l.marks, moment{c.At, clock.Instant(x.run.Header.Duration), "o1",
				c.What + " by " + c.By, hostOf(c)})
		case "uneject":
			if k, ok := out[key]; ok {
				l.marks[k].until = c.At
			}
		}
	}
	return l
}

// hostOf is the address of an ejection.
func hostOf(c *observe.Change) string {
	return c.What[strings.LastIndexByte(c.What, ' ')+1:]
}
