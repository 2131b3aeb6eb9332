package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// The ports of a sidecar, as Istio has them.
const (
	outboundPort = 15001
	inboundPort  = 15006
)

// pod is one running pod: an app, a sidecar, or both.
type pod struct {
	w    *world
	spec atomic.Pointer[translate.Pod]

	ended context.Context // with the pod
	end   context.CancelFunc

	mu        sync.Mutex
	life      *life                   // of the app; nil while it is killed, and for gateways
	side      sidecar                 // nil without one, and while it is killed
	published map[uint16]net.Listener // gateway: target port → socket for the user's own clients
	broken    map[hold]int            // how many faults do what
	refusals  []*refusal
}

// life is the app of a pod from a start to its end.
type life struct {
	app     answerer
	server  *http.Server    // of a bundled app; nil for pure clients
	gate    *gate           // of a bundled app
	ended   context.Context // with the life
	end     context.CancelFunc
	becomes chan struct{} // closed when a pod that begins as not ready is told to be; else nil
	serve   func() error  // has a bundled app listen where it does not

	mu        sync.Mutex
	listeners map[uint16]net.Listener
}

// close ends the life; it returns how many connections of a bundled app have ended with it.
func (l *life) close(ctx context.Context) (conns int, err error) {
	l.mu.Lock()
	l.end() // and from now on nothing begins to listen
	l.mu.Unlock()
	conns = l.gate.kill()
	if l.server != nil {
		err = l.server.Close()
	}
	if l.app != nil {
		err = errors.Join(err, l.app.close(ctx))
	}
	return conns, err
}

// living is the pod's app while it runs; nil otherwise.
func (p *pod) living() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// proxy is the pod's data plane while it runs; nil otherwise.
func (p *pod) proxy() sidecar {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.side
}

// answerer is what answers in a pod: a bundled app, or a command or an address of the user's.
type answerer interface {
	// launch is called when the pod's proxy is configured, for the first time or anew.
	launch()
	// close ends it: in order while ctx lasts, then at once.
	close(ctx context.Context) error
}

// bundledApp is a server of this process.
type bundledApp struct{ transport *http.Transport }

// launch has nothing to do: it listens already.
func (bundledApp) launch() {}

func (a bundledApp) close(context.Context) error {
	a.transport.CloseIdleConnections()
	return nil
}

// sidecar is a pod's data plane: our own, or a real Envoy.
type sidecar interface {
	// settle waits until every exchange that has ended is recorded.
	settle(ctx context.Context) error
	// open is how many connections it has, of clients and to endpoints.
	open(ctx context.Context) (conns int, err error)
	// pause and resume stop it, and have what waits go on.
	pause() error
	resume() error
	// close ends it at once.
	close(ctx context.Context) error
}

// Start starts a pod's app and proxy. The proxy has no configuration until the next push.
func (w *world) Start(_ context.Context, s *translate.Pod) (live.Pod, error) {
	p := &pod{w: w, published: map[uint16]net.Listener{}, broken: map[hold]int{}}
	p.ended, p.end = context.WithCancel(context.Background())
	p.spec.Store(s)
	w.net.settle(s.IP, p, s.Role, w.envoys != nil)
	if err := p.startApp(s); err != nil {
		return nil, errors.Join(err, p.Close(context.Background()))
	}
	if err := p.startProxy(s); err != nil {
		return nil, errors.Join(err, p.Close(context.Background()))
	}
	return p, nil
}

// startProxy starts the pod's data plane, if it has one.
func (p *pod) startProxy(s *translate.Pod) error {
	if s.Role != translate.Sidecar && s.Role != translate.Gateway {
		return nil
	}
	if p.w.envoys != nil {
		return p.startEnvoy(s)
	}
	return p.startMeshcore(s)
}

// startApp starts what answers in the pod.
func (p *pod) startApp(s *translate.Pod) error {
	spec, err := ownSpec(s)
	if err != nil || spec == nil && s.Role == translate.Gateway {
		return err
	}
	l := &life{gate: newGate(), listeners: map[uint16]net.Listener{}}
	l.ended, l.end = context.WithCancel(p.ended)
	if spec != nil {
		err = p.startOwn(s, spec, l)
	} else {
		err = p.startBundled(s, l)
	}
	if err != nil {
		_, cerr := l.close(context.Background())
		return errors.Join(err, cerr)
	}
	p.mu.Lock()
	p.life = l
	p.mu.Unlock()
	return nil
}

