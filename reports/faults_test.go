package reports

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// broken is a run in which something was broken during its second step.
func broken(t *testing.T, name string, faults ...observe.Fault) *Run {
	run := stories[name].run(t)
	for _, f := range faults {
		f.From = run.Header.Steps[1].From
		run.History.Faults = append(run.History.Faults, f)
	}
	return run
}

// Faults are told with their receipts, in text and in JUnit.
func TestFaultsAreTold(t *testing.T) {
	run := broken(t, "pass",
		observe.Fault{Name: "control-plane", Kind: "control plane", Target: "slow by 1s", Fired: 2,
			Unit: "pushes delayed"},
		observe.Fault{Name: "cut", Kind: "partition", Target: "a → b", Fired: 1200,
			Unit: "connections cut", Bytes: 34_000, Until: run1500},
		observe.Fault{Name: "kill", Kind: "kill", Target: "a-0.default", Fired: 1, Unit: "pods killed"},
	)
	run.Header.Rollback = []Did{{Kind: "wait", What: "1s"}}
	res := result(t, run)
	if res.Verdict != assert.Pass {
		t.Errorf("verdict %v", res.Verdict)
	}
	var text, junit bytes.Buffer
	if err := Text(&text, res, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := JUnit(&junit, res); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"    ✔ control plane slow by 1s   2 pushes delayed   from 0.9 s\n",
		"    ✔ partition a → b (cut)      1,200 connections cut, 34,000 bytes   from 0.9 s to 1.5 s\n",
		"    ✔ kill a-0.default           1 pod killed   from 0.9 s\n",
		"  rollback\n    wait    1s\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, &text)
		}
	}
	want := `<property name="fault kill a-0.default" value="1 pod killed">`
	if !strings.Contains(junit.String(), want) {
		t.Errorf("JUnit lacks %s:\n%s", want, &junit)
	}
}

// A verdict, passed or failed, that rests on a fault which had not fired by the end of its step is
// inconclusive.
func TestVerdictsRestOnFaults(t *testing.T) {
	for _, name := range []string{"pass", "fail"} {
		for why, f := range map[string]observe.Fault{
			"link a → b never took effect":                  {},
			"link a → b took effect only after this step":   {Fired: 1, First: run1500 + 1},
			"link a → b did not happen: its moment is past": {Skipped: "its moment is past"},
		} {
			f.Name, f.Kind, f.Target = "link", "link", "a → b"
			res := result(t, broken(t, name, f))
			for _, v := range res.Steps[1].Expectations {
				if v.Outcome != assert.Inconclusive || !strings.HasPrefix(v.Reason, why) {
					t.Errorf("%s: %s: %v: %s, want %s", name, v.Name, v.Outcome, v.Reason, why)
				}
			}
			if first := res.Steps[0].Verdict; name == "pass" && first != assert.Pass {
				t.Errorf("the step before: %v", first)
			}
		}
	}
}

// A step that was skipped is inconclusive, and failed where it is required.
func TestSkippedStep(t *testing.T) {
	for _, require := range []bool{false, true} {
		run := stories["fail"].run(t)
		run.Header.Steps = []StepRun{{Name: "s", Skipped: "it can not"}, {Name: "t", Skipped: "it can not"}}
		run.Header.Require = require
		want, junit := assert.Inconclusive, "<skipped"
		if require {
			want, junit = assert.Fail, "<failure"
		}
		res := result(t, run)
		var b bytes.Buffer
		if err := JUnit(&b, res); err != nil {
			t.Fatal(err)
		}
		if res.Verdict != want || len(res.Steps[0].Expectations) > 0 ||
			strings.Count(b.String(), junit+` message="it can not"`) != 2 {
			t.Errorf("require %v: %v\n%s", require, res.Verdict, &b)
		}
	}
}

// run1500 is when the stories' second step ends.
const run1500 = 1500 * 1_000_000
