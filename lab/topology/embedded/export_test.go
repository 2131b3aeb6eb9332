package embedded

// Shared is a driver whose pods share one loopback address, as where there is no other.
func Shared() Driver { return Driver{shared: true} }

// Sockets counts the sockets that the network of a mesh leads to.
func Sockets(m any) (n int) {
	nw := m.(*mesh).net
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for _, h := range nw.hosts {
		n += len(h.sockets) + len(h.apps)
	}
	return n
}
