package page

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// counted says whether a record counts, and for what.
type counted func(*observe.Request) (name string, counts bool)

// splitCharts draws what a split was: who answered in each moment, and the share so far with the
// interval that the verdict goes by, against the band that was wanted.
func (x *index) splitCharts(at span, s *assert.Split) []chart {
	var order []string
	for _, n := range s.Shares {
		order = append(order, n.Name)
	}
	of := counted(s.Counts())
	what := s.Service + " by " + map[string]string{"": "version"}[s.By] + s.By
	out := []chart{x.shareChart(at, what, of, order)}
	for _, n := range s.Shares {
		if n.Share.Exact() || len(s.Shares) == 2 && n.Name == s.Shares[0].Name {
			continue // of two shares one is the other's complement
		}
		out = append(out, x.intervalChart(at, s, n, of, slices.Index(order, n.Name)))
	}
	return out
}

// shareChart stacks, for each moment, the shares of who was sent the requests.
func (x *index) shareChart(at span, what string, of counted, order []string) chart {
	var cells [buckets]map[string]int
	seen := map[string]bool{}
	for _, r := range x.requests {
		name, ok := of(r)
		if !ok || !at.holds(r.Start) {
			continue
		}
		i := at.bucket(float64(r.Start))
		if cells[i] == nil {
			cells[i] = map[string]int{}
		}
		cells[i][name]++
		seen[name] = true
	}
	for _, n := range slices.Sorted(maps.Keys(seen)) {
		if !slices.Contains(order, n) {
			order = append(order, n)
		}
	}
	p := x.plot(what, at, 1, percent)
	for i, cell := range cells {
		total, sum := 0, 0
		for _, n := range cell {
			total += n
		}
		for k, name := range order {
			if n := cell[name]; n > 0 {
				p.column(i, float64(sum)/float64(total), float64(sum+n)/float64(total), fill(k),
					fmt.Sprintf("%s: %d of %d", name, n, total))
				sum += n
			}
		}
	}
	c := chart{Caption: what + ", moment by moment", SVG: p.end()}
	for k, name := range order {
		c.Legend = append(c.Legend, legend{fill(k), name})
	}
	return c
}

func fill(i int) string { return fmt.Sprintf("c%d", i%palette) }

// intervalChart draws the share so far of one version with its confidence interval.
func (x *index) intervalChart(
	at span, s *assert.Split, n assert.NamedShare, of counted, color int,
) chart {
	lo, hi := wanted(n.Share, s.Tolerance)
	var seq assert.Sequence
	var share, low, high []point
	next := 0
	for _, r := range x.requests {
		name, ok := of(r)
		if !ok || !at.holds(r.Start) {
			continue
		}
		seq.Add(name == n.Name)
		if b := at.bucket(float64(r.Start)); b >= next {
			next = b + 1
			l, h := seq.Interval(assert.DefaultAlpha)
			t := float64(r.Start)
			share = append(share, point{t, seq.Share()})
			low, high = append(low, point{t, l}), append(high, point{t, h})
		}
	}
	p := x.plot("share of "+n.Name, at, 1, percent)
	p.band(lo, hi, "wanted")
	p.area(low, high, fill(color))
	p.line(share, fill(color))
	caption := fmt.Sprintf("share of %s so far, and the interval that holds the truth", n.Name)
	return chart{Caption: caption, SVG: p.end(), Legend: []legend{
		{fill(color), n.Name}, {"wanted", "wanted"},
	}}
}

// wanted is the band in which a share is as wanted.
func wanted(s assert.Share, tolerance assert.Points) (lo, hi float64) {
	if s.Low != s.High || s.Exact() {
		return s.Low, s.High
	}
	off := cmp.Or(s.Tolerance, float64(tolerance), assert.DefaultTolerance)
	return max(s.Low-off, 0), min(s.High+off, 1)
}

// latencyChart draws p50 and p99 of what the step's clients saw, moment by moment, and what was
// wanted of quantiles.
func (x *index) latencyChart(at span, step string, wants []*assert.Quantile) (chart, bool) {
	var cells [buckets][]float64
	n := 0
	for _, c := range x.clients {
		if c.Step == step && at.holds(c.Start) {
			i := at.bucket(float64(c.Start))
			cells[i] = append(cells[i], c.Duration.Seconds())
			n++
		}
	}
	if n == 0 {
		return chart{}, false
	}
	var p50, p99 []point
	most := 0.0
	for i, cell := range cells {
		slices.Sort(cell)
		a, b := quantile(cell, 0.5), quantile(cell, 0.99)
		p50, p99 = append(p50, point{at.middle(i), a}), append(p99, point{at.middle(i), b})
		if b > most {
			most = b
		}
	}
	for _, q := range wants {
		for _, bound := range []time.Duration{q.Bound.Low, q.Bound.High} {
			if bound.Seconds() < 4*most { // one that is far above would flatten all
				most = max(most, 1.1*bound.Seconds())
			}
		}
	}
	c := chart{Caption: "latency as clients saw it",
		Legend: []legend{{fill(0), "p50"}, {fill(1), "p99"}}}
	p := x.plot("latency", at, ceiling(most), seconds)
	for _, q := range wants {
		p.band(q.Bound.Low.Seconds(), q.Bound.High.Seconds(), "wanted")
		c.Legend = append(c.Legend, legend{"wanted", q.Name() + " wanted " + q.Bound.String()})
	}
	p.line(p99, fill(1))
	p.line(p50, fill(0))
	c.SVG = p.end()
	return c, true
}

