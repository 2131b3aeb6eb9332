package link

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Passing passes bytes on between the connections that a socket takes and those that it opens.
type Passing struct {
	l    net.Listener
	dial func(context.Context, net.Conn) (net.Conn, error) // for a connection that came

	ctx   context.Context // ends with Close
	end   context.CancelFunc
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	done  bool
	wg    sync.WaitGroup
}

// Pass begins to pass on what comes to a socket.
func Pass(
	l net.Listener, dial func(context.Context, net.Conn) (net.Conn, error),
) *Passing {
	p := &Passing{l: l, dial: dial, conns: map[net.Conn]struct{}{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p
}

func (p *Passing) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		if p.keep(c) {
			p.wg.Go(func() { p.carry(c) })
		}
	}
}

// keep remembers a connection for Close; false when that has begun.
func (p *Passing) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// carry connects one connection to where it leads. Who can not be connected sees a connection that
// nobody took; who is reset at one end is at the other.
func (p *Passing) carry(c net.Conn) {
	defer p.drop(c)
	up, err := p.dial(p.ctx, c)
	if err != nil {
		abort(c)
		return
	}
	if !p.keep(up) {
		return
	}
	defer p.drop(up)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := io.Copy(up, c); errors.Is(err, syscall.ECONNRESET) {
			abort(up)
			up.Close()
			return
		}
		if w, ok := up.(interface{ CloseWrite() error }); ok { // else what is answered still comes
			w.CloseWrite() //nolint:errcheck // the other end may be gone
		}
	}()
	if _, err := io.Copy(c, up); errors.Is(err, syscall.ECONNRESET) {
		abort(c)
	}
	c.Close()
	<-ended
}

func (p *Passing) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// Stop takes no more connections; those that there are go on.
func (p *Passing) Stop() { p.l.Close() }

// Close ends it, and all connections.
func (p *Passing) Close() {
	p.l.Close()
	p.end()
	p.mu.Lock()
	p.done = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
