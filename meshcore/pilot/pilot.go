// Package pilot is our control plane as a process of its own: it serves what istiod would make of
// configuration files to whichever proxies connect.
//
//	files ─▶ Config ─▶ registry ─▶ translate ─▶ control.Set ─▶ ADS
//	                      ▲                          │
//	                      └── node id, metadata ◀────┘ who connects
//
// A proxy whose POD.NAMESPACE is in the files is that pod; its own address, which its node id says,
// is the pod's from then on. Any other proxy is what its node id and metadata say.
package pilot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/jwks"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/roots"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Who comes back to a control plane that has just begun, with resources, is given none before the
// proxies of all pods have come back too, and said their addresses: it would be told of addresses
// that are nobody's. But it does not wait longer than grace: by then every Envoy has tried (its
// back-off ends at 30 s).
const grace = 30 * time.Second

// remembered is how long a proxy that has gone is kept up to date in the books, so that it finds
// its configuration made before it is broken when it comes back.
const remembered = time.Minute

// patience is how long a change waits for one proxy before it goes on without.
const patience = time.Second

// Pilot is a running control plane.
type Pilot struct {
	log    *slog.Logger
	server *control.Server
	wake   chan struct{} // holds a token when something may have changed

	authority *identity.Authority
	keys      *jwks.Store // of token issuers

	mu     sync.Mutex
	config *istio.Config
	reg    *translate.Registry // of the files alone
	warned map[string]bool
	until  time.Time // the end of grace

	// Taken with the server's lock held: never held for long.
	seen      sync.Mutex
	nodes     map[string]*node      // by key: who is connected
	addresses map[string]netip.Addr // by key: what who was connected has said
}

// New returns a control plane for a configuration, or the diagnostics that say why it can not be.
func New(c *istio.Config, log *slog.Logger) (*Pilot, []istio.Diagnostic) {
	p := &Pilot{
		log: log, wake: make(chan struct{}, 1), nodes: map[string]*node{},
		addresses: map[string]netip.Addr{}, warned: map[string]bool{},
		until: time.Now().Add(grace), keys: jwks.New(jwks.Client(dialForKeys)),
	}
	p.server = control.New(control.Options{
		Sink: p, Key: p.key, Connected: p.connected, Disconnected: p.disconnected,
	})
	authority, err := identity.New(identity.Options{TrustDomain: c.Mesh.GetTrustDomain()})
	if err != nil {
		return nil, []istio.Diagnostic{{Severity: istio.Error, Msg: err.Error()}}
	}
	p.authority = authority
	return p, p.Load(c)
}

// Load makes c the configuration, unless it can not be: then the one before stays, and the
// diagnostics, some of which are errors, say why.
func (p *Pilot) Load(c *istio.Config) []istio.Diagnostic {
	p.mu.Lock()
	defer p.mu.Unlock()
	reg, diags := translate.NewRegistry(c, p.reg)
	diags = append(diags, translate.New(c, reg).Diagnostics()...)
	if slices.ContainsFunc(diags, func(d istio.Diagnostic) bool {
		return d.Severity == istio.Error
	}) {
		return diags
	}
	if p.config != nil {
		p.until = time.Time{} // who reads files again wants them served
	}
	p.config, p.reg = c, reg
	p.look()
	return diags
}

// Proxies counts the pods of the files that have a proxy.
func (p *Pilot) Proxies() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, pod := range p.reg.Pods {
		if pod.Role == translate.Sidecar || pod.Role == translate.Gateway {
			n++
		}
	}
	return n
}

// look has the configuration of all proxies made anew.
func (p *Pilot) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Keepalive is istiod's (Istio pkg/keepalive/options.go): a proxy whose machine has gone is noticed
// within forty seconds.
var keepaliveOptions = []grpc.ServerOption{
	grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second,
		Timeout: 10 * time.Second}),
	grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 15 * time.Second}),
}

