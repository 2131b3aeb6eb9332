package around

import (
	"container/list"
	"context"
	"sync"
)

// limit lets so many requests be at work at a time; the others wait in the order of their arrival.
type limit struct {
	concurrency, queue int

	mu      sync.Mutex
	working int
	waiting list.List // of chan struct{}, which are closed when it is their turn
}

// turn is how a request's wait has ended.
type turn int

const (
	granted turn = iota // it must release
	full
	left
)

// take waits for a place, or until the client leaves.
func (l *limit) take(ctx context.Context) turn {
	l.mu.Lock()
	if l.working < l.concurrency {
		l.working++
		l.mu.Unlock()
		return granted
	}
	if l.waiting.Len() >= l.queue {
		l.mu.Unlock()
		return full
	}
	mine := make(chan struct{})
	place := l.waiting.PushBack(mine)
	l.mu.Unlock()
	select {
	case <-mine:
		return granted
	case <-ctx.Done():
	}
	l.mu.Lock()
	select {
	case <-mine: // its turn has come as well
		l.pass()
	default:
		l.waiting.Remove(place)
	}
	l.mu.Unlock()
	return left
}

// release ends a request's work.
func (l *limit) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass()
}

// pass gives a place to who waits longest. Caller must hold mu.
func (l *limit) pass() {
	first := l.waiting.Front()
	if first == nil {
		l.working--
		return
	}
	close(l.waiting.Remove(first).(chan struct{}))
}
