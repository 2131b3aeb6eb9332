package assert

import (
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// evidence keeps the first few requests of a sort.
type evidence struct {
	ids    []string
	config string
	first  clock.Instant
	any    bool
}

func (e *evidence) add(r *observe.Request) {
	if !e.any {
		e.any, e.first = true, r.Start
	}
	if e.config == "" {
		e.config = r.Config
	}
	if r.ID != "" && len(e.ids) < 5 {
		e.ids = append(e.ids, r.ID)
	}
}

// show puts the evidence into a verdict.
func (e *evidence) show(v *Verdict) {
	v.Evidence, v.Config = e.ids, e.config
	if e.any {
		at := e.first
		v.Since = &at
	}
}

// unchanged is what monitors have in common that look at requests only.
type unchanged struct{}

// Change ignores a change.
func (unchanged) Change(*observe.Change) {}
