package chaos

import (
	"strconv"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Schedule says when a fault begins and ends. The zero Schedule begins at once and lasts until it
// is healed.
type Schedule struct {
	At     time.Duration  // when it begins first
	For    time.Duration  // how long it lasts each time; 0: until it is healed
	Every  time.Duration  // from beginning to beginning; 0: once
	Times  int            // with Every; 0: until it is healed
	Within time.Duration  // each beginning is later by a draw from [0, Within)
	Moment bool           // it is healed as soon as it is in effect
	Over   time.Duration  // a ramp takes so long, from each beginning; 0: none
	To     topology.Fault // the strength where the ramp ends
}

// deed is what is to be done at a moment.
type deed uint8

const (
	begin deed = iota
	change
	end
)

// moment is one thing to do. A beginning counts from when the fault was ordered, the others from
// when it was in effect.
type moment struct {
	do    deed
	after time.Duration
	share float64 // change: how much of the ramp is done
}

// rampStep is how often a ramp changes the strength, at most; maxRamp bounds its steps.
const (
	rampStep = 100 * time.Millisecond
	maxRamp  = 50
)

// steps is the number of changes of a ramp.
func (s *Schedule) steps() int {
	if s.Over == 0 {
		return 0
	}
	return int(min(max(1, s.Over/rampStep), maxRamp))
}

// moment returns the n-th thing to do, from 0; false when there is none.
func (s *Schedule) moment(n int, seed uint64) (moment, bool) {
	ends := s.For > 0 || s.Moment
	each := 1 + s.steps()
	if ends {
		each++
	}
	time, k := n/each, n%each
	if s.Every == 0 && time > 0 || s.Times > 0 && time >= s.Times {
		return moment{}, false
	}
	switch {
	case k == 0:
		return moment{begin, s.begins(time, seed), 0}, true
	case k <= s.steps():
		share := float64(k) / float64(s.steps())
		return moment{change, scaled(s.Over, share), share}, true
	}
	return moment{end, s.For, 0}, true
}

// begins is when it begins for the n-th time.
func (s *Schedule) begins(n int, seed uint64) time.Duration {
	at := s.At + s.Every*time.Duration(n)
	if s.Within > 0 {
		at += scaled(s.Within, clock.Derive(seed, "moment", strconv.Itoa(n)).Float64())
	}
	return at
}

// bounded says whether it ends by itself.
func (s *Schedule) bounded() bool {
	return (s.For > 0 || s.Moment) && (s.Every == 0 || s.Times > 0)
}

func scaled(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * share)
}

// between is the strength of a fault on its way to another.
func between(from, to topology.Fault, share float64) topology.Fault {
	duration := func(a, b time.Duration) time.Duration { return a + scaled(b-a, share) }
	number := func(a, b float64) float64 { return a + (b-a)*share }
	f := from
	f.Link.Delay = duration(from.Link.Delay, to.Link.Delay)
	f.Link.Jitter = duration(from.Link.Jitter, to.Link.Jitter)
	f.Link.Bandwidth = int64(number(float64(from.Link.Bandwidth), float64(to.Link.Bandwidth)))
	f.Link.Loss = number(from.Link.Loss, to.Link.Loss)
	f.Delay = duration(from.Delay, to.Delay)
	f.CPU = number(from.CPU, to.CPU)
	return f
}
