package h1

import (
	"io"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// framing says where a received body ends.
type framing uint8

const (
	framingNone   framing = iota
	framingLength         // after body.left bytes
	framingChunks
	framingClose // with the connection; also a tunnel
)

// body is the state of a message body that is being received.
type body struct {
	framing  framing
	left     int64
	chunks   chunks
	trailers *wire.Head
}

// start prepares for the body that a head announces. length is the content-length as received,
// which Connection may have removed from the head.
func (b *body) start(h *wire.Head, length int64, tunnel bool) {
	*b = body{chunks: chunks{trailers: b.chunks.trailers[:0]}}
	switch {
	case tunnel:
		b.framing = framingClose
	case h.NoBody:
	case h.Chunked:
		b.framing = framingChunks
	case length >= 0:
		b.framing, b.left = framingLength, length
	default:
		b.framing = framingClose
	}
}

// done says that the message was received to its end.
func (b *body) done() bool {
	switch b.framing {
	case framingLength:
		return b.left == 0
	case framingChunks:
		return b.chunks.state == chunkDone
	}
	return b.framing == framingNone
}

// readBody returns the next piece. The end of the connection ends only a body that nothing else
// bounds.
func (s *reader) readBody(b *body) (p []byte, fin bool, err error) {
	if b.done() {
		return nil, true, nil
	}
	if s.r == s.w {
		if err := s.fillBody(b.expect()); err != nil {
			if err != io.EOF {
				return nil, false, err
			}
			if b.framing == framingClose {
				b.framing = framingNone
				return nil, true, nil
			}
			return nil, false, io.ErrUnexpectedEOF
		}
	}
	switch b.framing {
	case framingLength:
		n := int(min(int64(s.w-s.r), b.left))
		p = s.buf[s.r : s.r+n]
		s.r += n
		s.taken += int64(n)
		b.left -= int64(n)
		return p, b.left == 0, nil
	case framingChunks:
		lo, hi, used, bad := b.chunks.decode(s.buf[s.r:s.w])
		p = s.buf[s.r+lo : s.r+hi]
		s.r += used
		s.taken += int64(used)
		if bad == nil && b.done() {
			bad = b.parseTrailers()
		}
		if bad != nil { // what came together with it is lost, as in Envoy
			return nil, false, bad
		}
		return p, b.done(), nil
	}
	p = s.buf[s.r:s.w]
	s.taken += int64(len(p))
	s.r = s.w
	return p, false, nil
}

// expect is how much is to come, as far as known.
func (b *body) expect() int64 {
	switch b.framing {
	case framingLength:
		return b.left
	case framingChunks:
		return b.chunks.left
	}
	return 0
}

// parseTrailers checks the trailers and keeps them.
func (b *body) parseTrailers() *Error {
	if len(b.chunks.trailers) == 0 {
		return nil
	}
	h := &wire.Head{ContentLength: -1}
	var p parser
	p.reset(Limits{HeadBytes: maxTrailers + 2, Fields: RequestLimits.Fields})
	p.first = false
	text := append(b.chunks.trailers, '\r', '\n')
	if done, err := p.parse(text, h, nil); err != nil || !done {
		return errTrailer
	}
	h.Del("content-length") // what frames a message is no trailer
	b.trailers = h
	return nil
}
