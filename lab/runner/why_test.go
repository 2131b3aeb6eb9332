package runner_test

import (
	"fmt"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/testdata/agree"
)

// ofAKind is how many records of a kind are explained in each step: of the same proxy, route,
// cluster and flags. ofAStep bounds them all.
const (
	ofAKind = 2
	ofAStep = 30
)

// explained says where `why` is not what happened in a run: what a proxy decided is decided again
// from its record, and the route, the cluster and the flags must be those recorded. n counts the
// records that were explained.
func explained(run *reports.Run) (wrong []string, n int) {
	past := why.OfRun(run)
	for _, step := range run.Header.Steps {
		kinds, inStep := map[string]int{}, 0
		for i := range run.History.Requests {
			r := &run.History.Requests[i]
			kind := strings.Join([]string{r.Proxy, string(r.Reporter), r.Route, r.Cluster, r.Flags,
				r.Details}, " ")
			if r.Start < step.From || r.Start >= step.Until || kinds[kind] == ofAKind ||
				inStep == ofAStep {
				continue
			}
			kinds[kind]++
			inStep++
			n++
			h := past.Hop(r)
			for _, d := range agree.Disagreements(&h) {
				wrong = append(wrong, fmt.Sprintf("%s: %s: %s", step.Name, kind, d))
			}
		}
	}
	return wrong, n
}
