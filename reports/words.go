package reports

import (
	"encoding/json"
	"time"

	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// What follows is how reports word things, for renderers in other packages: all of them say the
// same.

// Again is the command that repeats the run.
func Again(r *Result) string { return again(r) }

// Alarm states a suite's false-alarm rate.
func Alarm(rate float64) string { return alarm(rate) }

// Took prints a duration for a reader: "6 ms", "1.1 ms", "0.8 s".
func Took(d time.Duration) string { return took(d) }

// Grouped prints a number in groups of three: "2,150".
func Grouped(n int64) string { return grouped(n) }

// Plural prints a number of things: "1 request", "2,150 requests".
func Plural(n int64, word string) string { return plural(n, word) }

// Done says how an action went; Loaded how a load did, from fortio's result.
func Done(d *Did) string { return done(d) }

// Loaded says how a load went.
func Loaded(d *Did, fortio json.RawMessage) string { return loaded(d, fortio) }

// Loads returns fortio's result of each load of the step, in order.
func (s *StepResult) Loads() []json.RawMessage { return s.loads() }

// Interval is the interval in which the truth lies, in words; empty where there is no doubt.
func Interval(v *assert.Verdict) string { return detail(v) }

// Explanation is what one needs to know next about a verdict that is no pass: a word and the text
// for each thing.
func Explanation(v *assert.Verdict) [][2]string {
	var out [][2]string
	if v.Outcome != assert.Pass {
		for _, l := range explanation(v) {
			out = append(out, [2]string{l.what, l.text})
		}
	}
	return out
}

// ObjectRef turns the name of an object in route metadata,
// "/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME", into "VirtualService NS/NAME".
func ObjectRef(config string) string { return objectRef(config) }
