package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// TextOptions says how Text writes.
type TextOptions struct {
	Color bool // with ANSI colours
}

// ANSI codes of what stands out.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// text writes a Result for a reader at a terminal.
type text struct {
	b     strings.Builder
	color bool
	res   *Result

	title, name, observed, wanted int // widths of the columns
}

// Text writes a Result for a reader: the story as it went, and for what failed what one needs to
// know next.
func Text(w io.Writer, r *Result, o TextOptions) error {
	t := &text{color: o.Color, res: r}
	t.measure()
	t.head()
	for i := range r.Steps {
		t.step(i, &r.Steps[i])
	}
	t.broken()
	t.rollback()
	t.foot()
	_, err := io.WriteString(w, t.b.String())
	return err
}

func (t *text) paint(code, s string) string {
	if !t.color || s == "" {
		return s
	}
	return code + s + reset
}

func (t *text) line(format string, args ...any) {
	t.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// Longest columns; what is longer pushes the rest of its own line to the right.
const (
	maxTitle  = 32
	maxColumn = 36
)

// measure finds the widths of the columns, so that all steps line up.
func (t *text) measure() {
	t.title, t.name = 12, 20
	for i := range t.res.Steps {
		s := &t.res.Steps[i]
		t.title = max(t.title, min(maxTitle, utf8.RuneCountInString(s.Name)))
		for k := range s.Expectations {
			v := &s.Expectations[k]
			for _, c := range []struct {
				width *int
				text  string
			}{{&t.name, v.Name}, {&t.observed, v.Observed}, {&t.wanted, wanted(v)}} {
				if n := utf8.RuneCountInString(c.text); n <= maxColumn {
					*c.width = max(*c.width, n)
				}
			}
		}
	}
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func (t *text) head() {
	r := t.res
	parts := []string{t.paint(bold, r.Scenario)}
	for _, p := range []string{r.Topology, r.Proxy} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	t.line("%s · seed %s", strings.Join(parts, " · "), r.Seed)
	m := &r.Mesh
	if len(m.Workloads) > 0 {
		t.line("  mesh  %s · %s · ready in %s", strings.Join(m.Workloads, " "),
			plural(int64(m.Sidecars), "sidecar"), took(m.Ready))
	}
	if r.Exact != nil {
		for _, l := range Exactly(r.Exact) {
			t.line("  %s", l)
		}
	}
}

// circled is a step's number as the story shows it.
func circled(n int) string {
	if n <= 20 {
		return string(rune('①' + n - 1))
	}
	return strconv.Itoa(n)
}

func (t *text) step(i int, s *StepResult) {
	first, rest, loads := "", s.Did, s.loads()
	if len(rest) > 0 && rest[0].Kind == "apply" {
		first, rest = done(&rest[0]), rest[1:]
	}
	t.line("")
	t.line("  %s %s", circled(i+1), t.paint(bold, pad(s.Name, t.title))+"  "+first)
	for k := range rest {
		d := &rest[k]
		how := done(d)
		if d.Kind == "load" && len(loads) > 0 {
			how, loads = loaded(d, loads[0]), loads[1:]
		}
		t.line("    %s %s", pad(d.Kind, 7), how)
	}
	if s.Skipped != "" {
		t.line("    %s skipped: %s", t.paint(yellow, "?"), s.Skipped)
	}
	if s.Error != "" {
		t.line("    %s %s", t.paint(red, "✘"), s.Error)
	}
	for k := range s.Expectations {
		t.expectation(&s.Expectations[k])
	}
}

// done says how an action went.
func done(d *Did) string {
	switch d.Kind {
	case "apply", "delete", "scale":
		var names []string
		for n := range strings.SplitSeq(d.What, ", ") {
			names = append(names, path.Base(n))
		}
		return fmt.Sprintf("%s → %d of %s in %s", strings.Join(names, ", "), d.Proxies,
			plural(int64(d.Total), "proxy"), took(d.Took))
	case "request":
		return fmt.Sprintf("%s from %s: %s", d.What, d.Client,
			plural(int64(len(d.Replies)), "reply"))
	}
	return d.What
}

// loaded says how a load went, from fortio's result.
func loaded(d *Did, result json.RawMessage) string {
	f, ok := ReadFortio(result)
	if !ok {
		return d.What + " from " + d.Client
	}
	out := fmt.Sprintf("%s in %s from %s", plural(f.DurationHistogram.Count, "request"),
		took(f.ActualDuration), d.Client)
	for _, q := range []float64{50, 99} {
		if p, ok := f.percentile(q); ok {
			out += fmt.Sprintf("   p%g %s", q, took(p))
		}
	}
	return out + "   " + plural(f.Errors(), "error")
}

var marks = map[assert.Outcome]struct{ mark, color string }{
	assert.Pass: {"✔", green}, assert.Fail: {"✘", red}, assert.Inconclusive: {"?", yellow},
}

func (t *text) expectation(v *assert.Verdict) {
	m := marks[v.Outcome]
	name := v.Name
	if utf8.RuneCountInString(name) > t.name { // too long for its column: a line of its own
		name += "\n" + strings.Repeat(" ", 6+t.name)
	}
	columns := pad(name, t.name) + "   " + pad(v.Observed, t.observed)
	if w := wanted(v) + detail(v); w != "" {
		columns += "   " + t.paint(dim, pad(wanted(v), t.wanted)+"   "+detail(v))
	}
	t.line("    %s %s", t.paint(m.color, m.mark), strings.TrimRight(columns, " "))
	if v.Outcome == assert.Pass {
		return
	}
	for _, l := range explanation(v) {
		t.line("        %s %s", t.paint(dim, pad(l.what, 9)), l.text)
	}
}

// wanted is what is wanted, as short as it can be: nothing when it says no more than what was seen.
func wanted(v *assert.Verdict) string {
	switch {
	case v.Outcome != assert.Pass || v.FalseAlarm > 0:
		return "wanted " + v.Wanted
	case v.Wanted == v.Observed:
		return ""
	case v.Unit == "share" && v.SmallestDrift > 0 && strings.HasSuffix(v.Wanted, "0 %"):
		return "exact"
	}
	return "wanted " + v.Wanted
}

// detail is the interval in which the truth lies, where there is room for doubt.
func detail(v *assert.Verdict) string {
	if v.Interval == nil || v.FalseAlarm == 0 {
		return ""
	}
	of := v.Of
	if of == "" {
		of = "it"
	}
	lo, hi := v.Interval[0], v.Interval[1]
	if v.Unit == "ms" {
		return fmt.Sprintf("%s is in %s–%s ms", of, number(lo), number(hi))
	}
	return fmt.Sprintf("%s is in %s–%s %%", of, number(100*lo), number(100*hi))
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

// said is one line of an explanation.
type said struct{ what, text string }

// explanation is what one needs to know next about a verdict that is no pass.
func explanation(v *assert.Verdict) []said {
	var out []said
	add := func(what, text string) {
		if text != "" {
			out = append(out, said{what, text})
		}
	}
	add("why", v.Reason)
	if v.Since != nil {
		add("since", took(time.Duration(*v.Since))+" into the run")
	}
	add("requests", strings.Join(v.Evidence, " "))
	add("rule", v.Config)
	add("more", v.Hint)
	return out
}

// broken tells of each fault that the run broke itself what its receipt says.
func (t *text) broken() {
	width, any := 0, false
	for i := range t.res.Faults {
		if f := &t.res.Faults[i]; f.Name != "" {
			width, any = max(width, min(maxColumn, utf8.RuneCountInString(f.Title()))), true
		}
	}
	if !any {
		return
	}
	t.line("")
	t.line("  %s", t.paint(bold, "faults"))
	for i := range t.res.Faults {
		f := &t.res.Faults[i]
		if f.Name == "" {
			continue
		}
		m := marks[assert.Pass]
		if f.Fired == 0 || f.Skipped != "" {
			m = marks[assert.Inconclusive]
		}
		when := ""
		if f.Skipped == "" {
			when = "from " + took(time.Duration(f.From))
			if f.Until > 0 {
				when += " to " + took(time.Duration(f.Until))
			}
		}
		t.line("    %s %s   %s   %s", t.paint(m.color, m.mark), pad(f.Title(), width), f.Receipt(),
			t.paint(dim, when))
	}
}

// rollback tells what was done in the end.
func (t *text) rollback() {
	if len(t.res.Rollback) == 0 {
		return
	}
	t.line("")
	t.line("  %s", t.paint(bold, "rollback"))
	for i := range t.res.Rollback {
		d := &t.res.Rollback[i]
		t.line("    %s %s", pad(d.Kind, 7), done(d))
	}
}

func (t *text) foot() {
	r := t.res
	passed, total := 0, 0
	for i := range r.Steps {
		for k := range r.Steps[i].Expectations {
			total++
			if r.Steps[i].Expectations[k].Outcome == assert.Pass {
				passed++
			}
		}
	}
	t.line("")
	if r.Reason != "" {
		t.line("%s %s", t.paint(yellow, "stopped:"), r.Reason)
	}
	word := strings.ToUpper(r.Verdict.String())
	t.line("%s  %s  %d of %d expectations in %s · %s · again: %s",
		t.paint(bold+marks[r.Verdict].color, word), r.Scenario, passed, total,
		took(time.Duration(r.DurationMS*float64(time.Millisecond))), alarm(r.FalseAlarm), again(r))
}

// alarm states the suite's false-alarm rate.
func alarm(rate float64) string {
	switch {
	case rate <= 0:
		return "all exact"
	case math.Abs(rate-1e-6) < 1e-9:
		return "one false alarm in a million such runs"
	}
	return fmt.Sprintf("one false alarm in %s such runs", grouped(int64(math.Round(1/rate))))
}

func plural(n int64, word string) string {
	switch {
	case n == 1:
		return "1 " + word
	case strings.HasSuffix(word, "y"):
		word = strings.TrimSuffix(word, "y") + "ie"
	}
	return grouped(n) + " " + word + "s"
}

// grouped prints a number in groups of three: "2,150".
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// took prints a duration for a reader: "6 ms", "1.1 ms", "0.8 s".
func took(d time.Duration) string {
	switch {
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	ms := fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
	return strings.TrimSuffix(ms, ".0") + " ms"
}
