package reports

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Judge computes what a run came to. The error is of a record that is not a run of its scenario.
func Judge(run *Run) (*Result, error) {
	h := &run.Header
	s, problems := scenarios.Parse(h.File, []byte(h.Scenario))
	if len(problems) > 0 {
		return nil, fmt.Errorf("the recorded scenario is not valid: %v", problems[0])
	}
	if len(h.Steps) > len(s.Steps) {
		return nil, fmt.Errorf("the run has %d steps, its scenario %d", len(h.Steps), len(s.Steps))
	}
	res := &Result{
		Schema: ResultSchema, Scenario: s.Name, Topology: h.Topology, Proxy: h.Proxy,
		Seed: strconv.FormatUint(h.Seed, 16), Version: h.Version, Envoy: h.Envoy,
		Reason: h.Stopped,
		Steps:  []StepResult{}, Faults: faults(&run.History), DurationMS: milliseconds(h.Duration),
		File: h.File, About: s.About, Mesh: h.Mesh, Exact: h.Exact, Rollback: h.Rollback,
	}
	if !h.Began.IsZero() {
		res.Began = h.Began.UTC().Format(time.RFC3339)
	}
	res.Verdict = assert.Pass
	for i := range h.Steps {
		step := judgeStep(run, s, i, res)
		res.Steps = append(res.Steps, step)
		res.Verdict = assert.Worst(res.Verdict, step.Verdict)
		for _, v := range step.Expectations {
			res.FalseAlarm += v.FalseAlarm
		}
	}
	if len(h.Steps) < len(s.Steps) || h.Stopped != "" {
		res.Verdict = assert.Worst(res.Verdict, assert.Inconclusive)
	}
	return res, nil
}

func judgeStep(run *Run, s *scenarios.Scenario, i int, res *Result) StepResult {
	went, told := &run.Header.Steps[i], &s.Steps[i]
	step := StepResult{
		Name: went.Name, Skipped: went.Skipped, Error: went.Error,
		DurationMS: milliseconds(time.Duration(went.Until - begin(went))),
	}
	for _, d := range went.Did {
		if f := d.Fortio; len(f) > 0 && step.Load == nil {
			step.Load = f
		} else if len(f) > 0 {
			step.MoreLoads = append(step.MoreLoads, f)
		}
		d.Fortio = nil
		step.Did = append(step.Did, d)
	}
	if went.Skipped != "" { // nothing was seen that could be judged
		step.Expectations, step.Verdict = []assert.Verdict{}, assert.Inconclusive
		if run.Header.Require {
			step.Verdict = assert.Fail
		}
		return step
	}
	step.Expectations = replies(went, told)
	j := s.Judge(i, went.From, went.Until)
	j.History(&run.History)
	step.Expectations = append(step.Expectations, j.Verdicts()...)
	outcomes := make([]assert.Outcome, 0, len(step.Expectations)+1)
	for k := range step.Expectations {
		v := &step.Expectations[k]
		receipts(v, &run.History, went)
		explain(v, run, went, res)
		outcomes = append(outcomes, v.Outcome)
	}
	if went.Error != "" {
		outcomes = append(outcomes, assert.Inconclusive)
	}
	step.Verdict = assert.Worst(outcomes...)
	return step
}

// begin is when the step's first action began.
func begin(s *StepRun) clock.Instant {
	if len(s.Did) > 0 {
		return s.Did[0].From
	}
	return s.From
}

// replies judges what the step's exact requests got.
func replies(went *StepRun, told *scenarios.Step) []assert.Verdict {
	out := []assert.Verdict{}
	n := 0
	for i := range told.Actions {
		q := told.Actions[i].Request
		if q == nil {
			continue
		}
		did := nth(went.Did, "request", n)
		n++
		var got []assert.Reply
		if did != nil {
			got = did.Replies
		}
		if q.Want != nil {
			out = append(out, assert.Replies(q.Name(), q.Want, q.Count, got))
		}
		if q.Some != nil {
			out = append(out, assert.SomeReply(q.Name(), q.Some, q.Count, got))
		}
	}
	return out
}

// nth returns the n-th action of a kind that was done; nil when it did not come to it.
func nth(did []Did, kind string, n int) *Did {
	for i := range did {
		if did[i].Kind == kind {
			if n == 0 {
				return &did[i]
			}
			n--
		}
	}
	return nil
}

// objectRef turns the name of an object in route metadata,
// "/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME", into "VirtualService NS/NAME".
func objectRef(config string) string {
	parts := strings.Split(config, "/")
	if len(parts) != 8 {
		return config
	}
	var kind strings.Builder
	for word := range strings.SplitSeq(parts[6], "-") {
		if word != "" {
			kind.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return kind.String() + " " + parts[5] + "/" + parts[7]
}

// explain adds to a verdict that is not a pass what its reader needs next: where the rule is
// written and which command shows more.
func explain(v *assert.Verdict, run *Run, went *StepRun, res *Result) {
	v.Config = objectRef(v.Config)
	places := went.Places
	if places == nil {
		places = run.Header.Places
	}
	if place := places[v.Config]; place != "" {
		v.Config += " (" + place + ")"
	}
	if v.Outcome == assert.Pass {
		v.Config = ""
		return
	}
	file := res.Scenario + ".jsonl"
	v.Hint = again(res) + " --history " + file
	if len(v.Evidence) > 0 {
		v.Hint += " && grep " + v.Evidence[0] + " " + file
	}
}

// again is the command that repeats the run.
func again(res *Result) string {
	command := "mesh-lab run " + cmp.Or(res.File, res.Scenario) + " --seed " + res.Seed
	if res.Topology != "" && res.Topology != "embedded" {
		command += " --topology " + res.Topology
	}
	if res.Proxy == "envoy" {
		command += " --proxy envoy"
	}
	if res.Exact != nil {
		command += " --exact"
	}
	return command
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// FortioResult is what is read of fortio's own result of a load.
type FortioResult struct {
	ActualDuration    time.Duration
	DurationHistogram struct {
		Count int64
		Data  []struct { // times in seconds
			Start, End float64
			Count      int64
		}
		Percentiles []struct{ Percentile, Value float64 }
	}
	RetCodes map[string]int64
}

// ReadFortio reads a load's result; ok is false when there is none.
func ReadFortio(data json.RawMessage) (f FortioResult, ok bool) {
	ok = len(data) > 0 && json.Unmarshal(data, &f) == nil
	return f, ok
}

// percentile returns a latency quantile of the load.
func (f *FortioResult) percentile(q float64) (time.Duration, bool) {
	for _, p := range f.DurationHistogram.Percentiles {
		if p.Percentile == q {
			return time.Duration(p.Value * float64(time.Second)), true
		}
	}
	return 0, false
}

// Errors counts what was not answered with 2xx or 3xx.
func (f *FortioResult) Errors() int64 {
	var n int64
	for code, count := range f.RetCodes {
		if len(code) != 3 || code[0] != '2' && code[0] != '3' {
			n += count
		}
	}
	return n
}
