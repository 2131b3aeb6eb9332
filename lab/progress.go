package lab

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/runner"
)

// progress shows what is going on, on a terminal alone.
type progress struct {
	env *env
	on  bool
}

func newProgress(e *env) *progress { return &progress{e, isTerminal(e.err)} }

// tell rewrites the line.
func (p *progress) tell(s runner.Progress) {
	if !p.on {
		return
	}
	line := s.Doing
	if s.Step > 0 {
		line = fmt.Sprintf("step %d of %d  %s  %s", s.Step, s.Steps, s.Name, s.Doing)
	}
	if s.Sent > 0 {
		line += fmt.Sprintf("  %d requests", s.Sent)
	}
	if s.Failed > 0 {
		line += fmt.Sprintf("  %d failed", s.Failed)
	}
	fmt.Fprintf(p.env.err, "\r\x1b[K%s", line)
}

// clear takes the line away.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.env.err, "\r\x1b[K")
	}
}
