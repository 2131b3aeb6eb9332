package runner_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
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
			for _, d := range disagrees(past.Hop(r)) {
				wrong = append(wrong, fmt.Sprintf("%s: %s: %s", step.Name, kind, d))
			}
		}
	}
	return wrong, n
}

func disagrees(h why.Hop) []string {
	if h.Trace == nil {
		return h.Unknown
	}
	flags := func(r *observe.Request) string {
		list := strings.Split(r.Flags, ",")
		slices.Sort(list)
		return strings.Join(list, ",")
	}
	var out []string
	now, then := &h.Trace.Record, &h.Record
	for _, x := range [][3]string{{"route", now.Route, then.Route},
		{"cluster", now.Cluster, then.Cluster}, {"flags", flags(now), flags(then)}} {
		if x[1] != x[2] {
			out = append(out, fmt.Sprintf("%s: explained %q, recorded %q", x[0], x[1], x[2]))
		}
	}
	return out
}
