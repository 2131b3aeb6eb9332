package feed

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Batches go over a wire so that reading them costs next to nothing: records of requests are
// nearly all of it, and they say the same few texts again and again.
//
//	stream   = mark, batches
//	batch    = length, JSON of all but the requests, how many requests, requests
//	request  = its fields in order: a number as a varint, a text as below
//	text     = 0: empty; 1: a new one, its length and bytes; else the one of the number less 2
//
// Both ends number the texts as they come, and forget them all when there are too many.

// texts is how many texts both ends remember.
const texts = 1 << 14

// mark begins a stream. Its number is another when the coding is.
const mark = "mesh-lab watch 1\n"

// tooLong is what no text, list or JSON is as long as: what reads so is no stream of ours.
const tooLong = 1 << 26

// first is how many elements of a list there is room for before any is read.
const first = 1 << 10

var errWire = errors.New(
	"what the lab sends is nothing that this mesh-lab reads: is the lab's another version?")

// Writer writes batches.
type Writer struct {
	w     io.Writer
	c     coder
	begun bool
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, c: coder{known: map[string]uint64{}}} }

// Write writes a batch, at once.
func (w *Writer) Write(b *Batch) error {
	rest := *b
	rest.Requests = nil
	line, err := json.Marshal(&rest)
	if err != nil {
		return err
	}
	w.c.out = w.c.out[:0]
	if !w.begun {
		w.c.out, w.begun = append(w.c.out, mark...), true
	}
	w.c.length(len(line))
	w.c.out = append(w.c.out, line...)
	w.c.length(len(b.Requests))
	for i := range b.Requests {
		w.c.request(&b.Requests[i])
	}
	_, err = w.w.Write(w.c.out)
	return err
}

// Reader reads what a Writer has written.
type Reader struct {
	c     coder
	begun bool
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{c: coder{in: bufio.NewReader(r)}} }

// Read waits for the next batch; io.EOF: there is none.
func (r *Reader) Read() (*Batch, error) {
	if _, err := r.c.in.Peek(1); err != nil {
		return nil, err
	}
	if !r.begun {
		r.begun = true
		if got := r.c.bytes(len(mark)); r.c.err == nil && string(got) != mark {
			r.c.err = errWire
		}
	}
	line := r.c.bytes(r.c.length(0))
	b := &Batch{}
	if r.c.err == nil {
		r.c.err = json.Unmarshal(line, b)
	}
	n := r.c.length(0)
	b.Requests = make([]observe.Request, 0, min(n, first))
	for i := 0; i < n && r.c.err == nil; i++ {
		b.Requests = append(b.Requests, observe.Request{})
		r.c.request(&b.Requests[i])
	}
	if errors.Is(r.c.err, io.EOF) {
		r.c.err = io.ErrUnexpectedEOF
	}
	return b, r.c.err
}

// coder writes fields, or reads them where in is set, so that both ends agree on their order. The
// first error ends it.
type coder struct {
	out   []byte
	in    *bufio.Reader
	err   error
	known map[string]uint64 // of who writes
	told  []string          // of who reads
}

// length returns a length: that which was written, or n where it is written.
func (c *coder) length(n int) int {
	if c.in == nil {
		c.out = binary.AppendUvarint(c.out, uint64(n))
		return n
	}
	got := c.uvarint()
	if got > tooLong && c.err == nil {
		c.err = errWire
	}
	if c.err != nil {
		return 0
	}
	return int(got)
}

func (c *coder) uvarint() uint64 {
	if c.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(c.in)
	c.err = err
	return n
}

// bytes reads so many bytes, and holds no more than came.
func (c *coder) bytes(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n <= first {
		b := make([]byte, n)
		_, c.err = io.ReadFull(c.in, b)
		return b
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, c.in, int64(n)); err != nil {
		c.err = err
	}
	return b.Bytes()
}