// startBundled serves a bundled app on the ports of the pod's containers.
func (p *pod) startBundled(s *translate.Pod, l *life) error {
	a, c, err := bundled(s, p.w.spec.UnknownImage)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext: l.gate.dialing(func(ctx context.Context, address string) (net.Conn, error) {
			return p.w.mesh.Dial(ctx, s.ID(), address)
		}),
		MaxIdleConnsPerHost: 256, DisableCompression: true, IdleConnTimeout: 90 * time.Second,
	}
	l.app = bundledApp{transport}
	env := varsOf(s, c)
	handler, err := a.Start(app.Env{
		Pod: s.Name, Workload: s.Workload, Namespace: s.Namespace, Version: s.Labels["version"],
		Vars: env, Image: c.Image, Host: s.Host, Clock: p.w.clock, Log: quiet(p.w.log),
		Closed: l.ended, Seed: clock.Sub(p.w.spec.Seed, "app", s.ID()),
		Client: app.Client(transport),
	})
	if err != nil {
		return located(s, c, err)
	}
	behaves, _ := model.Read(env) // Start has read it
	if handler == nil {
		p.readyAfter(l, behaves.ReadyAfter)
		return nil // a client app has nothing to serve
	}
	l.server = app.NewServer(handler, a.HTTP2, p.w.log.With("pod", s.ID()))
	return p.serveAfter(l, behaves, func() error { return p.serveApp(s, l, a, c.Image) })
}

// serveApp has the app listen.
func (p *pod) serveApp(s *translate.Pod, l *life, a sampleapps.App, image string) error {
	p.w.net.mu.Lock()
	h := p.w.net.host(s.IP)
	if a.AnyPort {
		h.anyApp = func(port uint16) (string, error) {
			if !p.listens(port) {
				return "", errRefused
			}
			return p.listenApp(l, s.IP, port)
		}
	}
	p.w.net.mu.Unlock()
	ports := appPorts(s, a.PortOf(image))
	l.serve = func() error {
		for _, port := range ports {
			_, err := p.listenApp(l, s.IP, port)
			if err != nil && !errors.Is(err, errRefused) {
				return err
			}
		}
		return nil
	}
	return l.serve()
}

// listens says whether an app that answers on any port is there on this one: on those that Services
// lead to, and outside of the mesh on every one.
func (p *pod) listens(port uint16) bool {
	s := p.spec.Load()
	_, ok := p.w.mesh.Registry().ServicePort(s, port)
	return ok || s.Role == translate.External
}

// appPorts are the ports that an app listens on: those of its containers, or its own.
func appPorts(s *translate.Pod, own int) []uint16 {
	ports := containerPorts(s)
	if len(ports) == 0 && own != 0 {
		ports = append(ports, uint16(own))
	}
	return ports
}

// containerPorts are the TCP ports that a pod's containers declare.
func containerPorts(s *translate.Pod) []uint16 {
	var ports []uint16
	for _, c := range s.Containers {
		for _, cp := range c.Ports {
			if cp.Protocol == "" || cp.Protocol == "TCP" {
				ports = append(ports, uint16(cp.ContainerPort))
			}
		}
	}
	return ports
}

// listenApp serves the app on one more port and returns the real address.
func (p *pod) listenApp(l *life, ip netip.Addr, port uint16) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Err() != nil || p.refuses(port) {
		return "", errRefused
	}
	p.w.net.mu.Lock()
	at, ok := p.w.net.host(ip).apps[port]
	p.w.net.mu.Unlock()
	if ok {
		return at, nil
	}
	bound, err := p.w.net.bindApp(ip, port)
	if err != nil {
		return "", err
	}
	l.listeners[port] = bound
	at = bound.Addr().String()
	p.w.net.mu.Lock()
	p.w.net.host(ip).apps[port] = at
	p.w.net.mu.Unlock()
	//nolint:errcheck // ends with http.ErrServerClosed when the pod stops
	go app.Serve(l.server, gatedListener{bound, l.gate}, int(port))
	return at, nil
}

