// Package page writes a run as one self-contained HTML page: no script, no file and no request
// beside it, light or dark as the reader's system is, readable on a phone and in print.
//
//	reports.Run ─▶ Write ─▶ verdicts, each step's charts, timeline, changes, requests
//	two of them ─▶ WriteComparison ─▶ what is not the same, then both side by side
//
// Everything on it is computed from the recorded run.
package page

import (
	_ "embed"
	"errors"
	"html/template"
	"io"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

//go:embed page.html.tmpl
var markup string

//go:embed style.css
var style string

// pages is the template, read when it is first needed.
var pages = sync.OnceValues(func() (*template.Template, error) {
	return template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) },
		"mark":  mark,
		"lines": diffLines,
		"short": func(diff string) bool { return diff != "" && strings.Count(diff, "\n") <= 30 },
	}).Parse(markup)
})

// execute fills the template.
func (d *document) execute(w io.Writer) error {
	t, err := pages()
	if err != nil {
		return err
	}
	return t.Execute(w, d)
}

// document is what the template is given.
type document struct {
	Title   string
	Verdict assert.Outcome
	Runs    []*view
	Compare *Comparison // of two runs; nil: they are told one after the other
}

// view is one run as the page tells it.
type view struct {
	Key       string // distinguishes the runs of a page in anchors
	Result    *reports.Result
	Passed    int
	Total     int
	Took      string
	Alarm     string
	Steps     []*stepView
	Timeline  template.HTML
	Faults    []faultView
	Graph     template.HTML
	Slowest   []requestView
	Failed    []requestView
	MoreFails int
	Again     string
	Exactly   []string
}

// stepView is one step.
type stepView struct {
	Index        int
	Name         string
	Verdict      assert.Outcome
	Did          []didView
	Expectations []expectationView
	Charts       []chart
	Loads        []loadView
	Skipped      string
	Error        string
}

// didView is one action.
type didView struct {
	Kind, How string
	Changes   []reports.ObjectChange
}

// expectationView is one verdict.
type expectationView struct {
	Verdict  assert.Verdict
	Wanted   string
	Interval string
	More     [][2]string // what one needs to know next: a word, and the text
}

// chart is one figure with its caption.
type chart struct {
	Caption string
	SVG     template.HTML
	Legend  []legend
}

type legend struct{ Class, Name string }

// Graph draws the mesh of a run as SVG; nil: the page has no graph.
type Graph func(*reports.Run) (string, error)

// Write writes a page on one run or several, one after the other.
func Write(w io.Writer, graph Graph, runs ...*reports.Run) error {
	d := &document{Title: "mesh-lab", Verdict: assert.Pass}
	if err := d.add(graph, runs); err != nil {
		return err
	}
	return d.execute(w)
}

// WriteComparison writes a page on two runs side by side.
func WriteComparison(w io.Writer, graph Graph, a, b *reports.Run) error {
	d := &document{Title: "mesh-lab", Verdict: assert.Pass}
	if err := d.add(graph, []*reports.Run{a, b}); err != nil {
		return err
	}
	d.Compare = Compare(d.Runs[0].Result, d.Runs[1].Result)
	return d.execute(w)
}

// add makes the views of runs.
func (d *document) add(graph Graph, runs []*reports.Run) error {
	var names []string
	for i, run := range runs {
		v, err := newView(run, string(rune('a'+i%26)))
		if err != nil {
			return err
		}
		if graph != nil {
			svg, err := graph(run)
			if err != nil {
				return err
			}
			v.Graph = template.HTML(svg) //nolint:gosec // of our own making
		}
		d.Runs = append(d.Runs, v)
		d.Verdict = assert.Worst(d.Verdict, v.Result.Verdict)
		names = append(names, v.Result.Scenario)
	}
	if len(names) > 0 {
		d.Title = strings.Join(names, ", ") + " · mesh-lab"
	}
	return nil
}

// newView computes everything that the page says of a run.
func newView(run *reports.Run, key string) (*view, error) {
	res, err := reports.Judge(run)
	if err != nil {
		return nil, err
	}
	s, problems := scenarios.Parse(run.Header.File, []byte(run.Header.Scenario))
	if len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	v := &view{
		Key: key, Result: res, Again: reports.Again(res), Alarm: reports.Alarm(res.FalseAlarm),
		Took: reports.Took(run.Header.Duration),
	}
	if res.Exact != nil {
		v.Exactly = reports.Exactly(res.Exact)
	}
	x := newIndex(run)
	for i := range res.Steps {
		st := x.step(s, i, &res.Steps[i])
		v.Steps = append(v.Steps, st)
		for k := range res.Steps[i].Expectations {
			v.Total++
			if res.Steps[i].Expectations[k].Outcome == assert.Pass {
				v.Passed++
			}
		}
	}
	v.Timeline = x.timeline(res)
	v.Faults = faultsOf(res)
	v.Slowest, v.Failed, v.MoreFails = x.remarkable()
	return v, nil
}

func mark(o assert.Outcome) string {
	return map[assert.Outcome]string{
		assert.Pass: "✔", assert.Fail: "✘", assert.Inconclusive: "?",
	}[o]
}

// diffLine is one line of a unified diff.
type diffLine struct{ Class, Text string }

// diffLines colours a unified diff; its two header lines are left out.
func diffLines(text string) []diffLine {
	var out []diffLine
	for i, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i < 2 {
			continue
		}
		class := ""
		switch {
		case strings.HasPrefix(l, "+"):
			class = "add"
		case strings.HasPrefix(l, "-"):
			class = "del"
		case strings.HasPrefix(l, "@"):
			continue
		}
		out = append(out, diffLine{class, l})
	}
	return out
}
