package transport

import (
	"crypto/tls"
	"net"
	"syscall"
)

// Conn is a secured connection.
type Conn struct {
	*tls.Conn
	// State is what the handshake told.
	State *State

	sock  *socket
	byte1 [1]byte
}

// Under returns the connection that it secures.
func (c *Conn) Under() net.Conn { return c.sock.Conn }

// Stale says that an idle connection can not be used again: the peer closed it, or sent what nobody
// asked for. What the peer says to the TLS layer alone (session tickets) is read on the way: bytes
// on the socket are not yet bytes for us.
func (c *Conn) Stale() bool {
	if c.sock.raw == nil {
		return false
	}
	c.sock.nowait = true
	_, err := c.Read(c.byte1[:])
	c.sock.nowait = false
	return err != errNothing //nolint:errorlint // crypto/tls returns it as it is
}

// socket is the connection below the TLS layer.
type socket struct {
	net.Conn
	pre    []byte // was received before
	raw    syscall.RawConn
	nowait bool // reads do not wait
	into   []byte
	n      int
	err    error
	try    func(fd uintptr) bool
}

func newSocket(c net.Conn, pre []byte) *socket {
	s := &socket{Conn: c, pre: pre}
	if sc, ok := c.(syscall.Conn); ok && canPeek {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
			s.try = func(fd uintptr) bool {
				s.n, s.err = readNow(fd, s.into)
				return true
			}
		}
	}
	return s
}

// Read reads what was received before, then from the connection.
func (s *socket) Read(b []byte) (int, error) {
	if len(s.pre) > 0 {
		n := copy(b, s.pre)
		s.pre = s.pre[n:]
		return n, nil
	}
	if !s.nowait {
		return s.Conn.Read(b)
	}
	s.into = b
	err := s.raw.Read(s.try)
	s.into = nil
	if err != nil {
		return 0, err
	}
	return s.n, s.err
}

// nothing is the error of a read that would have to wait. It is a net.Error that passes, so that
// crypto/tls goes on after it.
type nothing struct{}

// Error says so.
func (nothing) Error() string { return "transport: nothing to read" }

// Timeout says that another read may have more luck.
func (nothing) Timeout() bool { return true }

// Temporary says the same.
func (nothing) Temporary() bool { return true }

var errNothing error = nothing{}
