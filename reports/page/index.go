package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// index is a run with its records in the order in which they started.
type index struct {
	run      *reports.Run
	requests []*observe.Request
	clients  []*observe.Client
}

func newIndex(run *reports.Run) *index {
	x := &index{run: run}
	for i := range run.History.Requests {
		x.requests = append(x.requests, &run.History.Requests[i])
	}
	for i := range run.History.Clients {
		x.clients = append(x.clients, &run.History.Clients[i])
	}
	slices.SortStableFunc(x.requests, func(a, b *observe.Request) int {
		return cmp.Compare(a.Start, b.Start)
	})
	slices.SortStableFunc(x.clients, func(a, b *observe.Client) int {
		return cmp.Compare(a.Start, b.Start)
	})
	return x
}

// span is a time of the run: [from, until).
type span struct{ from, until clock.Instant }

func (s span) holds(at clock.Instant) bool { return at >= s.from && at < s.until }

// step tells one step.
func (x *index) step(s *scenarios.Scenario, i int, res *reports.StepResult) *stepView {
	went := &x.run.Header.Steps[i]
	v := &stepView{
		Index: i + 1, Name: res.Name, Verdict: res.Verdict, Skipped: res.Skipped, Error: res.Error,
	}
	loads := res.Loads()
	for k := range res.Did {
		d := &res.Did[k]
		how := reports.Done(d)
		if d.Kind == "load" && len(loads) > 0 {
			how = reports.Loaded(d, loads[0])
			v.Loads = append(v.Loads, loadOf(d, loads[0])...)
			loads = loads[1:]
		}
		v.Did = append(v.Did, didView{d.Kind, how, d.Changes})
	}
	for k := range res.Expectations {
		e := res.Expectations[k]
		v.Expectations = append(v.Expectations, expectationView{
			Verdict: e, Wanted: e.Wanted, Interval: reports.Interval(&e),
			More: reports.Explanation(&e),
		})
	}
	at := span{went.From, went.Until}
	var expects []assert.Expectation
	if i < len(s.Steps) {
		expects = s.Steps[i].Expect
	}
	v.Charts = x.charts(at, went.Name, expects)
	return v
}

// charts draws a step: who answered, and how fast and well, beside what was wanted of it.
func (x *index) charts(at span, step string, expects []assert.Expectation) []chart {
	var out []chart
	var quantiles []*assert.Quantile
	var success *assert.Success
	split := false
	for _, e := range expects {
		switch e := e.(type) {
		case *assert.Split:
			split = true
			out = append(out, x.splitCharts(at, e)...)
		case *assert.Quantile:
			if ofLoad(e) {
				quantiles = append(quantiles, e)
			}
		case *assert.Success:
			if ofLoad(e) {
				success = e
			}
		}
	}
	if !split {
		for _, service := range x.versioned(at) {
			out = append(out, x.shareChart(at, service+" by version", versionsOf(service), nil))
		}
	}
	if note := x.broken(at); note != "" && len(out) > 0 {
		out[0].Legend = append(out[0].Legend, legend{"o2", note})
	}
	for _, draw := range []func() (chart, bool){
		func() (chart, bool) { return x.latencyChart(at, step, quantiles) },
		func() (chart, bool) { return x.failureChart(at, step, success) },
		func() (chart, bool) { return x.outcomeChart(at, step) },
	} {
		if c, ok := draw(); ok {
			out = append(out, c)
		}
	}
	return out
}

// faults are those that were in effect in a time.
func (x *index) faults(at span) (out []*observe.Fault) {
	for i := range x.run.History.Faults {
		f := &x.run.History.Faults[i]
		if f.Skipped == "" && f.From <= at.until && max(f.Until, f.From) >= at.from {
			out = append(out, f)
		}
	}
	return out
}

// broken names what was broken in a time, which stands above its figures; empty: nothing.
func (x *index) broken(at span) string {
	var what []string
	for _, f := range x.faults(at) {
		what = append(what, f.Kind+" "+f.Target)
	}
	if len(what) > 2 {
		what = append(what[:1], fmt.Sprintf("%d more", len(what)-1))
	}
	if len(what) == 0 {
		return ""
	}
	return "above: " + strings.Join(what, ", ")
}

// ofLoad says whether an expectation is about all that the step's clients sent.
func ofLoad(e assert.Expectation) bool { return !strings.Contains(e.Name(), " ") }

// versioned lists the services of which several versions were sent requests in a time.
func (x *index) versioned(at span) []string {
	seen := map[string]map[string]bool{}
	for _, r := range x.requests {
		if !at.holds(r.Start) || r.Reporter != observe.Source || r.Dest.Service == "" {
			continue
		}
		if seen[r.Dest.Service] == nil {
			seen[r.Dest.Service] = map[string]bool{}
		}
		seen[r.Dest.Service][r.Dest.Version] = true
	}
	maps.DeleteFunc(seen, func(_ string, v map[string]bool) bool { return len(v) < 2 })
	return slices.Sorted(maps.Keys(seen))
}

// versionsOf counts requests to a service by the version that was sent them.
func versionsOf(service string) func(*observe.Request) (string, bool) {
	return func(r *observe.Request) (string, bool) {
		counts := r.Reporter == observe.Source && r.Dest.Service == service && r.Upstream != ""
		return cmp.Or(r.Dest.Version, "no version"), counts
	}
}

// loadView is fortio's result of one load: percentiles, and the histogram as a figure.
type loadView struct {
	What        string
	Percentiles [][2]string
	Codes       [][2]string
	Histogram   chart
}

// loadOf reads fortio's result; none for one that can not be read.
func loadOf(d *reports.Did, data []byte) []loadView {
	f, ok := reports.ReadFortio(data)
	if !ok {
		return nil
	}
	v := loadView{What: d.What, Histogram: histogram(&f)}
	for _, p := range f.DurationHistogram.Percentiles {
		v.Percentiles = append(v.Percentiles, [2]string{
			"p" + strconv.FormatFloat(p.Percentile, 'g', -1, 64), seconds(p.Value),
		})
	}
	for _, code := range slices.Sorted(maps.Keys(f.RetCodes)) {
		v.Codes = append(v.Codes, [2]string{code, reports.Grouped(f.RetCodes[code])})
	}
	return []loadView{v}
}
