package hold

import (
	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// flow is what comes from one end of a connection. It decides, and is given the time.
type flow struct {
	lane   link.Lane
	on     []link.Strike
	queue  []packet // one for each chunk of the lane
	credit int      // bytes that have left, of the first packet

	known  bool
	isn    uint32 // of what opens it; 0: that was before
	next   uint32 // the sequence number that follows all that has come
	passed uint32 // and all that has passed
	ack    uint32 // what who sends has had
	opens  int    // packets in the queue that open the connection
	dead   bool   // it is reset
	ended  bool   // its end has passed
}

// packet is one that waits for its verdict.
type packet struct {
	id   uint32
	seg  segment
	size int // in the lane: bytes that are new, and its end; 0: a mark
}

// verdict is what becomes of a packet: it passes, as seg where there is one, or is dropped.
type verdict struct {
	id   uint32
	drop bool
	seg  segment
}

// set has the flow suffer these strikes.
func (f *flow) set(on []link.Strike) {
	f.on = on
	f.apply()
}

// apply tells the lane. A reset is for connections: until one is open, what opens it passes.
func (f *flow) apply() {
	if f.opens == 0 {
		f.lane.Set(f.on)
		return
	}
	var on []link.Strike
	for _, s := range f.on {
		s.Reset = false
		on = append(on, s)
	}
	f.lane.Set(on)
}

func (f *flow) silent() bool {
	for _, s := range f.on {
		if s.Silent {
			return true
		}
	}
	return false
}

// is says whether a packet that opens a connection can be of this one.
func (f *flow) is(isn uint32) bool { return !f.dead && !f.ended && f.isn == isn }

// before compares sequence numbers.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// put takes a packet. The verdict is there for one that does not wait.
func (f *flow) put(now clock.Instant, id uint32, s segment) (v verdict, waits bool) {
	v.id = id
	if f.dead {
		return v, false // who has no connection any more says so itself
	}
	if s.has(flagACK) && (!f.known || before(f.ack, s.ack())) {
		f.ack = s.ack()
	}
	p := packet{id: id, seg: s}
	switch {
	case s.has(flagSYN):
		if f.opens > 0 {
			v.drop = true // it is said again, and was held
			return v, false
		}
		f.opens, f.isn = f.opens+1, s.seq()
		f.apply()
	case s.has(flagRST):
		p.size = 1
	case s.payload() > 0 || s.has(flagFIN):
		p.size = int(s.end() - s.seq())
		if !f.known {
			break
		}
		if p.size = int(int32(s.end() - f.next)); p.size > 0 {
			break
		}
		p.size = 0
		if before(f.passed, s.end()) || f.silent() { // what it repeats is held
			v.drop = true
			return v, false
		}
	}
	if f.lane.Full() {
		v.drop = true // as a router's queue does
		return v, false
	}
	if !f.known {
		f.known, f.next, f.passed = true, s.seq(), s.seq()
	}
	if before(f.next, s.end()) {
		f.next = s.end()
	}
	f.queue = append(f.queue, p)
	if p.size > 0 {
		f.lane.Arrive(now, p.size)
	} else {
		f.lane.Mark(now)
	}
	return v, true
}

// step returns what may pass now, whether the connection is to be reset then, and when to ask
// again.
func (f *flow) step(now clock.Instant) (out []verdict, reset bool, wake clock.Instant) {
	for !f.dead {
		s := f.lane.Next(now)
		switch {
		case s.Reset:
			return append(out, f.kill()...), true, clock.Never
		case s.Mark:
			f.lane.Closed()
			out = append(out, f.pass())
		case s.N > 0:
			f.lane.Left(now, s.N)
			for f.credit += s.N; len(f.queue) > 0 && f.queue[0].size > 0 &&
				f.credit >= f.queue[0].size; {
				f.credit -= f.queue[0].size
				out = append(out, f.pass())
			}
		default:
			return out, false, s.Wake
		}
	}
	return out, false, clock.Never
}

// pass lets the first packet pass.
func (f *flow) pass() verdict {
	p := f.queue[0]
	f.queue = f.queue[1:]
	if before(f.passed, p.seg.end()) {
		f.passed = p.seg.end()
	}
	if p.seg.has(flagSYN) {
		f.opens--
		f.apply()
	}
	f.ended = f.ended || p.seg.has(flagFIN|flagRST)
	return verdict{id: p.id}
}

// kill ends it: of the first packet passes what may, what is behind it is lost.
func (f *flow) kill() (out []verdict) {
	f.dead = true
	for i, p := range f.queue {
		v := verdict{id: p.id, drop: true}
		if i == 0 && f.credit > 0 {
			old := int(p.seg.end()-p.seg.seq()) - p.size // bytes that it repeats
			v = verdict{id: p.id, seg: p.seg.cut(min(old+f.credit, p.seg.payload()))}
			f.passed = v.seg.end()
		}
		out = append(out, v)
	}
	f.queue = nil
	return out
}
