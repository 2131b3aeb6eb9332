package page

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
)

// requestView is one request with its hops.
type requestView struct {
	ID, What, At, Took string
	Status             int
	Flags              string
	Hops               []hopView
}

// hopView is the record of one proxy.
type hopView struct {
	Reporter, Workload, Route, Cluster, Upstream, Flags, Details, Took string
	Status, Attempts                                                   int
}

// How many requests the page shows.
const (
	slowest = 5
	failed  = 10
)

// remarkable finds the slowest and the failed requests, by what the first proxy saw of them, and
// how many failed ones it does not show.
func (x *index) remarkable() (slow, bad []requestView, more int) {
	hops := map[string][]*observe.Request{}
	var first []*observe.Request
	for _, r := range x.requests {
		if r.ID == "" {
			continue
		}
		if hops[r.ID] == nil {
			first = append(first, r)
		}
		hops[r.ID] = append(hops[r.ID], r)
	}
	for _, r := range first {
		if !isBad(r) {
			continue
		}
		if len(bad) == failed {
			more++
			continue
		}
		bad = append(bad, tell(r, hops[r.ID]))
	}
	slices.SortStableFunc(first, func(a, b *observe.Request) int {
		return cmp.Compare(b.Duration, a.Duration)
	})
	for _, r := range first[:min(slowest, len(first))] {
		slow = append(slow, tell(r, hops[r.ID]))
	}
	return slow, bad, more
}

func isBad(r *observe.Request) bool {
	return r.Status >= 500 || r.Flags != "" && r.Protocol != "TCP"
}

func tell(r *observe.Request, hops []*observe.Request) requestView {
	v := requestView{
		ID: r.ID, What: strings.TrimSpace(r.Method + " " + r.Authority + r.Path), Status: r.Status,
		At: reports.Took(time.Duration(r.Start)), Took: reports.Took(r.Duration), Flags: r.Flags,
	}
	for _, h := range hops {
		upstream := h.Upstream
		if h.Dest.Pod != "" || h.Dest.Workload != "" {
			upstream += " " + cmp.Or(h.Dest.Pod, h.Dest.Workload)
		}
		v.Hops = append(v.Hops, hopView{
			Reporter: string(h.Reporter), Workload: h.Workload, Cluster: h.Cluster,
			Route: ruleOf(h), Upstream: upstream, Flags: h.Flags, Details: h.Details,
			Took: reports.Took(h.Duration), Status: h.Status, Attempts: len(h.Attempts),
		})
	}
	return v
}

// ruleOf names the route that took a request, and the object that it comes from.
func ruleOf(r *observe.Request) string {
	if r.Config == "" {
		return r.Route
	}
	return strings.TrimSpace(r.Route + " (" + reports.ObjectRef(r.Config) + ")")
}
