package h1

import (
	"net"
	"strconv"
	"syscall"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// writer is the sending half of a connection. Small pieces are gathered, so that a head and a
// small body leave in one write; a large piece goes out beside what was gathered, by writev.
type writer struct {
	conn    net.Conn
	raw     syscall.RawConn // nil when conn has no descriptor
	try     func(fd uintptr) bool
	rest    []byte // what try has still to write
	err     error  // of try
	out     []byte // nil when nothing waits to be written
	left    int64  // what content-length still promises; -1: not counted
	chunked bool
	silent  bool  // the body is not to be sent (HEAD)
	sent    int64 // bytes of the exchange
	heads   int64 // of them, header lines
	vec     net.Buffers
	arr     [3][]byte
	several buffersWriter // nil: net.Buffers knows how conn does it
}

// buffersWriter is a connection around one of the kernel's that writes several buffers at once, as
// net.Buffers has only the kernel's own do.
type buffersWriter interface {
	WriteBuffers(v *net.Buffers) (int64, error)
}

func (w *writer) init(c net.Conn, raw syscall.RawConn) {
	w.conn, w.raw = c, raw
	w.try = w.tryRest
	w.several, _ = c.(buffersWriter)
}

func (w *writer) need() {
	if w.out == nil {
		w.out = getSmall()[:0]
	}
}

// begin returns where a head begins in what is gathered.
func (w *writer) begin() int {
	w.need()
	return len(w.out)
}

// end counts the head that begins at from; its first line ends at line.
func (w *writer) end(from, line int) {
	w.sent += int64(len(w.out) - from)
	w.heads += int64(len(w.out) - line - len("\r\n"))
}

// flush writes what was gathered.
func (w *writer) flush() error {
	if w.out == nil {
		return nil
	}
	err := w.write(w.out)
	put(w.out)
	w.out = nil
	return err
}

// write writes all of b.
func (w *writer) write(b []byte) error {
	if w.raw == nil {
		_, err := w.conn.Write(b)
		return err
	}
	w.rest, w.err = b, nil
	err := w.raw.Write(w.try)
	w.rest = nil
	if err != nil {
		return err
	}
	return w.err
}

// tryRest is called by the runtime's poller when the socket may have room.
func (w *writer) tryRest(fd uintptr) bool {
	for len(w.rest) > 0 {
		n, err, again := writeFD(fd, w.rest)
		if again {
			return false
		}
		if w.err = err; err != nil {
			break
		}
		w.rest = w.rest[n:]
	}
	return true
}

// add gathers p, or writes it out together with what was gathered when it is large.
func (w *writer) add(p []byte, tail string) error {
	w.need()
	if len(w.out)+len(p)+len(tail) <= smallSize {
		w.out = append(append(w.out, p...), tail...)
		return nil
	}
	w.arr[0], w.arr[1] = w.out, p
	w.vec = net.Buffers(w.arr[:2])
	err := w.vector()
	put(w.out)
	w.out = nil
	w.arr = [3][]byte{}
	if err == nil && tail != "" {
		w.need()
		w.out = append(w.out, tail...)
	}
	return err
}

func (w *writer) vector() error {
	if w.several != nil {
		_, err := w.several.WriteBuffers(&w.vec)
		return err
	}
	_, err := w.vec.WriteTo(w.conn)
	return err
}

// lines gathers the field lines.
func (w *writer) lines(h *wire.Head) {
	for i := range h.Fields {
		f := &h.Fields[i]
		w.out = append(append(append(append(w.out, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
}

// fields gathers the field lines and the empty line. frame is the framing line that the codec adds.
func (w *writer) fields(h *wire.Head, frame string) {
	w.lines(h)
	w.out = append(append(w.out, frame...), "\r\n"...)
}

// Framing lines.
const (
	lineChunked = "transfer-encoding: chunked\r\n"
	lineNoBody  = "content-length: 0\r\n"
)

// request gathers a request head (RequestEncoderImpl::encodeHeaders).
func (w *writer) request(h *wire.Head, fin bool) {
	from := w.begin()
	w.left, w.chunked, w.silent = -1, false, false
	w.out = append(append(w.out, h.Method...), ' ')
	connect := string(h.Method) == "CONNECT"
	if connect {
		w.out = append(w.out, h.Authority...)
	} else {
		w.out = append(w.out, h.Target...)
	}
	w.out = append(w.out, " HTTP/1.1\r\n"...)
	line := len(w.out)
	w.out = append(append(append(w.out, "host: "...), h.Authority...), "\r\n"...)
	frame := ""
	switch {
	case h.Upgrade != nil:
		w.out = append(append(append(w.out, "connection: Upgrade\r\nupgrade: "...), h.Upgrade...),
			"\r\n"...)
	case connect:
	case h.ContentLength >= 0:
		w.left = h.ContentLength
	case !fin:
		w.chunked, frame = true, lineChunked
	case !bodiless(h.Method):
		frame = lineNoBody
	}
	w.fields(h, frame)
	w.end(from, line)
}

// bodiless says which requests without a body get no content-length: 0 (header_utility.cc
// requestShouldHaveNoBody).
func bodiless(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "DELETE", "TRACE", "CONNECT":
		return true
	}
	return false
}

// response gathers a response head (StreamEncoderImpl::encodeHeadersBase). q is the request.
func (w *writer) response(h *wire.Head, fin bool, q asked) {
	from := w.begin()
	line := w.status(h, q)
	w.left, w.chunked, w.silent = -1, false, false
	frame := ""
	switch {
	case h.Status < 200 || h.Status == 204 || h.Status == 304:
		w.silent = h.Status != 101
	case h.ContentLength >= 0:
		w.left, w.silent = h.ContentLength, q.head
	case fin && !q.head:
		w.left, frame = 0, lineNoBody
	case q.old: // HTTP/1.0 knows no chunks: the end of the connection is the end
		w.silent = q.head
	case q.head:
		// Envoy guesses that the answer to a GET would be chunked.
		w.silent, frame = true, lineChunked
	default:
		w.chunked, frame = true, lineChunked
	}
	if h.Upgrade != nil {
		w.out = append(append(append(w.out, "connection: Upgrade\r\nupgrade: "...), h.Upgrade...),
			"\r\n"...)
	}
	w.lines(h)
	if h.Close {
		w.out = append(w.out, "connection: close\r\n"...)
	} else if q.old {
		w.out = append(w.out, "connection: keep-alive\r\n"...)
	}
	w.out = append(append(w.out, frame...), "\r\n"...)
	w.end(from, line)
}

// status gathers a status line and returns where it ends.
func (w *writer) status(h *wire.Head, q asked) int {
	version := "HTTP/1.1 "
	if q.old {
		version = "HTTP/1.0 "
	}
	w.out = strconv.AppendInt(append(w.out, version...), int64(h.Status), 10)
	w.out = append(append(append(w.out, ' '), reason(h.Status)...), "\r\n"...)
	return len(w.out)
}

// body gathers or writes a piece of the body. A body that does not keep content-length is an
// error, and the connection is not to be used again.
func (w *writer) body(p []byte, fin bool) error {
	if w.silent {
		return nil
	}
	if w.left >= 0 {
		if w.left -= int64(len(p)); w.left < 0 {
			return errOversent
		}
		if fin && w.left > 0 {
			return errUndersent
		}
	}
	if !w.chunked {
		if len(p) == 0 {
			return nil
		}
		w.sent += int64(len(p))
		return w.add(p, "")
	}
	tail := ""
	if fin {
		tail = "0\r\n\r\n"
	}
	if len(p) > 0 {
		from := w.begin()
		w.out = append(strconv.AppendInt(w.out, int64(len(p)), 16), "\r\n"...)
		w.sent += int64(len(w.out) - from)
		if tail = "\r\n"; fin {
			tail = "\r\n0\r\n\r\n"
		}
	}
	w.sent += int64(len(p) + len(tail))
	return w.add(p, tail)
}

// trailers ends a chunked body.
func (w *writer) trailers(h *wire.Head) error {
	if !w.chunked || w.silent {
		return w.body(nil, true)
	}
	w.need()
	w.out = append(w.out, "0\r\n"...)
	w.fields(h, "")
	return nil
}
