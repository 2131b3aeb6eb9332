package page

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const ms = clock.Instant(time.Millisecond)

const scenario = `name: story
about: Half & half, <em>then</em> a pod dies.
mesh: {app: customer}
steps:
  - name: half
    apply: istio/recommendation-50-50.yaml
    load: {from: curl, to: "http://customer:8080/", requests: 400}
    expect:
      - split: {service: recommendation, v1: 50%, v2: 50%}
      - success: 100%
      - p99: "< 4ms"
`

// story is a run of scenario in which a share of the requests goes to v2 and every tenth fails.
func story(v2 float64) *reports.Run {
	r := &reports.Run{Header: reports.Header{
		Schema: reports.RunSchema, File: "story.yaml", Scenario: scenario, Topology: "embedded",
		Proxy: "meshcore", Seed: 0x7f3a91, Version: "v0.1.0",
		Began: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Duration: time.Second,
		Mesh: reports.MeshRun{Workloads: []string{"curl", "<b>customer</b>"}, Sidecars: 2},
	}}
	step := reports.StepRun{Name: "half", From: 100 * ms, Until: 900 * ms}
	step.Did = []reports.Did{
		{Kind: "apply", What: "istio/recommendation-50-50.yaml", From: 90 * ms, Until: 100 * ms,
			Proxies: 2, Total: 2, Took: 6 * time.Millisecond, Changes: []reports.ObjectChange{
				{Object: "VirtualService default/recommendation",
					Diff: "--- before\n+++ after\n@@ -1,2 +1,2 @@\n http:\n-- weight: 90\n+- weight: 50\n"},
				{Object: "Secret default/key"},
			}},
		{Kind: "load", What: "http://customer:8080/", Client: "curl", From: 100 * ms,
			Until: 900 * ms, Fortio: json.RawMessage(`{"RunType":"HTTP","ActualDuration":800000000,
			"DurationHistogram":{"Count":400,"Data":[{"Start":0.001,"End":0.002,"Count":300},
			{"Start":0.002,"End":0.004,"Count":100}],"Percentiles":[{"Percentile":50,"Value":0.0015},
			{"Percentile":99,"Value":0.0039}]},"RetCodes":{"200":360,"503":40}}`)},
	}
	r.Header.Steps = []reports.StepRun{step}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		version, status, flags := "v1", 200, ""
		if rng.Float64() < v2 {
			version = "v2"
		}
		if i%10 == 9 {
			status, flags = 503, "UF"
		}
		at := 100*ms + clock.Instant(i)*2*ms
		id := fmt.Sprintf("id-%d", i)
		r.History.Requests = append(r.History.Requests, observe.Request{
			ID: id, Start: at, Duration: time.Duration(1+i%7) * time.Millisecond,
			Reporter: observe.Source, Proxy: "preference-0.default", Workload: "preference",
			Method: "GET", Authority: "recommendation:8080", Path: "/?q=<script>alert(1)</script>",
			Status: status, Flags: flags, Upstream: "10.244.0.9:8080", Route: "default",
			Cluster: "outbound|8080|" + version + "|recommendation.default.svc.cluster.local",
			Config:  "/apis/networking.istio.io/v1/namespaces/default/virtual-service/recommendation",
			Dest: observe.Workload{Pod: "recommendation-" + version + "-0", Version: version,
				Service: "recommendation", Workload: "recommendation-" + version,
				Namespace: "default"},
		})
		r.History.Clients = append(r.History.Clients, observe.Client{
			ID: id, Step: "half", From: "curl", Start: at, Status: status,
			Duration: time.Duration(1+i%7) * time.Millisecond,
		})
	}
	r.History.Pushes = []observe.Push{
		{At: 90 * ms, Acked: 96 * ms, Proxy: "curl-0.default", Type: "RDS", Version: "1"},
		{At: 92 * ms, Proxy: "bad-0.default", Type: "LDS", Version: "1", Nack: "port <0> is taken"},
	}
	host := "outbound|8080||recommendation.default.svc.cluster.local 10.244.0.6:8080"
	r.History.Changes = []observe.Change{
		{At: 90 * ms, Kind: "apply", What: "istio/recommendation-50-50.yaml"},
		{At: 300 * ms, Kind: "eject", What: host, By: "preference-0.default"},
		{At: 600 * ms, Kind: "uneject", What: host, By: "preference-0.default"},
	}
	r.History.Faults = []observe.Fault{{ID: 1, Kind: "kill", Target: "recommendation-v2-0.default",
		From: 200 * ms, Until: 700 * ms, Fired: 12, Unit: "connections reset"}}
	return r
}

