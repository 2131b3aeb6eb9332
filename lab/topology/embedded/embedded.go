// Package embedded runs a whole mesh in one process on loopback: control plane, sidecars, gateways
// and apps, without root and without an installation.
//
//	client ─▶ app's dialer ─▶ sidecar :15001 ─▶ (network) ─▶ sidecar :15006 ─▶ app
//	                              ▲                               ▲
//	                              └──────── ADS, in memory ───────┴── control
//
// Every request crosses two real sidecars over real sockets. Captured connections carry their
// original destination in a PROXY protocol header, where a cluster has iptables.
package embedded

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Driver brings up embedded meshes.
type Driver struct {
	// Proxy is the data plane: "meshcore", our own (also when empty), or "envoy", one real Envoy
	// process for each sidecar and gateway.
	Proxy string
	// Dir is where files of a lab with real Envoys go; empty: the directory for temporary files.
	Dir string
	// Tamper, when set, changes what each data plane carries out, behind the control plane's back:
	// a mesh that is wrong in one thing. Tests prove with it that scenarios notice.
	Tamper func(*xds.Snapshot) *xds.Snapshot

	shared bool // one loopback address for all pods, as where there is no other
}

// world is where the pods of one lab run.
type world struct {
	mesh   *live.Mesh
	spec   topology.Spec
	tamper func(*xds.Snapshot) *xds.Snapshot
	clock  *clock.Real
	rec    *observe.Recorder
	net    *network
	links  *link.Links
	local  *control.LocalServer
	pool   *subscribe.Pool
	checks engine.Checks
	log    *slog.Logger
	runDir string
	envoys *envoys // nil: our own data plane

	captures captures
}

// Up starts a mesh; it is ready when every proxy has ACKed, and every pod is ready that is to be.
// On failure nothing is left behind.
func (d Driver) Up(ctx context.Context, s topology.Spec) (topology.Mesh, error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	n, err := newNetwork(d.shared)
	if err != nil {
		return nil, err
	}
	w := &world{
		spec: s, tamper: d.Tamper, clock: clock.NewReal(), rec: observe.NewRecorder(), net: n,
		pool: &subscribe.Pool{}, log: s.Log, runDir: d.Dir,
		captures: captures{all: map[*capture]struct{}{}},
	}
	w.links = link.New(w.clock)
	w.local = control.Local(w.clock, w.rec)
	if d.Proxy == "envoy" {
		if err := w.startEnvoys(ctx); err != nil {
			return nil, errors.Join(err, w.local.Close(), w.Close(ctx))
		}
	}
	w.mesh = live.New(live.Options{
		Spec: s, Envoy: w.envoys != nil, Clock: w.clock, Recorder: w.rec,
		Control: live.Local{LocalServer: w.local}, Log: s.Log,
	})
	if err := w.mesh.Begin(ctx, w); err != nil {
		return nil, err
	}
	if err := w.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, w.mesh.Close(context.WithoutCancel(ctx)))
	}
	if w.awaitOwn(ctx, w.owned()); ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), w.mesh.Close(context.WithoutCancel(ctx)))
	}
	return w.mesh, nil
}

// running lists the pods.
func (w *world) running() []*pod {
	var out []*pod
	for _, p := range w.mesh.Running() {
		out = append(out, p.(*pod))
	}
	return out
}

// Check says what can not run of a pod.
func (w *world) Check(s *translate.Pod) []istio.Diagnostic {
	return slices.Concat(
		CheckModel(s, w.spec.UnknownImage), CheckOwn(s), checkCapture(s))
}

// checkCapture refuses annotations by which a sidecar takes less than all: there is no kernel here
// that could be told.
func checkCapture(s *translate.Pod) []istio.Diagnostic {
	if s.Role != translate.Sidecar {
		return nil
	}
	if diags := intercept.Check(s); len(diags) > 0 {
		return diags
	}
	return intercept.Changed(s)
}

// Link makes what the proxies are sent: ours take what any Envoy does.
func (w *world) Link(
	reg *translate.Registry, snaps map[string]*xds.Snapshot,
) (map[string]*xds.Snapshot, error) {
	if w.envoys == nil {
		return snaps, nil
	}
	return w.envoys.link(reg, snaps)
}

// Prepare has everything listen that Envoys may call.
func (w *world) Prepare(_ context.Context, reg *translate.Registry) error {
	if w.envoys == nil {
		return nil
	}
	w.envoys.clear()
	return w.open(reg)
}

// InEffect notes what the Envoys listen on.
func (w *world) InEffect(ctx context.Context, snaps map[string]*xds.Snapshot) error {
	if w.envoys == nil {
		return nil
	}
	return w.bound(ctx, snaps)
}

// Alive returns a context that ends when an Envoy dies; its cause says which and why.
func (w *world) Alive(ctx context.Context) (alive context.Context, stop func()) {
	if w.envoys == nil {
		return ctx, func() {}
	}
	return w.envoys.whileAlive(ctx)
}

// Explain adds the end of a proxy's own log to its refusal.
func (w *world) Explain(err error) error {
	if w.envoys == nil {
		return err
	}
	return w.envoys.explain(err)
}

// Close ends what pods had in common.
func (w *world) Close(context.Context) error {
	err := w.links.Close()
	if w.envoys != nil {
		err = errors.Join(err, w.envoys.close())
	}
	w.net.close()
	return err
}

var (
	_ live.World     = (*world)(nil)
	_ live.Pusher    = (*world)(nil)
	_ topology.Owner = (*world)(nil)
	_ live.Awaiter   = (*pod)(nil)
)
