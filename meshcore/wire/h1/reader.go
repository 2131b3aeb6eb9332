package h1

import (
	"io"
	"net"
	"syscall"
)

// reader is the receiving half of a connection. buf[r:w] is what was received and not yet used;
// buf[:base] is held by the head of the current message.
type reader struct {
	taken, heads int64 // bytes of the exchange; of them, header lines
	conn         net.Conn
	raw          syscall.RawConn // nil when conn has no descriptor (pipes, TLS)
	try          func(fd uintptr) bool
	err          error // of try

	buf        []byte // nil while idle
	lent       []byte // the buffer with the head, when the body goes on in a larger one
	base, r, w int
	full       bool // the last read filled the buffer: more is to be expected
}

func (s *reader) init(c net.Conn) {
	s.conn = c
	if sc, ok := c.(syscall.Conn); ok && raw {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
			s.try = s.tryFirst
		}
	}
}

// begin frees what the last message held and moves what was received beyond it to the front.
func (s *reader) begin() {
	put(s.lent)
	s.lent = nil
	rest := s.w - s.r
	if rest == 0 {
		s.release()
		return
	}
	if s.r > 0 {
		copy(s.buf, s.buf[s.r:s.w])
	}
	s.base, s.r, s.w, s.full = 0, 0, rest, false
}

// release gives all buffers back; what was received is lost.
func (s *reader) release() {
	put(s.lent)
	put(s.buf)
	s.lent, s.buf = nil, nil
	s.base, s.r, s.w, s.full = 0, 0, 0, false
}

// fill reads at least one byte into the buffer, which must have room.
func (s *reader) fill() error {
	if s.buf == nil {
		return s.first()
	}
	n, err := s.conn.Read(s.buf[s.w:])
	s.w += n
	s.full = s.w == len(s.buf)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// first waits for the first bytes of a message. No buffer is held while it waits.
func (s *reader) first() error {
	if s.raw == nil {
		s.buf = getSmall()
		if err := s.fill(); err != nil {
			s.release()
			return err
		}
		return nil
	}
	if err := s.raw.Read(s.try); err != nil {
		return err
	}
	return s.err
}

// tryFirst is called by the runtime's poller when the socket may be readable.
func (s *reader) tryFirst(fd uintptr) bool {
	b := getSmall()
	n, err, again := readFD(fd, b)
	if again {
		put(b)
		return false
	}
	s.err = err
	if err == nil && n == 0 {
		s.err = io.EOF
	}
	if s.err != nil {
		put(b)
		return true
	}
	s.buf, s.r, s.w, s.base, s.full = b, 0, n, 0, n == len(b)
	return true
}

// grow makes room for a head that does not fit. The fields parsed so far point into the old
// buffer, which is therefore left to the collector.
func (s *reader) grow() {
	b := make([]byte, 4*len(s.buf))
	copy(b, s.buf[:s.w])
	s.buf, s.full = b, false
}

// fillBody reads more of a body when all that was received is used up. want is how much is still to
// come, as far as known.
func (s *reader) fillBody(want int64) error {
	s.r, s.w = s.base, s.base
	room := len(s.buf) - s.base
	if s.buf == nil {
		s.buf = getSmall()
	} else if s.lent == nil && (room < 4096 || s.full || want > int64(room)) {
		s.lent, s.buf = s.buf, getLarge()
		s.base, s.r, s.w = 0, 0, 0
	}
	return s.fill()
}