// Serve answers proxies on a listener until ctx ends.
func (p *Pilot) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(append(control.GRPCOptions(), keepaliveOptions...)...)
	p.server.Register(g)
	healthpb.RegisterHealthServer(g, health.NewServer())
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { p.push(ctx) })
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	err := g.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// push gives proxies what they are to have, whenever that may have changed.
func (p *Pilot) push(ctx context.Context) {
	end, retry, again := time.NewTimer(grace), time.NewTimer(grace), patience
	renewal := time.NewTimer(identity.DefaultTTL)
	keys := newKeyTimer()
	defer keys.Stop()
	defer end.Stop()
	defer retry.Stop()
	defer renewal.Stop()
	retry.Stop()
	for {
		select {
		case <-p.wake:
		case <-end.C:
		case <-retry.C:
		case <-renewal.C:
		case <-keys.C:
			keys.due = true
		case <-ctx.Done():
			return
		}
		p.fetchKeys(ctx, keys)
		snapshots := p.snapshots()
		if at, ok := p.authority.Next(); ok {
			renewal.Reset(max(time.Until(at), patience))
		}
		// Nobody is waited for who is not there.
		r, err := p.server.Set(ctx, snapshots, control.Patience(patience),
			control.Optional(slices.Collect(maps.Keys(snapshots))...))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.log.Error("push", "err", err)
		default:
			p.log.Info("pushed", "proxies", r.Nodes, "changed", r.Changed, "took", r.Took)
		}
		for _, late := range r.Late {
			p.log.Warn("has not answered", "node", late)
		}
		if len(r.Late) > 0 { // try again, less and less often
			again = min(2*again, grace)
			retry.Reset(again)
		} else {
			again = patience
		}
	}
}

// snapshots makes what every proxy is to have.
func (p *Pilot) snapshots() map[string]*xds.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	nodes, addresses := p.present()
	p.settle(addresses)
	held := p.waits(nodes, addresses)
	reg := *p.reg
	reg.Pods = slices.Clone(reg.Pods)
	served := map[string]bool{}
	for key := range nodes {
		served[key] = true
	}
	for i, pod := range reg.Pods {
		if n := nodes[pod.ID()]; n != nil {
			reg.Pods[i] = n.known(pod)
			delete(nodes, pod.ID())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(nodes)) {
		reg.Pods = append(reg.Pods, nodes[key].pod())
	}
	return p.translate(&reg, func(id string) bool { return served[id] && !held[id] })
}

// translate makes the snapshots of those pods that are to have one. Caller must hold mu.
func (p *Pilot) translate(
	reg *translate.Registry, wanted func(id string) bool,
) map[string]*xds.Snapshot {
	t := translate.NewWithKeys(p.config, reg, p.keys.Keys()).SystemRoots(roots.System())
	low := stock.NewLowering()
	out := map[string]*xds.Snapshot{}
	var used []identity.Workload
	for _, pod := range reg.Pods {
		if !wanted(pod.ID()) {
			continue
		}
		s, _ := t.Snapshot(pod) // its diagnostics are the configuration's: see Load
		w := identity.Workload{TrustDomain: p.config.Mesh.GetTrustDomain(),
			Namespace: pod.Namespace, ServiceAccount: pod.ServiceAccount}
		s, err := p.complete(s, w, low)
		if err != nil {
			p.log.Error("is given nothing new", "node", pod.ID(), "err", err)
			continue
		}
		out[pod.ID()], used = s, append(used, w)
	}
	p.authority.Keep(used)
	return out
}

// complete makes of what istiod and its agent would give a proxy what any Envoy carries out.
func (p *Pilot) complete(
	s *xds.Snapshot, w identity.Workload, low *stock.Lowering,
) (*xds.Snapshot, error) {
	own, err := p.authority.Secrets(w)
	if err != nil {
		return nil, err
	}
	c := *s
	c.Secrets = maps.Clone(s.Secrets)
	maps.Copy(c.Secrets, own)
	return low.Snapshot(&c)
}

// present returns who is connected, or was until a moment ago, and every address that was said.
func (p *Pilot) present() (map[string]*node, map[string]netip.Addr) {
	p.seen.Lock()
	defer p.seen.Unlock()
	maps.DeleteFunc(p.nodes, func(_ string, n *node) bool {
		return !n.gone.IsZero() && time.Since(n.gone) > remembered
	})
	return maps.Clone(p.nodes), maps.Clone(p.addresses)
}

