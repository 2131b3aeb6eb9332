package sent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a receiver behind a socket, and senders to it.
type bed struct {
	t   *testing.T
	l   net.Listener
	rec *observe.Recorder
	r   *Receiver

	mu    sync.Mutex
	peers []*Peer
	lost  uint64
	lines []string
	came  chan struct{}
}

func newBed(t *testing.T, o ReceiverOptions) *bed {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, l: l, rec: observe.NewRecorder(), came: make(chan struct{}, 100)}
	o.Sink = b.rec
	o.Lost = func(_ string, n uint64) { b.mu.Lock(); b.lost += n; b.mu.Unlock() }
	o.AccessLog = func(node, path string, line []byte) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, node+" "+path+" "+string(line))
	}
	b.r = NewReceiver(o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if p, err := b.r.Serve(c); err == nil {
				b.mu.Lock()
				b.peers = append(b.peers, p)
				b.mu.Unlock()
				b.came <- struct{}{}
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-done; b.r.Close() })
	return b
}

func (b *bed) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", b.l.Addr().String())
}

// start runs a sender until the test ends.
func (b *bed) start(s *Sender) <-chan error {
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() { defer close(done); ended <- s.Run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-done })
	return ended
}

func (b *bed) settle(node string) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	return b.r.Settle(ctx, node)
}

func request(i int) *observe.Request {
	return &observe.Request{
		ID: fmt.Sprint(i), Start: clock.Instant(i), Status: 200,
		Attempts: []observe.Attempt{{Upstream: "10.244.0.2:80", Start: clock.Instant(i)}},
		Headers:  map[string]string{"a": "b"},
	}
}

// TestSettle: what was recorded before is there after Settle, whole and in order.
func TestSettle(t *testing.T) {
	b := newBed(t, ReceiverOptions{Token: "x"})
	settled := 0
	var s *Sender
	s = NewSender(Options{
		Node: "a.default", Token: "x", Dial: b.dial, Clock: clock.NewReal(),
		Settle: func(context.Context) error { // something ends while it is asked
			settled++
			s.Record(request(1000 + settled))
			return nil
		},
	})
	b.start(s)
	<-b.came
	for i := range 500 {
		s.Record(request(i))
		s.Change(observe.Change{Kind: "eject", What: fmt.Sprint(i)})
	}
	s.Push(observe.Push{Proxy: "a.default", Type: "CDS", Version: "1"})
	s.AccessLog("/dev/stdout", []byte("line\n"))
	if err := b.settle("a.default"); err != nil {
		t.Fatal(err)
	}
	h := b.rec.Snapshot()
	if len(h.Requests) != 501 || len(h.Changes) != 500 || len(h.Pushes) != 1 {
		t.Fatalf("%d requests, %d changes, %d pushes", len(h.Requests), len(h.Changes),
			len(h.Pushes))
	}
	for i := range 500 {
		if h.Requests[i].ID != fmt.Sprint(i) || h.Changes[i].What != fmt.Sprint(i) {
			t.Fatalf("at %d: request %s, change %s", i, h.Requests[i].ID, h.Changes[i].What)
		}
	}
	r := h.Requests[7]
	if len(r.Attempts) != 1 || r.Attempts[0].Upstream != "10.244.0.2:80" || r.Headers["a"] != "b" {
		t.Errorf("a record has become %+v", r)
	}
	if len(b.lines) != 1 || b.lines[0] != "a.default /dev/stdout line\n" {
		t.Errorf("lines %q", b.lines)
	}
	if err := b.settle("b.default"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a node that nobody knows: %v", err)
	}
}

// TestAgain: connections break in the middle, and each record is there once.
func TestAgain(t *testing.T) {
	b := newBed(t, ReceiverOptions{})
	s := NewSender(Options{Node: "a.b", Dial: b.dial, Clock: clock.NewReal()})
	b.start(s)
	const n = 2000
	for i := range n {
		s.Record(request(i))
		if i%400 == 200 {
			<-b.came
			b.mu.Lock()
			p := b.peers[len(b.peers)-1]
			b.mu.Unlock()
			p.conn.Close() // and records go on while nobody is there
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	h := b.rec.Snapshot()
	if len(h.Requests) != n {
		t.Fatalf("%d records, want %d", len(h.Requests), n)
	}
	for i := range n {
		if h.Requests[i].ID != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, h.Requests[i].ID)
		}
	}
}

// TestLost: what there is no room for is counted, and Settle says it once.
func TestLost(t *testing.T) {
	b := newBed(t, ReceiverOptions{})
	s := NewSender(Options{Node: "a.b", Dial: b.dial, Clock: clock.NewReal(), Limit: 10})
	for i := range 25 {
		s.Record(request(i))
	}
	b.start(s)
	<-b.came
	var lost *LostError
	if err := b.settle("a.b"); !errors.As(err, &lost) || lost.N != 15 {
		t.Fatalf("25 records with room for 10: %v", err)
	}
	if n := len(b.rec.Snapshot().Requests); n != 10 || b.lost != 15 {
		t.Errorf("%d records came, %d are told lost", n, b.lost)
	}
	if err := b.settle("a.b"); err != nil {
		t.Errorf("told again: %v", err)
	}
}

// TestRefused: a wrong token ends the sender, with the reason.
func TestRefused(t *testing.T) {
	b := newBed(t, ReceiverOptions{Token: "right"})
	s := NewSender(Options{Node: "a.b", Token: "wrong", Dial: b.dial, Clock: clock.NewReal()})
	err := <-b.start(s)
	if err == nil || !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("%v", err)
	}
}

// TestInstants: records are on the receiver's time line.
func TestInstants(t *testing.T) {
	here := clock.NewReal()
	epoch := Epoch(here)
	if epoch == 0 {
		t.Skip("no monotonic clock that processes share")
	}
	b := newBed(t, ReceiverOptions{
		Instant: func(mono int64) clock.Instant { return clock.Instant(mono - epoch) },
	})
	there := clock.NewReal() // a process that began later
	s := NewSender(Options{Node: "a.b", Dial: b.dial, Clock: there})
	b.start(s)
	<-b.came
	before := here.Now()
	r := request(0)
	r.Start = there.Now()
	r.Attempts[0].Start = r.Start
	s.Record(r)
	after := here.Now()
	if err := b.settle("a.b"); err != nil {
		t.Fatal(err)
	}
	got := b.rec.Snapshot().Requests[0]
	const slack = clock.Instant(time.Millisecond) // of reading two clocks
	if got.Start < before-slack || got.Start > after+slack || got.Attempts[0].Start != got.Start {
		t.Errorf("recorded between %d and %d, got %d, attempt %d", before, after, got.Start,
			got.Attempts[0].Start)
	}
}

// BenchmarkRecord is the cost of one record, at both ends and between them.
func BenchmarkRecord(b *testing.B) {
	client, server := net.Pipe()
	r := NewReceiver(ReceiverOptions{Sink: observe.NewRecorder()})
	s := NewSender(Options{
		Node: "a.b", Clock: clock.NewReal(), Limit: 1 << 20,
		Dial: func(context.Context) (net.Conn, error) { return client, nil },
	})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }() //nolint:errcheck // ends with ctx
	if _, err := r.Serve(server); err != nil {
		b.Fatal(err)
	}
	rec := request(1)
	b.ReportAllocs()
	for b.Loop() {
		s.Record(rec)
	}
	if err := s.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	r.Close()
	<-done
}
