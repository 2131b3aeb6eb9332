package sent

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Sink takes what senders have sent; *observe.Recorder is one.
type Sink interface {
	Record(*observe.Request)
	Change(observe.Change)
	Push(observe.Push)
}

// ReceiverOptions is what a Receiver is made of. Sink is needed.
type ReceiverOptions struct {
	Sink  Sink
	Token string // that senders must have
	// Instant returns the instant, on the Sink's time line, of the senders' kernel's monotonic
	// time in ns; nil: their instants stay as they are.
	Instant func(monotonic int64) clock.Instant
	// AccessLog takes lines of access logs; line is borrowed. nil: they are lost.
	AccessLog func(node, path string, line []byte)
	// Lost hears of records that there was no room for, n more than before.
	Lost func(node string, n uint64)
}

// Receiver takes the records of any number of senders. Its methods are safe for concurrent use.
type Receiver struct {
	opt ReceiverOptions

	mu    sync.Mutex
	books map[uint64]*book // by instance
	peers map[string]*Peer // by node: the newest connection
}

// book is what is known of one sending process, over all of its connections.
type book struct {
	mu   sync.Mutex
	seq  uint64 // of the last batch that was kept
	lost uint64
	told uint64 // of lost, by Settle
}

// NewReceiver returns a receiver.
func NewReceiver(o ReceiverOptions) *Receiver {
	return &Receiver{opt: o, books: map[uint64]*book{}, peers: map[string]*Peer{}}
}

// Peer is one connection of a sender.
type Peer struct {
	r     *Receiver
	hello hello
	book  *book
	shift time.Duration
	conn  net.Conn
	done  chan struct{}
	err   error // why it has ended, once done

	write sync.Mutex
	enc   *gob.Encoder

	mu    sync.Mutex
	asked uint64
	asks  map[uint64]chan answer
}

// helloTime is how long a connection may take to say who it is.
const helloTime = 10 * time.Second

// Serve takes a sender's connection, and its records until the connection ends. It returns when it
// is known whose it is.
func (r *Receiver) Serve(conn net.Conn) (*Peer, error) {
	p := &Peer{
		r: r, conn: conn, done: make(chan struct{}), enc: gob.NewEncoder(conn),
		asks: map[uint64]chan answer{},
	}
	dec := gob.NewDecoder(bufio.NewReaderSize(conn, 64<<10))
	conn.SetReadDeadline(time.Now().Add(helloTime)) //nolint:errcheck // the read says it, too
	if err := dec.Decode(&p.hello); err != nil {
		conn.Close()
		return nil, fmt.Errorf("records: no greeting: %w", err)
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // the read says it, too
	if why := r.refusal(p.hello); why != "" {
		p.say(reply{Refused: why}) //nolint:errcheck // it is refused in any case
		conn.Close()
		return nil, fmt.Errorf("records of %q are refused: %s", p.hello.Node, why)
	}
	if r.opt.Instant != nil {
		p.shift = time.Duration(r.opt.Instant(p.hello.Epoch))
	}
	r.mu.Lock()
	if p.book = r.books[p.hello.Instance]; p.book == nil {
		p.book = &book{}
		r.books[p.hello.Instance] = p.book
	}
	old := r.peers[p.hello.Node]
	r.peers[p.hello.Node] = p
	r.mu.Unlock()
	if old != nil {
		old.conn.Close()
	}
	go p.run(dec)
	return p, nil
}

func (r *Receiver) refusal(h hello) string {
	switch {
	case h.Version != version:
		return fmt.Sprintf("version %d, want %d: both ends must be one program", h.Version, version)
	case subtle.ConstantTimeCompare([]byte(h.Token), []byte(r.opt.Token)) != 1:
		return "wrong token"
	case h.Node == "":
		return "it does not say of which node they are"
	}
	return ""
}

// Node says whose records they are: POD.NAMESPACE.
func (p *Peer) Node() string { return p.hello.Node }

// Done is closed when the connection has ended.
func (p *Peer) Done() <-chan struct{} { return p.done }

// Close ends the connection; the sender may make another.
func (p *Peer) Close() error {
	err := p.conn.Close()
	<-p.done
	return err
}

func (p *Peer) run(dec *gob.Decoder) {
	defer close(p.done)
	defer p.conn.Close()
	for {
		var b batch
		if p.err = dec.Decode(&b); p.err != nil {
			return
		}
		if p.err = p.keep(&b); p.err != nil {
			return
		}
		if p.err = p.say(reply{Ack: b.Seq}); p.err != nil {
			return
		}
		for _, a := range b.Answers {
			p.mu.Lock()
			if c := p.asks[a.To]; c != nil {
				c <- a
				delete(p.asks, a.To)
			}
			p.mu.Unlock()
		}
	}
}

func (p *Peer) say(r reply) error {
	p.write.Lock()
	defer p.write.Unlock()
	return p.enc.Encode(r)
}

// keep hands on a batch, unless it was kept before the connection was made anew.
func (p *Peer) keep(b *batch) error {
	k := p.book
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.Seq <= k.seq {
		return nil
	}
	if b.Seq != k.seq+1 {
		return fmt.Errorf("records: batch %d after %d", b.Seq, k.seq)
	}
	k.seq = b.Seq
	b.shift(p.shift)
	o := p.r.opt
	for i := range b.Changes {
		o.Sink.Change(b.Changes[i])
	}
	for i := range b.Pushes {
		o.Sink.Push(b.Pushes[i])
	}
	for i := range b.Requests {
		o.Sink.Record(&b.Requests[i])
	}
	for _, l := range b.Lines {
		if o.AccessLog != nil {
			o.AccessLog(p.hello.Node, l.Path, l.Text)
		}
	}
	if n := b.Lost - k.lost; n > 0 {
		k.lost = b.Lost
		if o.Lost != nil {
			o.Lost(p.hello.Node, n)
		}
	}
	return nil
}

// Settle returns when every exchange that has ended at the sender is with the Sink. A *LostError
// says that some are lost since the last Settle.
func (p *Peer) Settle(ctx context.Context) error {
	c := make(chan answer, 1)
	p.mu.Lock()
	p.asked++
	n := p.asked
	p.asks[n] = c
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.asks, n)
		p.mu.Unlock()
	}()
	if err := p.say(reply{Ask: n}); err != nil {
		return fmt.Errorf("proxy %s: its records can not be asked for: %w", p.Node(), err)
	}
	select {
	case a := <-c:
		if a.Error != "" {
			return fmt.Errorf("proxy %s: %s", p.Node(), a.Error)
		}
	case <-p.done:
		return fmt.Errorf("proxy %s: its records have ended: %w", p.Node(), p.err)
	case <-ctx.Done():
		return ctx.Err()
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	if n := p.book.lost - p.book.told; n > 0 {
		p.book.told = p.book.lost
		return &LostError{p.Node(), n}
	}
	return nil
}

// ErrUnknown is what Settle says of a node that has not sent anything.
var ErrUnknown = errors.New("sends no records")

// Settle is Peer.Settle of a node's newest connection.
func (r *Receiver) Settle(ctx context.Context, node string) error {
	r.mu.Lock()
	p := r.peers[node]
	r.mu.Unlock()
	if p == nil {
		return fmt.Errorf("proxy %s %w", node, ErrUnknown)
	}
	return p.Settle(ctx)
}

// Close ends all connections.
func (r *Receiver) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		p.Close() //nolint:errcheck // it ends in any case
	}
}
