package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// sockets numbers the capture sockets of this process.
var sockets atomic.Int64

// Capture opens a unix socket whose connections are the pod's connections to an address: its
// sidecar takes them with that original destination, as if iptables had redirected them.
func (w *world) Capture(
	c live.Client, to netip.AddrPort,
) (network, at string, release func(), err error) {
	l, remove, err := w.net.unixSocket()
	if err != nil {
		return "", "", nil, err
	}
	p, _ := c.Pod.(*pod)
	if p != nil && p.Spec().Role == translate.Sidecar && w.envoys == nil && p.proxy() != nil {
		stop, err := p.capture(l, to)
		if err != nil {
			remove()
			return "", "", nil, errors.Join(err, l.Close())
		}
		return "unix", l.Addr().String(), func() { stop(); remove() }, nil
	}
	r := w.relay(l, func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		return w.Dial(ctx, c, to)
	})
	return "unix", l.Addr().String(), func() { r.close(); remove() }, nil
}

// longestName is what fits into a socket's address on Linux (unix(7)), as Envoy counts it.
const longestName = 107

// socketName names a socket of this lab in Linux' abstract name space, which leaves no file. Of a
// name that is too long, as those of pods may be, the end is a digest.
func (n *network) socketName(what string) string {
	name := fmt.Sprintf("@mesh-lab-%d/%d/%s", os.Getpid(), n.block, what)
	if len(name) > longestName {
		digest := sha256.Sum256([]byte(name))
		short := hex.EncodeToString(digest[:8])
		name = name[:longestName-len(short)] + short
	}
	return name
}

// unixSocket opens a socket for connections that are captured.
func (n *network) unixSocket() (net.Listener, func(), error) {
	if n.block != 0 {
		l, err := net.Listen("unix", n.socketName(fmt.Sprint("capture", sockets.Add(1))))
		return l, func() {}, err
	}
	dir, err := os.MkdirTemp("", "mesh-lab-")
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, func() { os.RemoveAll(dir) }, nil
}

// relay passes bytes on between the connections that a socket takes and those that it opens.
type relay struct {
	l    net.Listener
	dial func(context.Context, net.Conn) (net.Conn, error) // for a connection that came

	ctx   context.Context // ends with close
	end   context.CancelFunc
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	done  bool
	wg    sync.WaitGroup
}

// relay begins to pass on what comes to a socket.
func (w *world) relay(
	l net.Listener, dial func(context.Context, net.Conn) (net.Conn, error),
) *relay {
	r := &relay{l: l, dial: dial}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.wg.Go(r.accept)
	return r
}

func (r *relay) accept() {
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		if r.keep(c) {
			r.wg.Go(func() { r.carry(c) })
		}
	}
}

// keep remembers a connection for close; false when that has begun.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		c.Close()
		return false
	}
	if r.conns == nil {
		r.conns = map[net.Conn]struct{}{}
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) carry(c net.Conn) {
	defer r.drop(c)
	up, err := r.dial(r.ctx, c)
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
		if _, err := io.Copy(up, c); errors.Is(err, syscall.ECONNRESET) {
			reset(up)
			up.Close()
			return
		}
		closeWrite(up)
	}()
	if _, err := io.Copy(c, up); errors.Is(err, syscall.ECONNRESET) {
		reset(c)
	}
	c.Close()
	<-ended
}

// reset has a connection end as one that nobody took, or that the other end of a relay has reset.
func reset(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(sec int) error }); ok {
		t.SetLinger(0) //nolint:errcheck // it may be gone
	}
}

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() //nolint:errcheck // the other end may be gone
	}
}

func (r *relay) drop(c net.Conn) {
	c.Close()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

func (r *relay) close() {
	r.l.Close()
	r.end()
	r.mu.Lock()
	r.done = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
