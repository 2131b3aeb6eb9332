package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/tunnel"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy/als"
	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/observe/sent"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// world is where the pods of one lab run.
type world struct {
	mesh   *live.Mesh
	engine *engine.Engine
	lab    *engine.Lab
	spec   topology.Spec
	driver Driver
	log    *slog.Logger
	clock  *clock.Real
	rec    *observe.Recorder
	begun  chan struct{} // closed when mesh is set

	token   string
	image   string // of the lab's own parts
	envoy   string // of real Envoys; empty: our own data plane
	door    *tunnel.Client
	hub     *engine.Container
	names   *engine.Container
	control *controlPlane
	reports *reports       // of real Envoys
	told    *sent.Receiver // of our own proxies
	served  sync.WaitGroup
	unheld  error // why the kernel can not have packets held; nil: it can

	mu   sync.Mutex
	pods map[string]*pod
	// graves are the networks of pods that were killed: where nobody listens any more the kernel
	// refuses, as it does where a process has died, until another pod takes the address.
	graves    map[netip.Addr]*engine.Container
	hubVIPs   []capture.VIP
	faults    int                 // so far, for their names
	netFaults []*netFault         // in effect
	sent      *translate.Registry // that DNS and Service addresses have last been made of
}

// Check says what of a pod can not run in a container.
func (w *world) Check(s *translate.Pod) []istio.Diagnostic {
	return Check(s, w.spec.UnknownImage)
}

// Check says what of a pod can not run in a container; unknown is the app for images that are not
// known, empty where they are pulled.
func Check(s *translate.Pod, unknown string) []istio.Diagnostic {
	if a, ok := embedded.IsOwn(s); ok {
		d := istio.Diagnostic{Msg: a + ": a service on this machine can not stand in a " +
			"container; name its image in the pod instead, or use --topology embedded"}
		if s.Object != nil {
			d.Object, d.Place = s.Object.Ref(), s.Object.At("metadata.name")
		}
		return []istio.Diagnostic{d}
	}
	if c, ok := foreign(s, unknown); ok {
		return checkForeign(s, c)
	}
	return embedded.CheckModel(s, unknown)
}

// Link adds the access logs of real Envoys.
func (w *world) Link(
	_ *translate.Registry, snaps map[string]*xds.Snapshot,
) (map[string]*xds.Snapshot, error) {
	if w.envoy == "" && w.driver.Tamper == nil {
		return snaps, nil
	}
	out := make(map[string]*xds.Snapshot, len(snaps))
	listeners := map[*listenerv3.Listener]*listenerv3.Listener{}
	routes := map[*routev3.RouteConfiguration]*routev3.RouteConfiguration{}
	for id, s := range snaps {
		if w.driver.Tamper != nil {
			s = w.driver.Tamper(s)
		}
		if w.envoy == "" {
			out[id] = s
			continue
		}
		told := *s
		told.Listeners = make(map[string]*listenerv3.Listener, len(s.Listeners))
		for name, l := range s.Listeners {
			if listeners[l] == nil {
				var err error
				listeners[l], err = als.Instrument(l, envoy.ReportsCluster, w.spec.KeepHeaders)
				if err != nil {
					return nil, fmt.Errorf("pod %s: %w", id, err)
				}
			}
			told.Listeners[name] = listeners[l]
		}
		told.Routes = make(map[string]*routev3.RouteConfiguration, len(s.Routes))
		for name, r := range s.Routes {
			if routes[r] == nil {
				routes[r] = als.InstrumentRoutes(r)
			}
			told.Routes[name] = routes[r]
		}
		out[id] = &told
	}
	return out, nil
}

// Dial connects as a client would: in the name space of its pod, where the kernel has what its
// sidecar takes; or through the hub, from outside.
func (w *world) Dial(
	ctx context.Context, from live.Client, to netip.AddrPort,
) (net.Conn, error) {
	if from.Pod == nil {
		return w.door.Outside(ctx, to)
	}
	return w.door.Dial(ctx, from.Addr, to.String())
}

// Lookup resolves a name as the client's pod does, from within.
func (w *world) Lookup(
	ctx context.Context, from live.Client, name string,
) (addrs []netip.Addr, err error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	var at netip.Addr // the hub, for who is in no pod
	if from.Pod != nil {
		at = from.Addr
	}
	err = w.door.Call(ctx, at, "lookup", name, &addrs)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return addrs, err
}

// Capture passes a socket's connections on as the client's.
func (w *world) Capture(
	from live.Client, to netip.AddrPort,
) (network, addr string, release func(), err error) {
	l, remove, err := listen()
	if err != nil {
		return "", "", nil, err
	}
	r := link.Pass(l, func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		return w.Dial(ctx, from, to)
	})
	return l.Addr().Network(), l.Addr().String(), func() { r.Close(); remove() }, nil
}

// listen opens a unix socket for connections that are passed on: on Linux one without a file.
func listen() (l net.Listener, remove func(), err error) {
	if runtime.GOOS != "linux" {
		return incarnation.ListenUnix()
	}
	l, err = net.Listen("unix", "@mesh-lab-"+rand.Text())
	return l, func() {}, err
}

// Prepare tells DNS and the pods without a sidecar what there is, before proxies are told.
func (w *world) Prepare(ctx context.Context, reg *translate.Registry) error {
	w.mu.Lock()
	w.sent = reg
	w.mu.Unlock()
	return errors.Join(w.tellNames(ctx, reg), w.tellServices(ctx, reg), w.tellPorts(ctx, reg))
}

// InEffect publishes what gateways listen on, once they do.
func (w *world) InEffect(ctx context.Context, snaps map[string]*xds.Snapshot) error {
	var errs []error
	for _, p := range w.running() {
		s := snaps[p.Spec().ID()]
		if s == nil {
			continue
		}
		if err := p.serves(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		if p.Spec().Role == translate.Gateway {
			errs = append(errs, p.publish(s))
		}
	}
	return errors.Join(errs...)
}

// Alive returns a context that ends when a container dies that everybody waits for.
func (w *world) Alive(ctx context.Context) (alive context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, p := range w.running() {
		p.mourn(ctx, cancel)
	}
	return ctx, func() { cancel(nil) }
}

// Explain adds nothing: a container that has died has said why.
func (w *world) Explain(err error) error { return err }

// running lists the pods.
func (w *world) running() []*pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*pod, 0, len(w.pods))
	for _, p := range w.pods {
		out = append(out, p)
	}
	return out
}

// Close ends what is left: every container of the lab, and its network.
func (w *world) Close(ctx context.Context) error {
	// What ends a lab is not to be cut short by who asked for it, and Docker has its own patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	var errs []error
	if w.door != nil {
		errs = append(errs, ignoreClosed(w.door.Close()))
	}
	if w.reports != nil {
		w.reports.close()
	}
	if w.told != nil {
		w.told.Close()
	}
	w.served.Wait()
	if w.lab != nil {
		errs = append(errs, w.lab.Close(ctx))
	}
	return errors.Join(append(errs, w.engine.Close())...)
}

// ignoreClosed forgives what is closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

var (
	_ live.World    = (*world)(nil)
	_ live.Pusher   = (*world)(nil)
	_ live.Resolver = (*world)(nil)
)
