package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// sockets numbers the capture sockets of this process.
var sockets atomic.Int64

// Capture opens a unix socket whose connections are the pod's connections to an address: its
// sidecar takes them with that original destination, as if iptables had redirected them.
func (m *mesh) Capture(from, address string) (network, at string, release func(), err error) {
	c, err := m.client(from)
	if err != nil {
		return "", "", nil, err
	}
	to, err := m.resolve(c.namespace, address)
	if err != nil {
		return "", "", nil, err
	}
	l, remove, err := m.net.unixSocket()
	if err != nil {
		return "", "", nil, err
	}
	if c.pod != nil && c.pod.spec.Load().Role == translate.Sidecar && c.pod.alive() {
		stop, err := c.pod.proxy.Serve(l, proxy.Origin{
			Bind: engine.Address{
				AddrPort: netip.AddrPortFrom(netip.IPv4Unspecified(), outboundPort)},
			Local:  to,
			Remote: netip.AddrPortFrom(c.addr, 0),
		})
		if err != nil {
			remove()
			return "", "", nil, errors.Join(err, l.Close())
		}
		return "unix", l.Addr().String(), func() { stop(); remove() }, nil
	}
	r := &relay{m: m, client: c, to: to, l: l}
	go r.accept()
	return "unix", l.Addr().String(), func() { r.close(); remove() }, nil
}

// unixSocket opens a socket: on Linux in the abstract name space, which leaves no file.
func (n *network) unixSocket() (net.Listener, func(), error) {
	name := fmt.Sprintf("mesh-lab-%d-%d", os.Getpid(), sockets.Add(1))
	if n.block != 0 {
		l, err := net.Listen("unix", "@"+name)
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

// relay carries the bytes of a client that has no sidecar of its own.
type relay struct {
	m      *mesh
	client client
	to     netip.AddrPort
	l      net.Listener

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	done  bool
	wg    sync.WaitGroup
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
	up, err := r.m.dialAs(context.Background(), r.client, r.to)
	if err != nil || !r.keep(up) {
		return
	}
	defer r.drop(up)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(up, c) //nolint:errcheck // either end may go away
		closeWrite(up)
	}()
	io.Copy(c, up) //nolint:errcheck // as above
	c.Close()
	<-ended
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
	r.mu.Lock()
	r.done = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