// waits returns who has come back and is to wait for the addresses of others. Caller must hold mu.
func (p *Pilot) waits(nodes map[string]*node, addresses map[string]netip.Addr) map[string]bool {
	if time.Now().After(p.until) {
		return nil
	}
	var missing []string
	for _, pod := range p.reg.Pods {
		proxied := pod.Role == translate.Sidecar || pod.Role == translate.Gateway
		if _, known := addresses[pod.ID()]; proxied && !known && !pod.ChosenIP() {
			missing = append(missing, pod.ID())
		}
	}
	held := map[string]bool{}
	for key, n := range nodes {
		if n.back && len(missing) > 0 {
			held[key] = true
			p.warn(key, fmt.Sprintf("keeps what it has until the proxies of %s are back, for "+
				"%s at most", strings.Join(missing, ", "), grace))
		}
	}
	return held
}

// settle gives the pods of connected proxies the addresses that those say. Who only had an address
// by chance gives it up. Caller must hold mu.
func (p *Pilot) settle(addresses map[string]netip.Addr) {
	claimed := map[netip.Addr]string{}
	for _, s := range p.reg.Services {
		claimed[s.VIP] = s.Name + "." + s.Namespace
	}
	for _, pod := range p.reg.Pods {
		if pod.ChosenIP() {
			claimed[pod.IP] = pod.ID()
		}
	}
	moved := false
	prev := *p.reg
	prev.Pods = nil
	for _, pod := range p.reg.Pods {
		ip, ok := addresses[pod.ID()]
		if !ok || pod.ChosenIP() {
			continue
		}
		if other := claimed[ip]; other != "" {
			p.warn(pod.ID(), fmt.Sprintf("its address %s is that of %s: it keeps %s", ip, other,
				pod.IP))
			continue
		}
		claimed[ip] = pod.ID()
		moved = moved || pod.IP != ip
	}
	if !moved {
		return
	}
	for _, pod := range p.reg.Pods {
		c := *pod
		if ip, ok := addresses[c.ID()]; ok && claimed[ip] == c.ID() {
			c.IP = ip
		} else if other := claimed[c.IP]; other != "" && other != c.ID() {
			continue // it is drawn a new one
		}
		prev.Pods = append(prev.Pods, &c)
	}
	reg, diags := translate.NewRegistry(p.config, &prev)
	for _, d := range diags {
		if d.Severity == istio.Error {
			p.log.Error("addresses of proxies", "err", errors.New(d.String()))
			return
		}
	}
	p.reg = reg
}

// warn says something of a node once.
func (p *Pilot) warn(key, text string) {
	if !p.warned[key+text] {
		p.warned[key+text] = true
		p.log.Warn(text, "node", key)
	}
}

// key names a node; who can not be told anything is refused.
func (p *Pilot) key(n *corev3.Node) (string, error) {
	parsed, err := parseNode(n)
	if err != nil {
		p.log.Warn("refused a proxy", "err", err)
		return "", err
	}
	return parsed.key(), nil
}

// connected takes note of a proxy.
func (p *Pilot) connected(key string, n *corev3.Node, back bool) {
	parsed, err := parseNode(n)
	if err != nil {
		return // key has refused it
	}
	parsed.back = back
	p.log.Info("connected", "node", key, "ip", parsed.ip, "back", back)
	p.seen.Lock()
	defer p.seen.Unlock()
	p.nodes[key] = parsed
	if !parsed.ip.IsUnspecified() {
		p.addresses[key] = parsed.ip
	}
	p.look()
}

// disconnected forgets a proxy, but not the address that it had: it may come back, or work on.
func (p *Pilot) disconnected(key string) {
	p.log.Info("disconnected", "node", key)
	p.seen.Lock()
	defer p.seen.Unlock()
	if n := p.nodes[key]; n != nil {
		n.gone = time.Now()
	}
}

// Push logs what a proxy has answered; it is control's Sink.
func (p *Pilot) Push(r observe.Push) {
	switch {
	case r.Nack != "":
		p.log.Warn("NACK", "node", r.Proxy, "type", r.Type, "version", r.Version, "err", r.Nack)
	case r.Acked != 0:
		p.log.Info("ACK", "node", r.Proxy, "type", r.Type, "version", r.Version)
	}
}
