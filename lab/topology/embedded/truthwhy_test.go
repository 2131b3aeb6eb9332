package embedded_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/why"
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
			if h.Trace == nil {
				wrong = append(wrong, h.Proxy+": "+strings.Join(h.Unknown, "; "))
				continue
			}
			n++
			now, then := &h.Trace.Record, hop.Record
			flags := func(s string) string {
				list := strings.Split(s, ",")
				slices.Sort(list)
				return strings.Join(list, ",")
			}
			for _, x := range [][3]string{
				{"route", now.Route, then.Route}, {"cluster", now.Cluster, then.Cluster},
				{"flags", flags(now.Flags), flags(then.Flags)},
			} {
				if x[1] != x[2] {
					wrong = append(wrong, h.Proxy+" "+string(then.Reporter)+" "+x[0]+": explained "+
						x[1]+", recorded "+x[2]+" ("+then.Details+")")
				}
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
