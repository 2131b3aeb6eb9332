package lab

import (
	"os"
	"sync"
)

// signals are what a command does with a signal in the place of ending by it.
type signals struct {
	mu    sync.Mutex
	taken map[os.Signal]func()
}

// take has f called for a signal from now on.
func (s *signals) take(sig os.Signal, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