// bundled finds the app of a pod: by annotation, by its containers' images, or the stand-in.
func bundled(s *translate.Pod, unknown string) (sampleapps.App, corev1.Container, error) {
	if name := s.Annotations["mesh-lab.dev/app"]; name != "" {
		a, ok := sampleapps.Lookup(name)
		if !ok {
			return a, corev1.Container{}, fmt.Errorf("annotation mesh-lab.dev/app: "+
				"no app %q is bundled; `mesh-lab apps` lists them", name)
		}
		return a, firstContainer(s), a.Missing()
	}
	var later error
	for _, c := range s.Containers {
		if a, ok := sampleapps.ByImage(c.Image); ok {
			if later = a.Missing(); later == nil {
				return a, c, nil
			}
		}
	}
	if unknown != "" {
		if a, ok := sampleapps.Lookup(unknown); ok {
			return a, firstContainer(s), nil
		}
		return sampleapps.App{}, corev1.Container{},
			fmt.Errorf("--unknown-image: no app %q is bundled", unknown)
	}
	c := firstContainer(s)
	if later != nil {
		return sampleapps.App{}, c, fmt.Errorf("image %q: %w; the annotation "+
			"mesh-lab.dev/app: echo puts another in its place", c.Image, later)
	}
	return sampleapps.App{}, c, fmt.Errorf("image %q is not bundled: add the annotation "+
		"mesh-lab.dev/app: NAME to the pod template, or run with --unknown-image echo "+
		"(`mesh-lab apps` lists the names)", c.Image)
}

// CheckImage says whether an app is bundled for a pod.
func CheckImage(s *translate.Pod) error {
	if s.Role == translate.Gateway {
		return nil
	}
	if spec, err := ownSpec(s); spec != nil || err != nil {
		return nil // CheckOwn knows
	}
	_, _, err := bundled(s, "")
	return err
}

// firstContainer is the container that an annotation is about.
func firstContainer(s *translate.Pod) corev1.Container {
	if len(s.Containers) == 0 {
		return corev1.Container{}
	}
	return s.Containers[0]
}

// Spec describes the pod.
func (p *pod) Spec() *translate.Pod { return p.spec.Load() }

// SetSpec takes a new description of the same pod.
func (p *pod) SetSpec(s *translate.Pod) { p.spec.Store(s) }

// Launch tells what answers that its proxy is configured.
func (p *pod) Launch() {
	if l := p.living(); l != nil {
		l.app.launch()
	}
}

// Settle waits until every exchange that has ended is recorded.
func (p *pod) Settle(ctx context.Context) error {
	if side := p.proxy(); side != nil && !p.holds(hold{topology.FaultPause, topology.PartProxy}) {
		return side.settle(ctx)
	}
	return nil // it has nothing to hand over, or can not
}

// Await waits until the app is ready, or known not to be.
func (p *pod) Await(ctx context.Context) {
	l := p.living()
	if l == nil {
		return
	}
	if a, ok := l.app.(*ownApp); ok {
		p.w.awaitOwn(ctx, []*ownApp{a})
	}
	if l.becomes != nil {
		select {
		case <-l.becomes:
		case <-l.ended.Done():
		case <-ctx.Done():
		}
	}
}

// socket returns where the proxy really listens for one of its ports; empty when it does not.
func (p *pod) socket(port uint16) string {
	n := p.w.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[p.spec.Load().IP]; h != nil {
		return h.sockets[port]
	}
	return ""
}

// Gateways lists the gateway's addresses by the ports of the Services that select it.
func (p *pod) Gateways(reg *translate.Registry) []topology.GatewayAddress {
	s := p.spec.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []topology.GatewayAddress
	for port, l := range p.published {
		a := topology.GatewayAddress{Gateway: s.ID(), Port: int(port), Address: l.Addr().String()}
		if sp, ok := reg.ServicePort(s, port); ok {
			a.Port = int(sp)
		}
		out = append(out, a)
	}
	return out
}

// Close drains the proxy, then ends everything of the pod.
func (p *pod) Close(ctx context.Context) error {
	var errs []error
	p.mu.Lock()
	p.end() // and from now on nothing begins to listen
	side, l := p.side, p.life
	p.mu.Unlock()
	if side != nil {
		errs = append(errs, side.close(ctx))
	}
	if l != nil {
		_, err := l.close(ctx)
		errs = append(errs, err)
	}
	p.w.net.forget(p.spec.Load().IP, p)
	return errors.Join(errs...)
}

// servicePort is the port under which the gateway's Service offers one of its ports.
func (p *pod) servicePort(port uint16) uint16 {
	if sp, ok := p.w.mesh.Registry().ServicePort(p.spec.Load(), port); ok {
		return sp
	}
	return port
}

// outside listens on 127.0.0.1 for a gateway's port: on the port itself where it is free and
// allowed, else on the one that people use in its place (8080 for 80, 8443 for 443), else on any.
func (w *world) outside(port uint16) (net.Listener, error) {
	ports := []uint16{0}
	if w.spec.FixedPorts {
		ports = []uint16{port, 8000 + port%1000, 0}
	}
	var l net.Listener
	var err error
	for _, at := range ports {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(localhost, at).String())
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("embedded: publish gateway port %d: %w", port, err)
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})
