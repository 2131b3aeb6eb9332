package embedded

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
)

// Shared is a driver whose pods share one loopback address, as where there is no other.
func Shared() Driver { return Driver{shared: true} }

// Sockets counts the sockets that the network of a mesh leads to.
func Sockets(m any) (n int) {
	nw := worldOf(m).net
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for _, h := range nw.hosts {
		n += len(h.sockets) + len(h.apps)
	}
	return n
}

// worldOf is where the pods of a mesh run.
func worldOf(m any) *world { return m.(*live.Mesh).World().(*world) }

// Tap listens at a logical address where nobody is and passes what comes on to another, as if the
// sender had dialled that; it notes what the sender says, and what comes back.
func Tap(m any, at, to netip.AddrPort) (*Heard, error) {
	lab := worldOf(m)
	l, err := lab.net.bind(at.Addr(), at.Port())
	if err != nil {
		return nil, err
	}
	lab.net.mu.Lock()
	lab.net.host(at.Addr()).apps[at.Port()] = l.Addr().String()
	lab.net.mu.Unlock()
	h := &Heard{}
	h.relay = link.Pass(l, func(ctx context.Context, c net.Conn) (net.Conn, error) {
		from := lab.net.logical(c.RemoteAddr().(*net.TCPAddr).AddrPort())
		up, err := lab.dialPod(ctx, from, to)
		return &heardConn{Conn: up, h: h}, err
	})
	return h, nil
}

// Heard is what was on a wire.
type Heard struct {
	relay *link.Passing

	mu          sync.Mutex
	there, back []byte
	firsts      []byte // the first byte of each connection
}

// Close ends the tap.
func (h *Heard) Close() { h.relay.Close() }

// Take returns what was said since the last call, to the server and back, and the first byte of
// each connection.
func (h *Heard) Take() (there, back, firsts []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	there, back, firsts = h.there, h.back, h.firsts
	h.there, h.back, h.firsts = nil, nil, nil
	return there, back, firsts
}

// heardConn is a connection to the server that notes what crosses it.
type heardConn struct {
	net.Conn
	h    *Heard
	told bool // its first byte has gone
}

// Write notes what goes to the server.
func (c *heardConn) Write(b []byte) (int, error) {
	c.h.mu.Lock()
	if !c.told && len(b) > 0 {
		c.h.firsts, c.told = append(c.h.firsts, b[0]), true
	}
	c.h.there = append(c.h.there, b...)
	c.h.mu.Unlock()
	return c.Conn.Write(b)
}

// Read notes what comes back.
func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.h.mu.Lock()
	c.h.back = append(c.h.back, b[:n]...)
	c.h.mu.Unlock()
	return n, err
}

// CloseWrite ends our side.
func (c *heardConn) CloseWrite() error {
	closeWrite(c.Conn)
	return nil
}

// EnvoyPID is the process of a pod's Envoy.
func EnvoyPID(m any, id string) int {
	return m.(*live.Mesh).Pod(id).(*pod).proxy().(*envoySidecar).process.PID()
}
