// Package docker runs a mesh in containers: every pod a network name space of its own with the
// pod's address, its app and its sidecar containers beside each other, all of its traffic taken by
// the kernel; control plane, DNS and the door for the lab's process containers, too.
//
//	lab's process ── live.Mesh ── world ══ tunnel ══▶ hub ──▶ agent of each pod
//	     ▲                                             │       (dial, capture, faults)
//	     └────── records, pushes ──────────────────────┘
//
// The lab's process stays the brain: it translates, judges, and drives load. Addresses are the
// logical ones of every topology; the network that Docker makes for a lab only carries them.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Driver brings up meshes in Docker.
type Driver struct {
	// Proxy is the data plane: "meshcore", our own (also when empty), or "envoy", a real Envoy for
	// each sidecar and gateway.
	Proxy string
	// Tamper, when set, changes what each data plane carries out, behind the control plane's back:
	// a mesh that is wrong in one thing. Tests prove with it that scenarios notice.
	Tamper func(*xds.Snapshot) *xds.Snapshot
	// Progress, when set, hears what the bring-up is at.
	Progress func(what string)
	// Note, when set, hears what a user should know: what was swept, what can not be had.
	Note func(text string)
}

// Up starts a mesh; it is ready when every proxy has ACKed, and every pod is ready that is to be.
// On failure nothing is left behind. What a mesh-lab that was killed has left goes first.
func (d Driver) Up(ctx context.Context, s topology.Spec) (topology.Mesh, error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	e, err := engine.Connect(ctx, s.Log)
	if err != nil {
		return nil, err
	}
	for _, n := range e.Notes {
		d.note(n)
	}
	swept, err := e.Sweep(ctx, 0)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if swept.Images > 0 {
		s.Log.Info("removed older images", "images", swept.Images)
	}
	swept.Images = 0 // of builds before this one: no news
	if text := swept.String(); text != "" {
		d.note("removed what a killed mesh-lab had left in Docker: " + text)
	}
	w := &world{
		engine: e, spec: s, driver: d, log: s.Log, clock: clock.NewReal(),
		rec: observe.NewRecorder(), pods: map[string]*pod{},
		graves: map[netip.Addr]*engine.Container{},
	}
	if err := w.begin(ctx); err != nil {
		return nil, errors.Join(err, w.Close(context.WithoutCancel(ctx)))
	}
	w.mesh = live.New(live.Options{
		Spec: s, Envoy: d.Proxy == "envoy", Clock: w.clock, Recorder: w.rec, Control: w.control,
		Log: s.Log,
	})
	close(w.begun)
	d.progress(fmt.Sprintf("starting %d objects' pods", len(s.Config.Objects)))
	if err := w.mesh.Begin(ctx, w); err != nil {
		return nil, err
	}
	d.progress("waiting until every pod is ready")
	if err := w.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, w.mesh.Close(context.WithoutCancel(ctx)))
	}
	return w.mesh, nil
}

func (d Driver) note(text string) {
	if d.Note != nil {
		d.Note(text)
	}
}

func (d Driver) progress(what string) {
	if d.Progress != nil {
		d.Progress(what)
	}
}
