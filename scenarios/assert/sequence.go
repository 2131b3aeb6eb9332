package assert

import "math"

// Sequence is a confidence sequence for a proportion: with x hits in n draws, the beta-binomial
// mixture
//
//	M(p) = B(x+1, n-x+1) / (p^x (1-p)^(n-x))
//
// is a martingale with mean 1 under the true p, so by Ville's inequality it ever exceeds 1/α with
// probability at most α: {p : M(p) < 1/α} holds the truth at every n at once. (H. Robbins,
// Statistical methods related to the law of the iterated logarithm, 1970; Howard, Ramdas,
// McAuliffe, Sekhon 2021.) The draws must be independent. log M is convex in p, so the set is an
// interval around x/n.
type Sequence struct {
	Draws, Hits int64

	beta   float64 // log B(x+1, n-x+1) at betaAt draws
	betaAt int64
}

// Add counts one draw.
func (s *Sequence) Add(hit bool) {
	s.Draws++
	if hit {
		s.Hits++
	}
}

// Share returns the observed share, 0 without draws.
func (s *Sequence) Share() float64 {
	if s.Draws == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Draws)
}

// logBeta returns log B(x+1, n-x+1), worked out once for each number of draws.
func (s *Sequence) logBeta() float64 {
	if s.betaAt == s.Draws {
		return s.beta
	}
	a, _ := math.Lgamma(float64(s.Hits) + 1)
	b, _ := math.Lgamma(float64(s.Draws-s.Hits) + 1)
	c, _ := math.Lgamma(float64(s.Draws) + 2)
	s.beta, s.betaAt = a+b-c, s.Draws
	return s.beta
}

// logM returns log M(p). It is +Inf where the draws are impossible: hits at 0, misses at 1.
func (s *Sequence) logM(p float64) float64 {
	m := s.logBeta()
	if s.Hits > 0 {
		m -= float64(s.Hits) * math.Log(p)
	}
	if misses := s.Draws - s.Hits; misses > 0 {
		m -= float64(misses) * math.Log1p(-p)
	}
	return m
}

// Below says that the truth is above p: p lies left of the interval.
func (s *Sequence) Below(p, alpha float64) bool {
	return s.Share() > p && s.logM(p) >= -math.Log(alpha)
}

// Above says that the truth is below p: p lies right of the interval.
func (s *Sequence) Above(p, alpha float64) bool {
	return s.Share() < p && s.logM(p) >= -math.Log(alpha)
}

// Interval returns {p : M(p) < 1/α}, by bisection of log M on either side of the observed share.
func (s *Sequence) Interval(alpha float64) (lo, hi float64) {
	if s.Draws == 0 {
		return 0, 1
	}
	limit, share := -math.Log(alpha), s.Share()
	if s.Hits > 0 {
		lo = bisect(share, 0, func(p float64) bool { return s.logM(p) < limit })
	}
	hi = 1
	if s.Hits < s.Draws {
		hi = bisect(share, 1, func(p float64) bool { return s.logM(p) < limit })
	}
	return lo, hi
}

// bisect returns the point between in and out where inside ends, on the out side of it.
func bisect(in, out float64, inside func(float64) bool) float64 {
	for range 60 {
		mid := (in + out) / 2
		if mid == in || mid == out {
			break
		}
		if inside(mid) {
			in = mid
		} else {
			out = mid
		}
	}
	return out
}
