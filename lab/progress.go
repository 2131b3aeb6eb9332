package lab

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// progress shows what is going on, on a terminal alone.
type progress struct {
	env *env
	on  bool
	all []*scenarios.Scenario

	mu    sync.Mutex
	lines []string // of each scenario; empty: it has not begun, or is over
	over  int
}

func newProgress(e *env, all []*scenarios.Scenario) *progress {
	return &progress{env: e, on: isTerminal(e.err), all: all, lines: make([]string, len(all))}
}

// of returns what takes the progress of scenario i.
func (p *progress) of(i int) func(runner.Progress) {
	return func(s runner.Progress) {
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
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lines[i] = line
		p.draw()
	}
}

// done says that scenario i is over.
func (p *progress) done(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines[i] = ""
	p.over++
	p.draw()
}

// draw rewrites the line. Caller must hold mu.
func (p *progress) draw() {
	if !p.on {
		return
	}
	var under []string
	for i, line := range p.lines {
		if line != "" && len(p.all) > 1 {
			line = p.all[i].Name + "  " + line
		}
		if line != "" {
			under = append(under, line)
		}
	}
	text := strings.Join(under, " · ")
	if len(p.all) > 1 {
		text = fmt.Sprintf("%d of %d  %s", p.over, len(p.all), text)
	}
	fmt.Fprintf(p.env.err, "\r\x1b[K%s", clipped(text, width(p.env.err)))
}

// aside takes the line away while something else is written.
func (p *progress) aside(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on {
		fmt.Fprint(p.env.err, "\r\x1b[K")
	}
	write()
	if p.over < len(p.all) {
		p.draw()
	}
}

// clipped keeps a text within so many columns, so that it stays one line.
func clipped(text string, columns int) string {
	if r := []rune(text); columns > 1 && len(r) > columns {
		return string(r[:columns-1]) + "…"
	}
	return text
}

// width returns the columns of a terminal; 0 when they are not known.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}