func write(t *testing.T, runs ...*reports.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, nil, runs...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPageTells looks for everything that a colleague who gets the page wants to know.
func TestPageTells(t *testing.T) {
	text := write(t, story(0.5))
	for _, want := range []string{
		"split recommendation", "v1 ", "wanted 50 / 50", "success", "360 of 400",
		"mesh-lab run story.yaml --seed 7f3a91", "2 of 2 proxies in 6 ms",
		`<span class="add">&#43;- weight: 50`, `<span class="del">-- weight: 90`,
		"Secret default/key", "what it holds is not shown",
		"kill recommendation-v2-0.default: 12 connections reset",
		"LDS to bad-0.default NACKed: port &lt;0&gt; is taken", "RDS to curl-0.default ACKed",
		">10.244.0.6:8080<", "Failed requests", "and 30 more that failed", "Slowest requests",
		"default (VirtualService default/recommendation)", "HTTP 503", "p99", "3.90 ms",
		"share of v2 so far", `<rect class="wanted"`, "2xx and 3xx: 360", "5xx: 40",
		"p99 wanted &lt; 4ms", "share that failed", "none may", "success is broken", "✘ p99", ">apply recommendation",
		"above: kill recommendation-v2-0.default", "<details open><summary>VirtualService",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestPageIsSelfContained parses the page: no script, no reference to anything outside of it, every
// link within it leads somewhere, and what the run's texts hold stays text.
func TestPageIsSelfContained(t *testing.T) {
	doc, err := html.Parse(strings.NewReader(write(t, story(0.5), story(0.2))))
	if err != nil {
		t.Fatal(err)
	}
	ids, links := map[string]bool{}, []string{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "iframe", "img", "object", "embed", "form":
			t.Errorf("<%s> in the page", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				links = append(links, a.Val[1:])
			case a.Key == "href" && a.Val == "data:,":
			case a.Key == "href", a.Key == "src", strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s %s=%q> in the page", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, l := range links {
		if !ids[l] {
			t.Errorf("the link to #%s leads nowhere", l)
		}
	}
	if len(links) == 0 {
		t.Error("no link to a step")
	}
	if strings.Contains(style, "url(") || strings.Contains(style, "@import") {
		t.Error("the style sheet asks for more")
	}
}

// TestPageOfLittle: runs that ended before anything was recorded have a page, too.
func TestPageOfLittle(t *testing.T) {
	r := story(0.5)
	r.History, r.Header.Steps, r.Header.Stopped = observe.History{}, nil, "interrupted"
	r.Header.Duration = 0
	if text := write(t, r); !strings.Contains(text, "stopped: interrupted") {
		t.Error("the page does not say why the run ended")
	}
}

// TestCompare compares what is said of two runs with the golden text.
func TestCompare(t *testing.T) {
	var results []*reports.Result
	for _, v2 := range []float64{0.5, 0.1} {
		res, err := reports.Judge(story(v2))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, res)
	}
	results[1].Steps[0].Expectations = append(results[1].Steps[0].Expectations,
		assert.Verdict{Name: "retries", Outcome: assert.Pass, Observed: "0"})
	var b bytes.Buffer
	if err := Compare(results[0], results[1]).Text(&b); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/compare.txt"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, d)
	}
	if n := Compare(results[0], results[0]).Differences(); n != 0 {
		t.Errorf("a run differs from itself in %d", n)
	}
}

// TestPageCompares: the page marks the same rows as the text.
func TestPageCompares(t *testing.T) {
	var b bytes.Buffer
	if err := WriteComparison(&b, nil, story(0.5), story(0.1)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), `<tr class="differs">`); n != 1 {
		t.Errorf("%d rows are marked, want 1: the split", n)
	}
}

func TestRoundStep(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1: 1, 3 * time.Millisecond: 5 * time.Millisecond,
		time.Second: time.Second, 130 * time.Millisecond: 200 * time.Millisecond,
		7 * time.Second: 10 * time.Second,
	} {
		if got := roundStep(d); got != want {
			t.Errorf("roundStep(%s) = %s, want %s", d, got, want)
		}
	}
}

// TestDiffers: what is statistical differs when its intervals have nothing in common, what is exact
// when another thing was seen.
func TestDiffers(t *testing.T) {
	in := func(lo, hi float64) *assert.Verdict {
		return &assert.Verdict{Outcome: assert.Pass, Interval: &[2]float64{lo, hi}, FalseAlarm: 1e-6}
	}
	seen := func(what string) *assert.Verdict {
		return &assert.Verdict{Outcome: assert.Pass, Observed: what}
	}
	for i, c := range []struct {
		a, b *assert.Verdict
		want bool
	}{
		{in(0.1, 0.2), in(0.15, 0.3), false},
		{in(0.1, 0.2), in(0.3, 0.4), true},
		{in(0.3, 0.4), in(0.1, 0.2), true},
		{seen("3"), seen("3"), false},
		{seen("3"), seen("4"), true},
		{seen("3"), nil, true},
	} {
		if got := differs(c.a, c.b); got != c.want {
			t.Errorf("%d: differs is %t", i, got)
		}
	}
}
