package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// chaosFolder is where the stories of what breaks are. They have tests of their own, with and
// without what breaks and what protects.
const chaosFolder = "chaos/"

// chaosStory is a story of scenarios/chaos.
type chaosStory struct {
	name string
	// without is what protects, and is left out for the story to fail: KIND NAME [FIELD]... of an
	// object, or the workload whose overrides are; several with semicolons between.
	without   string
	elsewhere bool // the embedded topology can not do its fault
	envoy     bool // it is played with a real Envoy, too
}

var chaosStories = []chaosStory{
	{name: "control-plane-down", without: "VirtualService recommendation"},
	{name: "control-plane-restarted", without: "VirtualService recommendation"},
	{name: "dns-fail", without: "VirtualService front spec http 0 retries"},
	{name: "dns-none", without: "VirtualService front spec http 0 retries perTryTimeout"},
	{name: "dns-slow", without: "VirtualService front spec http 0 retries perTryTimeout"},
	{name: "dns-wrong", without: "ServiceEntry api"},
	{name: "flapping", without: "VirtualService recommendation spec http 0 retries"},
	{name: "half-open",
		without: "DestinationRule recommendation spec trafficPolicy connectionPool"},
	{name: "jittery-link",
		without: "VirtualService recommendation spec http 0 retries; " +
			"DestinationRule recommendation spec trafficPolicy connectionPool"},
	{name: "kill-app", without: "VirtualService recommendation spec http 0 retries", envoy: true},
	{name: "kill-pod", without: "VirtualService recommendation spec http 0 retries"},
	{name: "kill-sidecar", without: "VirtualService recommendation spec http 0 retries"},
	{name: "loss", elsewhere: true},
	{name: "partial-pushes", without: "VirtualService recommendation"},
	{name: "partition", without: "VirtualService recommendation spec http 0 timeout", envoy: true},
	{name: "partition-one-way", without: "VirtualService echo spec http 0"},
	{name: "pause",
		without: "DestinationRule recommendation spec trafficPolicy outlierDetection", envoy: true},
	{name: "ramp", without: "VirtualService recommendation spec http 0 timeout"},
	{name: "random-kills", without: "VirtualService recommendation spec http 0 retries"},
	{name: "refuse", without: "DestinationRule recommendation spec trafficPolicy outlierDetection"},
	{name: "reset", without: "VirtualService recommendation spec http 0 retries", envoy: true},
	{name: "slow-link", without: "DestinationRule reviews"},
	{name: "slow-pushes", without: "VirtualService recommendation"},
	{name: "starve", elsewhere: true},
	{name: "steady-state",
		without: "DestinationRule recommendation spec trafficPolicy outlierDetection"},
	{name: "unready", without: "recommendation-v2"},
}

// chaosRun is one way to play a story, and what must come of it.
type chaosRun struct {
	name   string
	story  *scenarios.Scenario
	driver topology.Driver
	proxy  string
	want   assert.Outcome
	says   string // in the text of the result
	err    error
}

// runs lists the ways to play a story: as it is; when what it breaks only seems to; and
// without what protects.
func (c *chaosStory) runs(t *testing.T) []*chaosRun {
	story := func() *scenarios.Scenario { return bundled(t, chaosFolder+c.name) }
	if c.elsewhere {
		return []*chaosRun{{name: c.name + " where it can not be", story: story(),
			driver: embedded.Driver{}, want: assert.Inconclusive, says: "skipped"}}
	}
	bare := story()
	for rule := range strings.SplitSeq(c.without, ";") {
		if !protect(t, bare, strings.TrimSpace(rule)) {
			t.Fatalf("%s: nothing is %s", c.name, rule)
		}
	}
	return []*chaosRun{
		{name: c.name, story: story(), driver: embedded.Driver{}, want: assert.Pass},
		{name: c.name + ", nothing broken", story: story(), driver: pretending{},
			want: assert.Inconclusive, says: "never took effect"},
		{name: c.name + " without " + c.without, story: bare, driver: embedded.Driver{},
			want: assert.Fail},
	}
}

// TestStories plays every story of scenarios/chaos three times: it passes; it is inconclusive when
// its faults only pretend to be there; it fails without the rule that it shows.
func TestStories(t *testing.T) {
	for _, name := range scenarios.Names() {
		is := func(c chaosStory) bool { return chaosFolder+c.name == name }
		if strings.HasPrefix(name, chaosFolder) && !slices.ContainsFunc(chaosStories, is) {
			t.Errorf("%s is in no row: what protects?", name)
		}
	}
	for i := range chaosStories {
		c := &chaosStories[i]
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			playAll(t, c.runs(t))
		})
	}
}

// TestStoriesEnvoy plays some with a real Envoy beside every app.
func TestStoriesEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	for i := range chaosStories {
		c := &chaosStories[i]
		if !c.envoy {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			playAll(t, []*chaosRun{{name: c.name, story: bundled(t, chaosFolder+c.name),
				driver: embedded.Driver{Proxy: "envoy", Dir: t.TempDir()}, proxy: "envoy",
				want: assert.Pass}})
		})
	}
}

