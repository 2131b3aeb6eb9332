package why

import (
	"fmt"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports"
)

// Past explains requests of which there are records, by what the proxies carried out then. It is
// not safe for concurrent use.
type Past struct {
	history observe.History
	carried *reports.Carried
	worlds  map[clock.Instant]*World // by when it began
}

// OfRun is the past of a recorded run.
func OfRun(r *reports.Run) *Past {
	return &Past{history: r.History, carried: r.Header.Carried}
}

// OfRunning is the past of a mesh that runs, of which Keep notes in c what is carried out.
func OfRunning(m topology.Mesh, c *reports.Carried) *Past {
	return &Past{history: m.Recorder().Snapshot(), carried: c}
}

// Explain explains the request with an x-request-id.
func (p *Past) Explain(id string) (*Explanation, error) {
	list := slices.DeleteFunc(slices.Clone(p.history.Requests), func(q observe.Request) bool {
		return q.ID != id
	})
	if id == "" || len(list) == 0 {
		return nil, unknownID(id)
	}
	Ordered(list)
	out := &Explanation{ID: id}
	if p.carried == nil {
		out.Unknown = append(out.Unknown, "what the proxies carried out: this run was recorded "+
			"without it")
	}
	for i := range list {
		out.Hops = append(out.Hops, p.Hop(&list[i]))
	}
	out.Unknown = append(out.Unknown,
		"headers that no rule asks for, and bodies: records do not keep them")
	return out, nil
}

// Hop explains one record.
func (p *Past) Hop(q *observe.Request) Hop {
	worlds, err := p.at(q.Start)
	if err != nil {
		w := &World{Carried: func(string) (*xds.Snapshot, error) { return nil, err }}
		return w.Hop(q)
	}
	var best Hop
	for i, w := range worlds {
		h := w.Hop(q)
		if i == 0 || h.How != Seen && len(h.Differs) < len(best.Differs) || best.How == Seen {
			best = h
		}
		if best.How != Seen && len(best.Differs) == 0 {
			break
		}
	}
	if len(worlds) > 1 {
		best.Unknown = append(best.Unknown, "whether the proxy had changed already: the request "+
			"came while configuration was pushed")
	}
	return best
}

// at are the worlds that a request may have met that came then: one, but for while it changed.
func (p *Past) at(then clock.Instant) ([]*World, error) {
	if p.carried == nil {
		return nil, fmt.Errorf("the run does not say what its proxies carried out")
	}
	moments, err := p.carried.At(then)
	if err != nil {
		return nil, err
	}
	var out []*World
	for _, m := range moments {
		w := p.worlds[m.At]
		if w == nil {
			w = worldOf(m, p.history.Changes)
			if p.worlds == nil {
				p.worlds = map[clock.Instant]*World{}
			}
			p.worlds[m.At] = w
		}
		out = append(out, w)
	}
	return out, nil
}

// worldOf is what requests met from a moment on.
func worldOf(m *reports.Moment, changes []observe.Change) *World {
	return &World{Changes: changes, Carried: m.Snapshot, Places: m.Places, Values: m.Values,
		InForce: func(node string) map[string][]string { return m.InForce[node] },
		Locality: func(node string) lb.Locality {
			l := m.Localities[node]
			return lb.Locality{Region: l[0], Zone: l[1], SubZone: l[2]}
		}}
}
