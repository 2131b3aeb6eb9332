package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// A door is where real Envoys find a pod, in the pod's place, when links to it may be broken. They
// dial by themselves, to where relocation says that an endpoint is; for a pod with a door it says
// the door's address, and the lab carries what comes there.
//
//	Envoy ─▶ 127.BLOCK+128.0.3:8080 ─ lanes ─ PROXY header ─▶ 127.BLOCK.0.3:15006 Envoy
//
// A pod that has got a door keeps it: moving an endpoint again would have the callers forget what
// they know of it (ejections, whose turn it is).

// doorOffset is how far the second octet of a door's address is from that of its pod. Beyond
// appOffset nothing else is.
const doorOffset = 128

// placeDoor says where the door for a pod's port is.
func (n *network) placeDoor(a netip.AddrPort) netip.AddrPort {
	at := n.place(a)
	b := at.Addr().As4()
	b[1] += doorOffset
	return netip.AddrPortFrom(netip.AddrFrom4(b), at.Port())
}

// standBefore gives pods doors; nil: all. When it returns, every Envoy that calls them calls there.
// Connections that are open end as those to an endpoint that is gone: when their requests have.
func (e *envoys) standBefore(ctx context.Context, pods []string) error {
	added := false
	e.mu.Lock()
	for _, p := range e.w.mesh.Registry().Pods {
		if p.Role == translate.Gateway || pods != nil && !contains(pods, p.ID()) {
			continue // before gateways something stands already
		}
		added = added || !e.doored[p.IP]
		e.doored[p.IP] = true
	}
	e.mu.Unlock()
	if !added {
		return nil
	}
	withheld, err := e.w.mesh.Again(ctx)
	if err != nil {
		return err
	}
	if len(withheld) > 0 {
		return fmt.Errorf("the lab can stand between real Envoys only when they can be told so, "+
			"and pushes are withheld from %s", strings.Join(withheld, ", "))
	}
	return nil
}

func contains(list []string, name string) bool {
	for _, s := range list {
		if s == name {
			return true
		}
	}
	return false
}

// door returns where Envoys are to call an address; false: where it is. The door is open then.
func (e *envoys) door(a netip.AddrPort) (netip.AddrPort, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.doored[a.Addr()] {
		return netip.AddrPort{}, false
	}
	at := e.w.net.placeDoor(a)
	if e.doors[a] == nil {
		l, err := e.w.net.listen(a, at)
		if err != nil {
			e.w.log.Warn("no door", "pod", a, "err", err)
			return netip.AddrPort{}, false
		}
		e.doors[a] = l
		e.served.Go(func() { e.answer(l, a) })
	}
	return at, true
}

// answer carries what comes to a door.
func (e *envoys) answer(l net.Listener, to netip.AddrPort) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		e.served.Go(func() {
			from := e.w.net.logical(c.RemoteAddr().(*net.TCPAddr).AddrPort())
			//nolint:errcheck // the caller has seen its connection end
			e.w.links.Carry(e.w.mesh.Ended(), e.w.way(from, to), c,
				func(ctx context.Context) (net.Conn, error) { return e.behind(ctx, from, to) })
		})
	}
}

// behind connects a door with what is behind it.
func (e *envoys) behind(ctx context.Context, from, to netip.AddrPort) (net.Conn, error) {
	t, err := e.w.net.route(to)
	if err != nil {
		return nil, err
	}
	if !t.proxy { // an app sees who calls by the socket
		from = netip.AddrPortFrom(e.w.net.place(from).Addr(), 0)
	}
	return e.w.net.connect(ctx, t, from, to)
}

// closeDoors takes all doors away.
func (e *envoys) closeDoors() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for a, l := range e.doors {
		errs = append(errs, l.Close())
		delete(e.doors, a)
	}
	return errors.Join(errs...)
}
