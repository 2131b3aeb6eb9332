package embedded

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// gate is what the connections of a bundled app pass, in and out: an app of this process can be
// stopped and killed only there. Proxies' ends of the same connections are as they were.
type gate struct {
	paused atomic.Pointer[chan struct{}] // closed when it goes on

	mu    sync.Mutex
	conns map[*gated]struct{}
	dead  bool
}

func newGate() *gate { return &gate{conns: map[*gated]struct{}{}} }

// pause has the app neither read, write nor take anything until resume.
func (g *gate) pause() {
	over := make(chan struct{})
	g.paused.CompareAndSwap(nil, &over)
}

func (g *gate) resume() {
	if over := g.paused.Swap(nil); over != nil {
		close(*over)
	}
}

// wait returns when the app is not paused.
func (g *gate) wait() {
	for over := g.paused.Load(); over != nil; over = g.paused.Load() {
		<-*over
	}
}

// kill ends all connections, and those to come; it returns how many there were.
func (g *gate) kill() int {
	g.mu.Lock()
	g.dead = true
	conns := g.conns
	g.conns = map[*gated]struct{}{}
	g.mu.Unlock()
	g.resume()
	for c := range conns {
		c.Conn.Close()
	}
	return len(conns)
}

// open is how many connections there are.
func (g *gate) open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// pass has a connection pass the gate.
func (g *gate) pass(c net.Conn) (net.Conn, error) {
	g.wait()
	out := &gated{Conn: c, g: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		c.Close()
		return nil, net.ErrClosed
	}
	g.conns[out] = struct{}{}
	return out, nil
}

// dialing has what dial opens pass the gate.
func (g *gate) dialing(
	dial func(ctx context.Context, address string) (net.Conn, error),
) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		g.wait()
		c, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return g.pass(c)
	}
}

// gated is a connection of the app.
type gated struct {
	net.Conn
	g *gate
}

// Read gives what has come when the app is not paused.
func (c *gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.g.wait()
	return n, err
}

// Write waits until the app is not paused.
func (c *gated) Write(b []byte) (int, error) {
	c.g.wait()
	return c.Conn.Write(b)
}

// closeWrite ends one side of a connection that can be ended so.
func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() //nolint:errcheck // the other end may be gone
	}
}

// CloseWrite ends our side.
func (c *gated) CloseWrite() error {
	closeWrite(c.Conn)
	return nil
}

// Close ends the connection.
func (c *gated) Close() error {
	c.g.mu.Lock()
	delete(c.g.conns, c)
	c.g.mu.Unlock()
	return c.Conn.Close()
}

// gatedListener takes connections through a gate.
type gatedListener struct {
	net.Listener
	g *gate
}

// Accept takes the next connection.
func (l gatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.g.pass(c)
}
