package docker

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/names"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// vips are the Services' ports with the ready pods behind them, as kube-proxy has them.
func vips(reg *translate.Registry) []capture.VIP {
	var out []capture.VIP
	for _, s := range reg.Services {
		if !s.VIP.IsValid() {
			continue
		}
		for _, sp := range s.Spec.Spec.Ports {
			if sp.Protocol != "" && sp.Protocol != corev1.ProtocolTCP {
				continue
			}
			out = append(out, capture.VIP{
				Addr: s.VIP, Port: uint16(sp.Port), Ends: reg.Endpoints(s, uint16(sp.Port)),
			})
		}
	}
	return out
}

// tellServices has the kernel do what kube-proxy does, where connections pass no sidecar: every pod
// and the hub have it, as every node has kube-proxy. Who has it already is told nothing.
func (w *world) tellServices(ctx context.Context, reg *translate.Registry) error {
	list := vips(reg)
	told := map[netip.Addr]func(){}
	w.mu.Lock()
	if !reflect.DeepEqual(w.hubVIPs, list) {
		told[netip.Addr{}] = func() { w.hubVIPs = list }
	}
	for _, p := range w.pods {
		if p.infra != nil && !reflect.DeepEqual(p.vips, list) {
			told[p.Spec().IP] = func() { p.vips = list }
		}
	}
	w.mu.Unlock()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for at, done := range told {
		wg.Go(func() {
			err := w.door.Call(ctx, at, "vips", list, nil)
			if err == nil {
				w.mu.Lock()
				done()
				w.mu.Unlock()
				return
			}
			if p := w.podAt(at); p != nil && p.anyBroken() {
				return // it is told when it is back
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// podAt is the pod that has an address; nil when none has.
func (w *world) podAt(at netip.Addr) *pod {
	for _, p := range w.running() {
		if p.Spec().IP == at {
			return p
		}
	}
	return nil
}

// targetPorts are the ports that Services lead to, of one pod.
func (w *world) targetPorts(s *translate.Pod) []uint16 {
	w.mu.Lock()
	reg := w.sent
	w.mu.Unlock()
	if reg == nil {
		reg = w.mesh.Registry()
	}
	return portsOf(reg, s)
}

// portsOf are the ports that the Services of a registry lead to, of one pod. What is outside of the
// mesh also has the ports that web servers have.
func portsOf(reg *translate.Registry, s *translate.Pod) []uint16 {
	var out []uint16
	if s.Role == translate.External {
		out = append(out, 80, 443)
	}
	for _, service := range reg.Services {
		for _, sp := range service.Spec.Spec.Ports {
			port, ok := reg.TargetPort(s, uint16(sp.Port))
			if ok && port > 0 && !slices.Contains(out, port) {
				out = append(out, port)
			}
		}
	}
	return out
}

// tellPorts has apps that answer on any port listen where Services lead to.
func (w *world) tellPorts(ctx context.Context, reg *translate.Registry) error {
	var errs []error
	for _, p := range w.running() {
		if p.anyPort && !p.anyBroken() {
			errs = append(errs, p.listenOn(ctx, portsOf(reg, p.Spec())))
		}
	}
	return errors.Join(errs...)
}

// tellNames tells DNS what there is.
func (w *world) tellNames(ctx context.Context, reg *translate.Registry) error {
	addrs, alias := live.NameTable(reg)
	return w.door.Call(ctx, part.DNSIP, "names", names.Table{Addrs: addrs, Alias: alias}, nil)
}
