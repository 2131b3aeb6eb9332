package sent

import (
	"bufio"
	"cmp"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Options is what a Sender is made of. Node, Dial and Clock are needed.
type Options struct {
	Node  string // POD.NAMESPACE
	Token string
	Dial  func(ctx context.Context) (net.Conn, error)
	Clock clock.Clock // whose instants the records have
	// Settle returns when every exchange that has ended is recorded; nil: they are at once.
	Settle func(ctx context.Context) error
	// Limit bounds the records that wait, those under way included; 0: 32768.
	Limit int
	Log   *slog.Logger // nil: discard
}

const (
	defaultLimit = 1 << 15
	// gather is how long a batch gathers; a question does not wait for it. Each batch wakes three
	// processes, there and back.
	gather = 20 * time.Millisecond
	// settleTime bounds how long a sender waits for exchanges that end.
	settleTime = 30 * time.Second
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// Sender takes records and sends them. Its methods are safe for concurrent use.
type Sender struct {
	opt   Options
	hello hello

	mu      sync.Mutex
	next    batch    // gathers
	flying  []*batch // sent, not acked
	waiting int      // records in both
	seq     uint64
	lost    uint64
	empty   chan struct{} // closed when nothing waits; nil when nobody asks

	wake   chan struct{} // there is something to send
	urgent chan struct{} // and somebody waits for it
}

// NewSender returns a sender; Run sends.
func NewSender(o Options) *Sender {
	o.Limit = cmp.Or(o.Limit, defaultLimit)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{
		opt: o,
		hello: hello{
			Version: version, Token: o.Token, Node: o.Node, Instance: rand.Uint64(),
			Epoch: Epoch(o.Clock),
		},
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
	}
}

// Record takes a copy of r; a proxy.Sink.
func (s *Sender) Record(r *observe.Request) {
	if s.room() {
		s.next.Requests = append(s.next.Requests, kept(r))
		s.taken()
	}
}

// Change takes something that the proxy did.
func (s *Sender) Change(c observe.Change) {
	if s.room() {
		s.next.Changes = append(s.next.Changes, c)
		s.taken()
	}
}

// Push takes an update of a proxy; a control.Sink.
func (s *Sender) Push(p observe.Push) {
	if s.room() {
		s.next.Pushes = append(s.next.Pushes, p)
		s.taken()
	}
}

// AccessLog takes a line of an access log; an engine.LogSink.
func (s *Sender) AccessLog(path string, text []byte) {
	if s.room() {
		s.next.Lines = append(s.next.Lines, line{path, slices.Clone(text)})
		s.taken()
	}
}

// room says whether there is place for one more, and then holds the lock until taken.
func (s *Sender) room() bool {
	s.mu.Lock()
	if s.waiting < s.opt.Limit {
		return true
	}
	s.lost++
	s.mu.Unlock()
	notify(s.wake)
	return false
}

func (s *Sender) taken() {
	s.waiting++
	s.mu.Unlock()
	notify(s.wake)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends; a connection that breaks is made again, and what was under way is sent
// again. It fails only when the other end refuses it.
func (s *Sender) Run(ctx context.Context) error {
	pause := firstPause
	for {
		began := time.Now()
		err := s.once(ctx)
		var r *refusedError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &r):
			return err
		}
		s.opt.Log.Debug("records are not sent for now", "err", err)
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// refusedError is why the other end does not take records from this sender.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return "records are refused: " + e.why }

// once sends over one connection.
func (s *Sender) once(ctx context.Context) error {
	conn, err := s.opt.Dial(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer stop()
	defer conn.Close()
	heard := make(chan error, 1)
	wg.Go(func() {
		heard <- s.listen(ctx, conn, &wg)
		cancel()
	})
	err = s.talk(ctx, conn)
	conn.Close()
	if why := <-heard; why != nil {
		var r *refusedError
		if errors.As(why, &r) || err == nil || ctx.Err() != nil {
			return why
		}
	}
	return err
}

// talk writes batches: first those that may not have arrived.
func (s *Sender) talk(ctx context.Context, conn net.Conn) error {
	w := bufio.NewWriterSize(conn, 64<<10)
	enc := gob.NewEncoder(w)
	if err := enc.Encode(&s.hello); err != nil {
		return err
	}
	s.mu.Lock()
	again := slices.Clone(s.flying)
	s.mu.Unlock()
	for _, b := range again {
		if err := enc.Encode(b); err != nil {
			return err
		}
	}
	for {
		if err := w.Flush(); err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(gather):
		case <-s.urgent:
		case <-ctx.Done():
			return ctx.Err()
		}
		if b := s.take(); b != nil {
			if err := enc.Encode(b); err != nil {
				return err
			}
		}
	}
}

// take ends the batch that gathers; nil when there is nothing to say.
func (s *Sender) take() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next.size() == 0 && len(s.next.Answers) == 0 && s.next.Lost == s.lost {
		return nil
	}
	s.seq++
	b := s.next
	b.Seq, b.Lost = s.seq, s.lost
	s.next = batch{Lost: s.lost}
	s.flying = append(s.flying, &b)
	return &b
}

// listen takes acks and questions.
func (s *Sender) listen(ctx context.Context, conn net.Conn, wg *sync.WaitGroup) error {
	dec := gob.NewDecoder(bufio.NewReader(conn))
	for {
		var r reply
		if err := dec.Decode(&r); err != nil {
			return err
		}
		if r.Refused != "" {
			return &refusedError{r.Refused}
		}
		s.acked(r.Ack)
		if r.Ask != 0 {
			wg.Go(func() { s.answer(ctx, r.Ask) })
		}
	}
}

// acked forgets what has arrived.
func (s *Sender) acked(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.flying) > 0 && s.flying[0].Seq <= seq {
		s.waiting -= s.flying[0].size()
		s.flying = slices.Delete(s.flying, 0, 1)
	}
	s.tellEmpty()
}

// tellEmpty tells who waits for it that all has arrived. Caller must hold mu.
func (s *Sender) tellEmpty() {
	if s.empty != nil && s.waiting == 0 && s.next.Lost == s.lost {
		close(s.empty)
		s.empty = nil
	}
}

// answer says, behind all that has ended by then, that it has been sent.
func (s *Sender) answer(ctx context.Context, to uint64) {
	a := answer{To: to}
	if s.opt.Settle != nil {
		ctx, cancel := context.WithTimeout(ctx, settleTime)
		defer cancel()
		if err := s.opt.Settle(ctx); err != nil {
			a.Error = err.Error()
		}
	}
	s.mu.Lock()
	s.next.Answers = append(s.next.Answers, a)
	s.mu.Unlock()
	notify(s.urgent)
	notify(s.wake)
}

// Flush returns when all that has been taken has arrived, while Run runs.
func (s *Sender) Flush(ctx context.Context) error {
	s.mu.Lock()
	done := s.empty
	if done == nil {
		done = make(chan struct{})
		s.empty = done
	}
	s.tellEmpty()
	s.mu.Unlock()
	notify(s.urgent)
	notify(s.wake)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("%d records have not been sent: %w", s.waiting, ctx.Err())
	}
}
