package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
)

// A request through the canary's sidecar, told as it is decided.
func TestTrace(t *testing.T) {
	f := newFastPath(t)
	var got *trace.Trace
	f.e.Trace(func(t *trace.Trace) { got = t })
	f.request(t)
	if got == nil {
		t.Fatal("no trace")
	}
	r := got.Record
	if got.Listener != r.Listener || got.Chain != r.Chain || got.Taken == nil ||
		got.Taken.Name != r.Route || got.Taken.Config != r.Config || r.Config == "" {
		t.Errorf("%+v is not of %+v", got, r)
	}
	s := got.Split
	if s == nil || s.Options[s.Chosen].Cluster != r.Cluster || s.Draw >= s.Total {
		t.Fatalf("split %+v, cluster %s", s, r.Cluster)
	}
	o := s.Options[s.Chosen]
	if s.Draw < o.From || s.Draw >= o.From+o.Weight {
		t.Errorf("draw %d is not of option %+v", s.Draw, o)
	}
	a := got.Attempts
	if len(a) != 1 || a[0].Host != r.Upstream || a[0].Choice == nil || a[0].Outcome != "200" ||
		a[0].Choice.Drawn == "" || len(a[0].Choice.Candidates) == 0 {
		t.Errorf("attempts %+v, upstream %s", a, r.Upstream)
	}
	if n := len(got.Filters); n == 0 || !strings.HasSuffix(got.Filters[n-1].Name, "router") {
		t.Errorf("filters %+v", got.Filters)
	}
	if got.Limits == nil || got.Limits.Retries == 0 || got.Reply != nil {
		t.Errorf("limits %+v, reply %+v", got.Limits, got.Reply)
	}
	taken := 0
	for _, c := range got.Chains {
		if c.Failed == "" {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d filter chains are taken: %+v", taken, got.Chains)
	}
	text, err := json.Marshal(got)
	var again trace.Trace
	if err != nil || json.Unmarshal(text, &again) != nil ||
		again.Limits.Retries != got.Limits.Retries {
		t.Errorf("JSON: %v: %s", err, text)
	}
	got = nil
	f.e.Trace(nil)
	if f.request(t); got != nil {
		t.Error("traced although nobody asks any more")
	}
}

func BenchmarkTracedExchange(b *testing.B) {
	f := newFastPath(b)
	f.e.Trace(func(*trace.Trace) {})
	b.ReportAllocs()
	for b.Loop() {
		f.request(b)
	}
}
