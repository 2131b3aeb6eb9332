package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
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
	r := link.Pass(l, func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		return w.Dial(ctx, c, to)
	})
	return "unix", l.Addr().String(), func() { r.Close(); remove() }, nil
}

// captures are the sockets that sidecars of our own serve.
type captures struct {
	mu  sync.Mutex
	all map[*capture]struct{}
}

// capture is a socket whose connections are a pod's to an address. It outlives the sidecar that
// serves it, and the pod: what takes the pod's place serves it again.
type capture struct {
	pod  string // by ID
	at   string
	to   netip.AddrPort
	stop func()
}

// capture has our own sidecar serve a socket.
func (p *pod) capture(l net.Listener, to netip.AddrPort) (stop func(), err error) {
	side, ok := p.proxy().(*meshcore)
	if !ok {
		return nil, errRefused
	}
	c := &capture{pod: p.Spec().ID(), at: l.Addr().String(), to: to}
	if c.stop, err = side.capture(l, to); err != nil {
		return nil, err
	}
	served := &p.w.captures
	served.mu.Lock()
	defer served.mu.Unlock()
	served.all[c] = struct{}{}
	return func() {
		served.mu.Lock()
		stop := c.stop
		delete(served.all, c)
		served.mu.Unlock()
		stop()
	}, nil
}

// recapture has a sidecar that takes another's place serve the sockets of that.
func (p *pod) recapture(side *meshcore) error {
	served := &p.w.captures
	served.mu.Lock()
	defer served.mu.Unlock()
	for c := range served.all {
		if c.pod != p.Spec().ID() {
			continue
		}
		l, err := net.Listen("unix", c.at)
		if err != nil {
			return err
		}
		if c.stop, err = side.capture(l, c.to); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return nil
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
	return incarnation.ListenUnix()
}
