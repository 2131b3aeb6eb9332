package lb

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slowSchedule is an earliest-deadline-first scheduler without a heap.
type slowSchedule struct {
	now     float64
	entries []deadline
	order   uint64
}

func newSlow(weights []float64) *slowSchedule {
	s := &slowSchedule{}
	for i, w := range weights {
		s.entries = append(s.entries, deadline{1 / w, s.order, i})
		s.order++
	}
	return s
}

func (s *slowSchedule) pick(weights []float64) int {
	best := 0
	for i, e := range s.entries {
		if e.before(s.entries[best]) {
			best = i
		}
	}
	e := s.entries[best]
	s.now = e.at
	s.entries[best] = deadline{s.now + 1/weights[e.index], s.order, e.index}
	s.order++
	return e.index
}

// TestScheduleIsEarliestDeadlineFirst compares with the slow version while weights change.
func TestScheduleIsEarliestDeadlineFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		weights := make([]float64, n)
		for i := range weights {
			weights[i] = float64(1+rnd.IntN(20)) / float64(1+rnd.IntN(3))
		}
		fast := newSchedule(n, func(i int) float64 { return weights[i] }, 0)
		slow := newSlow(weights)
		// newSchedule adds an epsilon to the first deadlines; give both the same ones.
		for i := range fast.heap {
			slow.entries[fast.heap[i].index].at = fast.heap[i].at
		}
		for step := range 200 {
			if got, want := fast.next(), slow.pick(weights); got != want {
				t.Fatalf("step %d: picked %d, want %d", step, got, want)
			}
			if step%10 == 9 {
				weights[rnd.IntN(n)] = float64(1 + rnd.IntN(20))
			}
		}
	})
}

// TestScheduleShares checks that after any start each entry gets its exact share of every full
// turn.
func TestScheduleShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 30), 1, 6).Draw(t, "weights")
		picks := rapid.Uint32().Draw(t, "picks")
		sum := 0
		for _, w := range weights {
			sum += w
		}
		s := newSchedule(len(weights), func(i int) float64 { return float64(weights[i]) }, picks)
		got := make([]int, len(weights))
		const turns = 20
		for range turns * sum {
			got[s.next()]++
		}
		for i, w := range weights {
			// Rounding may move a pick over the edge of the window.
			if d := got[i] - turns*w; d < -2 || d > 2 {
				t.Fatalf("entry %d with weight %d: %d picks of %d", i, w, got[i], turns*sum)
			}
		}
	})
}

// TestScheduleStart checks that computing a start gives what picking one by one gives, up to the
// order of entries with equal deadlines.
func TestScheduleStart(t *testing.T) {
	weights := []float64{1, 2, 5, 3}
	weight := func(i int) float64 { return weights[i] }
	for picks := range uint32(60) {
		slow := newSchedule(len(weights), weight, 0)
		for range picks {
			slow.next()
		}
		fast := newSchedule(len(weights), weight, picks)
		var x, y []int
		for range 11 {
			x, y = append(x, slow.next()), append(y, fast.next())
		}
		slices.Sort(x)
		slices.Sort(y)
		if !slices.Equal(x, y) {
			t.Errorf("after %d picks: one by one %v, computed %v", picks, x, y)
		}
	}
}
