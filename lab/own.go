package lab

import (
	"fmt"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/own"
	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// ownLog prints what services of the user's own write, marked as kubectl logs --prefix marks it,
// where progress and logs go: all of it for a lab that stays and with -v, else the last lines of
// one that has crashed.
func (e *env) ownLog(all bool) topology.OwnLog {
	var mu sync.Mutex
	return topology.OwnLog{
		All: all || e.flags.verbose > 0,
		Take: func(from string, line []byte) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(e.err, "[pod/%s] %s\n", from, line)
		},
	}
}

// ownServices describes the services of the user's own: where what comes in goes, and how they
// reach the mesh.
func ownServices(m topology.Mesh) string {
	o, ok := m.(topology.Owner)
	if !ok {
		return ""
	}
	var b strings.Builder
	for _, s := range o.OwnServices() {
		fmt.Fprintf(&b, "\nown service %s: %s\n", s.Pod, s.What)
		if s.Problem != nil {
			fmt.Fprintf(&b, "  not ready: %v\n", s.Problem)
		}
		for _, p := range s.Ports {
			at := p.Address
			if at == "" {
				at = "nowhere yet"
			}
			fmt.Fprintf(&b, "  incoming   port %d → %s\n", p.Port, at)
		}
		if s.Forward {
			vars := strings.Join(own.ProxyVariables(s.Proxy), " ")
			fmt.Fprintf(&b, "  outgoing   export %s\n", vars)
		} else {
			fmt.Fprintf(&b, "  outgoing   HTTP_PROXY=http://%s (it has that already)\n", s.Proxy)
		}
		for _, u := range s.Upstreams {
			fmt.Fprintf(&b, "  upstream   %-*s  %s\n", widest(s.Upstreams), u.Address, u.Local)
		}
	}
	return b.String()
}

// widest is how wide a column of addresses is.
func widest(upstreams []topology.OwnUpstream) (w int) {
	for _, u := range upstreams {
		w = max(w, len(u.Address))
	}
	return w
}
