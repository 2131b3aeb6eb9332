package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/bundled"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/sidecar"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// pod is one pod: a container that has the network, and the containers that share it.
type pod struct {
	w    *world
	spec atomic.Pointer[translate.Pod]

	infra *engine.Container // has the name space, and the agent
	app   *engine.Container // nil: it has none, as gateways
	proxy *engine.Container // nil: none
	admin *envoy.Admin      // of a real Envoy; else nil

	ended   context.Context // with the pod
	end     context.CancelFunc
	vips    []capture.VIP // that the kernel has; world.mu guards it
	ports   []uint16      // where the app listens from the beginning
	anyPort bool          // its app answers on any
	becomes chan struct{} // closed when a pod that begins as not ready is told to be; else nil

	mu        sync.Mutex
	published map[uint16]*outlet // gateway: target port → where clients of the user's own come in
	broken    map[topology.Part]int
}

// outlet is a gateway's port on 127.0.0.1.
type outlet struct {
	at    string
	relay *link.Passing
}

// Start starts a pod's containers. The proxy has no configuration until the next push.
func (w *world) Start(ctx context.Context, s *translate.Pod) (live.Pod, error) {
	<-w.begun
	p := &pod{w: w, published: map[uint16]*outlet{}, broken: map[topology.Part]int{}}
	p.ended, p.end = context.WithCancel(context.Background())
	p.spec.Store(s)
	w.mu.Lock()
	w.pods[s.ID()] = p
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	w.mu.Lock()
	grave := w.graves[s.IP]
	delete(w.graves, s.IP)
	w.mu.Unlock()
	if grave != nil {
		if err := grave.Remove(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.start(ctx, s); err != nil {
		return nil, errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}
	w.driver.progress(s.ID() + " runs")
	return p, nil
}

// start makes the network first: what the app sends before the kernel knows the rules would pass
// the sidecar by.
func (p *pod) start(ctx context.Context, s *translate.Pod) error {
	config := part.Pod{
		IP: s.IP, Token: p.w.token, Name: s.ID(), Namespace: s.Namespace,
	}
	if s.Role == translate.Sidecar {
		rules, diags := intercept.Of(s)
		if err := refused(diags); err != nil {
			return err
		}
		config.Capture = rules
	}
	var err error
	p.infra, err = p.w.startPart(ctx, "pod", config, engine.Spec{
		Pod: s.ID(), NetAdmin: true, Sysctls: lowPorts,
	})
	if err != nil {
		return err
	}
	if err := p.w.door.Wait(ctx, s.IP); err != nil {
		return fmt.Errorf("the agent of %s: %w\n%s", s.ID(), err, p.infra.Tail(ctx, 10))
	}
	if err := p.suffer(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var appErr, proxyErr error
	wg.Go(func() { appErr = p.startApp(ctx, s) })
	wg.Go(func() { proxyErr = p.startProxy(ctx, s) })
	wg.Wait()
	return errors.Join(appErr, proxyErr)
}

// startProxy starts the pod's sidecar, or what a gateway is.
func (p *pod) startProxy(ctx context.Context, s *translate.Pod) error {
	if s.Role != translate.Sidecar && s.Role != translate.Gateway {
		return nil
	}
	if p.w.envoy != "" {
		return p.startEnvoy(ctx, s)
	}
	var err error
	p.proxy, err = p.w.startPart(ctx, "proxy", sidecar.Config{
		Node: live.NodeID(s), IP: s.IP, Token: p.w.token,
		Control:   netip.AddrPortFrom(part.ControlIP, part.ControlPort).String(),
		Records:   netip.AddrPortFrom(part.HubIP, part.RecordsPort).String(),
		AccessLog: p.w.spec.AccessLog != nil,
		Seed:      clock.Sub(p.w.spec.Seed, "engine", s.ID()), Exact: p.w.spec.Exact,
		KeepHeaders: p.w.spec.KeepHeaders, Workload: live.WorkloadOf(s),
		Region: s.Locality.Region, Zone: s.Locality.Zone, Subzone: s.Locality.Subzone,
	}, engine.Spec{
		Pod: s.ID(), Join: p.infra,
		User: fmt.Sprintf("%d:%d", intercept.ProxyUID, intercept.ProxyGID),
	})
	return err
}

// appUser is who bundled apps run as: not the sidecar's user.
const appUser = "1000:1000"

// startApp starts what answers in the pod.
func (p *pod) startApp(ctx context.Context, s *translate.Pod) error {
	if s.Role == translate.Gateway {
		return nil
	}
	if c, ok := foreign(s, p.w.spec.UnknownImage); ok {
		return p.startForeign(ctx, s, c)
	}
	a, c, err := embedded.Bundled(s, p.w.spec.UnknownImage)
	if err != nil {
		return err
	}
	vars := embedded.Vars(s, c)
	ready, err := p.readiness(vars)
	if err != nil {
		return err
	}
	ports := embedded.AppPorts(s, a.PortOf(c.Image))
	if p.anyPort = a.AnyPort; p.anyPort {
		ports = append(ports, p.w.targetPorts(s)...)
	}
	p.ports = ports
	p.app, err = p.w.startPart(ctx, "app", bundled.Config{
		App: a.Name, Image: c.Image, Pod: s.Name, Workload: s.Workload, Namespace: s.Namespace,
		Version: s.Labels["version"], Host: s.Host, Vars: vars, Ports: ports,
		Seed: clock.Sub(p.w.spec.Seed, "app", s.ID()),
		Told: netip.AddrPortFrom(localhost, part.AppPort).String(),
	}, engine.Spec{Pod: s.ID(), Join: p.infra, User: appUser})
	if err != nil {
		return err
	}
	if len(ports) > 0 && ready.now {
		err = p.listens(ctx, ports[0], 0)
	}
	p.become(ready, ports)
	return err
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// lookPause is how often something is looked at that tells nobody.
const lookPause = 10 * time.Millisecond

// listens waits until the app listens on a port. It has ended so often before.
func (p *pod) listens(ctx context.Context, port uint16, before int) error {
	at, app := netip.AddrPortFrom(localhost, port).String(), p.app
	for {
		c, err := p.w.door.Dial(ctx, p.Spec().IP, at)
		if err == nil {
			return c.Close()
		}
		if x := app.Exits(); len(x) > before {
			return fmt.Errorf("the app of %s %s:\n%s", p.Spec().ID(), x[len(x)-1],
				app.Tail(ctx, 10))
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return fmt.Errorf("the app of %s does not listen on port %d: %w\n%s", p.Spec().ID(),
				port, err, p.app.Tail(context.WithoutCancel(ctx), 10))
		}
	}
}

// Spec describes the pod.
func (p *pod) Spec() *translate.Pod { return p.spec.Load() }

// SetSpec takes a new description of the same pod.
func (p *pod) SetSpec(s *translate.Pod) { p.spec.Store(s) }

// Launch has nothing to do: the app runs already.
func (p *pod) Launch() {}

// Settle waits until every exchange that has ended is recorded. What is broken has nothing to hand
// over.
func (p *pod) Settle(ctx context.Context) error {
	if p.proxy == nil || p.isBroken(topology.PartProxy) || p.ended.Err() != nil {
		return nil
	}
	var err error
	if p.admin != nil {
		err = p.settleEnvoy(ctx)
	} else {
		err = p.w.told.Settle(ctx, p.Spec().ID())
	}
	if p.ended.Err() != nil || p.isBroken(topology.PartProxy) {
		return nil
	}
	return err
}

// serves waits until an Envoy's listeners are open.
func (p *pod) serves(ctx context.Context) error {
	if p.admin == nil || p.isBroken(topology.PartProxy) {
		return nil
	}
	for !p.admin.Serves(ctx) {
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return fmt.Errorf("%w of %s is not ready: %w", topology.ErrEnvoy, p.Spec().ID(),
				ctx.Err())
		}
	}
	return nil
}

// mourn has a context end when a container of the pod dies that is to live.
func (p *pod) mourn(ctx context.Context, cancel context.CancelCauseFunc) {
	c := p.proxy
	if c == nil || p.isBroken(topology.PartProxy) {
		return
	}
	n := len(c.Exits())
	go func() {
		x, err := c.AwaitExit(ctx, n+1)
		if err != nil || !c.Wanted() || p.isBroken(topology.PartProxy) {
			return
		}
		cancel(fmt.Errorf("%w of %s %s; the end of its log:\n%s", topology.ErrEnvoy,
			p.Spec().ID(), x, c.Tail(context.WithoutCancel(ctx), 10)))
	}()
}

// isBroken says whether a part is killed or paused.
func (p *pod) isBroken(which topology.Part) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken[which]+p.broken[topology.PartPod] > 0
}

// accessLog hands a line on.
func (p *pod) accessLog(line []byte) {
	if take := p.w.spec.AccessLog; take != nil {
		take(p.Spec().ID(), line)
	}
}

// publish opens, on 127.0.0.1, the ports that a gateway listens on, and closes those that it does
// not any more.
func (p *pod) publish(s *xds.Snapshot) error {
	wanted := map[uint16]bool{}
	for _, l := range s.Listeners {
		port := l.GetAddress().GetSocketAddress().GetPortValue()
		if port != 0 && !l.GetBindToPort().GetValue() && l.GetBindToPort() != nil {
			continue
		}
		if port != 0 && port != statusPort && port != metricsPort {
			wanted[uint16(port)] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for port, o := range p.published {
		if !wanted[port] {
			delete(p.published, port)
			go o.relay.Close()
		}
	}
	var errs []error
	for port := range wanted {
		if p.published[port] != nil || p.ended.Err() != nil {
			continue
		}
		l, err := p.w.outside(p.servicePort(port))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		to := netip.AddrPortFrom(p.Spec().IP, port)
		p.published[port] = &outlet{l.Addr().String(),
			link.Pass(l, func(ctx context.Context, _ net.Conn) (net.Conn, error) {
				return p.w.door.Outside(ctx, to)
			})}
	}
	return errors.Join(errs...)
}

// Ports of a gateway's own, which are no business of clients.
const (
	statusPort  = 15021
	metricsPort = 15090
)

// servicePort is the port under which the gateway's Service offers one of its ports.
func (p *pod) servicePort(port uint16) uint16 {
	if sp, ok := p.w.mesh.Registry().ServicePort(p.Spec(), port); ok {
		return sp
	}
	return port
}

// Gateways lists the gateway's addresses by the ports of the Services that select it.
func (p *pod) Gateways(reg *translate.Registry) []topology.GatewayAddress {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []topology.GatewayAddress
	for port, o := range p.published {
		a := topology.GatewayAddress{Gateway: p.Spec().ID(), Port: int(port), Address: o.at}
		if sp, ok := reg.ServicePort(p.Spec(), port); ok {
			a.Port = int(sp)
		}
		out = append(out, a)
	}
	return out
}

// outside listens on 127.0.0.1 for a gateway's port: on the port itself where it is free and
// allowed, else on the one that people use in its place (8080 for 80, 8443 for 443), else on any.
func (w *world) outside(port uint16) (net.Listener, error) {
	ports := []uint16{0}
	if w.spec.FixedPorts {
		ports = []uint16{port, 8000 + port%1000, 0}
	}
	var err error
	for _, at := range ports {
		var l net.Listener
		if l, err = net.Listen("tcp4", netip.AddrPortFrom(localhost, at).String()); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("docker: publish gateway port %d: %w", port, err)
}

// Close removes the pod's containers.
func (p *pod) Close(ctx context.Context) error {
	p.mu.Lock()
	p.end()
	open := p.published
	p.published = map[uint16]*outlet{}
	p.mu.Unlock()
	for _, o := range open {
		o.relay.Close()
	}
	if p.admin != nil {
		p.admin.Close()
	}
	id := p.Spec().ID()
	p.w.mu.Lock()
	if p.w.pods[id] == p {
		delete(p.w.pods, id)
	}
	p.w.mu.Unlock()
	// An end without time is one at once, but Docker is to be told in any case.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	var errs []error
	for _, c := range []*engine.Container{p.proxy, p.app, p.infra} {
		if c == p.infra && c != nil && p.isBroken(topology.PartPod) {
			p.w.mu.Lock()
			p.w.graves[p.Spec().IP] = c
			p.w.mu.Unlock()
			continue
		}
		if c != nil {
			errs = append(errs, c.Remove(ctx))
		}
	}
	if p.w.reports != nil {
		p.w.reports.logs.Forget(id) // who takes its place counts its entries from zero
	}
	return errors.Join(errs...)
}

// containerOf is the container of a name; the first one when there is none.
func firstContainer(s *translate.Pod) corev1.Container {
	if len(s.Containers) == 0 {
		return corev1.Container{}
	}
	return s.Containers[0]
}

var _ live.Pod = (*pod)(nil)
