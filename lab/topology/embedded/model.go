package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// A pod's model (sampleapps/model) may have its app listen, and the pod be ready, some time after
// its start:
//
//	start ──────────── STARTUP ──────────── READY_AFTER ──▶
//	        refuses            listens                      is an endpoint
//
// Both are the pod's own business: Apply returns without waiting for them, and that a pod has
// become ready is pushed on its own. Only the start of a lab waits.

// serveAfter has an app listen, and its pod be ready, when its model says. Caller must hold apply.
func (p *pod) serveAfter(l *life, b model.Model, serve func() error) error {
	if b.Startup == 0 {
		p.readyAfter(l, b.ReadyAfter)
		return serve()
	}
	open := func() {
		err := serve()
		if err == nil && p.w.envoys != nil {
			err = p.w.open(p.w.mesh.Registry())
		}
		if err != nil && l.ended.Err() == nil {
			p.w.log.Warn("app does not listen", "pod", p.spec.Load().ID(), "err", err)
		}
	}
	if b.ReadyAfter < b.Startup {
		p.readyAfter(l, b.ReadyAfter)
		p.after(l, b.Startup, open)
		return nil
	}
	ready := p.holdBack(l)
	p.after(l, b.Startup, func() {
		open() // before the pod may be ready
		p.after(l, b.ReadyAfter-b.Startup, ready)
	})
	return nil
}

// readyAfter has a pod that is not ready at once be so later. Caller must hold apply.
func (p *pod) readyAfter(l *life, d time.Duration) {
	if d > 0 {
		p.after(l, d, p.holdBack(l))
	}
}

// holdBack has a pod begin as not ready, until what it returns is called.
func (p *pod) holdBack(l *life) (ready func()) {
	l.becomes = make(chan struct{})
	p.w.mesh.HoldBack(p.spec.Load().ID())
	return func() {
		defer close(l.becomes)
		err := p.w.mesh.SetReady(l.ended, p, true)
		if err != nil && l.ended.Err() == nil && p.w.mesh.Ended().Err() == nil {
			p.w.log.Warn("pod is ready, but not all proxies know", "pod", p.spec.Load().ID(),
				"err", err)
		}
	}
}

// after calls back later, unless the app has ended.
func (p *pod) after(l *life, d time.Duration, f func()) {
	stop := p.w.clock.AfterFunc(d, func() {
		if l.ended.Err() == nil {
			f()
		}
	})
	context.AfterFunc(l.ended, func() { stop() })
}

// tellWaiting is how long the start of a lab waits for a pod before it says so.
const tellWaiting = time.Second

// awaitReady waits until each pod that has begun as not ready is ready, as its model says.
func (w *world) awaitReady(ctx context.Context) error {
	pods := slices.DeleteFunc(w.running(), func(p *pod) bool {
		l := p.living()
		return l == nil || l.becomes == nil || !p.spec.Load().Ready
	})
	slices.SortFunc(pods, func(a, b *pod) int {
		return strings.Compare(a.spec.Load().ID(), b.spec.Load().ID())
	})
	for _, p := range pods {
		stop := w.clock.AfterFunc(tellWaiting, func() {
			w.log.Warn("waiting until a pod is ready", "pod", p.spec.Load().ID())
		})
		select {
		case <-p.living().becomes:
		case <-p.ended.Done():
		case <-ctx.Done():
			stop()
			return fmt.Errorf("waiting until pod %s is ready: %w", p.spec.Load().ID(), ctx.Err())
		}
		stop()
	}
	return nil
}

// CheckModel returns what is wrong with the variables of a pod's model, and warns of those of a
// bundled app that can not be filled.
func CheckModel(s *translate.Pod, unknownImage string) []istio.Diagnostic {
	if spec, err := ownSpec(s); spec != nil || err != nil {
		return foreign(s, firstContainer(s), "what answers is the user's own")
	}
	if s.Role == translate.Gateway {
		return foreign(s, firstContainer(s), "it is a gateway")
	}
	_, c, err := bundled(s, unknownImage)
	if err != nil {
		return nil // CheckImage tells
	}
	vars := varsOf(s, c)
	_, errs := model.Read(vars)
	return append(diagnostics(s, c, append(errs, model.Unknown(vars)...)), unfilled(s, c)...)
}

