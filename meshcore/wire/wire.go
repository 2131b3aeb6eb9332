// Package wire is the message model that every HTTP codec and the engine share: heads, bodies and
// the Stream, one exchange on one connection. HTTP/1.1 is wire/h1; HTTP/2 stands behind the same
// interface.
package wire

import "time"

// Field is one header line. Name is lower-case, as Envoy sends it. Both slices are borrowed from
// the head's buffers and are valid until the exchange ends.
type Field struct{ Name, Value []byte }

// Head is a request head, a response head or trailers. It lives in the stream's pooled work area
// and is reused; nothing in it may be kept after the exchange.
type Head struct {
	Method    []byte // request
	Target    []byte // request: path and query, origin form; the engine may replace it
	Authority []byte // request: Host, or that of an absolute-form target; nil: no Host at all
	Scheme    []byte // request: from an absolute-form target; nil otherwise
	Status    int    // response
	Minor     uint8  // HTTP/1.x minor version of the received message

	// Fields in the order received, without Host. Hop-by-hop fields and framing (Connection and
	// what it names, Keep-Alive, Transfer-Encoding, ...) are removed by the codec; Content-Length
	// is kept here and in ContentLength.
	Fields        []Field
	ContentLength int64  // -1 when the message has none
	Upgrade       []byte // request or 101: the Upgrade value when Connection names it; else nil
	Chunked       bool   // the received body was chunked
	NoBody        bool   // the message ends with its head
	// Close, in a head read: the sender will not use the connection again. In a response head to be
	// written: say so (connection: close).
	Close     bool
	Expect100 bool // request: it waits for 100 Continue (the field stays)

	arena []byte // values that were set, not received
}

// Reset empties the head for reuse, keeping its capacity.
func (h *Head) Reset() {
	*h = Head{Fields: h.Fields[:0], ContentLength: -1, arena: h.arena[:0]}
}

// Get returns the first value of a field; name must be lower-case.
func (h *Head) Get(name string) (value []byte, ok bool) {
	for i := range h.Fields {
		if string(h.Fields[i].Name) == name {
			return h.Fields[i].Value, true
		}
	}
	return nil, false
}

// Bytes copies s into the head's own buffer, so that it lives as long as the head.
func (h *Head) Bytes(s string) []byte {
	if cap(h.arena)-len(h.arena) < len(s) {
		h.arena = make([]byte, 0, max(512, 2*len(s))) // old slices keep the old array alive
	}
	n := len(h.arena)
	h.arena = append(h.arena, s...)
	return h.arena[n : n+len(s) : n+len(s)]
}

// Add appends a field; value is copied.
func (h *Head) Add(name, value string) {
	h.Fields = append(h.Fields, Field{Name: h.Bytes(name), Value: h.Bytes(value)})
}

// Set replaces all fields of a name by one, in the place of the first, or appends it.
func (h *Head) Set(name, value string) {
	for i := range h.Fields {
		if string(h.Fields[i].Name) == name {
			h.Fields[i].Value = h.Bytes(value)
			h.delFrom(i+1, name)
			return
		}
	}
	h.Add(name, value)
}

// Del removes all fields of a name.
func (h *Head) Del(name string) { h.delFrom(0, name) }

func (h *Head) delFrom(i int, name string) {
	out := h.Fields[:i]
	for _, f := range h.Fields[i:] {
		if string(f.Name) != name {
			out = append(out, f)
		}
	}
	h.Fields = out
}

// Clone returns a copy that lives on its own.
func (h *Head) Clone() *Head {
	out := &Head{}
	*out = *h
	out.Fields, out.arena = make([]Field, 0, len(h.Fields)), nil
	for _, f := range []*[]byte{&out.Method, &out.Target, &out.Authority, &out.Scheme,
		&out.Upgrade} {
		if *f != nil {
			*f = out.Bytes(string(*f))
		}
	}
	for _, f := range h.Fields {
		out.Add(string(f.Name), string(f.Value))
	}
	return out
}

// Traffic is what an exchange cost on the wire, framing and all, as Envoy's bytes meters count it.
type Traffic struct {
	Received, Sent               int64
	HeadersReceived, HeadersSent int64 // header lines, without the first line of the head
	// Decompressed is HeadersReceived, but after each retry Envoy adds what it had before once more
	// (measured with 1.40).
	Decompressed int64
}

// Add adds the traffic of another stream.
func (t *Traffic) Add(o Traffic) {
	t.Received += o.Received
	t.Sent += o.Sent
	t.HeadersReceived += o.HeadersReceived
	t.HeadersSent += o.HeadersSent
	t.Decompressed += t.HeadersReceived
}

// Code says how an exchange is broken off.
type Code uint8

// The codes.
const (
	AbortNow    Code = iota // close (h1) or RST_STREAM (h2) at once
	AbortLinger             // h1: close when what was written has been read (Envoy's delayed close)
)

// Stream is one exchange on one connection, seen from either side; blocking, pull. On the
// downstream side the head read is the request's and the head written the response's; upstream
// the reverse. HTTP/1.1 has one stream at a time on a connection, HTTP/2 many.
type Stream interface {
	// ReadHead reads the next head. On the upstream side informational responses come as heads of
	// their own (Status < 200, except 101).
	ReadHead(h *Head) error
	// ReadBody returns the next piece of the decoded body; fin with the last one (which may be
	// empty). b is borrowed until the next call. A message that was cut is an error, never fin.
	ReadBody() (b []byte, fin bool, err error)
	// Trailers returns the trailers after fin; nil when there were none.
	Trailers() *Head
	// WriteHead writes (buffers) a head; fin says that no body follows.
	WriteHead(h *Head, fin bool) error
	WriteBody(b []byte, fin bool) error
	WriteTrailers(h *Head) error
	Flush() error
	// Deadline sets absolute deadlines for what follows; the zero time means none.
	Deadline(read, write time.Time) error
	Abort(Code)
}
