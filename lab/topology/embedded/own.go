package embedded

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/own"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// ownApp is a service of the user's own in a pod: a command or an address.
type ownApp struct {
	pod       *pod
	spec      *own.Spec
	service   *own.Service
	proxy     *own.Proxy
	proxyAt   string
	upstreams *own.Upstreams

	mu     sync.Mutex
	open   bool                     // something listens
	relays map[uint16]*link.Passing // where an Envoy finds it
	past   []*link.Passing          // that take no more connections
}

// ownSpec reads what a pod says of a service of the user's own; nil when there is none.
func ownSpec(s *translate.Pod) (*own.Spec, error) {
	dir := "."
	if s.Object != nil {
		dir = filepath.Dir(s.Object.At("").File)
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	spec, err := own.Parse(s.Annotations, firstContainer(s), containerPorts(s), dir)
	if spec != nil && s.Role == translate.Gateway {
		return nil, &own.ProblemError{Annotation: annotationOf(spec),
			Msg: "this pod is a gateway, which has no service of its own"}
	}
	return spec, err
}

// annotationOf is the annotation that says what answers.
func annotationOf(spec *own.Spec) string {
	if spec.Command != "" {
		return own.CommandAnnotation
	}
	return own.ForwardAnnotation
}

// CheckOwn returns what is wrong with a pod's service of the user's own.
func CheckOwn(s *translate.Pod) []istio.Diagnostic {
	_, err := ownSpec(s)
	p, ok := err.(*own.ProblemError)
	if !ok || s.Object == nil {
		return nil
	}
	field := templateField(s, "spec."+p.Field)
	if p.Annotation != "" {
		field = templateField(s, "metadata.annotations["+p.Annotation+"]")
	}
	return []istio.Diagnostic{{
		Place: s.Object.At(field), Object: s.Object.Ref(), Field: field, Msg: p.Msg,
	}}
}

// templateField is where a field of a pod is written in the object that the pod is of.
func templateField(s *translate.Pod, field string) string {
	if s.Object.Kind == "Pod" {
		return field
	}
	return "spec.template." + field
}

// startOwn prepares a service of the user's own: it begins when the pod's proxy is configured.
// Until it answers, the pod is no endpoint.
func (p *pod) startOwn(s *translate.Pod, spec *own.Spec, life *life) error {
	c := firstContainer(s)
	a := &ownApp{pod: p, spec: spec, relays: map[uint16]*link.Passing{}}
	a.proxy = own.NewProxy(func(ctx context.Context, address string) (net.Conn, error) {
		return p.w.mesh.Dial(ctx, s.ID(), address)
	}, p.w.log.With("pod", s.ID()))
	a.upstreams = a.proxy.Upstreams(a.listen)
	life.app = a
	l, err := a.listen("proxy")
	if err != nil {
		return err
	}
	a.proxy.ServeProxy(l)
	a.proxyAt = l.Addr().String()
	who := downward(s)
	o := own.Options{
		Spec: spec, Clock: p.w.clock, Log: p.w.log.With("pod", s.ID()),
		Env: func() []string {
			env := own.ServiceVariables(a.upstreams.List(), s.Namespace)
			return own.Environ(who, c, a.proxyAt, env)
		},
		Open: a.opened, Ready: a.ready,
	}
	if log := p.w.spec.OwnLog; log.Take != nil {
		from := s.ID() + "/" + c.Name
		o.Say = func(line []byte) { log.Take(from, line) }
		if log.All {
			o.Line = o.Say
		}
	}
	if a.service, err = own.New(o); err != nil {
		return fmt.Errorf("%s: %w", where(s, spec), err)
	}
	p.w.net.serve(s.IP, a.service.Dial)
	p.w.mesh.HoldBack(s.ID())
	return nil
}

// downward is what a pod's containers may know of it.
func downward(s *translate.Pod) own.Pod {
	return own.Pod{
		Name: s.Name, Namespace: s.Namespace, IP: s.IP.String(), ServiceAccount: s.ServiceAccount,
		Labels: s.Labels, Annotations: s.Annotations,
	}
}

// where is the place of a pod's annotation.
func where(s *translate.Pod, spec *own.Spec) string {
	if s.Object == nil {
		return s.ID()
	}
	at := s.Object.At(templateField(s, "metadata.annotations["+annotationOf(spec)+"]"))
	return fmt.Sprintf("%s:%d:%d: %s", at.File, at.Line, at.Column, s.Object.Ref())
}

// listen opens a port on 127.0.0.1: of a lab for a person, the same each time where that is free.
func (a *ownApp) listen(what string) (net.Listener, error) {
	number := rand.Uint64() // a port is nobody's verdict
	if a.pod.w.spec.FixedPorts {
		h := fnv.New64a()
		h.Write([]byte(a.pod.spec.Load().ID() + "/" + what))
		number = h.Sum64()
	}
	return own.FreePort(number)
}

// launch begins, or goes on with the Services that there are now.
func (a *ownApp) launch() {
	if err := a.upstreams.Set(a.wanted()); err != nil {
		a.pod.w.log.Warn("local ports of upstreams", "pod", a.pod.spec.Load().ID(), "err", err)
	}
	a.bind()
	a.service.Start()
}

// close ends it.
func (a *ownApp) close(ctx context.Context) error {
	if a.service != nil {
		a.service.Stop(ctx)
	}
	a.opened(false)
	a.proxy.Close()
	return nil
}

// readyPatience bounds how long the mesh may take to learn that a service is ready.
const readyPatience = 10 * time.Second

// ready tells the mesh.
func (a *ownApp) ready(ctx context.Context, ready bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	return a.pod.w.mesh.SetReady(ctx, a.pod, ready)
}

// wanted are the upstreams that the pod may have: the TCP ports of all Services.
func (a *ownApp) wanted() []own.Upstream {
	var out []own.Upstream
	for _, s := range a.pod.w.mesh.Registry().Services {
		for i := range s.Spec.Spec.Ports {
			sp := &s.Spec.Spec.Ports[i]
			if sp.Protocol != "" && sp.Protocol != corev1.ProtocolTCP {
				continue
			}
			host := s.Name
			if s.Namespace != a.pod.spec.Load().Namespace {
				host += "." + s.Namespace
			}
			out = append(out, own.Upstream{
				Service: s.Name, Namespace: s.Namespace, PortName: sp.Name,
				Address: fmt.Sprintf("%s:%d", host, sp.Port), HTTP: translate.SpeaksHTTP(sp),
			})
		}
	}
	return out
}

// opened notes whether something listens.
func (a *ownApp) opened(open bool) {
	a.mu.Lock()
	a.open = open
	past := slices.Collect(maps.Values(a.relays))
	if !open {
		past = append(past, a.past...)
		a.relays, a.past = map[uint16]*link.Passing{}, nil
	}
	a.mu.Unlock()
	if open {
		a.bind()
		return
	}
	for _, r := range past {
		r.Close()
	}
}

// bind has the service listen where the pod's Envoy, if it has one, looks for its app. A port is
// bound as long as the service listens, so that who calls it otherwise is refused.
func (a *ownApp) bind() {
	p := a.pod
	if p.w.envoys == nil || p.spec.Load().Role != translate.Sidecar {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open {
		return
	}
	for _, port := range a.ports() {
		if a.relays[port] != nil || p.refuses(port) || a.service.Address(port) == "" {
			continue
		}
		l, err := p.w.net.bindApp(p.spec.Load().IP, port)
		if err != nil {
			p.w.log.Warn("own service", "pod", p.spec.Load().ID(), "port", port, "err", err)
			continue
		}
		a.relays[port] = link.Pass(l, func(ctx context.Context, _ net.Conn) (net.Conn, error) {
			return a.service.Dial(ctx, port)
		})
	}
}

// unbind has refused ports closed where the pod's Envoy looks for its app. Connections go on.
func (a *ownApp) unbind(f *refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for port, r := range a.relays {
		if f.covers(port) {
			r.Stop()
			a.past = append(a.past, r)
			delete(a.relays, port)
		}
	}
}

// ports are those that the pod's containers declare, and those that Services lead to.
func (a *ownApp) ports() []uint16 {
	s, reg := a.pod.spec.Load(), a.pod.w.mesh.Registry()
	out := slices.Clone(a.spec.Ports)
	for _, service := range reg.Services {
		for _, sp := range service.Spec.Spec.Ports {
			port, ok := reg.TargetPort(s, uint16(sp.Port))
			if ok && !slices.Contains(out, port) {
				out = append(out, port)
			}
		}
	}
	return out
}

// serve has a function connect to the app at a logical address.
func (n *network) serve(
	a netip.Addr, dial func(context.Context, uint16) (net.Conn, error),
) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(a).dial = dial
}

// OwnServices tells of the pods whose service is the user's own, by ID.
func (w *world) OwnServices() []topology.OwnService {
	var out []topology.OwnService
	for _, a := range w.owned() {
		s := a.pod.spec.Load()
		o := topology.OwnService{
			Pod: s.ID(), What: a.spec.What(), Forward: a.spec.Command == "", Proxy: a.proxyAt,
			Problem: a.service.Problem(),
		}
		for _, port := range a.ports() {
			if at := a.service.Address(port); at != "" || a.spec.Command != "" {
				o.Ports = append(o.Ports, topology.OwnPort{Port: int(port), Address: at})
			}
		}
		for _, u := range a.upstreams.List() {
			local := u.Local
			if u.HTTP {
				local = "http://" + local
			}
			o.Upstreams = append(o.Upstreams, topology.OwnUpstream{
				Address: u.Address, Local: local,
			})
		}
		out = append(out, o)
	}
	return out
}

// owned lists the services of the user's own, by the IDs of their pods.
func (w *world) owned() []*ownApp {
	var out []*ownApp
	for _, p := range w.running() {
		l := p.living()
		if l == nil {
			continue
		}
		if a, ok := l.app.(*ownApp); ok {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *ownApp) int {
		return strings.Compare(a.pod.spec.Load().ID(), b.pod.spec.Load().ID())
	})
	return out
}

// How long it takes until it is said that a command is waited for, and until it is not any more;
// and a little more than proxies may keep news of an endpoint's health to themselves, a second
// (config.cluster.v3, CommonLbConfig.update_merge_window).
const (
	mergeWindow = 1100 * time.Millisecond
	ownSlow     = 5 * time.Second
	ownPatience = time.Minute
)

// awaitOwn waits until each service of the user's own is ready, or known not to be.
func (w *world) awaitOwn(ctx context.Context, services []*ownApp) {
	patient, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	ready := false
	for _, a := range services {
		slow := time.NewTimer(ownSlow)
		select {
		case <-a.service.Settled:
		case <-a.pod.ended.Done():
		case <-patient.Done():
		case <-slow.C:
			a.say("waiting until it is ready: %v", a.service.Problem())
			select {
			case <-a.service.Settled:
			case <-a.pod.ended.Done():
			case <-patient.Done():
				if ctx.Err() == nil {
					a.say("still not ready; the lab goes on without it")
				}
			}
		}
		slow.Stop()
		ready = ready || a.service.Problem() == nil
		if err := a.service.Problem(); err != nil && a.spec.Command == "" {
			a.say("waiting for %s: %v", a.spec.What(), err)
		}
	}
	if ready {
		t := time.NewTimer(mergeWindow)
		defer t.Stop()
		select {
		case <-t.C:
		case <-patient.Done():
		}
	}
}

// say tells the user something of a service.
func (a *ownApp) say(format string, args ...any) { a.service.Say(format, args...) }
