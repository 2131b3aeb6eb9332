// Package tunnel is the way between the lab's process and what runs in containers: one connection
// to the hub, and through it a stream for each thing that is asked.
//
//	lab ── Client ══ yamux ══ Hub ──┬── Agent of a pod: dial as its app, call
//	                                ├── from outside, or from the hub itself
//	                                └◀─ what comes from inside: records, access logs
//
// Who opens a stream or a connection says first what it is about, as a line of JSON; who takes it
// answers with another. After that it is bytes.
package tunnel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// What streams are about.
const (
	OpDial    = "dial"    // connect to To, from At's name space
	OpOutside = "outside" // connect to To from the hub, as a client from outside
	OpCall    = "call"    // call Name, with JSON and for JSON
	OpRecords = "records" // from inside: one of our proxies tells what it did
	OpReports = "reports" // from inside: a real Envoy's access log service
)

// Header is the first line of a stream.
type Header struct {
	Op    string     `json:"op"`
	At    netip.Addr `json:"at,omitzero"` // whose agent; none: the hub's
	To    string     `json:"to,omitempty"`
	Name  string     `json:"name,omitempty"`
	Token string     `json:"token,omitempty"` // of connections to agents
}

// answer is the second line.
type answer struct {
	Error string `json:"error,omitempty"`
	Errno int    `json:"errno,omitempty"` // of Linux
	Name  string `json:"name,omitempty"`  // that nobody knows
	// Local is the connection's own end, as the other side sees it; of OpDial and OpOutside.
	Local netip.AddrPort `json:"local,omitzero"`
}

// longest is how long a line may be: the names of a large lab are called with.
const longest = 64 << 20

// writeLine writes a value as a line of JSON.
func writeLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// readLine reads one. It reads no byte more: those are for others.
func readLine(r io.ByteReader, v any) error {
	var text []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		if b == '\n' {
			return json.Unmarshal(text, v)
		}
		if text = append(text, b); len(text) > longest {
			return errors.New("tunnel: a line is too long")
		}
	}
}

// conn is a connection whose first bytes have been read with others.
type conn struct {
	net.Conn
	r     *bufio.Reader
	local net.Addr // the end that the other side sees, where that is elsewhere; else nil
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, r: bufio.NewReader(c)} }

// LocalAddr is the address that the other side sees.
func (c *conn) LocalAddr() net.Addr {
	if c.local != nil {
		return c.local
	}
	return c.Conn.LocalAddr()
}

// Read reads what was read already first.
func (c *conn) Read(b []byte) (int, error) {
	if c.r.Buffered() > 0 {
		return c.r.Read(b)
	}
	return c.Conn.Read(b)
}

// CloseWrite says that nothing more comes; what the other side sends still does.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Conn.Close() // a stream's: it may still be read
}

// Close ends it both ways.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.Conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // who reads is to stop
	return err
}

// answerOf tells an error to the other side.
func answerOf(err error) answer {
	if err == nil {
		return answer{}
	}
	a := answer{Error: err.Error()}
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		a.Name = dns.Name
	case errors.As(err, &errno):
		a.Errno = int(errno)
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.Errno = int(syscall.ETIMEDOUT)
	}
	return a
}

// err is the error that an answer tells.
func (a answer) err() error {
	switch {
	case a.Name != "":
		return &net.DNSError{Err: "no such host", Name: a.Name, IsNotFound: true}
	case a.Errno != 0:
		return &net.OpError{Op: "dial", Net: "tcp", Err: errnoOf(a.Errno)}
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// errnoOf is this machine's error of a number of Linux'.
func errnoOf(n int) error {
	switch n {
	case 104:
		return syscall.ECONNRESET
	case 110:
		return syscall.ETIMEDOUT
	case 111:
		return syscall.ECONNREFUSED
	case 113, 101:
		return syscall.EHOSTUNREACH
	}
	return fmt.Errorf("error %d of Linux", n)
}

// join passes bytes on both ways until both have ended. Who is reset resets the other.
func join(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pass(a, b)
	}()
	pass(b, a)
	<-ended
}

// pass passes on what comes from one, until it ends.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err != nil { // one of both is broken: so is the other
		linger(to)
		linger(from)
		to.Close()
		from.Close()
		return
	}
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() //nolint:errcheck // it may be gone
	} else {
		to.Close()
	}
}

// linger has a connection's end be a reset.
func linger(c net.Conn) {
	if x, ok := c.(*conn); ok {
		c = x.Conn
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // it may be gone
	}
}
