package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// breakable is a mesh, and its driver, in which faults are only noted down.
type breakable struct {
	topology.Mesh
	unable topology.FaultKind // it can not
	fired  int64              // of every receipt
	stuck  error              // why healing fails

	mu     sync.Mutex
	said   []string
	broken []string
	closed []string // what was broken when the mesh was closed
	down   bool     // it is closed
}

func (b *breakable) Up(ctx context.Context, s topology.Spec) (_ topology.Mesh, err error) {
	b.Mesh, err = embedded.Driver{}.Up(ctx, s)
	return b, err
}

func (b *breakable) Close(ctx context.Context) error {
	b.closed, b.down = slices.Clone(b.broken), true
	return b.Mesh.Close(ctx)
}

func (b *breakable) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, fmt.Sprintf(format, args...))
}

func (b *breakable) Able(f topology.Fault) error {
	if f.Kind == b.unable {
		return errors.New("a fake has no such thing")
	}
	return nil
}

func (b *breakable) Break(_ context.Context, f topology.Fault) (topology.Broken, error) {
	b.say("break %s %s", f.Name, strings.Join(slices.Concat(f.Pods, f.From, f.To), " "))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = append(b.broken, f.Name)
	return &noted{b, f.Name, b.Clock().Now()}, nil
}

func (b *breakable) Whole(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.broken) > 0 {
		return fmt.Errorf("%s is not", strings.Join(b.broken, ", "))
	}
	return nil
}

// noted is a fault of a breakable.
type noted struct {
	b    *breakable
	name string
	at   clock.Instant
}

func (n *noted) Receipt(context.Context) (topology.Receipt, error) {
	return topology.Receipt{Fired: n.b.fired, Unit: "blows", First: n.at, Last: n.at}, nil
}

func (n *noted) Change(context.Context, topology.Fault) error { return nil }

func (n *noted) Heal(context.Context) error {
	if n.b.stuck != nil {
		return n.b.stuck
	}
	n.b.say("heal %s", n.name)
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	if i := slices.Index(n.b.broken, n.name); i >= 0 {
		n.b.broken = slices.Delete(n.b.broken, i, i+1)
	}
	return nil
}

