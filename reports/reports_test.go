package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file of testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
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

// story is a run of testdata/story.yaml: n requests in the first step of which a share goes to
// v2, and some stray ones in the second.
type story struct {
	n     int
	v2    float64
	stray int
}

func (s story) run(t *testing.T) *Run {
	t.Helper()
	text, err := os.ReadFile("testdata/story.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const ms = clock.Instant(time.Millisecond)
	places := func(file string) map[string]string {
		return map[string]string{"VirtualService default/recommendation": file + ":1"}
	}
	r := &Run{Header: Header{
		Schema: RunSchema, File: "scenarios/story.yaml", Scenario: string(text),
		Topology: "embedded", Proxy: "meshcore", Seed: 0x7f3a91, Version: "v0.1.0",
		Began:    time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
		Duration: 1600 * time.Millisecond,
		Mesh: MeshRun{
			Workloads: []string{"curl", "customer", "preference", "recommendation-v1", "recommendation-v2"},
			Sidecars:  5, Ready: 180 * time.Millisecond,
		},
	}}
	rng := rand.New(rand.NewPCG(1, 2))
	first := StepRun{Name: "one in ten", From: 200 * ms, Until: 800 * ms,
		Places: places("istio/recommendation-90-10.yaml")}
	first.Did = []Did{
		{Kind: "apply", What: "istio/recommendation-90-10.yaml", From: 190 * ms, Until: 200 * ms,
			Proxies: 5, Total: 5, Took: 6 * time.Millisecond},
		{Kind: "load", What: "http://customer:8080/", Client: "curl", From: 200 * ms, Until: 800 * ms,
			Fortio: fortioResult(s.n, 600*time.Millisecond)},
	}
	for i := range s.n {
		version := "v1"
		if rng.Float64() < s.v2 {
			version = "v2"
		}
		hop(&r.History, fmt.Sprintf("a-%d", i), version, 200*ms+clock.Instant(i)*1000,
			time.Duration(1+rng.IntN(4))*time.Millisecond)
	}
	second := StepRun{Name: "everyone", From: 900 * ms, Until: 1500 * ms,
		Places: places("istio/recommendation-v2.yaml")}
	second.Did = []Did{
		{Kind: "apply", What: "istio/recommendation-v2.yaml", From: 890 * ms, Until: 900 * ms,
			Proxies: 5, Total: 5, Took: 5 * time.Millisecond},
		{Kind: "exec", What: "recommendation-v1 /misbehave", From: 900 * ms, Until: 900 * ms},
		{Kind: "load", What: "http://customer:8080/", Client: "curl", From: 900 * ms,
			Until: 1400 * ms, Fortio: fortioResult(1000, 500*time.Millisecond)},
		{Kind: "request", What: "http://customer:8080/", Client: "curl", From: 1400 * ms,
			Until: 1500 * ms, Sent: 2, Replies: []assert.Reply{
				{N: 1, RequestID: "r-1", Status: 200, Body: "customer => preference => " +
					"recommendation v2 from 'recommendation-v2-0': 1001\n"},
				{N: 2, RequestID: "r-2", Status: 200, Body: "customer => preference => " +
					"recommendation v2 from 'recommendation-v2-0': 1002\n"},
			}},
	}
	for i := range 1000 {
		version := "v2"
		if i >= 500 && i < 500+s.stray {
			version = "v1"
		}
		hop(&r.History, fmt.Sprintf("b-%d", i), version, 900*ms+clock.Instant(i)*1000,
			2*time.Millisecond)
	}
	r.Header.Steps = []StepRun{first, second}
	return r
}

// hop records one request from curl that ends at recommendation.
func hop(h *observe.History, id, version string, at clock.Instant, took time.Duration) {
	pod := observe.Workload{Pod: "recommendation-" + version + "-0", Service: "recommendation",
		Workload: "recommendation-" + version, Version: version, Namespace: "default"}
	config := "/apis/networking.istio.io/v1/namespaces/default/virtual-service/recommendation"
	h.Requests = append(h.Requests,
		observe.Request{ID: id, Start: at + 1, Duration: took, Reporter: observe.Destination,
			Proxy: pod.Pod + ".default", Workload: pod.Workload, Version: version,
			Namespace: "default", Status: 200, Cluster: "inbound|8080||"},
		observe.Request{ID: id, Start: at, Duration: took, Reporter: observe.Source,
			Proxy: "preference-0.default", Workload: "preference", Namespace: "default", Status: 200,
			Cluster:  "outbound|8080|" + version + "|recommendation.default.svc.cluster.local",
			Upstream: "10.244.0.9:8080", Dest: pod, Config: config})
	h.Clients = append(h.Clients, observe.Client{ID: id, From: "curl", Start: at, Duration: took,
		Status: 200})
}

func fortioResult(n int, took time.Duration) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"RunType":"HTTP","ActualDuration":%d,"DurationHistogram":`+
		`{"Count":%d,"Percentiles":[{"Percentile":50,"Value":0.0011},{"Percentile":99,"Value":0.0039}]},`+
		`"RetCodes":{"200":%d}}`, took, n, n))
}

var stories = map[string]story{
	"pass":         {n: 2600, v2: 0.1},
	"fail":         {n: 2600, v2: 0.2, stray: 7},
	"inconclusive": {n: 200, v2: 0.1},
}

func result(t *testing.T, run *Run) *Result {
	t.Helper()
	res, err := Judge(run)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestReports(t *testing.T) {
	for _, name := range []string{"pass", "fail", "inconclusive"} {
		t.Run(name, func(t *testing.T) {
			res := result(t, stories[name].run(t))
			if res.Verdict.String() != name {
				t.Errorf("verdict %v", res.Verdict)
			}
			var b bytes.Buffer
			write := func(file string, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				golden(t, file, b.Bytes())
				b.Reset()
			}
			write(name+".txt", Text(&b, res, TextOptions{}))
			write(name+".color.txt", Text(&b, res, TextOptions{Color: true}))
			write(name+".json", JSON(&b, res))
			err := JUnit(&b, res)
			if perr := xml.Unmarshal(b.Bytes(), new(junitSuites)); perr != nil {
				t.Error(perr)
			}
			write(name+".xml", err)
		})
	}
}

// TestExactly shows what --exact did to a real Envoy, what stayed random, and a share to the request.
func TestExactly(t *testing.T) {
	run := story{n: 2600}.run(t)
	run.Header.Proxy = "envoy"
	at := "route 8080, recommendation.default.svc.cluster.local:8080, /: "
	run.Header.Exact = &Exactness{
		Enumerated: []string{at + "weights 90/10 by x-mesh-lab-draw-split"},
		Altered:    []string{at + "weights 90/10 by x-mesh-lab-draw-split (header_name)"},
		Random:     []string{"listener 10.96.0.20_3306: weights 50/50 of TCP connections"},
	}
	for i := range run.History.Requests {
		r := &run.History.Requests[i]
		if n := i / 2; r.Start < run.Header.Steps[0].Until && r.Reporter == observe.Source {
			r.Exact = map[string]string{"split": "a1"}
			if n%10 == 5 {
				r.Dest.Version = "v2"
				r.Cluster = strings.Replace(r.Cluster, "|v1|", "|v2|", 1)
			}
		}
	}
	res := result(t, run)
	var b bytes.Buffer
	if err := Text(&b, res, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "exact.txt", b.Bytes())
	b.Reset()
	if err := JUnit(&b, res); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `<property name="exact altered" value="`+at) {
		t.Errorf("JUnit does not say what was altered:\n%s", b.String())
	}
}

