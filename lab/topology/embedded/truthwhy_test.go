package embedded_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/testdata/agree"
)

// sampled is how many of a request's repetitions are explained.
const sampled = 3

// explained says where an explanation is not what happened: what a proxy decided is decided again
// from its record, and the route, the cluster and the flags must be those recorded.
func explained(t *testing.T, m topology.Mesh, results []request.Result) (wrong []string, n int) {
	t.Helper()
	w, err := why.OfMesh(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results[:min(len(results), sampled)] {
		for _, hop := range r.Hops {
			h := w.Hop(hop.Record)
			if h.Trace != nil {
				n++
			}
			for _, d := range agree.Disagreements(&h) {
				wrong = append(wrong, fmt.Sprintf("%s %s %s (%s)", h.Proxy, hop.Record.Reporter, d,
					hop.Record.Details))
			}
		}
	}
	return wrong, n
}

// headerNames lists the headers of requests, for records to keep them.
func headerNames(t *testing.T, all []wanted) []string {
	out := []string{"x-forwarded-for", "x-forwarded-proto", "cookie", "authorization"}
	for i := range all {
		for _, line := range all[i].lines(t) {
			name, _, _ := strings.Cut(line, ":")
			if name = strings.ToLower(name); !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
