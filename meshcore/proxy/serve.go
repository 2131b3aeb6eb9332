package proxy

import (
	"net"
	"net/netip"
	"sync"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// Origin says where the connections of a socket come from and go to, where no PROXY header does.
type Origin struct {
	Bind   engine.Address // the bound listener that they are as if accepted on
	Local  netip.AddrPort // original destination
	Remote netip.AddrPort // the client; port 0: the peer's, or any
}

// Serve takes the connections of one more socket, as if they had been captured with this origin.
// stop closes the socket and the connections that came through it, at once.
func (p *Proxy) Serve(nl net.Listener, o Origin) (stop func(), err error) {
	l := &listener{Listener: nl, bind: o.Bind, origin: &o}
	if !p.track(l) || !p.spawn(func() { p.accept(l) }) {
		return nil, net.ErrClosed
	}
	return sync.OnceFunc(func() {
		p.untrack(l)
		for _, d := range p.connections() {
			if d.origin == l.origin {
				d.conn.Close()
				d.hangup()
			}
		}
	}), nil
}

// addresses sets the connection's addresses from its origin.
func (o *Origin) addresses(d *downstream) {
	d.info.Local, d.info.Remote = o.Local, o.Remote
	if o.Remote.Port() == 0 {
		port := d.info.Direct.Port()
		if port == 0 { // a unix socket's peer has none: any that tells connections apart
			port = 32768 + uint16(d.p.peers.Add(1)%28232)
		}
		d.info.Remote = netip.AddrPortFrom(o.Remote.Addr(), port)
	}
	if !o.Remote.Addr().IsValid() {
		d.info.Remote = d.info.Direct
	}
	d.info.Direct = d.info.Remote
}
