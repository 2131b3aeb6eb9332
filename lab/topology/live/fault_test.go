package live_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// world runs pods that do nothing, and can be starved.
type world struct {
	mu     sync.Mutex
	fail   string // the pod that can not be starved
	starts map[string]int
	cpu    map[string]float64
}

func (w *world) Check(*translate.Pod) []istio.Diagnostic { return nil }

func (w *world) Link(
	_ *translate.Registry, s map[string]*xds.Snapshot,
) (map[string]*xds.Snapshot, error) {
	return s, nil
}

func (w *world) Start(_ context.Context, s *translate.Pod) (live.Pod, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts[s.ID()]++
	return &pod{w: w, spec: s}, nil
}

var errNo = errors.New("no")

func (w *world) Dial(context.Context, live.Client, netip.AddrPort) (net.Conn, error) {
	return nil, errNo
}

func (w *world) Capture(live.Client, netip.AddrPort) (n, a string, release func(), err error) {
	return "", "", nil, errNo
}

func (w *world) Close(context.Context) error { return nil }

func (w *world) Able(f topology.Fault) error {
	if f.Kind == topology.FaultPause {
		return errNo
	}
	return nil
}

func (w *world) Break(context.Context, topology.Fault) (topology.Broken, error) { return nil, errNo }
func (w *world) Whole(context.Context) error                                    { return nil }

// pod is one that does nothing.
type pod struct {
	w    *world
	spec *translate.Pod
}

func (p *pod) Spec() *translate.Pod                                   { return p.spec }
func (p *pod) SetSpec(s *translate.Pod)                               { p.spec = s }
func (p *pod) Launch()                                                {}
func (p *pod) Settle(context.Context) error                           { return nil }
func (p *pod) Gateways(*translate.Registry) []topology.GatewayAddress { return nil }
func (p *pod) Close(context.Context) error                            { return nil }
func (p *pod) Starve(_ context.Context, cpu float64) (topology.Broken, error) {
	id := p.spec.ID()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.fail == id {
		return nil, errNo
	}
	p.w.cpu[id] = cpu
	return starved{p.w, id}, nil
}

// starved is a pod that is.
type starved struct {
	w  *world
	id string
}

func (s starved) Receipt(context.Context) (topology.Receipt, error) {
	return topology.Receipt{Fired: 2, First: 3, Last: 5, Evidence: []string{s.id}}, nil
}

func (s starved) Change(_ context.Context, f topology.Fault) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.cpu[s.id] = f.CPU
	return nil
}

func (s starved) Heal(context.Context) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	delete(s.w.cpu, s.id)
	return nil
}

// nobody is a control plane whose proxies always agree.
type nobody struct{}

func (nobody) Set(
	context.Context, map[string]*xds.Snapshot, []string,
) (control.Result, error) {
	return control.Result{}, nil
}
func (nobody) Status() []control.NodeStatus { return nil }
func (nobody) Stop(context.Context) error   { return nil }
func (nobody) Start(context.Context) error  { return nil }
func (nobody) Close() error                 { return nil }

// up brings up two pods, a-0 and a-1.
func up(t *testing.T) (*live.Mesh, *world) {
	t.Helper()
	c, diags := istio.Read([]istio.File{{Name: "a.yaml", Data: []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  replicas: 2
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: a, image: a, ports: [{containerPort: 80}]}]}
`)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	w := &world{starts: map[string]int{}, cpu: map[string]float64{}}
	m := live.New(live.Options{
		Spec: topology.Spec{Config: c}, Clock: clock.NewReal(), Recorder: observe.NewRecorder(),
		Control: nobody{},
	})
	if err := m.Begin(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m, w
}

// TestEffects: a fault acts on each of its pods, on those that take their places too; its receipt
// is theirs together, its end is theirs.
func TestEffects(t *testing.T) {
	m, w := up(t)
	ctx := t.Context()
	f := topology.Fault{
		Kind: topology.FaultStarve, Pods: []string{"a-0.default", "a-1.default"}, CPU: 0.5,
	}
	b, err := m.Break(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Restart(ctx, "a-1.default"); err != nil {
		t.Fatal(err)
	}
	f.CPU = 0.1
	if err := b.Change(ctx, f); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"a-0.default": 0.1, "a-1.default": 0.1}
	if w.starts["a-1.default"] != 2 || !reflect.DeepEqual(w.cpu, want) {
		t.Errorf("%d starts, starved are %v", w.starts["a-1.default"], w.cpu)
	}
	if err := m.Whole(ctx); err == nil {
		t.Error("pods are starved, and all is whole")
	}
	for range 2 {
		if err := b.Heal(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := b.Receipt(ctx)
		if err != nil || r.Fired != 6 || r.First != 3 || r.Last != 5 || len(r.Evidence) != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if err := m.Whole(ctx); err != nil || len(w.cpu) > 0 {
		t.Errorf("healed: %v, starved are %v", err, w.cpu)
	}
}

// TestUndone: a fault that can not begin on one of its pods has not begun on any.
func TestUndone(t *testing.T) {
	m, w := up(t)
	w.fail = "a-1.default"
	f := topology.Fault{Kind: topology.FaultStarve, Pods: []string{"a-0.default", "a-1.default"}}
	if _, err := m.Break(t.Context(), f); !errors.Is(err, errNo) {
		t.Errorf("%v", err)
	}
	for _, kind := range []topology.FaultKind{
		topology.FaultPause, topology.FaultRefuse, topology.FaultLink, topology.FaultControl,
	} {
		f.Kind = kind
		if _, err := m.Break(t.Context(), f); err == nil {
			t.Errorf("%s: no error", kind)
		}
	}
	if err := m.Whole(t.Context()); err != nil || len(w.cpu) > 0 {
		t.Errorf("nothing was to be broken: %v, starved are %v", err, w.cpu)
	}
}