func broken(t *testing.T, b *breakable, story string, require bool) (*reports.Result, error) {
	t.Helper()
	s, diags := scenarios.Parse("story.yaml", []byte(story))
	for _, d := range diags {
		t.Fatal(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run, err := runner.Run(ctx, s, runner.Options{
		Driver: b, Topology: "fake", Proxy: "meshcore", Seed: 1, Version: "test", Require: require,
	})
	res, jerr := reports.Judge(run)
	if jerr != nil {
		t.Fatal(jerr)
	}
	return res, err
}

func (b *breakable) told(t *testing.T, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, b.said); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(b.closed) > 0 {
		t.Errorf("broken when the mesh is closed: %q", b.closed)
	}
}

const call = `{from: curl, to: "http://customer:8080/", requests: 20}`

// Faults begin and end as the story says, and what is left is healed before the mesh is closed.
func TestFaults(t *testing.T) {
	b := &breakable{fired: 1}
	res, err := broken(t, b, `
name: s
mesh: {app: customer}
steps:
- partition: {from: customer, to: recommendation}
  delay: {from: curl, to: customer, by: 1ms, name: slow}
  load: `+call+`
  expect: [{success: 100%}]
- heal: partition
  load: `+call+`
  expect: [{success: 100%}]
- kill: preference
  restart: preference
- pause: {pods: customer, for: 1ms}
  wait: 100ms
- control plane: restarted
- load:
    from: curl
    to: http://customer:8080/
    duration: 200ms
    meanwhile:
      dns: {pods: curl, answer: fail, at: 10ms, for: 10ms}
      refuse: preference
  expect: [{success: 100%}]
`, false)
	if err != nil || res.Verdict != assert.Pass {
		t.Errorf("%v: %v", res.Verdict, err)
	}
	b.told(t,
		"break partition customer-0.default recommendation-v1-0.default recommendation-v2-0.default",
		"break slow curl-0.default customer-0.default", "heal partition",
		"break kill preference-0.default", "heal kill",
		"break pause customer-0.default", "heal pause",
		"break control-plane ", "heal control-plane",
		"break refuse preference-0.default", "break dns curl-0.default", "heal dns",
		"heal refuse", "heal slow")
	var kinds []string
	for _, f := range res.Faults {
		kinds = append(kinds, f.Title()+": "+f.Receipt())
		if f.Until == 0 {
			t.Errorf("%s is not healed", f.Title())
		}
	}
	want := []string{
		"partition customer → recommendation: 1 blow", "link curl → customer: 1ms (slow): 1 blow",
		"kill preference-0.default: 1 blow", "pause customer: 1 blow",
		"control plane restarted: 1 blow", "refuse preference: 1 blow", "dns curl: fails: 1 blow",
	}
	if d := cmp.Diff(want, kinds); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}

const breaking = `
name: s
mesh: {app: customer}
steps:
- load: ` + call + `
  expect: [{success: 100%}]
- partition: {from: customer, to: preference}
  load: ` + call + `
  expect: [EXPECT]
- load: ` + call + `
  expect: [{success: 100%}]
`

// A verdict that rests on a fault which did not fire is inconclusive, and says which.
func TestSilentFault(t *testing.T) {
	for _, expect := range []string{"{success: 100%}", "{success: 0%}"} {
		res, err := broken(t, &breakable{}, strings.Replace(breaking, "EXPECT", expect, 1), false)
		if err != nil {
			t.Fatal(err)
		}
		v := res.Steps[1].Expectations[0]
		if res.Steps[0].Verdict != assert.Pass || v.Outcome != assert.Inconclusive ||
			!strings.HasPrefix(v.Reason, "partition customer → preference never took effect") {
			t.Errorf("%s: before %v, then %v: %s", expect, res.Steps[0].Verdict, v.Outcome, v.Reason)
		}
	}
}

// What a topology can not break is skipped, with what comes after, and says why; or it fails.
func TestUnable(t *testing.T) {
	for _, require := range []bool{false, true} {
		b := &breakable{fired: 1, unable: topology.FaultPartition}
		res, err := broken(t, b, strings.Replace(breaking, "EXPECT", "{success: 0%}", 1), require)
		if err != nil {
			t.Fatal(err)
		}
		want := []assert.Outcome{assert.Pass, assert.Inconclusive, assert.Inconclusive}
		if require {
			want = []assert.Outcome{assert.Pass, assert.Fail, assert.Fail}
		}
		for i, w := range want {
			s := &res.Steps[i]
			if s.Verdict != w || i > 0 && s.Skipped != "topology fake: partition: a fake has no such thing" {
				t.Errorf("require %v: step %d: %v, skipped %q", require, i, s.Verdict, s.Skipped)
			}
		}
		b.told(t)
	}
	b := &breakable{unable: topology.FaultPause}
	story := strings.Replace(breaking, "mesh:", "needs: [exec, pause]\nmesh:", 1)
	res, err := broken(t, b, strings.Replace(story, "EXPECT", "{success: 100%}", 1), false)
	if err != nil || res.Verdict != assert.Inconclusive || res.Steps[0].Skipped == "" {
		t.Errorf("it needs what the topology can not, and is played: %v, %v", res.Verdict, err)
	}
}

// What can not be healed is an error of the run.
func TestStuck(t *testing.T) {
	b := &breakable{fired: 1, stuck: errors.New("it is stuck")}
	_, err := broken(t, b, strings.Replace(breaking, "EXPECT", "{success: 100%}", 1), false)
	if err == nil || !strings.Contains(err.Error(), "it is stuck") ||
		!strings.Contains(err.Error(), "not everything is healed: partition is not") {
		t.Errorf("got %v", err)
	}
}

// A run that breaks off heals, and rolls back.
func TestBrokenOff(t *testing.T) {
	b := &breakable{fired: 1}
	res, err := broken(t, b, `
name: s
mesh: {app: customer}
steps:
- kill: customer
- load: {from: nobody, to: "http://customer:8080/", requests: 1}
rollback:
- scale: {recommendation-v2: 2}
- exec: {in: nobody, get: /}
- wait: 1ms
`, false)
	if err == nil || !strings.Contains(err.Error(), "rollback: exec") {
		t.Errorf("got %v", err)
	}
	b.told(t, "break kill customer-0.default", "heal kill")
	var did []string
	for _, d := range res.Rollback {
		did = append(did, d.Kind)
	}
	if !slices.Equal(did, []string{"scale", "exec", "wait"}) {
		t.Errorf("rolled back %v", did)
	}
}

// An interrupt, and a bug in the runner, heal before the mesh is closed.
func TestInterrupt(t *testing.T) {
	for _, bug := range []bool{false, true} {
		b := &breakable{fired: 1}
		s, diags := scenarios.Parse("story.yaml", []byte("name: s\nmesh: {app: customer}\n"+
			"steps: [{kill: customer, wait: 1h}]\n"))
		for _, d := range diags {
			t.Fatal(d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		func() {
			defer func() {
				if got := recover(); bug != (got == "a bug") {
					t.Errorf("a bug: %v, and it panicked with %v", bug, got)
				}
			}()
			_, err = runner.Run(ctx, s, runner.Options{Driver: b, Topology: "fake",
				Progress: func(p runner.Progress) {
					switch {
					case p.Doing == "wait" && bug:
						panic("a bug")
					case p.Doing == "wait":
						cancel()
					}
				}})
		}()
		cancel()
		if !bug && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		b.told(t, "break kill customer-0.default", "heal kill")
		if !b.down {
			t.Error("the mesh is still up")
		}
	}
}

const steadily = `
name: s
mesh: {app: customer}
steady:
  load: ` + call + `
  expect: [{success: HOLDS}]
  during: [{success: BENDS}]
steps:
- pause: preference
  load: ` + call + `
- load: ` + call + `
`

// The steady state is looked at before the story, over it, and after it when all is healed.
func TestSteady(t *testing.T) {
	b := &breakable{fired: 1}
	story := strings.NewReplacer("HOLDS", "100%", "BENDS", "100%").Replace(steadily)
	res, err := broken(t, b, story, false)
	if err != nil || res.Verdict != assert.Pass || len(res.Steps) != 5 {
		t.Fatalf("%v, %d steps: %v", res.Verdict, len(res.Steps), err)
	}
	for i, want := range map[int]int64{0: 20, 3: 40, 4: 20} { // as curl's sidecar sent them
		if n := res.Steps[i].Expectations[0].Samples; n != want {
			t.Errorf("%s: %d samples, want %d", res.Steps[i].Name, n, want)
		}
	}
	b.told(t, "break pause preference-0.default", "heal pause")

	b = &breakable{fired: 1}
	story = strings.NewReplacer("HOLDS", "0%", "BENDS", "100%").Replace(steadily)
	res, err = broken(t, b, story, false)
	if err != nil || res.Verdict != assert.Fail || len(res.Steps) != 1 ||
		!strings.Contains(res.Reason, "does not hold before") {
		t.Errorf("%v, %d steps, %q: %v", res.Verdict, len(res.Steps), res.Reason, err)
	}
	b.told(t)

	b = &breakable{}
	story = strings.NewReplacer("HOLDS", "100%", "BENDS", "100%").Replace(steadily)
	res, err = broken(t, b, story, false)
	if err != nil || res.Steps[3].Verdict != assert.Inconclusive || res.Steps[4].Verdict != assert.Pass {
		t.Errorf("a silent fault: during %v, after %v: %v", res.Steps[3].Verdict,
			res.Steps[4].Verdict, err)
	}
}
