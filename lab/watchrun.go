package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/tui"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// held keeps back what is written while something else has the terminal.
type held struct {
	w io.Writer

	mu   sync.Mutex
	back bytes.Buffer
	open bool
}

// Write writes, or keeps back.
func (h *held) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open {
		return h.w.Write(b)
	}
	return h.back.Write(b)
}

// release writes what was kept back, and holds nothing any more.
func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	h.w.Write(h.back.Bytes()) //nolint:errcheck // nobody is there to be told
	h.back.Reset()
}

// hold has what is written wait until the terminal is free.
func (e *env) hold(scenarios int) (out, err *held, _ error) {
	switch {
	case scenarios != 1:
		return nil, nil, usage("--watch shows one scenario, not %d", scenarios)
	case !isTerminal(e.out):
		return nil, nil, usage("--watch: standard output is no terminal")
	}
	out, err = &held{w: e.out}, &held{w: e.err}
	e.out, e.err = out, err
	e.logTo(err)
	return out, err, nil
}

// watchRun runs the suite's only scenario while the terminal UI shows it. Who leaves it early does
// not end the run; Ctrl-C does. What is written comes when the terminal is free.
func (s *suite) watchRun(
	ctx context.Context, out, err *held,
) (all []assert.Outcome, failed error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.show.on = false
	s.story = newStory(s.all[0], s.info("", s.seeds[0]))
	done := make(chan struct{})
	go func() {
		defer close(done)
		all, failed = s.play(ctx, 1)
		s.story.ended(all, failed)
	}()
	shown := s.env.show(ctx, tui.Options{Next: s.story.next, Over: s.story.verdict,
		Lab: reader{story: s.story}})
	err.release()
	if shown != nil {
		cancel()
	}
	select {
	case <-done:
	default:
		if shown == nil {
			fmt.Fprintln(err, "the run goes on; Ctrl-C ends it")
		}
		<-done
	}
	s.story.close()
	out.release()
	if errors.Is(shown, tui.ErrInterrupted) {
		return all, &exitError{exitInterrupted, nil}
	}
	return all, errors.Join(shown, failed)
}

// reader can tell of a run, and change nothing.
type reader struct {
	tui.Lab
	story *story
}

// Why explains a request; of one that can not be explained it tells what was recorded.
func (r reader) Why(_ context.Context, id string, hops []observe.Request) ([]string, error) {
	x, err := r.story.explain(id)
	return explained(x, err, hops), nil
}
