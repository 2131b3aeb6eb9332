package link

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a connection that a fault can begin to be about while it is open. Until then it is the
// connection beneath: every operation goes to the same descriptor, which SyscallConn shows, and
// several buffers are written at once.
type Conn struct {
	links *Links
	way   Way
	raw   net.Conn // the kernel's connection
	taken bool     // it was accepted, not opened, here
	front atomic.Pointer[face]

	// Held by the operation under way, so that no byte is read or written out of its turn when the
	// connection is diverted.
	reading, writing sync.Mutex

	mu     sync.Mutex
	rd, wd time.Time // deadlines
	shut   bool      // CloseWrite was called
	closed bool
	turned chan struct{} // nil until it is diverted; closed when that is done
}

// face is what operations go to: the raw connection, or the near end of a relay.
type face struct {
	net.Conn
	fd syscall.RawConn // nil without a descriptor
}

func newFace(c net.Conn) *face {
	f := &face{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if fd, err := sc.SyscallConn(); err == nil {
			f.fd = fd
		}
	}
	return f
}

func (l *Links) wrap(w Way, raw net.Conn, taken bool) *Conn {
	c := &Conn{links: l, way: w, raw: raw, taken: taken}
	c.front.Store(newFace(raw))
	return c
}

// Listen has what a listener accepts suffer what its way does, as connections do that Dial opens.
// That the kernel accepts them, nothing delays.
func (l *Links) Listen(on net.Listener, w Way) net.Listener { return &listener{on, l, w} }

type listener struct {
	net.Listener
	links *Links
	way   Way
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, err := l.links.keep(l.way, raw, true); err == nil {
			return c, nil
		} // it is closed: one that could not be led through a relay
	}
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// divert leads the connection through a relay from now on: whoever waits in the raw one is woken
// and waits in the other. r is nil when the connection has ended, or a relay carries it already.
func (c *Conn) divert() (r *relay, err error) {
	near, far, err := pair()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.closed || c.turned != nil {
		c.mu.Unlock()
		return nil, errors.Join(near.Close(), far.Close())
	}
	turned := make(chan struct{})
	c.turned = turned
	c.raw.SetDeadline(past) //nolint:errcheck // it may be gone: then nobody waits in it
	c.mu.Unlock()
	c.reading.Lock()
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(turned)
	c.raw.SetDeadline(time.Time{}) //nolint:errcheck // who reads it next will see
	//nolint:errcheck // a fresh socket takes any deadline
	near.SetReadDeadline(c.rd)
	//nolint:errcheck // likewise
	near.SetWriteDeadline(c.wd)
	c.front.Store(newFace(near))
	if c.shut {
		closeWrite(near)
	}
	if c.closed {
		near.Close()
	}
	if c.taken {
		return c.links.newRelay(c.way, c.raw, far), nil
	}
	return c.links.newRelay(c.way, far, c.raw), nil
}

// moved says that an operation on a face has ended because the connection is diverted; it has then
// waited until that is done.
func (c *Conn) moved(f *face, err error) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	turned := c.turned
	c.mu.Unlock()
	if turned == nil {
		return false
	}
	<-turned
	return c.front.Load() != f
}

// current is where deadlines go: nowhere while the connection is diverted. Caller must hold mu.
func (c *Conn) current() net.Conn {
	f := c.front.Load()
	if c.turned != nil && f.Conn == c.raw {
		return nowhere{c.raw}
	}
	return f
}

// nowhere is a connection whose deadlines somebody else sets.
type nowhere struct{ net.Conn }

func (nowhere) SetDeadline(time.Time) error      { return nil }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }

// Read reads as the connection beneath does.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		c.reading.Lock()
		f := c.front.Load()
		n, err := f.Read(b)
		c.reading.Unlock()
		if n > 0 || !c.moved(f, err) {
			return n, err
		}
	}
}

// Write writes as the connection beneath does.
func (c *Conn) Write(b []byte) (int, error) {
	done := 0
	for {
		c.writing.Lock()
		f := c.front.Load()
		n, err := f.Write(b[done:])
		c.writing.Unlock()
		if done += n; !c.moved(f, err) {
			return done, err
		}
	}
}

// WriteBuffers writes several buffers at once, as net.Buffers.WriteTo does with a connection of
// the kernel's.
func (c *Conn) WriteBuffers(v *net.Buffers) (int64, error) {
	done := int64(0)
	for {
		c.writing.Lock()
		f := c.front.Load()
		n, err := v.WriteTo(f.Conn) // takes off what it has written
		c.writing.Unlock()
		if done += n; !c.moved(f, err) {
			return done, err
		}
	}
}

// Close closes it.
func (c *Conn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	f := c.front.Load()
	c.mu.Unlock()
	if !was {
		c.links.drop(c)
	}
	return f.Close()
}

// CloseWrite ends what it sends.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	w, ok := c.front.Load().Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return w.CloseWrite()
}

// SetLinger says how Close ends it, as net.TCPConn's does.
func (c *Conn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.front.Load().Conn.(interface{ SetLinger(sec int) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return t.SetLinger(sec)
}

// LocalAddr is the near end of the connection to the far side.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr is its far end.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline bounds reads and writes.
func (c *Conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rd, c.wd = t, t
	return c.current().SetDeadline(t)
}

// SetReadDeadline bounds reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rd = t
	return c.current().SetReadDeadline(t)
}

// SetWriteDeadline bounds writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wd = t
	return c.current().SetWriteDeadline(t)
}

// SyscallConn gives access to the descriptor, whichever it is at the time of each call.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.front.Load().fd == nil {
		return nil, errors.ErrUnsupported
	}
	return descriptor{c}, nil
}

// descriptor is a Conn's syscall.RawConn.
type descriptor struct{ c *Conn }

func (d descriptor) Control(f func(fd uintptr)) error { return d.c.front.Load().fd.Control(f) }

func (d descriptor) Read(f func(fd uintptr) bool) error {
	for {
		d.c.reading.Lock()
		at := d.c.front.Load()
		err := at.fd.Read(f)
		d.c.reading.Unlock()
		if !d.c.moved(at, err) {
			return err
		}
	}
}

func (d descriptor) Write(f func(fd uintptr) bool) error {
	for {
		d.c.writing.Lock()
		at := d.c.front.Load()
		err := at.fd.Write(f)
		d.c.writing.Unlock()
		if !d.c.moved(at, err) {
			return err
		}
	}
}
