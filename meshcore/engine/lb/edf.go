package lb

import "sync"

// schedule is an earliest-deadline-first scheduler over the indexes 0..n-1: each pick takes the
// entry with the earliest deadline and puts it back 1/weight later (Envoy's EdfScheduler). Weights
// are asked for at each pick, so they may change.
type schedule struct {
	mu     sync.Mutex
	now    float64
	order  uint64
	heap   []deadline
	weight func(i int) float64
}

type deadline struct {
	at    float64
	order uint64 // breaks ties first in, first out
	index int
}

func (d deadline) before(o deadline) bool {
	return d.at < o.at || d.at == o.at && d.order < o.order
}

// newSchedule returns a scheduler over n entries on which picks picks have been made
// (EdfScheduler::createWithPicks): most of them are computed, the rest is really done, so that a
// random start costs O(n) and lands where the picks would have led. The weight must be positive.
func newSchedule(n int, weight func(i int) float64, picks uint32) *schedule {
	const (
		mostPicks = 429496729 // a tenth of 2^32-1
		epsilon   = 1e-13     // keeps floor(picks*w/sum) from ties between multiples
	)
	picks %= mostPicks
	s := &schedule{weight: weight, heap: make([]deadline, n), order: uint64(n)}
	sum := 0.0
	for i := range n {
		sum += weight(i) + epsilon
	}
	done := uint32(0)
	for i := range n {
		w := weight(i) + epsilon
		floor := uint32(float64(w*float64(picks)) / sum)
		if floor > 0 && float64(floor)/w >= float64(picks)/sum {
			floor--
		}
		s.heap[i] = deadline{at: float64(floor+1) / w, order: uint64(i), index: i}
		s.now = max(s.now, float64(floor)/w)
		done += floor
	}
	for i := n/2 - 1; i >= 0; i-- {
		s.sink(i)
	}
	for ; done < picks; done++ {
		s.pick()
	}
	return s
}

// next picks an index.
func (s *schedule) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pick()
}

// pick is next for a caller that holds mu or owns s.
func (s *schedule) pick() int {
	top := &s.heap[0]
	i := top.index
	s.now = top.at
	top.at = s.now + 1/s.weight(i)
	top.order = s.order
	s.order++
	s.sink(0)
	return i
}

// sink restores the heap below i.
func (s *schedule) sink(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(s.heap); c++ {
			if s.heap[c].before(s.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
