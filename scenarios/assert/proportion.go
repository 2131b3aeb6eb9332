package assert

import (
	"fmt"
	"math"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Proportion judges one share while its draws come in, at O(1) for each draw. It keeps the
// running intersection of the intervals of all moments, which Ville's inequality allows: a bound
// that was once excluded stays so. It fails for good when the wanted share leaves the
// intersection, also after it had passed; a right mesh does so with probability at most α however
// long the load goes on.
type Proportion struct {
	want     Share
	alpha    float64
	inFlight int64
	seq      Sequence

	lo, hi      float64 // running intersection at the moments that decided
	aboveFloor  bool    // the truth is above the pass range's lower end
	belowRoof   bool    // the truth is below the pass range's upper end
	failed      bool
	brokenSince clock.Instant
	hits        evidence
	misses      evidence
}

// NewProportion returns the judge of a share; a share without a tolerance of its own takes the
// terms'.
func NewProportion(want Share, t Terms) *Proportion {
	if want.Tolerance == 0 {
		want.Tolerance = t.Tolerance
	}
	return &Proportion{want: want, alpha: t.Alpha, inFlight: t.InFlight, hi: 1}
}

// Add counts one draw, made by the request of r.
func (p *Proportion) Add(hit bool, r *observe.Request) {
	p.seq.Add(hit)
	if hit {
		p.hits.add(r)
	} else {
		p.misses.add(r)
	}
	if p.failed {
		return
	}
	if p.judge(); p.failed {
		p.brokenSince = r.Start
	}
}

func (p *Proportion) judge() {
	if p.want.Exact() {
		p.failed = p.want.Low == 0 && p.seq.Hits > 0 || p.want.High == 1 && p.seq.Hits < p.seq.Draws
		return
	}
	floor, roof := p.want.passRange()
	if !p.aboveFloor && (floor <= 0 || p.seq.Below(floor, p.alpha)) {
		// A share that should happen and never did must not pass, however wide its tolerance.
		p.aboveFloor = p.want.Low == 0 || p.seq.Hits > 0
		p.narrow()
	}
	if !p.belowRoof && (roof >= 1 || p.seq.Above(roof, p.alpha)) {
		p.belowRoof = p.want.High == 1 || p.seq.Hits < p.seq.Draws
		p.narrow()
	}
	if p.seq.Below(p.want.High, p.alpha) || p.seq.Above(p.want.Low, p.alpha) {
		p.failed = true
	}
}

func (p *Proportion) narrow() {
	lo, hi := p.seq.Interval(p.alpha)
	p.lo, p.hi = max(p.lo, lo), min(p.hi, hi)
}

// State says whether a running load may stop. Requests come in the order of their completion, and
// what is slow comes late: after 150 ms of a load of which a tenth is delayed by 150 ms none of
// the delayed ones has come. So it decides as if the requests that may still be in flight were
// all hits, or all misses, whichever is worse. An exact share that was never broken is decided
// once a drift of the tolerance would have shown.
func (p *Proportion) State() Outcome {
	if p.want.Exact() {
		switch {
		case p.failed:
			return Fail
		case p.seq.Draws > 0 && p.exactDrift() <= p.want.Tolerance:
			return Pass
		}
		return Inconclusive
	}
	low := Sequence{Draws: p.seq.Draws + p.inFlight, Hits: p.seq.Hits}
	high := Sequence{Draws: low.Draws, Hits: p.seq.Hits + p.inFlight}
	if low.Below(p.want.High, p.alpha) || high.Above(p.want.Low, p.alpha) {
		return Fail
	}
	if p.want.Low != p.want.High { // a bound: what is in flight matters only if it breaks it
		low, high = p.seq, p.seq
	}
	floor, roof := p.want.passRange()
	if (floor <= 0 && (p.want.Low == 0 || p.seq.Hits > 0) || low.Below(floor, p.alpha)) &&
		(roof >= 1 && (p.want.High == 1 || p.seq.Hits < p.seq.Draws) || high.Above(roof, p.alpha)) {
		return Pass
	}
	return Inconclusive
}

// exactDrift is Drift without root finding: with only hits (or only misses) the interval's open end
// solves (n+1) q^n = α.
func (p *Proportion) exactDrift() float64 {
	n := float64(p.seq.Draws)
	return -math.Expm1((math.Log(p.alpha) - math.Log(n+1)) / n)
}

// Outcome is the verdict on all draws, which must have been added in the order in which their
// requests started: an exact share passes unless it was broken.
func (p *Proportion) Outcome() Outcome {
	switch {
	case p.failed:
		return Fail
	case p.seq.Draws > 0 && (p.want.Exact() || p.aboveFloor && p.belowRoof):
		return Pass
	}
	return Inconclusive
}

// Interval returns the running intersection of the intervals of the moments that decided and of
// now.
func (p *Proportion) Interval() (lo, hi float64) {
	lo, hi = p.seq.Interval(p.alpha)
	lo, hi = max(lo, p.lo), min(hi, p.hi)
	if lo > hi { // the mesh drifted while it was watched: no single share explains all draws
		return p.seq.Interval(p.alpha)
	}
	return lo, hi
}

// Drift returns the smallest distance from the wanted share that would have shown.
func (p *Proportion) Drift() float64 {
	lo, hi := p.Interval()
	return max(0, p.want.Low-lo, hi-p.want.High)
}

// fill puts the share's numbers into a verdict.
func (p *Proportion) fill(v *Verdict) {
	v.Outcome, v.Samples = p.Outcome(), p.seq.Draws
	if p.seq.Draws == 0 {
		v.Reason = "no request was seen that it could be judged by"
		return
	}
	lo, hi := p.Interval()
	v.Interval, v.Unit, v.SmallestDrift = &[2]float64{lo, hi}, "share", p.Drift()
	if !p.want.Exact() {
		v.FalseAlarm = p.alpha
	}
	switch v.Outcome {
	case Fail:
		stray := &p.misses
		if p.seq.Share() > p.want.High || p.want.High == 0 {
			stray = &p.hits
		}
		stray.show(v)
		v.Since, v.Reason = &p.brokenSince, p.why()
	case Inconclusive:
		v.Reason = p.undecided(lo, hi)
	}
}

func (p *Proportion) why() string {
	n := p.seq.Draws
	switch {
	case p.want.Exact() && p.want.High == 0:
		return fmt.Sprintf("%s of %s should not have happened", count(p.seq.Hits), count(n))
	case p.want.Exact():
		return fmt.Sprintf("%s of %s are stray", count(n-p.seq.Hits), count(n))
	}
	share, side, by := p.seq.Share(), "more", p.seq.Share()-p.want.High
	if by < 0 {
		side, by = "less", p.want.Low-share
	}
	if by < 0 {
		return "the share changed while it was watched: no single share explains all requests"
	}
	return fmt.Sprintf("%s points %s than wanted", points(by), side)
}

func (p *Proportion) undecided(lo, hi float64) string {
	if p.seq.Hits == 0 && p.want.Low > 0 {
		return fmt.Sprintf("it never happened in %s requests", count(p.seq.Draws))
	}
	return fmt.Sprintf("%s requests are too few: the share is somewhere in %s", count(p.seq.Draws),
		span(lo, hi))
}
