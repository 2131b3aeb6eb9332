// Package link breaks connections as a bad network would: it delays, slows, cuts and silences them,
// also those that are open already, and says how many it did that to.
//
//	Links ── Dial ─▶ Conn ══════════════ kernel ═════════════▶ server     nothing is broken
//	           │       ╚══ pair ══ relay: Lane ▶ ══ kernel ══▶ server     a fault has begun
//	           │                          ◀ Lane
//	       Break(topology.Fault) ─▶ Fault: Receipt, Change, Heal
//
// A Lane decides, purely, when the bytes of one direction may leave. A Conn is the connection of
// the kernel itself, with its descriptor, until the first fault that is about it: then it is
// diverted through a relay, without loss of a byte, and stays there to its end.
package link

import (
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Toxic is what one direction of a connection suffers. The zero value is nothing.
type Toxic struct {
	Delay     time.Duration // of every byte
	Jitter    time.Duration // Delay ± Jitter, even; the order of bytes stays
	Bandwidth int64         // bytes a second; 0: no bound
	Silent    bool          // nothing leaves
	Lost      bool          // what would open a connection does not arrive either
	Reset     bool          // the connection is reset when After bytes have left
	After     int64
	Seed      uint64 // of Jitter
}

// none says that a toxic does nothing.
func (t Toxic) none() bool {
	t.Seed, t.After = 0, 0
	return t == Toxic{}
}

// holds says that what arrives is held, and that this is what the toxic is counted by: one that
// resets is counted by that alone.
func (t Toxic) holds() bool { return !t.Reset && (t.Silent || t.Delay > 0 || t.Jitter > 0) }

// Strike is a Toxic at work on a lane; ID is the fault's.
type Strike struct {
	ID uint64
	Toxic
}

// Lane is one direction of a connection: what has arrived, and when it may leave. It is given the
// time, never asks for it, and never waits.
type Lane struct {
	// Hit is told when a strike has had an effect on so many bytes more; may be nil.
	Hit func(id uint64, bytes int64)

	on      []strike
	chunks  []chunk
	queued  int
	left    int64         // bytes, ever
	free    clock.Instant // when bandwidth has the next byte leave
	arrived uint64        // chunks, ever
	salt    uint64
}

type strike struct {
	Strike
	since int64 // what had left when it began
}

// chunk is what has arrived at one time; without bytes it is an end.
type chunk struct {
	at     clock.Instant
	n      int
	number uint64
	reset  bool // an end that is a reset
	mark   bool // not an end: something without bytes
}

// Step is what a lane has to do next. At most one of N, Mark, End and Reset is set; where none is,
// it waits until Wake.
type Step struct {
	N     int  // so many bytes leave
	Mark  bool // what has no bytes leaves
	End   bool // the end of the stream leaves
	Reset bool // the connection is reset
	Wake  clock.Instant
}

// NewLane returns a lane whose draws are named by salt: lanes of one fault differ in it.
func NewLane(salt uint64) Lane { return Lane{salt: salt, free: minInstant} }

const minInstant = clock.Instant(-1 << 62)

// Set has the lane suffer these strikes from now on. One that goes on, by its ID, has counted what
// left since it began; what has arrived already suffers the new strength as well.
func (l *Lane) Set(on []Strike) {
	was := l.on
	l.on = make([]strike, 0, len(on))
	for _, s := range on {
		next := strike{s, l.left}
		fresh := true
		for _, o := range was {
			if o.ID == s.ID {
				next.since, fresh = o.since, false
			}
		}
		l.on = append(l.on, next)
		if fresh && l.queued > 0 && s.holds() {
			l.hit(s.ID, int64(l.queued))
		}
	}
}

func (l *Lane) hit(id uint64, n int64) {
	if l.Hit != nil {
		l.Hit(id, n)
	}
}

// Full says that as much has arrived and not left as a lane takes: who sends has to wait.
func (l *Lane) Full() bool { return l.queued >= capacity || len(l.chunks) >= pieces }

// What a lane takes at most.
const (
	capacity = 1 << 20
	pieces   = 1 << 12
)

// Arrive says that n more bytes are there.
func (l *Lane) Arrive(now clock.Instant, n int) {
	if n <= 0 {
		return
	}
	l.chunks = append(l.chunks, chunk{at: now, n: n, number: l.arrived})
	l.arrived++
	l.queued += n
	for _, s := range l.on {
		if s.holds() {
			l.hit(s.ID, int64(n))
		}
	}
}

// Mark says that something is there that has its place among the bytes, but none of its own: a
// packet that opens a connection, or only acknowledges. It is delayed as they are; silence lets it
// pass.
func (l *Lane) Mark(now clock.Instant) {
	l.chunks = append(l.chunks, chunk{at: now, number: l.arrived, mark: true})
	l.arrived++
}

// End says that nothing more will come: the sender has closed, or reset the connection. Of several
// ends the first counts, but a reset follows a close.
func (l *Lane) End(now clock.Instant, reset bool) {
	if k := len(l.chunks); k > 0 && l.chunks[k-1].n == 0 && (l.chunks[k-1].reset || !reset) {
		return
	}
	l.chunks = append(l.chunks, chunk{at: now, number: l.arrived, reset: reset})
	l.arrived++
}

// quantum is how much leaves at once where bandwidth is bounded: what passes in this time.
const quantum = 10 * time.Millisecond

// Next returns what is to be done now. It changes nothing but that a reset is told to Hit.
func (l *Lane) Next(now clock.Instant) Step {
	room, bandwidth, silent := int64(-1), int64(0), false
	for _, s := range l.on {
		if s.Reset {
			rest := s.since + s.After - l.left
			if rest <= 0 {
				l.hit(s.ID, 0)
				return Step{Reset: true}
			}
			if room < 0 || rest < room {
				room = rest
			}
		}
		if s.Bandwidth > 0 && (bandwidth == 0 || s.Bandwidth < bandwidth) {
			bandwidth = s.Bandwidth
		}
		silent = silent || s.Silent
	}
	if len(l.chunks) == 0 || silent && !l.chunks[0].mark {
		return Step{Wake: clock.Never}
	}
	c := l.chunks[0]
	if due := l.due(c); due > now {
		return Step{Wake: due}
	}
	if c.mark {
		return Step{Mark: true}
	}
	if c.n == 0 {
		return Step{End: !c.reset, Reset: c.reset}
	}
	n := int64(c.n)
	if bandwidth > 0 {
		if l.free > now {
			return Step{Wake: l.free}
		}
		n = min(n, max(1, bandwidth*int64(quantum)/int64(time.Second)))
	}
	if room >= 0 {
		n = min(n, room)
	}
	return Step{N: int(n)}
}

// due is when delay and jitter let a chunk leave that no other stands before.
func (l *Lane) due(c chunk) clock.Instant {
	var d time.Duration
	for _, s := range l.on {
		d += max(0, s.Delay+jitter(s.Toxic, l.salt, c.number))
	}
	return c.at.Add(d)
}

// jitter draws from [-Jitter, Jitter], for one chunk always the same share.
func jitter(t Toxic, salt, number uint64) time.Duration {
	if t.Jitter <= 0 {
		return 0
	}
	z := clock.Mix(clock.Mix(t.Seed^clock.Mix(salt)) + number)
	share := float64(z>>11) / (1 << 53) // [0, 1)
	return time.Duration((2*share - 1) * float64(t.Jitter))
}

// Closed says that the end, or a mark, has left. After an end a reset may follow.
func (l *Lane) Closed() {
	if len(l.chunks) > 0 && l.chunks[0].n == 0 {
		l.chunks = l.chunks[1:]
	}
}

// Left says that n bytes have left, as Next allowed.
func (l *Lane) Left(now clock.Instant, n int) {
	if n <= 0 || len(l.chunks) == 0 {
		return
	}
	n = min(n, l.chunks[0].n)
	l.left += int64(n)
	l.queued -= n
	if l.chunks[0].n -= n; l.chunks[0].n == 0 {
		l.chunks = l.chunks[1:]
	}
	bandwidth, by := int64(0), strike{}
	for _, s := range l.on {
		if s.Bandwidth > 0 && (bandwidth == 0 || s.Bandwidth < bandwidth) {
			bandwidth, by = s.Bandwidth, s
		}
	}
	if bandwidth == 0 {
		return
	}
	// Whoever wakes late makes up for one quantum, not for an idle time.
	took := time.Duration(float64(n) / float64(bandwidth) * float64(time.Second))
	l.free = max(l.free, now.Add(-quantum)).Add(took)
	if l.free > now && !by.Reset && !by.holds() {
		l.hit(by.ID, int64(n))
	}
}
