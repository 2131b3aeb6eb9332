package embedded

import (
	"context"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

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

// FetchKeys has the lab's control plane fetch what a configuration asks for; it returns what it has
// got and which warnings remain.
func FetchKeys(ctx context.Context, m any, c *istio.Config) (translate.Keys, []string) {
	l := m.(*mesh)
	l.fetchKeys(ctx, c)
	var told []string
	for _, d := range l.keys.Problems(translate.KeyRequests(c)) {
		told = append(told, d.Msg)
	}
	return l.keys.Keys(), told
}