// number is a field that is a number.
func number[T ~int | ~int64 | ~uint64](c *coder, v *T) {
	if c.in == nil {
		c.out = binary.AppendVarint(c.out, int64(*v))
		return
	}
	if c.err == nil {
		var n int64
		n, c.err = binary.ReadVarint(c.in)
		*v = T(n)
	}
}

// once is a field with a text that will hardly come again.
func (c *coder) once(s *string) {
	n := c.length(len(*s))
	if c.in == nil {
		c.out = append(c.out, *s...)
		return
	}
	*s = string(c.bytes(n))
}

// text is a field with a text that comes again.
func (c *coder) text(s *string) {
	if c.in != nil {
		c.read(s)
		return
	}
	k, known := c.known[*s]
	switch {
	case *s == "":
		c.out = append(c.out, 0)
	case known:
		c.out = binary.AppendUvarint(c.out, k+2)
	default:
		c.out = append(c.out, 1)
		c.once(s)
		if len(c.known) == texts {
			clear(c.known)
		}
		c.known[*s] = uint64(len(c.known))
	}
}

func (c *coder) read(s *string) {
	switch k := c.uvarint(); {
	case c.err != nil, k == 0:
		*s = ""
	case k == 1:
		c.once(s)
		if len(c.told) == texts {
			c.told = c.told[:0]
		}
		c.told = append(c.told, *s)
	case k-2 < uint64(len(c.told)):
		*s = c.told[k-2]
	default:
		c.err = errWire
	}
}

// request is a record, field by field.
func (c *coder) request(r *observe.Request) {
	c.once(&r.ID)
	c.times(&r.Start, (*int64)(&r.Duration))
	for _, s := range [...]*string{
		(*string)(&r.Reporter), &r.Protocol, &r.Proxy, &r.Workload, &r.Version, &r.Namespace,
		&r.Method, &r.Path, &r.Authority, &r.UserAgent, &r.Flags, &r.Details, &r.Route, &r.Cluster,
		&r.Listener, &r.Chain, &r.Config, &r.Upstream, &r.Local, &r.SNI, &r.TLS, &r.Peer,
		&r.UpstreamTLS, &r.UpstreamPeer, &r.UpstreamFailure, &r.Policy, &r.Shadow,
		&r.Dest.Pod, &r.Dest.Workload, &r.Dest.Service, &r.Dest.Version, &r.Dest.Namespace,
	} {
		c.text(s)
	}
	c.once(&r.Remote) // with a port of its own
	number(c, &r.Status)
	number(c, &r.BytesReceived)
	number(c, &r.BytesSent)
	number(c, &r.UpstreamTime)
	number(c, &r.FaultDelay)
	number(c, &r.Draw)
	number(c, &r.Hash)
	c.attempts(&r.Attempts)
	c.attempts(&r.Mirrors)
	c.texts(&r.Headers)
	c.texts(&r.Exact)
}

func (c *coder) times(start *clock.Instant, took *int64) {
	number(c, start)
	number(c, took)
}

func (c *coder) attempts(all *[]observe.Attempt) {
	n := c.length(len(*all))
	if c.in != nil && n > 0 {
		*all = make([]observe.Attempt, 0, min(n, first))
	}
	for i := 0; i < n && c.err == nil; i++ {
		if c.in != nil {
			*all = append(*all, observe.Attempt{})
		}
		a := &(*all)[i]
		for _, s := range [...]*string{
			&a.Cluster, &a.Upstream, &a.Pod, &a.Version, &a.GRPC, &a.Flags,
		} {
			c.text(s)
		}
		number(c, &a.Status)
		c.times(&a.Start, (*int64)(&a.Duration))
	}
}

func (c *coder) texts(all *map[string]string) {
	n := c.length(len(*all))
	if c.in == nil {
		for _, k := range slices.Sorted(maps.Keys(*all)) {
			v := (*all)[k]
			c.text(&k)
			c.text(&v)
		}
		return
	}
	for i := 0; i < n && c.err == nil; i++ {
		if *all == nil {
			*all = map[string]string{}
		}
		var k, v string
		c.text(&k)
		c.text(&v)
		(*all)[k] = v
	}
}
