package lab

import (
	"context"
	"os"
	"os/signal"
	"sync"
)

// signals are what a command does with a signal in the place of ending by it.
type signals struct {
	mu    sync.Mutex
	taken map[os.Signal]func()
	came  chan os.Signal // where they arrive
}

// take has f called for a signal from now on, also where it is ignored (nohup).
func (s *signals) take(sig os.Signal, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.came != nil {
		signal.Notify(s.came, sig)
	}
	if s.taken == nil {
		s.taken = map[os.Signal]func(){}
	}
	s.taken[sig] = f
}

// call calls what a signal is taken for; false when it is not taken.
func (s *signals) call(sig os.Signal) bool {
	s.mu.Lock()
	f := s.taken[sig]
	s.mu.Unlock()
	if f != nil {
		f()
	}
	return f != nil
}

// leavable calls f, which holds nothing that would have to be cleaned up: it reads and computes.
// When ctx ends first it is left behind, and the process ends without it.
func leavable(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
