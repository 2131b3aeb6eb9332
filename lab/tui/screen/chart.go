package screen

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tui/model"
)

var (
	rising = []rune("▁▂▃▄▅▆▇█")
	wide   = []rune("▏▎▍▌▋▊▉█")
)

// spark draws values as a line of columns, the newest at the right, as high as the highest of them.
func (p pane) spark(x, y, w int, values []float64, st Style) {
	if w < 1 || len(values) == 0 {
		return
	}
	values = values[max(0, len(values)-w):]
	top := slices.Max(values)
	for i, v := range values {
		r, s := '·', Style{Ink: Dim, On: st.On}
		if v > 0 && top > 0 {
			r, s = rising[min(7, int(v/top*7.999))], st
		}
		p.put(x+w-len(values)+i, y, r, s)
	}
}

// series is the ink of the i-th version.
func series(i int) Ink { return Series1 + Ink(i%5) }

// band is what is wanted of a share; low > high: nothing is.
type band struct{ low, high float64 }

// bar draws a share in [0, 1] in a pane's first row, and what is wanted of it as a shaded band.
func (p pane) bar(share float64, b band, st Style) {
	eighths := int(math.Round(min(max(share, 0), 1) * float64(8*p.w)))
	from, to := int(b.low*float64(p.w)), int(math.Ceil(b.high*float64(p.w)))-1
	for i := range p.w {
		in := b.low <= b.high && i >= from && i <= max(from, to)
		switch n := eighths - 8*i; {
		case n >= 8 && in:
			p.put(i, 0, '▓', st)
		case n >= 8:
			p.put(i, 0, '█', st)
		case n > 0:
			p.put(i, 0, wide[n-1], st)
		case in:
			p.put(i, 0, '░', Style{On: st.On})
		default:
			p.put(i, 0, '·', Style{Ink: Dim, On: st.On})
		}
	}
}

// patterns tell stacked versions apart where there are no colours: from the bottom.
var patterns = []rune("█▒░▚")

// stack draws how a service was split over time: versions above each other, the last at the
// bottom, with a line where the wanted shares meet.
func (p pane) stack(s *model.Service, versions []model.Version) {
	if p.h < 2 || p.w < 12 || len(versions) == 0 {
		return
	}
	for i, label := range []string{"100", " 50", "  0"} {
		p.text(0, i*(p.h-1)/2, label, Style{Ink: Dim})
	}
	plot := p.part(4, 0, p.w-4, p.h)
	n := len(versions[0].Shares)
	for x := range plot.w {
		i := n - plot.w + x
		if i < 0 || s.Past[min(i, len(s.Past)-1)] == 0 {
			continue
		}
		plot.column(x, i, versions)
	}
	for k := len(versions) - 1; k > 0; k-- {
		plot.meet(s, versions[k:])
	}
}

// meet draws where the wanted shares of the last versions meet those of the others.
func (p pane) meet(s *model.Service, versions []model.Version) {
	ink, n := Dim, len(versions[0].Wants)
	if h := versions[0].Share; h != nil && h.Drift && s.Wanted == nil {
		ink = Bad
	}
	for x := 0; x < p.w; x += 2 {
		below := 0.0
		for _, v := range versions {
			switch i := n - p.w + x; {
			case s.Wanted != nil:
				below += s.Wanted.Shares[v.Name]
			case i >= 0:
				below += v.Wants[i] // -1: out of the figure
			}
		}
		if below > 0 && below < 1 {
			p.put(x, p.h-1-int(below*float64(p.h)-1e-9), '╌', Style{Ink: ink, Bold: true})
		}
	}
}

// column draws the shares of one moment.
func (p pane) column(x, i int, versions []model.Version) {
	for _, v := range versions {
		if i >= len(v.Shares) || v.Shares[i] < 0 {
			return
		}
	}
	below := 0.0 // in rows, from the bottom
	last := len(versions) - 1
	for k := last; k >= 0; k-- {
		above := below + versions[k].Shares[i]*float64(p.h)
		st := Style{Ink: series(k)}
		for row := int(math.Round(below)); row < p.h; row++ {
			eighths := int(math.Round((above - float64(row)) * 8))
			if k == 0 {
				p.put(x, p.h-1-row, '·', st)
			} else if eighths >= 8 {
				p.put(x, p.h-1-row, patterns[(last-k)%len(patterns)], st)
			} else if eighths > 0 {
				p.put(x, p.h-1-row, rising[eighths-1], st)
				below = float64(row + 1)
				break
			} else {
				break
			}
		}
		below = max(below, math.Round(above))
	}
}

// rate prints requests a second.
func rate(r float64) string {
	switch {
	case r == 0:
		return "0"
	case r < 9.95:
		return fmt.Sprintf("%.1f", r)
	}
	return thousands(int64(math.Round(r)))
}

// thousands prints 12,345.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// millis prints a latency in three figures.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case d == 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.0f s", ms/1000)
}

// percent prints a share.
func percent(x float64) string {
	switch p := 100 * x; {
	case p == 0:
		return "0 %"
	case p >= 99.95:
		return "100 %"
	case p < 0.1:
		return "<0.1 %"
	default:
		return fmt.Sprintf("%.1f %%", p)
	}
}

// span prints how long something lasts.
func span(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
