package hold

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Holder holds packets of the namespace that its methods are called in, which needs CAP_NET_ADMIN,
// and CAP_NET_RAW for resets. They are safe for concurrent use.
type Holder struct {
	now func() int64 // the kernel's monotonic time in ns

	mu   sync.Mutex
	all  map[string]*holding
	past map[string]Count
	last uint16 // queue
}

// New returns a holder that holds nothing.
func New(now func() int64) *Holder {
	return &Holder{now: now, all: map[string]*holding{}, past: map[string]Count{}}
}

// Able says why the kernel can not queue packets; nil: it can.
func Able() error {
	const id = "probe"
	q, err := openQueue(0xffff)
	if err != nil {
		return err
	}
	err = capture.Hold(capture.Held{ID: id, Queue: 0xffff, Local: netip.IPv4Unspecified()})
	return errors.Join(err, capture.Heal(id), q.close())
}

// Set has a fault begin, or gives it another strength. What is open suffers it when it returns.
func (h *Holder) Set(f Fault) error {
	if err := f.Check(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.all[f.ID]; x != nil {
		x.change(f.Toxic)
		return nil
	}
	h.last++
	x := &holding{f: f, now: h.now, flows: map[key]*counted{}, hit: map[uint64]bool{},
		ended: make(chan struct{}), raw: -1}
	x.on = []link.Strike{{ID: 1, Toxic: f.Toxic}}
	if err := x.begin(h.last); err != nil {
		return errors.Join(err, x.end())
	}
	h.all[f.ID] = x
	return nil
}

// Heal ends a fault: what is held passes. It may be called again.
func (h *Holder) Heal(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.all[id]
	if x == nil {
		return nil
	}
	if err := x.end(); err != nil {
		return err
	}
	h.past[id] = x.tally()
	delete(h.all, id)
	return nil
}

// Count returns what a fault has done so far, or had at its end.
func (h *Holder) Count(id string) (Count, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.all[id]; x != nil {
		return x.tally(), nil
	}
	c, ok := h.past[id]
	if !ok {
		return c, fmt.Errorf("fault %q: there was none", id)
	}
	return c, nil
}

// key names a connection by its ends, who sends first.
type key struct{ from, to netip.AddrPort }

// sum is the connection's name, at both ends the same.
func (k key) sum(back bool) uint64 {
	if back {
		k.from, k.to = k.to, k.from
	}
	h := fnv.New64a()
	fmt.Fprint(h, k.from, k.to)
	return h.Sum64()
}

// counted is a flow, and when it is to be asked again.
type counted struct {
	flow
	timer *time.Timer
}

// holding is a fault in effect.
type holding struct {
	f     Fault
	now   func() int64
	queue *queue
	raw   int // socket for resets; -1: none
	ended chan struct{}

	mu    sync.Mutex
	on    []link.Strike
	flows map[key]*counted
	hit   map[uint64]bool
	count Count
}

// begin opens the queue, and has the kernel fill it.
func (x *holding) begin(num uint16) (err error) {
	if x.queue, err = openQueue(num); err != nil {
		return err
	}
	if x.f.Toxic.Reset {
		x.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("socket for resets: %w", err)
		}
	}
	go func() {
		defer close(x.ended)
		x.queue.read(x.take)
	}()
	return capture.Hold(capture.Held{ID: x.f.ID, Local: x.f.Local, Peers: x.f.Peers,
		Ports: x.f.Ports, Back: x.f.Back, Queue: num})
}

// end lets everything pass, and then has the kernel queue nothing more.
func (x *holding) end() error {
	x.mu.Lock()
	x.on = nil
	x.again()
	x.mu.Unlock()
	err := capture.Heal(x.f.ID)
	if x.queue == nil {
		return err
	}
	if err != nil {
		return err // it is asked again, and nothing is held
	}
	if x.queue.done() == nil {
		<-x.ended
	}
	err = x.queue.close()
	<-x.ended
	if x.raw >= 0 {
		err = errors.Join(err, unix.Close(x.raw))
	}
	return err
}

// change gives it another strength.
func (x *holding) change(t link.Toxic) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.on = []link.Strike{{ID: 1, Toxic: t}}
	x.again()
}

// again has all flows suffer what there is now. Caller must hold mu.
func (x *holding) again() {
	for k, c := range x.flows {
		c.set(x.on)
		x.step(k, c)
	}
}

// take takes a packet that the kernel has queued.
func (x *holding) take(id uint32, raw []byte) {
	s := segment(raw)
	if !s.ok() {
		x.queue.decide(verdict{id: id})
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	k := key{s.from(), s.to()}
	c := x.flows[k]
	if c != nil && s.has(flagSYN) && !c.is(s.seq()) {
		c = nil // another connection between the same ends
	}
	if c == nil {
		c = x.open(k)
	}
	v, waits := c.put(clock.Instant(x.now()), id, s)
	if !waits {
		x.queue.decide(v)
		return
	}
	x.step(k, c)
}

// open makes a flow. Caller must hold mu.
func (x *holding) open(k key) *counted {
	sum := k.sum(x.f.Back)
	c := &counted{}
	c.lane = link.NewLane(sum)
	c.lane.Hit = func(_ uint64, bytes int64) {
		now := x.now()
		if x.count.First == 0 {
			x.count.First = now
		}
		x.count.Last = now
		x.count.Bytes += bytes
		x.hit[sum] = true
	}
	c.set(x.on)
	x.flows[k] = c
	return c
}

// step does what a flow says. Caller must hold mu.
func (x *holding) step(k key, c *counted) {
	now := clock.Instant(x.now())
	out, dead, wake := c.flow.step(now)
	for _, v := range out {
		x.queue.decide(v)
	}
	if dead {
		x.reset(k, c)
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	switch {
	case wake != clock.Never:
		c.timer = time.AfterFunc(wake.Sub(now), func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.step(k, c)
		})
	case c.ended && len(c.queue) == 0 && x.flows[k] == c:
		delete(x.flows, k)
	}
}

// reset ends a connection at both ends: here with the next byte that is awaited, there with the
// last that is known to have come. Who has had more answers with what it awaits, and is told again
// by a kernel that knows of no connection.
func (x *holding) reset(k key, c *counted) {
	x.send(reset(k.from, k.to, c.passed, c.ack))
	x.send(reset(k.to, k.from, c.ack, c.passed))
}

func (x *holding) send(s segment) {
	to := &unix.SockaddrInet4{Addr: s.to().Addr().As4()}
	unix.Sendto(x.raw, s, 0, to) //nolint:errcheck // who sends again is answered with a reset
}

// tally is what it has done so far.
func (x *holding) tally() Count {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.count
	for sum := range x.hit {
		c.Flows = append(c.Flows, sum)
	}
	return c
}
