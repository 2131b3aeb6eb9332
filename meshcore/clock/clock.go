// Package clock is the run's time line: instants, the real clock and the named random streams.
//
// Pure packages take an Instant as an argument and never ask for one; only drivers (proxy, control,
// topologies, the runner) hold a Clock.
package clock

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Instant is a point on the run's own time line: nanoseconds since the run began. It has no wall
// clock and no zone.
type Instant int64

// Never is an instant later than any other: "no deadline".
const Never = Instant(1<<63 - 1)

// Add returns the instant d later; Never stays Never, and so is what lies behind it: Istio's
// longest time-outs and intervals are nearly as long as a Duration can be.
func (i Instant) Add(d time.Duration) Instant {
	later := i + Instant(d)
	if i == Never || d > 0 && later < i {
		return Never
	}
	return later
}

// Sub returns the duration from earlier to i.
func (i Instant) Sub(earlier Instant) time.Duration { return time.Duration(i - earlier) }

// Clock tells the time and calls back later. Only drivers hold one.
type Clock interface {
	Now() Instant
	// AfterFunc calls f once after d; stop reports whether it prevented the call.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Real is the machine's monotonic clock, counted from Epoch.
type Real struct{ epoch time.Time }

// NewReal returns a real clock whose Instant 0 is now.
func NewReal() *Real { return &Real{epoch: time.Now()} }

// Now returns the time since the clock's epoch.
func (r *Real) Now() Instant { return Instant(time.Since(r.epoch)) }

// Wall returns the wall time of an instant.
func (r *Real) Wall(i Instant) time.Time { return r.epoch.Add(time.Duration(i)) }

// Instant returns the instant of a wall time.
func (r *Real) Instant(t time.Time) Instant { return Instant(t.Sub(r.epoch)) }

// AfterFunc calls f in its own goroutine after d.
func (r *Real) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// Derive returns the random stream with this name. Streams with different labels are independent,
// so that adding one never shifts another.
func Derive(seed uint64, labels ...string) *rand.Rand {
	return rand.New(rand.NewPCG(seed, Sub(seed, labels...)))
}

// Sub returns the sub-seed with this name.
func Sub(seed uint64, labels ...string) uint64 {
	h := fnv.New64a()
	for _, l := range labels {
		h.Write([]byte(l))
		h.Write([]byte{0})
	}
	return Mix(seed ^ h.Sum64())
}

// Mix is splitmix64's output function: a bijection of 64-bit values whose outputs look random.
// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
func Mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// Draw returns the k-th independent 64-bit draw of a request whose random value is rnd. Draws are
// numbered, not taken in turn: adding one never shifts another.
func Draw(rnd uint64, k uint8) uint64 { return Mix(rnd + uint64(k)*0xd1342543de82ef95) }