// A recorded run gives the same reports again.
func TestRunReadsWhatItWrote(t *testing.T) {
	run := stories["fail"].run(t)
	var b bytes.Buffer
	if err := WriteRun(&b, run); err != nil {
		t.Fatal(err)
	}
	again, err := ReadRun(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(result(t, run), result(t, again)); d != "" {
		t.Error(d)
	}
}

func TestReadRunRefusesOtherFiles(t *testing.T) {
	for _, text := range []string{"", "{}", `{"run": {"schema": "other"}}`, "name: canary"} {
		if _, err := ReadRun(strings.NewReader(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestStoppedRunIsNoPass(t *testing.T) {
	run := stories["pass"].run(t)
	run.Header.Steps = run.Header.Steps[:1]
	run.Header.Stopped = "interrupted"
	if res := result(t, run); res.Verdict != assert.Inconclusive || res.Reason != "interrupted" {
		t.Errorf("%v %q", res.Verdict, res.Reason)
	}
}

func TestFaultThatNeverFiredTakesPassesBack(t *testing.T) {
	run := stories["pass"].run(t)
	run.History.Faults = []observe.Fault{{From: run.Header.Steps[1].From, Kind: "abort",
		Target: "VirtualService default/recommendation"}}
	res := result(t, run)
	if res.Steps[0].Verdict != assert.Pass || res.Steps[1].Verdict != assert.Inconclusive {
		t.Errorf("%v, %v", res.Steps[0].Verdict, res.Steps[1].Verdict)
	}
	last := &run.History.Requests[len(run.History.Requests)-1]
	last.Flags = "FI"
	res = result(t, run)
	if res.Verdict != assert.Pass || len(res.Faults) != 1 || res.Faults[0].Fired != 1 {
		t.Errorf("%v %+v", res.Verdict, res.Faults)
	}
}

func TestFortio(t *testing.T) {
	files := Fortio(result(t, stories["pass"].run(t)))
	for _, name := range []string{"story-1-one-in-ten.json", "story-2-everyone.json"} {
		if !json.Valid(files[name]) {
			t.Errorf("%s: %s", name, files[name])
		}
	}
	if len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
}
