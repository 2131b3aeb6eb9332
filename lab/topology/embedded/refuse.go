package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// refusal is a fault by which an app refuses new connections.
type refusal struct {
	ports []int // empty: all

	mu          sync.Mutex
	fired       int64
	first, last clock.Instant
}

func (r *refusal) covers(port uint16) bool {
	return len(r.ports) == 0 || slices.Contains(r.ports, int(port))
}

func (r *refusal) fire(at clock.Instant, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fired == 0 {
		r.first = at
	}
	r.fired, r.last = r.fired+n, at
}

// refusing returns what has a port of the app refuse; nil: nothing.
func (p *pod) refusing(port uint16) *refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.refusals {
		if r.covers(port) {
			return r
		}
	}
	return nil
}

func (p *pod) refuses(port uint16) bool { return p.refusing(port) != nil }

// refuse says whether a connection to a port of the app is refused, and counts it.
func (p *pod) refuse(port uint16) bool {
	r := p.refusing(port)
	if r != nil {
		r.fire(p.w.clock.Now(), 1)
	}
	return r != nil
}

// Refuse has new connections to ports of the app refused. Real Envoys find that nobody listens; how
// often, they know.
func (p *pod) Refuse(ctx context.Context, ports []int) (topology.Broken, error) {
	if p.Spec().Role == translate.Gateway {
		return nil, errNoApp
	}
	r := &refusal{ports: ports}
	failed, err := p.w.failures(ctx, p, r)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.refusals = append(p.refusals, r)
	p.mu.Unlock()
	p.unlisten(r)
	return &effect{
		receipt: func(ctx context.Context, out *topology.Receipt) error {
			now, err := p.w.failures(ctx, p, r)
			if err == nil {
				if n := grown(failed, now); n > 0 {
					r.fire(p.w.clock.Now(), n)
				}
				failed = now
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			out.Fired, out.First, out.Last = r.fired, r.first, r.last
			return err
		},
		heal: func(context.Context) error {
			p.mu.Lock()
			p.refusals = slices.DeleteFunc(p.refusals, func(o *refusal) bool { return o == r })
			p.mu.Unlock()
			return p.listenAgain()
		},
	}, nil
}

// unlisten closes the sockets of refused ports; connections that are open go on.
func (p *pod) unlisten(r *refusal) {
	l := p.living()
	if l == nil {
		return
	}
	if a, ok := l.app.(*ownApp); ok {
		a.unbind(r)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for port, bound := range l.listeners {
		if r.covers(port) {
			p.w.net.mu.Lock()
			delete(p.w.net.host(p.Spec().IP).apps, port)
			p.w.net.mu.Unlock()
			bound.Close()
			delete(l.listeners, port)
		}
	}
}

// listenAgain opens the app's ports that are refused no more.
func (p *pod) listenAgain() error {
	l := p.living()
	if l == nil || l.ended.Err() != nil {
		return nil
	}
	if a, ok := l.app.(*ownApp); ok {
		a.bind()
		return nil
	}
	if l.serve == nil {
		return nil
	}
	if err := l.serve(); err != nil || p.w.envoys == nil {
		return err
	}
	return p.w.open(p.w.mesh.Registry())
}

// failures asks every Envoy how many connections to the refused ports of a pod's app it could not
// make, by Envoy. Envoys that are broken themselves are left out.
func (w *world) failures(ctx context.Context, p *pod, r *refusal) (map[string]int64, error) {
	out := map[string]int64{}
	if w.envoys == nil {
		return out, nil
	}
	ip := p.Spec().IP
	w.net.mu.Lock()
	behind := w.net.host(ip).envoy
	w.net.mu.Unlock()
	at := func(port uint16) netip.AddrPort {
		if behind {
			return w.net.placeApp(netip.AddrPortFrom(ip, port))
		}
		return w.net.place(netip.AddrPortFrom(ip, port))
	}
	refused := func(to netip.AddrPort) bool {
		if to.Addr() != at(0).Addr() {
			return false
		}
		return len(r.ports) == 0 || slices.ContainsFunc(r.ports, func(port int) bool {
			return at(uint16(port)).Port() == to.Port()
		})
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for _, other := range w.running() {
		side, ok := other.proxy().(*envoySidecar)
		if !ok || other.holds(hold{topology.FaultPause, topology.PartProxy}) {
			continue
		}
		wg.Go(func() {
			n, err := side.failures(ctx, refused)
			mu.Lock()
			defer mu.Unlock()
			if errs = append(errs, err); err == nil {
				out[other.Spec().ID()] = n
			}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// grown is by how much counters have grown; those of an Envoy that has been started anew count from
// zero, and one that was not asked may not count at all.
func grown(from, to map[string]int64) (n int64) {
	for who, now := range to {
		if before, ok := from[who]; ok && now >= before {
			n += now - before
		} else {
			n += now
		}
	}
	return n
}

// askPatience bounds how long an Envoy may take to answer on its admin port.
const askPatience = 2 * time.Second

// failures sums up the connections that this Envoy could not make to some addresses.
func (s *envoySidecar) failures(
	ctx context.Context, of func(netip.AddrPort) bool,
) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	text, err := s.process.Admin(ctx, http.MethodGet, "/clusters?format=json")
	if err != nil {
		return 0, err
	}
	var answer struct {
		Clusters []struct {
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    uint16 `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
				Stats []struct {
					Name  string      `json:"name"`
					Value json.Number `json:"value"`
				} `json:"stats"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, err
	}
	for _, c := range answer.Clusters {
		for _, h := range c.Hosts {
			ip, err := netip.ParseAddr(h.Address.Socket.Address)
			if err != nil || !of(netip.AddrPortFrom(ip, h.Address.Socket.Port)) {
				continue
			}
			for _, stat := range h.Stats {
				if stat.Name == "cx_connect_fail" {
					i, _ := stat.Value.Int64() //nolint:errcheck // absent: none
					n += i
				}
			}
		}
	}
	return n, nil
}
