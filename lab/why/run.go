package why

import (
	"fmt"
	"slices"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports"
)

// OfRun explains a request of a recorded run.
func OfRun(r *reports.Run, id string) (*Explanation, error) {
	list := slices.DeleteFunc(slices.Clone(r.History.Requests), func(q observe.Request) bool {
		return q.ID != id
	})
	if len(list) == 0 {
		return nil, fmt.Errorf("%w %q", ErrUnknown, id)
	}
	Ordered(list)
	w, err := worldOf(r, &list[0])
	if err != nil {
		return nil, err
	}
	return w.Recorded(id, list)
}

// worldOf is the world of a recorded run when a request came.
func worldOf(r *reports.Run, q *observe.Request) (*World, error) {
	w := &World{Changes: r.History.Changes}
	c := r.Header.Carried
	if c == nil {
		w.Unknown = append(w.Unknown, "what the proxies carried out: this run was recorded "+
			"without it, by an older mesh-lab")
		w.Carried = func(node string) (*xds.Snapshot, error) {
			return nil, fmt.Errorf("the run does not say what %s carried out", node)
		}
		return w, nil
	}
	then, err := c.At(q.Start)
	if err != nil {
		return nil, err
	}
	w.Carried = then.Snapshot
	w.Places, w.Values = then.Places, then.Values
	w.Locality = func(node string) lb.Locality {
		l := then.Localities[node]
		return lb.Locality{Region: l[0], Zone: l[1], SubZone: l[2]}
	}
	w.Unknown = append(w.Unknown,
		"headers that no rule asks for, and bodies: records do not keep them")
	return w, nil
}
