package h1

import (
	"io"
	"net"
	"syscall"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// half is what both sides of a connection have in common.
type half struct {
	conn  net.Conn
	in    reader
	out   writer
	body  body
	parse parser
	asked asked
}

func (c *half) init(nc net.Conn) {
	c.conn = nc
	c.in.init(nc)
	c.out.init(nc, c.in.raw)
}

// NetConn returns the connection.
func (c *half) NetConn() net.Conn { return c.conn }

// ReadBody returns the next piece of the body; see wire.Stream.
func (c *half) ReadBody() (p []byte, fin bool, err error) { return c.in.readBody(&c.body) }

// Buffered says whether ReadBody has something without reading from the connection.
func (c *half) Buffered() bool { return c.in.r < c.in.w || c.body.done() }

// Trailers returns the trailers of a chunked body.
func (c *half) Trailers() *wire.Head { return c.body.trailers }

// WriteBody sends a piece of the body; see wire.Stream.
func (c *half) WriteBody(p []byte, fin bool) error { return c.out.body(p, fin) }

// WriteTrailers ends a chunked body with trailers.
func (c *half) WriteTrailers(h *wire.Head) error { return c.out.trailers(h) }

// Traffic returns what the exchange has cost so far: since the last request head was read, or
// written. As in Envoy, what came behind it and waits is counted too.
func (c *half) Traffic() wire.Traffic {
	return wire.Traffic{Received: c.in.taken + int64(c.in.w-c.in.r), Sent: c.out.sent,
		HeadersReceived: c.in.heads, HeadersSent: c.out.heads, Decompressed: c.in.heads}
}

// count begins to count anew.
func (c *half) count() { c.in.taken, c.in.heads, c.out.sent, c.out.heads = 0, 0, 0, 0 }

// Flush writes what was gathered.
func (c *half) Flush() error { return c.out.flush() }

// Deadline sets the absolute deadlines of reads and writes.
func (c *half) Deadline(read, write time.Time) error {
	if err := c.conn.SetReadDeadline(read); err != nil {
		return err
	}
	return c.conn.SetWriteDeadline(write)
}

// Release gives all buffers back.
func (c *half) Release() {
	c.in.release()
	put(c.out.out)
	c.out.out = nil
}

// Buffers returns how many bytes of buffers are held.
func (c *half) Buffers() int { return cap(c.in.buf) + cap(c.in.lent) + cap(c.out.out) }

// Abort closes the connection. AbortLinger sends the end first, so that the peer can read what was
// written; whoever asks for it must read on, see Drain.
func (c *half) Abort(code wire.Code) {
	if code == wire.AbortLinger {
		if w, ok := c.conn.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
			return
		}
	}
	c.conn.Close()
}

// Drain reads and throws away until the peer closes or the read deadline passes.
func (c *half) Drain() {
	put(c.in.lent)
	c.in.lent = nil
	if c.in.buf == nil {
		c.in.buf = getSmall()
	}
	for {
		c.in.r, c.in.w = 0, 0
		if c.in.fill() != nil {
			return
		}
	}
}

// Done says that the message being received has been received to its end.
func (c *half) Done() bool { return c.body.done() }

// Tunnel makes both directions plain bytes, after an upgrade.
func (c *half) Tunnel() {
	c.body.framing = framingClose
	c.out.left, c.out.chunked, c.out.silent = -1, false, false
}

