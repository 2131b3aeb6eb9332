package scenarios

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, d)
	}
}

// Each testdata/*.yaml has its problems in *.problems.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, problems := Open(os.DirFS("testdata"), filepath.Base(file))
			var b bytes.Buffer
			for _, p := range problems {
				fmt.Fprintln(&b, p)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".problems", b.Bytes())
		})
	}
}

func parse(t *testing.T, text string) *Scenario {
	t.Helper()
	s, problems := Parse("s.yaml", []byte(text))
	for _, p := range problems {
		t.Error(p)
	}
	if t.Failed() {
		t.FailNow()
	}
	return s
}

const story = `
name: s
mesh:
  app: customer
  workloads: [{name: a, replicas: 2, env: {X: 1}}]
steps:
  - exec: {in: [a, b], get: /misbehave}
    kill: a-0
    apply:
      kind: VirtualService
      metadata: {name: x}
    wait: 1s
    load:
      - from: curl
        to: http://a:8080/
        requests: 10
        headers: {x-user: "user-{1..3}", x-n: "{n}", x-c: "{a,b}"}
      - {from: outside, gateway: istio-ingressgateway, to: "http://a/", duration: 2s}
    request: {from: curl, to: "http://a/", expect: {status: [200, 5xx], took: "< 1s"}}
    expect:
      - split: {service: a, v1: 90%, v2: 10%}
      - success: 100%
      - p99.9: "< 250ms"
      - sticky: {service: a, by: header X-User}
      - headers: {at: a, X-Seen: "*"}
`

func TestParse(t *testing.T) {
	s := parse(t, story)
	step := s.Steps[0]
	if step.Name != "step 1" {
		t.Errorf("name %q", step.Name)
	}
	var kinds []string
	for i := range step.Actions {
		kinds = append(kinds, step.Actions[i].Kind())
	}
	want := []string{"exec", "kill", "apply", "wait", "load", "load", "request"}
	if !slices.Equal(kinds, want) {
		t.Errorf("actions %v, want %v in the order written", kinds, want)
	}
	apply := (*step.Actions[2].Apply)[0]
	if apply.Line != 10 || !strings.Contains(string(apply.Data), "kind: VirtualService") {
		t.Errorf("inline object in line %d: %s", apply.Line, apply.Data)
	}
	l := step.Actions[4].Load
	if l.Connections != 8 || l.Method != "GET" || l.Timeout != 30*time.Second {
		t.Errorf("defaults %+v", l)
	}
	var values []string
	for n := range 4 {
		values = append(values, l.Headers[0].Value.At(n)+l.Headers[1].Value.At(n)+
			l.Headers[2].Value.At(n))
	}
	if want := []string{"user-10a", "user-21b", "user-32a", "user-13b"}; !slices.Equal(values, want) {
		t.Errorf("headers %v, want %v", values, want)
	}
	q := step.Actions[6].Request
	if q.Count != 1 || !q.Want.Status.Holds(503) || q.Want.Status.Holds(404) {
		t.Errorf("request %+v", q)
	}
	if got := s.KeepHeaders(); !slices.Equal(got, []string{"x-seen", "x-user"}) {
		t.Errorf("headers to keep %v", got)
	}
	names := []string{}
	for _, e := range step.Expect {
		names = append(names, e.Name())
	}
	if want := []string{"split a", "success", "p99.9", "sticky a by header X-User", "headers at a"}; !slices.Equal(names, want) {
		t.Errorf("expectations %v", names)
	}
}

// The suite's rate is divided over the expectations that need a part of it.
func TestTermsDivideAlpha(t *testing.T) {
	terms := parse(t, story).Terms(0, 5, clock.Never)
	if terms.Alpha != assert.DefaultAlpha/2 || terms.Tolerance != 0.05 || terms.From != 5 {
		t.Errorf("%+v", terms)
	}
	s := parse(t, strings.Replace(story, "name: s\n", "name: s\nfalseAlarm: 1e-3\ntolerance: 2%\n", 1))
	if terms := s.Terms(0, 0, 1); terms.Alpha != 5e-4 || terms.Tolerance != 0.02 {
		t.Errorf("%+v", terms)
	}
}

func TestResolveReadsFilesBesideTheScenario(t *testing.T) {
	files := fstest.MapFS{
		"dir/s.yaml": {Data: []byte("name: s\nmesh: {app: customer, config: [c.yaml]}\n" +
			"steps: [{apply: [sub/a.yaml, gone.yaml]}]\n")},
		"dir/c.yaml": {Data: []byte("c")}, "dir/sub/a.yaml": {Data: []byte("a")},
	}
	s, problems := Open(files, "dir/s.yaml")
	if len(problems) != 1 || !strings.Contains(problems[0].String(),
		"dir/s.yaml:3:30: Scenario s: gone.yaml cannot be read: file does not exist") {
		t.Errorf("%v", problems)
	}
	if string(s.Mesh.Config[0].Data)+string((*s.Steps[0].Actions[0].Apply)[0].Data) != "ca" {
		t.Error("contents are not there")
	}
	if _, problems := Open(files, "dir/none.yaml"); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}

func TestSchemaIsTheFileInTestdata(t *testing.T) {
	if !json.Valid(Schema()) {
		t.Fatal("no JSON")
	}
	golden(t, "../testdata/scenario.schema.json", Schema())
}

// Every expectation can be written, and says what is wrong when it is empty.
func TestEveryKindIsKnown(t *testing.T) {
	for _, k := range assert.Kinds {
		if _, ok := assert.New(k.Key); !ok || k.About == "" {
			t.Errorf("%s: unknown or unexplained", k.Key)
		}
		e := k.New()
		v, ok := e.(validator)
		if !ok {
			t.Errorf("%s does not validate itself", k.Key)
		} else if v.Validate() == nil {
			t.Errorf("%s: empty is no problem", k.Key)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(story))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\nname: [*b, *b]"))
	f.Add([]byte("steps: [{expect: [{p99: {}}]}]"))
	f.Add([]byte("steps: {<<: *x}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, problems := Parse("f.yaml", text)
		if s == nil && len(problems) == 0 {
			t.Fatal("neither a scenario nor a problem")
		}
		if len(problems) > 0 {
			return
		}
		for i := range s.Steps {
			s.Judge(i, 0, clock.Never).Verdicts()
		}
		s.KeepHeaders()
	})
}
