package lab

import (
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
