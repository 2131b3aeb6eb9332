package exact

// Sequence enumerates the draws of one decision, evenly spread: after every n draws each outcome
// has come n times its share, give or take 1 - 1/(2k-2) where k outcomes are possible, which is
// the best that there is (R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32,
// 1980): an outcome may come when it is at least 1/(2k-2) behind its share, and of those that may,
// the one whose time runs out first comes.
//
// Every draw comes once before any comes again. With two outcomes any n in a row, too, hold the
// share of n, rounded up or down; with more they are off by less than 2, and not at all when n is a
// multiple of the period (the total of the shares, reduced).
type Sequence struct {
	shares []uint64
	total  uint64
	slots  float64 // 2k-2

	lead []float64 // of each outcome: draws that it is behind its share, times the total
	used []uint64  // draws of each outcome that have come, modulo its share
}

// NewSequence returns a sequence at its beginning; of the shares at least two must not be zero.
func NewSequence(shares []uint64) *Sequence {
	d := Decision{Shares: shares}
	return &Sequence{shares: shares, total: d.Total(), slots: float64(2*d.possible() - 2),
		lead: make([]float64, len(shares)), used: make([]uint64, len(shares))}
}

// Next returns the next draw. The script of Lower does the same sums in the same order, so that
// both data planes enumerate alike.
func (s *Sequence) Next() uint64 {
	best, least := 0, 0.0
	total := float64(s.total)
	slack := total - total/s.slots
	found := false
	for i, w := range s.shares {
		if w == 0 {
			continue
		}
		s.lead[i] += float64(w)
		if s.lead[i]*s.slots < total {
			continue
		}
		if due := (slack - s.lead[i]) / float64(w); !found || due < least {
			best, least, found = i, due, true
		}
	}
	s.lead[best] -= total
	draw := s.used[best]
	s.used[best] = (draw + 1) % s.shares[best]
	for _, w := range s.shares[:best] {
		draw += w
	}
	return draw
}