// turns bounds how many stories are played at a time: most of them wait most of the time.
var turns = make(chan struct{}, 3)

func playAll(t *testing.T, all []*chaosRun) {
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			r.err = r.play(t.Context())
		})
	}
	wg.Wait()
	for _, r := range all {
		if r.err != nil {
			t.Errorf("%s: %v", r.name, r.err)
		}
	}
}

// play plays a story; the error is that something else came of it than was to.
func (r *chaosRun) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	proxy := r.proxy
	if proxy == "" {
		proxy = "meshcore"
	}
	o := runner.Options{Driver: r.driver, Topology: "embedded", Proxy: proxy, Seed: 7,
		Version: "test"}
	if r.want == assert.Pass {
		o.Carried = &reports.Carried{}
	}
	run, err := runner.Run(ctx, r.story, o)
	if err != nil {
		return err
	}
	res, err := reports.Judge(run)
	if err != nil {
		return err
	}
	w := &builder{}
	if err := reports.Text(w, res, reports.TextOptions{}); err != nil {
		return err
	}
	if res.Verdict != r.want || !strings.Contains(string(w.b), r.says) {
		return fmt.Errorf("%v, want %v %q:\n%s", res.Verdict, r.want, r.says, w.b)
	}
	if o.Carried != nil {
		if wrong, _ := explained(run); len(wrong) > 0 {
			return fmt.Errorf("why: %s", strings.Join(wrong, "\nwhy: "))
		}
	}
	return nil
}

// pretending brings up meshes in which nothing breaks, whatever they say.
type pretending struct{ embedded.Driver }

// Up brings up such a mesh.
func (p pretending) Up(ctx context.Context, s topology.Spec) (topology.Mesh, error) {
	m, err := p.Driver.Up(ctx, s)
	if err != nil {
		return nil, err
	}
	return &unbreakable{m}, nil
}

// unbreakable is a mesh that breaks nothing.
type unbreakable struct{ topology.Mesh }

// Able says that it could.
func (*unbreakable) Able(topology.Fault) error { return nil }

// Whole says that nothing is broken.
func (*unbreakable) Whole(context.Context) error { return nil }

// Break does not do it.
func (*unbreakable) Break(_ context.Context, f topology.Fault) (topology.Broken, error) {
	return &untouched{topology.Receipt{Unit: string(f.Kind)}}, nil
}

// untouched is a fault that nobody feels.
type untouched struct{ r topology.Receipt }

func (u *untouched) Receipt(context.Context) (topology.Receipt, error) { return u.r, nil }
func (*untouched) Change(context.Context, topology.Fault) error        { return nil }
func (*untouched) Heal(context.Context) error                          { return nil }

// protect leaves out what protects a story, and says whether it was there.
func protect(t *testing.T, s *scenarios.Scenario, what string) bool {
	t.Helper()
	words := strings.Fields(what)
	if len(words) == 1 {
		before := len(s.Mesh.Workloads)
		var rest []scenarios.Workload
		for _, w := range s.Mesh.Workloads {
			if w.Name != what {
				rest = append(rest, w)
			}
		}
		s.Mesh.Workloads = rest
		return len(rest) < before
	}
	all := []*scenarios.Documents{&s.Mesh.Config}
	for i := range s.Steps {
		for j := range s.Steps[i].Actions {
			a := &s.Steps[i].Actions[j]
			if a.Apply != nil {
				all = append(all, a.Apply)
			}
			if a.Load != nil {
				for k := range a.Load.Meanwhile {
					if docs := a.Load.Meanwhile[k].Apply; docs != nil {
						all = append(all, docs)
					}
				}
			}
		}
	}
	found := false
	for _, docs := range all {
		for i := range *docs {
			found = leaveOut(t, &(*docs)[i], words) || found
		}
	}
	return found
}

// leaveOut leaves an object, or a field of it, out of a document: KIND NAME [FIELD]...
func leaveOut(t *testing.T, d *scenarios.Document, words []string) (found bool) {
	t.Helper()
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	for dec := yaml.NewDecoder(bytes.NewReader(d.Data)); ; {
		var o map[string]any
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(d.File, err)
		}
		meta, _ := o["metadata"].(map[string]any)
		if o["kind"] == words[0] && meta["name"] == words[1] {
			if len(words) == 2 {
				found = true
				continue
			}
			rest, ok := cutField(o, words[2:])
			o, found = rest.(map[string]any), found || ok
		}
		if err := enc.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	d.Data = out.Bytes()
	return found
}

// cutField returns a value without one of its fields, or one of its list's elements.
func cutField(v any, path []string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		inner, ok := v[path[0]]
		if !ok {
			return v, false
		}
		if len(path) == 1 {
			delete(v, path[0])
			return v, true
		}
		v[path[0]], ok = cutField(inner, path[1:])
		return v, ok
	case []any:
		for i := range v {
			if fmt.Sprint(i) != path[0] {
				continue
			}
			if len(path) == 1 {
				return append(v[:i:i], v[i+1:]...), true
			}
			inner, ok := cutField(v[i], path[1:])
			v[i] = inner
			return v, ok
		}
	}
	return v, false
}
