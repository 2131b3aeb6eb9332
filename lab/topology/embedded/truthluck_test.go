package embedded_test

import (
	"context"
	"slices"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// unlucky lists recorded requests with two retries that one of two workloads always fails, and that
// workload. A real Envoy looks five times for a host that has not been tried, and may find the same
// one each time: all three attempts are there once in 2048 requests, and that is no other answer.
var unlucky = map[string]string{"chain/retry all": "recommendation-v2"}

// playAll is play. Of what is unlucky, the requests whose records tell of all three attempts at the
// workload that fails are sent again; any other failure stays.
func playAll(
	t *testing.T, ctx context.Context, m topology.Mesh, w *wanted, failing string,
) []request.Result {
	t.Helper()
	out := play(t, ctx, m, w)
	if failing == "" {
		return out
	}
	missed := func(r request.Result) bool {
		met := 0
		for _, h := range r.Hops {
			if h.Reporter == "destination" && h.Workload == failing && h.Status == 503 {
				met++
			}
		}
		return r.Status == 503 && met == 3
	}
	for range 3 {
		out = slices.DeleteFunc(out, missed)
		again := *w
		if again.Count = w.Count - len(out); again.Count <= 0 {
			break
		}
		t.Logf("%s: %d requests met %s three times", w.ID, again.Count, failing)
		out = append(out, play(t, ctx, m, &again)...)
	}
	return out
}
