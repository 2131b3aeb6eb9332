package tunnel

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/yamux"
)

// dialPatience bounds a connection's making, as clients on Linux have it.
const dialPatience = 2 * time.Minute

// Server answers streams: the hub those of the lab, an agent those that the hub hands on.
type Server struct {
	Token string
	// Outside is the address that clients from outside are seen with; the hub's alone.
	Outside netip.Addr
	// AgentPort is where agents listen.
	AgentPort uint16
	// Calls are the functions that can be called, by name. in is JSON.
	Calls map[string]func(ctx context.Context, in []byte) (out any, err error)
}

// known says whether a token is the lab's.
func (s *Server) known(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1
}

var errToken = errors.New("this is another lab's")

// ServeAgent answers what the hub hands on, until the listener is closed.
func (s *Server) ServeAgent(ctx context.Context, l net.Listener) error {
	for {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			c := newConn(raw)
			var h Header
			if readLine(c.r, &h) != nil {
				c.Close()
				return
			}
			if !s.known(h.Token) {
				writeLine(c, answerOf(errToken)) //nolint:errcheck // a stranger's
				c.Close()
				return
			}
			s.answer(ctx, c, h)
		}()
	}
}

// ServeHub takes the lab's connection, one after the other; from inside come connections on the
// listeners of in, by what they are about.
func (s *Server) ServeHub(ctx context.Context, l net.Listener, in map[string]net.Listener) error {
	sessions := make(chan *yamux.Session, 1)
	current := func() *yamux.Session {
		x := <-sessions
		sessions <- x
		return x
	}
	for op, from := range in {
		go s.handIn(from, op, current)
	}
	first := true
	for {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		session, err := s.welcome(raw)
		if err != nil {
			raw.Close()
			continue
		}
		if !first {
			(<-sessions).Close()
		}
		first = false
		sessions <- session
		go func() {
			for {
				stream, err := session.AcceptStream()
				if err != nil {
					return
				}
				go func() {
					c := newConn(stream)
					var h Header
					if readLine(c.r, &h) != nil {
						c.Close()
						return
					}
					s.answer(ctx, c, h)
				}()
			}
		}()
	}
}

// welcome begins a session with who knows the token.
func (s *Server) welcome(raw net.Conn) (*yamux.Session, error) {
	c := newConn(raw)
	var h Header
	if err := readLine(c.r, &h); err != nil {
		return nil, err
	}
	if !s.known(h.Token) {
		return nil, errors.Join(errToken, writeLine(c, answerOf(errToken)))
	}
	if err := writeLine(c, answer{}); err != nil {
		return nil, err
	}
	return yamux.Server(c, config())
}

// handIn hands connections from inside to the lab.
func (s *Server) handIn(from net.Listener, op string, session func() *yamux.Session) {
	for {
		c, err := from.Accept()
		if err != nil {
			return
		}
		go func() {
			stream, err := session().OpenStream()
			if err != nil {
				c.Close()
				return
			}
			x := newConn(stream)
			if writeLine(x, Header{Op: op, To: c.RemoteAddr().String()}) != nil {
				c.Close()
				x.Close()
				return
			}
			join(x, c)
		}()
	}
}

// answer does what a stream is about.
func (s *Server) answer(ctx context.Context, c *conn, h Header) {
	switch {
	case h.At.IsValid() && s.AgentPort != 0:
		s.handOn(ctx, c, h)
	case h.Op == OpCall:
		s.call(ctx, c, h)
	case h.Op == OpDial, h.Op == OpOutside:
		d := net.Dialer{Timeout: dialPatience}
		if h.Op == OpOutside {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.Outside, 0))
		}
		up, err := d.DialContext(ctx, "tcp4", h.To)
		a := answerOf(err)
		if err == nil {
			a.Local = up.LocalAddr().(*net.TCPAddr).AddrPort()
		}
		if writeLine(c, a) != nil && err == nil {
			up.Close()
		}
		if err != nil {
			c.Close()
			return
		}
		join(c, up)
	default:
		writeLine(c, answer{Error: "unknown: " + h.Op}) //nolint:errcheck // it is closed anyway
		c.Close()
	}
}

// agentPatience bounds how long an agent may take to be there.
const agentPatience = 5 * time.Second

// handOn hands a stream to the agent that it is for.
func (s *Server) handOn(ctx context.Context, c *conn, h Header) {
	d := net.Dialer{Timeout: agentPatience}
	up, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(h.At, s.AgentPort).String())
	if err == nil {
		h.Token, h.At = s.Token, netip.Addr{}
		err = writeLine(up, h)
	}
	if err != nil {
		writeLine(c, answerOf(err)) //nolint:errcheck // it is closed anyway
		c.Close()
		return
	}
	join(c, up)
}

// call calls a function.
func (s *Server) call(ctx context.Context, c *conn, h Header) {
	defer c.Close()
	f := s.Calls[h.Name]
	if f == nil {
		//nolint:errcheck // it is closed anyway
		writeLine(c, answer{Error: "there is no " + h.Name})
		return
	}
	if writeLine(c, answer{}) != nil {
		return
	}
	var in raw
	if readLine(c.r, &in) != nil {
		return
	}
	out, err := f(ctx, in)
	if writeLine(c, answerOf(err)) == nil && err == nil {
		writeLine(c, out) //nolint:errcheck // who asked has gone
	}
}

// raw is JSON that somebody else reads.
type raw []byte

// UnmarshalJSON keeps it.
func (r *raw) UnmarshalJSON(text []byte) error {
	*r = append((*r)[:0], text...)
	return nil
}
