package page

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// The size of a figure, in the units of its viewBox, and the room for its axes.
const (
	width, height      = 720.0, 200.0
	left, right        = 78.0, 12.0
	top, bottom        = 12.0, 30.0
	buckets            = 60 // columns of a figure over time
	plotWidth          = width - left - right
	plotHeight         = height - top - bottom
	palette            = 8 // classes c0 … c7 of the style sheet
	timeTicks, yMarkes = 6, 4
)

// plot draws one figure: x is a time of the run, y from 0 to a maximum.
type plot struct {
	b    strings.Builder
	at   span
	ymax float64
}

// newPlot begins a figure; label names it for who does not see it.
func newPlot(label string, at span, ymax float64, unit func(float64) string) *plot {
	if ymax <= 0 || math.IsNaN(ymax) {
		ymax = 1
	}
	p := &plot{at: at, ymax: ymax}
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height,
		template.HTMLEscapeString(label))
	for i := 0; i <= yMarkes; i++ {
		v := ymax * float64(i) / yMarkes
		fmt.Fprintf(&p.b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left,
			width-right, p.y(v), p.y(v))
		p.text(left-6, p.y(v)+4, "end", unit(v))
	}
	p.times()
	return p
}

// plot begins a figure over a time of the run; above it stands what was broken meanwhile.
func (x *index) plot(label string, at span, ymax float64, unit func(float64) string) *plot {
	p := newPlot(label, at, ymax, unit)
	for _, f := range x.faults(at) {
		from, until := max(f.From, at.from), min(max(f.Until, f.From), at.until)
		fmt.Fprintf(&p.b, `<rect class="o2" x="%.1f" y="%g" width="%.1f" height="5" rx="2">`+
			`<title>%s %s</title></rect>`, p.x(float64(from)), top-9,
			max(p.x(float64(until))-p.x(float64(from)), 5), template.HTMLEscapeString(f.Kind),
			template.HTMLEscapeString(f.Target))
	}
	return p
}

// times labels the x axis with instants of the run that are round.
func (p *plot) times() {
	length := time.Duration(p.at.until - p.at.from)
	step := roundStep(length / timeTicks)
	if step <= 0 {
		return
	}
	first := (time.Duration(p.at.from) + step - 1) / step * step
	for t := first; t <= time.Duration(p.at.until); t += step {
		x := p.x(float64(t))
		fmt.Fprintf(&p.b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, x, x,
			height-bottom, height-bottom+4)
		p.text(x, height-8, "middle", strconv.FormatFloat(t.Seconds(), 'g', 4, 64)+" s")
	}
}

// roundStep returns the next of 1, 2 or 5 times a power of ten.
func roundStep(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	power := math.Pow(10, math.Floor(math.Log10(float64(d))))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*power >= float64(d)*0.999 {
			return time.Duration(m * power)
		}
	}
	return time.Duration(10 * power)
}

func (p *plot) x(at float64) float64 {
	length := float64(p.at.until - p.at.from)
	if length <= 0 {
		return left
	}
	return left + plotWidth*(at-float64(p.at.from))/length
}

func (p *plot) y(v float64) float64 {
	return height - bottom - plotHeight*min(max(v/p.ymax, 0), 1)
}

func (p *plot) text(x, y float64, anchor, s string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor,
		template.HTMLEscapeString(s))
}

// column draws a bar over one bucket, from y0 to y1; tip is shown by who points at it.
func (p *plot) column(i int, y0, y1 float64, class, tip string) {
	w := plotWidth / buckets
	fmt.Fprintf(&p.b,
		`<rect class="%s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"><title>%s</title></rect>`,
		class, left+w*float64(i), p.y(y1), w, max(p.y(y0)-p.y(y1), 0),
		template.HTMLEscapeString(tip))
}

// band fills what lies between two values over the whole time.
func (p *plot) band(lo, hi float64, class string) {
	fmt.Fprintf(&p.b, `<rect class="%s" x="%g" y="%.2f" width="%g" height="%.2f"/>`, class, left,
		p.y(hi), plotWidth, max(p.y(lo)-p.y(hi), 1.5))
}

// point is one point of a line: an instant and a value. One that is NaN is passed over.
type point struct{ at, v float64 }

// line draws a line through points.
func (p *plot) line(points []point, class string) {
	var d strings.Builder
	pen := "M"
	for _, q := range points {
		if math.IsNaN(q.v) {
			continue
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", pen, p.x(q.at), p.y(q.v))
		pen = "L"
	}
	fmt.Fprintf(&p.b, `<path class="line %s" d="%s"/>`, class, d.String())
}

// area fills what lies between two lines over the same instants.
func (p *plot) area(lo, hi []point, class string) {
	if len(lo) == 0 {
		return
	}
	var d strings.Builder
	for i, q := range hi {
		fmt.Fprintf(&d, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], p.x(q.at),
			p.y(q.v))
	}
	for i := len(lo) - 1; i >= 0; i-- {
		fmt.Fprintf(&d, "L%.1f %.1f", p.x(lo[i].at), p.y(lo[i].v))
	}
	fmt.Fprintf(&p.b, `<path class="area %s" d="%sZ"/>`, class, d.String())
}

// end closes the figure.
func (p *plot) end() template.HTML {
	p.b.WriteString("</svg>")
	return template.HTML(p.b.String()) //nolint:gosec // every text in it is escaped
}

// bucket returns in which column an instant is.
func (s span) bucket(at float64) int {
	length := float64(s.until - s.from)
	if length <= 0 {
		return 0
	}
	return min(max(int((at-float64(s.from))/length*buckets), 0), buckets-1)
}

// middle is the instant in the middle of a column.
func (s span) middle(i int) float64 {
	return float64(s.from) + float64(s.until-s.from)*(float64(i)+0.5)/buckets
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 0, 64) + " %" }

// seconds prints a latency that is given in seconds.
func seconds(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64) + " s"
	case v >= 0.01:
		return strconv.FormatFloat(1000*v, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(1000*v, 'f', 2, 64) + " ms"
}

// ceiling is a round value that is not below v, for the top of an axis.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 5, 8, 10} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}
