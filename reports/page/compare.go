package page

import (
	"fmt"
	"io"
	"strings"

	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Comparison is two runs side by side, expectation by expectation.
type Comparison struct {
	A, B  *reports.Result
	Steps []ComparedStep
}

// ComparedStep is one step of both; a name that only one has stands alone.
type ComparedStep struct {
	Name string
	Rows []ComparedRow
}

// ComparedRow is one expectation in both runs. Differs says that its verdict is not the same, or
// that it is exact and what was seen is not.
type ComparedRow struct {
	Name    string
	A, B    *assert.Verdict // nil: the run has none
	Differs bool
}

// Compare puts two Results side by side: steps by their names, expectations by theirs, in the order
// of the first.
func Compare(a, b *reports.Result) *Comparison {
	c := &Comparison{A: a, B: b}
	taken := map[int]bool{}
	for i := range a.Steps {
		s := &a.Steps[i]
		other := &reports.StepResult{}
		if k := find(b, s.Name, taken); k >= 0 {
			taken[k] = true
			other = &b.Steps[k]
		}
		c.Steps = append(c.Steps, compareSteps(s, other))
	}
	for k := range b.Steps {
		if !taken[k] {
			c.Steps = append(c.Steps, compareSteps(&reports.StepResult{Name: b.Steps[k].Name},
				&b.Steps[k]))
		}
	}
	return c
}

func find(r *reports.Result, name string, taken map[int]bool) int {
	for k := range r.Steps {
		if r.Steps[k].Name == name && !taken[k] {
			return k
		}
	}
	return -1
}

func compareSteps(a, b *reports.StepResult) ComparedStep {
	s := ComparedStep{Name: a.Name}
	taken := map[int]bool{}
	for i := range a.Expectations {
		row := ComparedRow{Name: a.Expectations[i].Name, A: &a.Expectations[i]}
		for k := range b.Expectations {
			if b.Expectations[k].Name == row.Name && !taken[k] {
				taken[k] = true
				row.B = &b.Expectations[k]
				break
			}
		}
		row.Differs = differs(row.A, row.B)
		s.Rows = append(s.Rows, row)
	}
	for k := range b.Expectations {
		if !taken[k] {
			s.Rows = append(s.Rows, ComparedRow{
				Name: b.Expectations[k].Name, B: &b.Expectations[k], Differs: true,
			})
		}
	}
	return s
}

// differs says whether two verdicts are not the same. What is statistical may be seen otherwise
// each time, as long as the intervals have something in common.
func differs(a, b *assert.Verdict) bool {
	switch {
	case a == nil || b == nil || a.Outcome != b.Outcome || a.Wanted != b.Wanted:
		return true
	case a.Interval != nil && b.Interval != nil:
		return a.Interval[1] < b.Interval[0] || b.Interval[1] < a.Interval[0]
	}
	return a.FalseAlarm == 0 && b.FalseAlarm == 0 && a.Interval == nil && a.Observed != b.Observed
}

// Differences counts the rows that differ.
func (c *Comparison) Differences() int {
	n := 0
	for _, s := range c.Steps {
		for _, r := range s.Rows {
			if r.Differs {
				n++
			}
		}
	}
	return n
}

// Text writes a comparison for a reader at a terminal.
func (c *Comparison) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n", headline(c.A), headline(c.B))
	for i, s := range c.Steps {
		fmt.Fprintf(&b, "\n  %d %s\n", i+1, s.Name)
		for _, r := range s.Rows {
			sign := " "
			if r.Differs {
				sign = "≠"
			}
			fmt.Fprintf(&b, "  %s %s\n      A %s\n      B %s\n", sign, r.Name, seen(r.A), seen(r.B))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", c.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary says in a sentence how far two runs agree.
func (c *Comparison) Summary() string {
	if n := c.Differences(); n > 0 {
		return reports.Plural(int64(n), "difference") + ", marked ≠"
	}
	return "no difference beyond chance"
}

func headline(r *reports.Result) string {
	return fmt.Sprintf("%s  %s · %s · %s · seed %s · %s", strings.ToUpper(r.Verdict.String()),
		r.Scenario, r.Topology, strings.TrimSpace(r.Proxy+" "+r.Envoy), r.Seed, r.Version)
}

func seen(v *assert.Verdict) string {
	if v == nil {
		return "– not in this run"
	}
	s := mark(v.Outcome) + " " + v.Observed
	if in := reports.Interval(v); in != "" {
		s += "   " + in
	}
	return s
}
