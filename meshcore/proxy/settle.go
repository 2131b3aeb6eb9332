package proxy

import (
	"context"
	"sync"
	"sync/atomic"
)

// settler counts the exchanges whose end their client can see but which are not yet recorded.
// They are counted in two epochs, so that Settle waits for those before it and not for those that
// follow.
type settler struct {
	turn   sync.Mutex // one Settle at a time
	epoch  atomic.Uint32
	count  [2]atomic.Int64
	waits  atomic.Bool
	mu     sync.Mutex
	notify chan struct{}
}

// ending says that an exchange is about to end; it returns the epoch to give to ended.
func (s *settler) ending() uint32 {
	e := s.epoch.Load()
	s.count[e].Add(1)
	return e
}

// ended says that its record has been given away.
func (s *settler) ended(epoch uint32) {
	if s.count[epoch].Add(-1) == 0 && s.waits.Load() {
		s.mu.Lock()
		select {
		case s.notify <- struct{}{}:
		default:
		}
		s.mu.Unlock()
	}
}

// wait returns when everything that was ending is ended.
func (s *settler) wait(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	if s.notify == nil {
		s.notify = make(chan struct{}, 1)
	}
	notify := s.notify
	s.mu.Unlock()
	s.waits.Store(true)
	defer s.waits.Store(false)
	old := s.epoch.Load()
	for _, e := range [2]uint32{1 - old, old} { // the first is left over from a Settle that gave up
		s.epoch.Store(1 - e)
		for s.count[e].Load() > 0 {
			select {
			case <-notify:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// Settle returns when every exchange whose end a client can have seen has been given to the Sink.
func (p *Proxy) Settle(ctx context.Context) error { return p.settle.wait(ctx) }
