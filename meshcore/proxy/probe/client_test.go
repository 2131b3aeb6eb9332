package probe

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// client plays a client script and notes what it sees.
type client struct {
	conn   net.Conn
	r      *bufio.Reader
	marks  *marks
	addr   string
	secure *tls.Config // nil: plain text
	closed bool
	out    strings.Builder
	served func() int // the upstream connection that served the last request
}

// dial connects to the proxy.
func dial(addr string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

func (c *client) play(script []step) error {
	conn, err := dial(c.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.secure != nil {
		conn = tls.Client(conn, c.secure)
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	for _, s := range script {
		if err := c.step(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) note(format string, args ...any) { fmt.Fprintf(&c.out, "  "+format+"\n", args...) }

func (c *client) step(s step) error {
	switch s.op {
	case opSend:
		io.WriteString(c.conn, s.text) //nolint:errcheck // the answer may have come first
	case opRecv, opHead:
		c.recv(s.op == opHead)
	case opPeek:
		c.r.Peek(1) //nolint:errcheck // who reads it will see
	case opNext:
		c.next()
	case opBytes:
		b := make([]byte, s.n)
		n, err := io.ReadFull(c.r, b)
		c.note("bytes: %s", short(string(b[:n])))
		if err != nil {
			c.lost(err)
		}
	case opClose:
		c.conn.Close()
	case opReset:
		return abort(c.conn)
	case opHalf:
		return c.conn.(*net.TCPConn).CloseWrite()
	case opGone:
		b, err := io.ReadAll(c.r)
		if len(b) > 0 {
			c.note("bytes: %s", short(string(b)))
		}
		c.lost(err)
	case opMark:
		c.marks.reached(s.text)
	case opAwait:
		if !c.marks.wait(s.text) {
			c.note("NOTHING HAPPENS: %s", s.text)
		}
	case opOther:
		return c.other(s.text)
	default:
		return fmt.Errorf("a client can not do %d", s.op)
	}
	return nil
}

// abort closes a connection with a reset.
func abort(conn net.Conn) error {
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	return conn.Close()
}

// lost notes the end of the connection, once.
func (c *client) lost(err error) {
	switch {
	case c.closed:
	case err != nil && broken(err) != "cut":
		c.note("NOTHING HAPPENS")
	default:
		c.note("connection closed")
	}
	c.closed = true
}

func (c *client) recv(noBody bool) {
	if c.closed {
		return
	}
	m, err := readHead(c.r)
	if m == nil {
		c.lost(errors.Join(err))
		return
	}
	if err == nil {
		for b := newBodyReader(m, c.r, true, noBody); !b.done; {
			if b.read() != nil {
				break
			}
		}
	}
	m.write(&c.out)
	if m.end != "whole" || m.framing == "close" {
		c.lost(nil)
	}
}

// next sends another request.
func (c *client) next() {
	if c.closed {
		return
	}
	io.WriteString(c.conn, nextRequest) //nolint:errcheck // the answer says
	m, err := readHead(c.r)
	if m == nil {
		c.lost(err)
		return
	}
	b := newBodyReader(m, c.r, true, false)
	for !b.done {
		if b.read() != nil {
			break
		}
	}
	status := strings.Fields(m.first + " - -")[1]
	if status == "200" && string(m.body) == "ok" && m.end == "whole" {
		c.note("connection good, upstream connection %d", c.served())
		return
	}
	c.note("another request:")
	m.write(&c.out)
}

// other has another client complete an exchange.
func (c *client) other(text string) error {
	o := &client{addr: c.addr, marks: c.marks, served: c.served}
	err := o.play([]step{send(text), recv})
	c.note("meanwhile, another client:")
	c.out.WriteString(o.out.String())
	return err
}