// quantile returns a quantile of sorted values; NaN of none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// outcomes are the classes of what clients got, best first.
var outcomes = []string{"2xx and 3xx", "4xx", "5xx", "no answer"}

func outcomeOf(c *observe.Client) int {
	switch {
	case c.Status == 0:
		return 3
	case c.Status >= 500:
		return 2
	case c.Status >= 400:
		return 1
	}
	return 0
}

// failureChart draws which share of the step's requests failed, moment by moment, beside what may.
func (x *index) failureChart(at span, step string, want *assert.Success) (chart, bool) {
	var sent, bad [buckets]int
	n := 0
	for _, c := range x.clients {
		if c.Step == step && at.holds(c.Start) {
			i := at.bucket(float64(c.Start))
			sent[i]++
			n++
			if c.Status < 200 || c.Status >= 400 {
				bad[i]++
			}
		}
	}
	if want == nil || n == 0 || want.Share.Exact() && bad == [buckets]int{} {
		return chart{}, false // there would be nothing to be seen
	}
	low, high := wanted(want.Share, want.Tolerance)
	most := 1.2 * (1 - low)
	for i := range sent {
		if sent[i] > 0 {
			most = max(most, float64(bad[i])/float64(sent[i]))
		}
	}
	p := x.plot("failed", at, min(ceiling(max(most, 0.04)), 1), percent)
	p.band(1-high, 1-low, "wanted")
	for i := range sent {
		if bad[i] > 0 {
			p.column(i, 0, float64(bad[i])/float64(sent[i]), "o2",
				fmt.Sprintf("%d of %d failed", bad[i], sent[i]))
		}
	}
	may := "none may"
	if low < 1 {
		may = fmt.Sprintf("%.4g to %.4g %% may", 100*(1-high), 100*(1-low))
	}
	return chart{Caption: "share that failed, moment by moment", SVG: p.end(),
		Legend: []legend{{"o2", "failed"}, {"wanted", may}}}, true
}

// outcomeChart stacks how many requests a second the step's clients sent, by what they got.
func (x *index) outcomeChart(at span, step string) (chart, bool) {
	var cells [buckets][4]int
	total := [4]int{}
	most := 0
	for _, c := range x.clients {
		if c.Step == step && at.holds(c.Start) {
			i, k := at.bucket(float64(c.Start)), outcomeOf(c)
			cells[i][k]++
			total[k]++
			sum := 0
			for _, n := range cells[i] {
				sum += n
			}
			most = max(most, sum)
		}
	}
	if most == 0 {
		return chart{}, false
	}
	rate := buckets / (float64(at.until-at.from) / 1e9)
	p := x.plot("requests a second", at, ceiling(float64(most)*rate), func(v float64) string {
		return reports.Grouped(int64(math.Round(v)))
	})
	for i, cell := range cells {
		sum := 0
		for k, n := range cell {
			if n > 0 {
				p.column(i, float64(sum)*rate, float64(sum+n)*rate, fmt.Sprintf("o%d", k),
					fmt.Sprintf("%s: %d", outcomes[k], n))
				sum += n
			}
		}
	}
	c := chart{Caption: "requests a second, by what clients got", SVG: p.end()}
	for k, n := range total {
		if n > 0 {
			c.Legend = append(c.Legend, legend{fmt.Sprintf("o%d", k),
				outcomes[k] + ": " + reports.Grouped(int64(n))})
		}
	}
	return c, true
}

// histogram draws fortio's histogram: how many requests took how long.
func histogram(f *reports.FortioResult) chart {
	most, data := int64(0), f.DurationHistogram.Data
	for _, d := range data {
		most = max(most, d.Count)
	}
	p := newPlot("histogram", span{}, float64(max(most, 1)), func(v float64) string {
		return reports.Grouped(int64(math.Round(v)))
	})
	w := plotWidth / float64(max(len(data), 1))
	for i, d := range data {
		x := left + w*float64(i)
		y := p.y(float64(d.Count))
		fmt.Fprintf(&p.b, `<rect class="c0" x="%.2f" y="%.2f" width="%.2f" height="%.2f">`+
			`<title>%s – %s: %d</title></rect>`, x+1, y, max(w-2, 1), max(height-bottom-y, 0),
			seconds(d.Start), seconds(d.End), d.Count)
		if every := max(len(data)/6, 1); i%every == 0 {
			p.text(x+w/2, height-8, "middle", seconds(d.End))
		}
	}
	return chart{Caption: "how long requests took (fortio's histogram)", SVG: p.end()}
}
