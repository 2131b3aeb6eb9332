package echo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"
)

// listener sorts connections by their first bytes. Any port answers:
//
//	0x16 ─▶ TLS, with the same choice within it
//	a line with " HTTP/" ─▶ net/http
//	else ─▶ one line, answered with what was seen
type listener struct {
	net.Listener
	s    *service
	port int

	http chan net.Conn // for net/http

	mu    sync.Mutex
	conns map[net.Conn]struct{} // that are not net/http's
	err   error                 // of the socket, when it has ended
	ended chan struct{}
}

// Take lets connections without HTTP be answered as well.
func (s *service) Take(l net.Listener, port int) net.Listener {
	t := &listener{
		Listener: l, s: s, port: port, http: make(chan net.Conn),
		conns: map[net.Conn]struct{}{}, ended: make(chan struct{}),
	}
	go t.accept()
	return t
}

func (l *listener) accept() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.end(err)
			return
		}
		if l.keep(c) {
			go l.sort(c)
		}
	}
}

// end closes what net/http does not know.
func (l *listener) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	close(l.ended)
	for c := range l.conns {
		c.Close()
	}
}

// keep remembers a connection for the end; false when that has come.
func (l *listener) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *listener) forget(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Accept returns the next connection with HTTP.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.http:
		return c, nil
	case <-l.ended:
		return nil, l.err
	}
}

// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const handshakeRecord = 0x16

// patience bounds how long a client may be about its handshake and first line.
const patience = time.Minute

// sort finds out what a connection speaks, and answers it or hands it to net/http.
func (l *listener) sort(raw net.Conn) {
	defer l.forget(raw)
	raw.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // a read fails when it is gone
	c := &peeked{Conn: raw, r: bufio.NewReader(raw)}
	first, err := c.r.Peek(1)
	if err == nil && first[0] == handshakeRecord {
		secured := tls.Server(c, l.s.tlsConfig())
		if err = secured.Handshake(); err == nil {
			state := secured.ConnectionState()
			c = &peeked{Conn: secured, r: bufio.NewReader(secured), tls: &state}
		}
	}
	if err != nil {
		raw.Close()
		return
	}
	if !c.isHTTP() {
		l.s.line(c, l.port)
		return
	}
	raw.SetDeadline(time.Time{}) //nolint:errcheck // as above
	select {
	case l.http <- c:
	case <-l.ended:
		c.Close()
	}
}

// peeked is a connection of which the beginning has been read.
type peeked struct {
	net.Conn
	r   *bufio.Reader
	tls *tls.ConnectionState
}

// TLS says how it is protected.
func (c *peeked) TLS() *tls.ConnectionState { return c.tls }

// Read returns the beginning first.
func (c *peeked) Read(b []byte) (int, error) {
	if c.r.Buffered() > 0 {
		return c.r.Read(b)
	}
	return c.Conn.Read(b)
}

// CloseWrite ends our side.
func (c *peeked) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// isHTTP looks at the first line; one that is longer than the buffer is HTTP if it begins with a
// word in capitals.
func (c *peeked) isHTTP() bool {
	for n := 1; ; n = c.r.Buffered() + 1 {
		_, err := c.r.Peek(n)
		seen, _ := c.r.Peek(c.r.Buffered())
		line, _, whole := bytes.Cut(seen, []byte("\n"))
		switch {
		case whole:
			return bytes.Contains(line, []byte(" HTTP/"))
		case err != nil: // the buffer is full, or the client is done
			method, _, more := bytes.Cut(line, []byte(" "))
			return more && bytes.Equal(method, bytes.ToUpper(method)) && len(line) == c.r.Size()
		}
	}
}

// Line is the answer to a connection without HTTP, on one line.
type Line struct {
	Protocol  string `json:"protocol"` // TCP
	Port      int    `json:"port"`
	TLS       *TLS   `json:"tls"`
	Workload  string `json:"workload"`
	Pod       string `json:"pod"`
	Version   string `json:"version"`
	Namespace string `json:"namespace"`
	Remote    string `json:"remote"`
	Body      string `json:"body"`  // the line that came, without its end
	Count     int    `json:"count"` // of this pod's requests, this one included
}

// longestLine bounds what is read of a line without an end.
const longestLine = 1 << 20

// line answers one line and closes the connection.
func (s *service) line(c *peeked, port int) {
	defer c.Close()
	text, err := bufio.NewReader(io.LimitReader(c, longestLine)).ReadString('\n')
	if err != nil && text == "" {
		return
	}
	count, _ := s.account("", wish{})
	if !s.env.Wait(context.Background(), s.delay) || s.reset {
		return
	}
	answer, err := json.Marshal(&Line{
		Protocol: "TCP", Port: port, TLS: tlsOf(c.tls), Workload: s.env.Workload, Pod: s.env.Pod,
		Version: s.env.AppVersion(), Namespace: s.env.Namespace, Remote: c.RemoteAddr().String(),
		Body: string(bytes.TrimRight([]byte(text), "\r\n")), Count: count,
	})
	if err != nil {
		panic("echo: " + err.Error()) // Line holds nothing that JSON cannot
	}
	if _, err := c.Write(append(answer, '\n')); err != nil || c.CloseWrite() != nil {
		return
	}
	io.Copy(io.Discard, c) //nolint:errcheck // what is left unread would reset the connection
}
