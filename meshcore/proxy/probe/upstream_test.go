package probe

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// upstream plays the scripts of one case.
type upstream struct {
	p     *probe
	l     net.Listener
	marks *marks

	mu       sync.Mutex
	conns    []net.Conn
	busy     int // requests under way
	idle     sync.Cond
	speaking int // connections that sent something
	attempts []*attempt
	last     int // connection of the last request
}

// attempt is a request as the upstream saw it.
type attempt struct {
	conn int
	m    *message
	note strings.Builder
}

func newUpstream(p *probe) (*upstream, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{p: p, l: l, marks: &marks{}}
	u.idle.L = &u.mu
	go u.accept()
	return u, nil
}

// port is where the proxy finds it. Nobody listens on port 1, and nobody is given it by chance.
func (u *upstream) port() uint32 {
	if u.p.refuse {
		return 1
	}
	return uint32(u.l.Addr().(*net.TCPAddr).Port)
}

func (u *upstream) close() {
	u.l.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.conns {
		c.Close()
	}
}

func (u *upstream) accept() {
	for {
		conn, err := u.l.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.conns = append(u.conns, conn)
		u.mu.Unlock()
		go u.serve(conn)
	}
}

// serve reads requests and plays their scripts.
func (u *upstream) serve(conn net.Conn) {
	defer conn.Close()
	s := &session{u: u, conn: conn, r: bufio.NewReader(conn)}
	for {
		if _, err := s.r.Peek(1); err != nil {
			return
		}
		u.mu.Lock()
		if s.number == 0 {
			u.speaking++
			s.number = u.speaking
		}
		u.busy++
		u.mu.Unlock()
		again := s.request()
		u.mu.Lock()
		u.busy--
		u.idle.Broadcast()
		u.mu.Unlock()
		if !again {
			return
		}
	}
}

// session is one connection of the upstream.
type session struct {
	u      *upstream
	conn   net.Conn
	r      *bufio.Reader
	number int
	a      *attempt
	body   *bodyReader
}

// request serves one request and says whether the connection is still open.
func (s *session) request() bool {
	s.conn.SetDeadline(time.Now().Add(patience))
	defer s.conn.SetDeadline(time.Time{})
	m, err := readHead(s.r)
	if m == nil {
		return false
	}
	s.a = &attempt{conn: s.number, m: m}
	script := []step{whole, send(ok)}
	s.u.mu.Lock()
	s.u.last = s.number
	if !strings.HasPrefix(m.first, "GET /next ") {
		script = s.u.p.serverScript(len(s.u.attempts))
		s.u.attempts = append(s.u.attempts, s.a)
	}
	s.u.mu.Unlock()
	if err != nil {
		return false
	}
	s.body = newBodyReader(m, s.r, false, false)
	for _, st := range script {
		if !s.step(st) {
			return false
		}
	}
	return s.body.done && m.end == "whole"
}

// step says whether the connection is still open.
func (s *session) step(st step) bool {
	switch st.op {
	case opSend:
		io.WriteString(s.conn, st.text) //nolint:errcheck // the client's side says it
	case opWhole:
		for !s.body.done {
			if s.body.read() != nil {
				return false
			}
		}
	case opBody:
		for !s.body.done && len(s.a.m.body) < st.n {
			if s.body.read() != nil {
				return false
			}
		}
	case opBytes:
		b := make([]byte, st.n)
		n, _ := io.ReadFull(s.r, b)
		fmt.Fprintf(&s.a.note, "    bytes: %s\n", short(string(b[:n])))
	case opClose:
		return false
	case opReset:
		abort(s.conn) //nolint:errcheck // closed then
		return false
	case opHalf:
		s.conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // closed then
	case opGone:
		s.gone()
		return false
	case opMark:
		s.u.marks.reached(st.text)
	case opAwait:
		if !s.u.marks.wait(st.text) {
			fmt.Fprintf(&s.a.note, "    NOTHING HAPPENS: %s\n", st.text)
		}
	case opHead:
	default:
		panic("an upstream can not do this")
	}
	return true
}

// gone waits until the proxy closes the connection.
func (s *session) gone() {
	for !s.body.done {
		if s.body.read() != nil {
			break
		}
	}
	rest, err := io.ReadAll(s.r)
	if len(rest) > 0 {
		fmt.Fprintf(&s.a.note, "    bytes: %s\n", short(string(rest)))
	}
	if err != nil && broken(err) != "cut" {
		s.a.note.WriteString("    NOTHING HAPPENS: still open\n")
		return
	}
	s.a.note.WriteString("    closed by the proxy\n")
}

// write appends the canonical text of what was seen.
func (u *upstream) write(out *strings.Builder) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.busy > 0 {
		u.idle.Wait()
	}
	if len(u.attempts) == 0 {
		out.WriteString("upstream: nothing\n")
	}
	for _, a := range u.attempts {
		fmt.Fprintf(out, "upstream, connection %d\n", a.conn)
		a.m.write(out)
		out.WriteString(a.note.String())
	}
}

func (u *upstream) connection() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}