// head reads a head.
func (c *half) head(h *wire.Head, lim Limits, first func(*wire.Head, []byte) *Error,
	partial func()) error {
	h.Reset()
	c.parse.reset(lim)
	for {
		if c.in.w > 0 {
			done, err := c.parse.parse(c.in.buf[:c.in.w], h, first)
			if err != nil {
				return err
			}
			if done {
				c.in.taken += int64(c.parse.pos)
				c.in.heads += int64(c.parse.bytes)
				c.in.r, c.in.base = c.parse.pos, c.parse.pos
				return nil
			}
			if c.in.w == len(c.in.buf) {
				c.in.grow()
			}
			if partial != nil {
				partial()
				partial = nil
			}
		}
		if err := c.in.fill(); err != nil {
			if err == io.EOF && c.in.w > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// Server is the downstream side of a connection.
type Server struct {
	half
	lim Limits
	// HTTP10 says that HTTP/1.0 requests are answered in HTTP/1.0 (accept_http_10).
	HTTP10 bool
	// Partial is called when a head has begun but is not complete: time to set a deadline.
	Partial func()
}

// NewServer returns the downstream side of nc.
func NewServer(nc net.Conn, lim Limits) *Server {
	s := &Server{lim: lim}
	s.init(nc)
	return s
}

// SetLimits changes the limits for the heads to come.
func (s *Server) SetLimits(lim Limits) { s.lim = lim }

// Wait returns when the first bytes of a request are there. No buffer is held meanwhile.
func (s *Server) Wait() error {
	s.in.begin()
	if s.in.w > 0 {
		return nil
	}
	return s.in.first()
}

// ReadHead reads the next request head. After an *Error the connection is to be closed.
func (s *Server) ReadHead(h *wire.Head) error {
	s.in.begin()
	s.count()
	s.asked = asked{}
	s.body = body{chunks: chunks{trailers: s.body.chunks.trailers[:0]}}
	if err := s.head(h, s.lim, requestLine, s.Partial); err != nil {
		return err
	}
	if err := s.parse.finishRequest(h); err != nil {
		return err
	}
	s.asked = asked{head: string(h.Method) == "HEAD", old: s.HTTP10 && h.Minor == 0}
	s.body.start(h, s.parse.length, h.Upgrade != nil || string(h.Method) == "CONNECT")
	return nil
}

// Preread returns what has been received and not been used yet, without taking it; More reads on.
// They are for what precedes HTTP: PROXY headers and protocol detection.
func (s *Server) Preread() []byte { return s.in.buf[s.in.r:s.in.w] }

// Skip takes n bytes of Preread.
func (s *Server) Skip(n int) { s.in.r += n }

// More reads at least one more byte for Preread; io.ErrShortBuffer when there is no room.
func (s *Server) More() error {
	if s.in.buf != nil && s.in.r > 0 {
		s.in.begin()
	}
	if s.in.buf != nil && s.in.w == len(s.in.buf) {
		return io.ErrShortBuffer
	}
	return s.in.fill()
}

// ReadAhead reads what comes behind the request being served (pipelined requests, or the end of the
// connection) into the buffer; io.ErrShortBuffer when it is full.
func (s *Server) ReadAhead() error {
	if s.in.buf != nil && s.in.w == len(s.in.buf) {
		return io.ErrShortBuffer
	}
	return s.in.fill()
}

// WriteHead gathers a response head.
func (s *Server) WriteHead(h *wire.Head, fin bool) error {
	s.out.response(h, fin, s.asked)
	return nil
}

// WriteInformational sends an informational head at once.
func (s *Server) WriteInformational(h *wire.Head) error {
	from := s.out.begin()
	line := s.out.status(h, asked{})
	s.out.fields(h, "")
	s.out.end(from, line)
	return s.out.flush()
}

// WriteContinue sends 100 Continue at once.
func (s *Server) WriteContinue() error {
	from := s.out.begin()
	s.out.out = append(s.out.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	s.out.end(from, len(s.out.out)-2)
	return s.out.flush()
}

// Client is the upstream side of a connection.
type Client struct {
	half
	peek  func(fd uintptr) bool
	stale bool
	byte1 [1]byte
}

// NewClient returns the upstream side of nc.
func NewClient(nc net.Conn) *Client {
	c := &Client{}
	c.init(nc)
	c.peek = func(fd uintptr) bool {
		c.stale = peekFD(fd, c.byte1[:])
		return true
	}
	return c
}

// Stale says that an idle connection can not be used again: the upstream closed it, or sent what
// nobody asked for.
func (c *Client) Stale() bool {
	if c.in.r < c.in.w {
		return true
	}
	if c.in.raw == nil {
		s, ok := c.conn.(interface{ Stale() bool }) // TLS
		return ok && s.Stale()
	}
	return c.in.raw.Read(c.peek) != nil || c.stale
}

// Held are buffers that outlive their exchange: what was read last may lie in them.
type Held struct{ a, b []byte }

// Free gives the buffers back.
func (h Held) Free() {
	put(h.a)
	put(h.b)
}

// Finish ends an exchange: usable reports whether it left the connection fit for another one. The
// head and the last piece of the body stay valid until held is freed, whatever becomes of the
// connection.
func (c *Client) Finish() (usable bool, held Held) {
	usable = c.body.done() && c.in.r == c.in.w && c.out.out == nil && c.out.left <= 0
	held = Held{c.in.lent, c.in.buf}
	c.in.lent, c.in.buf = nil, nil
	c.Release()
	return usable, held
}

// WriteHead gathers a request head.
func (c *Client) WriteHead(h *wire.Head, fin bool) error {
	c.count()
	m := string(h.Method)
	c.asked = asked{head: m == "HEAD", connect: m == "CONNECT", upgrade: h.Upgrade != nil}
	c.out.request(h, fin)
	return nil
}

// ReadHead reads the next response head; informational ones come as heads of their own.
func (c *Client) ReadHead(h *wire.Head) error {
	c.in.begin()
	if err := c.head(h, ResponseLimits, statusLine, nil); err != nil {
		return err
	}
	if err := c.parse.finishResponse(h, c.asked); err != nil {
		return err
	}
	c.body.start(h, c.parse.length, h.Status == 101 && c.asked.upgrade)
	return nil
}

var (
	_ wire.Stream  = (*Server)(nil)
	_ wire.Stream  = (*Client)(nil)
	_ syscall.Conn = (*net.TCPConn)(nil)
)