// CheckApp returns what the bundled app of a pod refuses of its container's variables.
func CheckApp(s *translate.Pod) []istio.Diagnostic {
	spec, _ := ownSpec(s)
	a, c, err := bundled(s, "")
	if err != nil || spec != nil || s.Role == translate.Gateway {
		return nil // CheckImage tells
	}
	ended, end := context.WithCancel(context.Background())
	end()
	_, err = a.Start(app.Env{
		Pod: s.Name, Workload: s.Workload, Namespace: s.Namespace, Version: s.Labels["version"],
		Vars: varsOf(s, c), Image: c.Image, Host: s.Host, Clock: never{}, Closed: ended,
		Client: http.DefaultClient,
	})
	if _, errs := model.Read(varsOf(s, c)); err == nil || errs != nil {
		return nil // CheckModel tells
	}
	return diagnostics(s, c, split(err))
}

// never is the clock of an app that does not run.
type never struct{}

func (never) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

// split takes joined errors apart.
func split(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	return []error{err}
}

// foreign reports the variables of a model that a pod can not have; whether it is ready it may say.
func foreign(s *translate.Pod, c corev1.Container, why string) []istio.Diagnostic {
	var errs []error
	for _, e := range c.Env {
		if strings.HasPrefix(e.Name, model.Prefix) && e.Name != model.Ready {
			errs = append(errs, &model.Problem{
				Name: e.Name, Value: e.Value,
				Msg: "only a bundled app behaves by a model, and this pod has none: " + why,
			})
		}
	}
	return diagnostics(s, c, errs)
}

// varsOf is the environment of a bundled app. What can not be filled is not set.
func varsOf(s *translate.Pod, c corev1.Container) map[string]string {
	vars := map[string]string{"HOSTNAME": s.Name}
	for _, e := range c.Env {
		if value, problem := downward(s).Value(e); problem == nil {
			vars[e.Name] = value
		}
	}
	return vars
}

// unfilled warns of variables of a bundled app that can not be filled.
func unfilled(s *translate.Pod, c corev1.Container) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, e := range c.Env {
		_, problem := downward(s).Value(e)
		if problem == nil || s.Object == nil {
			continue
		}
		field := strings.TrimSuffix(fieldOf(s, c, e.Name), "value") + problem.Field
		out = append(out, istio.Diagnostic{
			Severity: istio.Warning, Place: s.Object.At(field), Object: s.Object.Ref(),
			Field: field, Msg: problem.Msg + "; it is not set",
		})
	}
	return out
}

// variable finds the name in what an app says of its environment: `env SLOW_MS = "x": want ...`.
var variable = regexp.MustCompile(`^env ([A-Za-z0-9_]+)\b`)

// located says where a container's variable is written that an error is about.
func located(s *translate.Pod, c corev1.Container, err error) error {
	errs := split(err)
	for i, d := range diagnostics(s, c, errs) {
		if d.Place.Line > 0 {
			errs[i] = errors.New(d.String())
		}
	}
	return errors.Join(errs...)
}

// diagnostics says where the variables are written that errors are about.
func diagnostics(s *translate.Pod, c corev1.Container, errs []error) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, err := range errs {
		d := istio.Diagnostic{Object: "Pod " + s.Namespace + "/" + s.Name, Msg: err.Error()}
		m := variable.FindStringSubmatch(err.Error())
		if s.Object != nil && m != nil {
			d.Object, d.Field = s.Object.Ref(), fieldOf(s, c, m[1])
			d.Place = s.Object.At(d.Field)
		}
		out = append(out, d)
	}
	return out
}

// fieldOf is the path of a container's variable in the object that the pod is of.
func fieldOf(s *translate.Pod, c corev1.Container, name string) string {
	spec := templateField(s, "spec")
	i := slices.IndexFunc(s.Containers, func(x corev1.Container) bool { return x.Name == c.Name })
	j := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name })
	if i < 0 || j < 0 {
		return spec + ".containers"
	}
	return fmt.Sprintf("%s.containers[%d].env[%d].value", spec, i, j)
}
