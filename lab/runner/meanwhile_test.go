package runner_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// told plays a scenario that is written in the test.
func told(t *testing.T, story string) (*reports.Run, error) {
	t.Helper()
	s, diags := scenarios.Parse("story.yaml", []byte(story))
	for _, d := range diags {
		t.Fatal(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return runner.Run(ctx, s, runner.Options{
		Driver: embedded.Driver{}, Topology: "embedded", Proxy: "meshcore", Seed: 1, Version: "test",
	})
}

const besideStory = `
name: beside
mesh: {app: customer}
steps:
- load:
    from: curl
    to: http://customer:8080/
    connections: 2
    HOWLONG
    meanwhile:
      wait: 50ms
      apply: |
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: recommendation}
        spec:
          hosts: [recommendation]
          http:
          - fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
            route:
            - destination: {host: recommendation}
`

// What is to be done meanwhile is done between the load's first answer and its end.
func TestMeanwhile(t *testing.T) {
	run, err := told(t, strings.Replace(besideStory, "HOWLONG", "duration: 1s", 1))
	if err != nil {
		t.Fatal(err)
	}
	did := run.Header.Steps[0].Did
	if len(did) != 3 || did[1].Kind != "wait" || did[2].Kind != "apply" {
		t.Fatalf("did %+v", did)
	}
	if did[1].From < did[0].From || did[2].Until > did[0].Until || did[2].Proxies == 0 {
		t.Errorf("load %v to %v, apply %v to %v by %d proxies", did[0].From, did[0].Until,
			did[2].From, did[2].Until, did[2].Proxies)
	}
	if half := did[0].Until.Sub(did[2].Until); half < 500*time.Millisecond {
		t.Errorf("the load went on for %v after the last change, want half of its second", half)
	}
	before, after := false, false
	for _, r := range run.History.Requests {
		before = before || r.Workload == "preference" && r.Status == 200
		after = after || r.Workload == "preference" && r.Status == 418
	}
	if !before || !after {
		t.Errorf("requests before the change %v, after it %v", before, after)
	}
}

// A load that is over too soon proves nothing of what was done meanwhile.
func TestMeanwhileTooLong(t *testing.T) {
	_, err := told(t, strings.Replace(besideStory, "HOWLONG", "requests: 2", 1))
	if err == nil || !strings.Contains(err.Error(), "let it last longer") {
		t.Errorf("got %v", err)
	}
}

// Nothing is ever recorded of a misspelt workload: what is expected of it is refused, not met.
func TestStrangers(t *testing.T) {
	_, err := told(t, `
name: strangers
mesh: {app: customer}
steps:
- request: {from: curl, to: "http://customer:8080/"}
  expect:
  - never: {at: custmer}
  - count: {from: curl, to: preference.default, is: 0}
  - share: {of: {from: curl}, that: {at: nobody}, is: 0%}
`)
	if err == nil {
		t.Fatal("it runs")
	}
	for _, want := range []string{
		`story.yaml:5:3: Scenario strangers expect: never at custmer: nobody in the mesh is called ` +
			`"custmer"; did you mean customer?`,
		`is called "nobody"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if strings.Contains(err.Error(), `"preference`) {
		t.Errorf("a service is refused: %v", err)
	}
}
