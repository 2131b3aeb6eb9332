package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// listen opens a unix socket for connections that are passed on: on Linux one without a file.
func listen() (net.Listener, error) {
	name := "mesh-lab-" + rand.Text()
	if runtime.GOOS == "linux" {
		return net.Listen("unix", "@"+name)
	}
	return net.Listen("unix", filepath.Join(os.TempDir(), name[:20]+".sock"))
}

// passing passes bytes on between the connections that a socket takes and those that it opens.
type passing struct {
	l    net.Listener
	dial func(context.Context) (net.Conn, error)

	ctx   context.Context // ends with close
	end   context.CancelFunc
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// relay begins to pass on what comes to a socket.
func relay(l net.Listener, dial func(context.Context) (net.Conn, error)) *passing {
	r := &passing{l: l, dial: dial, conns: map[net.Conn]struct{}{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.wg.Go(r.accept)
	return r
}

func (r *passing) accept() {
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.carry(c) })
	}
}

// keep remembers a connection for close; false when that has begun.
func (r *passing) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *passing) drop(c net.Conn) {
	c.Close()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

// carry connects one connection to where it leads. Who can not be connected sees a connection that
// nobody took.
func (r *passing) carry(c net.Conn) {
	if !r.keep(c) {
		return
	}
	defer r.drop(c)
	up, err := r.dial(r.ctx)
	if err != nil {
		reset(c)
		return
	}
	if !r.keep(up) {
		return
	}
	defer r.drop(up)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := io.Copy(up, c); isReset(err) {
			reset(up)
			up.Close()
			return
		}
		closeWrite(up)
	}()
	if _, err := io.Copy(c, up); isReset(err) {
		reset(c)
	}
	c.Close()
	<-ended
}

// close ends it, and all connections.
func (r *passing) close() {
	r.l.Close()
	r.end()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// reset has a connection end as one that nobody took.
func reset(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		t.SetLinger(0) //nolint:errcheck // it may be gone
	}
}

func isReset(err error) bool { return err != nil && !errors.Is(err, net.ErrClosed) }

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() //nolint:errcheck // the other end may be gone
	}
}
