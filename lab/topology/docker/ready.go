package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// A pod's model may have its app listen, and the pod be ready, some time after its start: see
// lab/topology/embedded. The first is the app's own business in its container, the second ours.

// readiness is what a pod's model says of it.
type readiness struct {
	now     bool          // it listens at once
	after   time.Duration // it is ready so long after its start
	started bool          // when it is ready it listens
}

// readiness reads the model, and has the pod begin as not ready where it says so.
func (p *pod) readiness(vars map[string]string) (readiness, error) {
	m, errs := model.Read(vars)
	if errs != nil {
		return readiness{}, errors.Join(errs...)
	}
	r := readiness{now: m.Startup == 0, after: m.ReadyAfter, started: m.ReadyAfter >= m.Startup}
	if m.Startup > 0 && r.started || m.ReadyAfter > 0 {
		p.becomes = make(chan struct{})
		p.w.mesh.HoldBack(p.Spec().ID())
	}
	return r, nil
}

// become has the pod be ready when its model says.
func (p *pod) become(r readiness, ports []uint16) {
	if p.becomes == nil {
		return
	}
	stop := p.w.clock.AfterFunc(r.after, func() {
		if r.started && len(ports) > 0 {
			if err := p.listens(p.ended, ports[0], 0); err != nil {
				return // the pod has ended, or its app
			}
		}
		p.ready()
	})
	context.AfterFunc(p.ended, func() { stop() })
}

// ready tells the mesh that the pod is.
func (p *pod) ready() {
	defer close(p.becomes)
	err := p.w.mesh.SetReady(p.ended, p, true)
	if err != nil && p.ended.Err() == nil && p.w.mesh.Ended().Err() == nil {
		p.w.log.Warn("pod is ready, but not all proxies know", "pod", p.Spec().ID(), "err", err)
	}
}

// awaitReady waits until each pod that has begun as not ready is ready.
func (w *world) awaitReady(ctx context.Context) error {
	pods := slices.DeleteFunc(w.running(), func(p *pod) bool {
		return p.becomes == nil || !p.Spec().Ready
	})
	slices.SortFunc(pods, func(a, b *pod) int {
		return strings.Compare(a.Spec().ID(), b.Spec().ID())
	})
	for _, p := range pods {
		w.driver.progress("waiting until " + p.Spec().ID() + " is ready")
		var late <-chan time.Time
		if _, ok := foreign(p.Spec(), w.spec.UnknownImage); ok {
			late = time.After(startPatience)
		}
		select {
		case <-p.becomes:
		case <-p.ended.Done():
		case <-late:
			w.driver.note(p.Spec().ID() + " is still not ready; the lab goes on without it")
		case <-ctx.Done():
			return fmt.Errorf("waiting until pod %s is ready: %w", p.Spec().ID(), ctx.Err())
		}
	}
	return nil
}

// refused joins diagnostics that are errors.
func refused(diags []istio.Diagnostic) error {
	var errs []error
	for _, d := range diags {
		if d.Severity == istio.Error {
			errs = append(errs, errors.New(d.String()))
		}
	}
	return errors.Join(errs...)
}
