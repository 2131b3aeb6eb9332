package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// relay carries one connection through two lanes: what near sends goes forth, what far sends comes
// back.
type relay struct {
	links *Links
	way   Way
	near  net.Conn // the end of who opened the connection
	far   net.Conn
	forth pump
	back  pump

	mu   sync.Mutex
	seen map[uint64]bool // faults that have had an effect
	ends int             // lanes that have passed their end on
	over bool
	done chan struct{} // closed when it is over
}

// newRelay makes a relay that does not run yet.
func (l *Links) newRelay(w Way, near, far net.Conn) *relay {
	r := &relay{links: l, way: w, near: near, far: far, seen: map[uint64]bool{},
		done: make(chan struct{})}
	salt := 2 * l.relays.Add(1)
	r.forth.init(r, near, far, salt)
	r.back.init(r, far, near, salt+1)
	return r
}

// start begins to carry. Caller must hold links.mu, where the relay is known.
func (r *relay) start() {
	for _, p := range []*pump{&r.forth, &r.back} {
		r.links.wg.Go(p.read)
		r.links.wg.Go(p.write)
	}
}

// set gives both lanes what they are to suffer.
func (r *relay) set(forth, back []Strike) {
	r.forth.set(forth)
	r.back.set(back)
}

// hit notes an effect of a fault.
func (r *relay) hit(id uint64, n int64) {
	r.mu.Lock()
	first := !r.seen[id]
	r.seen[id] = true
	r.mu.Unlock()
	r.links.hit(id, first, n)
}

// ended notes that a lane has passed its end on.
func (r *relay) ended() {
	r.mu.Lock()
	r.ends++
	both := r.ends == 2
	r.mu.Unlock()
	if both {
		r.finish(false)
	}
}

// finish ends both connections.
func (r *relay) finish(reset bool) {
	r.mu.Lock()
	was := r.over
	r.over = true
	r.mu.Unlock()
	if was {
		return
	}
	if reset {
		abort(r.near)
		abort(r.far)
	}
	r.near.Close()
	r.far.Close()
	close(r.done)
	r.links.forget(r)
}

// abort has a connection end with a reset.
func abort(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(sec int) error }); ok {
		t.SetLinger(0) //nolint:errcheck // it may be gone
	}
}

// pump is one direction of a relay.
type pump struct {
	relay    *relay
	src, dst net.Conn
	wake     chan struct{} // for write: something has changed
	room     chan struct{} // for read: something has left

	mu   sync.Mutex
	lane Lane
	data [][]byte // what the lane has in its queue
	dead bool     // dst takes nothing any more
}

func (p *pump) init(r *relay, src, dst net.Conn, salt uint64) {
	p.relay, p.src, p.dst = r, src, dst
	p.wake, p.room = make(chan struct{}, 1), make(chan struct{}, 1)
	p.lane = NewLane(salt)
	p.lane.Hit = r.hit
}

func (p *pump) set(on []Strike) {
	p.mu.Lock()
	p.lane.Set(on)
	p.mu.Unlock()
	signal(p.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// chunkSize is how much is read at once.
const chunkSize = 32 << 10

// read takes what arrives.
func (p *pump) read() {
	buf := make([]byte, chunkSize)
	for {
		n, err := p.src.Read(buf)
		p.mu.Lock()
		now := p.relay.links.clock.Now()
		if n > 0 {
			p.data = append(p.data, append([]byte(nil), buf[:n]...))
			p.lane.Arrive(now, n)
		}
		if err != nil {
			p.lane.End(now, !errors.Is(err, io.EOF))
		}
		full := p.lane.Full()
		p.mu.Unlock()
		signal(p.wake)
		if err != nil {
			return
		}
		for full {
			select {
			case <-p.room:
			case <-p.relay.done:
				return
			}
			p.mu.Lock()
			full = p.lane.Full()
			p.mu.Unlock()
		}
	}
}

// write passes on what may leave.
func (p *pump) write() {
	c := p.relay.links.clock
	for {
		p.mu.Lock()
		step := p.lane.Next(c.Now())
		b := p.take(step.N)
		p.lane.Left(c.Now(), len(b))
		dead := p.dead
		if step.End {
			p.lane.Closed()
		}
		p.mu.Unlock()
		switch {
		case step.Reset:
			p.relay.finish(true)
			return
		case step.End:
			closeWrite(p.dst)
			p.relay.ended()
		case len(b) > 0:
			signal(p.room)
			if dead {
				continue
			}
			if _, err := p.dst.Write(b); err != nil {
				p.broken()
			}
		default:
			if !p.wait(step.Wake) {
				return
			}
		}
	}
}

// take returns the first bytes of what waits, at most n. Caller must hold mu.
func (p *pump) take(n int) []byte {
	if n <= 0 {
		return nil
	}
	b := p.data[0]
	if n >= len(b) {
		p.data[0] = nil
		p.data = p.data[1:]
		return b
	}
	p.data[0] = b[n:]
	return b[:n]
}

// broken notes that dst is gone: src hears of it as of everything that dst says, by the other lane.
func (p *pump) broken() {
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	other := &p.relay.back
	if p == other {
		other = &p.relay.forth
	}
	other.mu.Lock()
	other.lane.End(p.relay.links.clock.Now(), true)
	other.mu.Unlock()
	signal(other.wake)
}

// wait waits until an instant or a change; false when the relay is over.
func (p *pump) wait(until clock.Instant) bool {
	if until != clock.Never {
		c := p.relay.links.clock
		stop := c.AfterFunc(until.Sub(c.Now()), func() { signal(p.wake) })
		defer stop()
	}
	select {
	case <-p.wake:
		return true
	case <-p.relay.done:
		return false
	}
}

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() //nolint:errcheck // the other end may be gone
		return
	}
	c.Close()
}

// pair returns two ends of a connection on loopback, which can be reset as others can.
func pair() (near, far *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, fmt.Errorf("link: %w", err)
	}
	defer l.Close()
	c, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		return nil, nil, fmt.Errorf("link: %w", err)
	}
	for { // somebody else may have found the port
		far, err := l.AcceptTCP()
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("link: %w", err), c.Close())
		}
		if far.RemoteAddr().String() == c.LocalAddr().String() {
			return c, far, nil
		}
		far.Close()
	}
}
