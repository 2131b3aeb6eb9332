package feed

import (
	"fmt"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// TestTapKeepsWholeRequests: what does not fit is left out request by request, never hop by hop,
// what is kept stands for the right number, and everything comes back when there is little.
func TestTapKeepsWholeRequests(t *testing.T) {
	tap := NewTap(300)
	const requests, hops = 4000, 3
	for i := range requests {
		for range hops {
			tap.Request(&observe.Request{ID: fmt.Sprint("id-", i)})
		}
	}
	b := tap.Take(clock.Instant(1))
	if len(b.Requests) > 300 || len(b.Requests) < 60 {
		t.Fatalf("%d records are kept of a limit of 300", len(b.Requests))
	}
	n := map[string]int{}
	for _, r := range b.Requests {
		n[r.ID]++
	}
	for id, k := range n {
		if k != hops {
			t.Errorf("%s has %d of its %d hops", id, k, hops)
		}
	}
	if all := len(n) * b.Every; all < requests/2 || all > 2*requests {
		t.Errorf("%d requests, one of %d, stand for %d", len(n), b.Every, requests)
	}
	for range 20 {
		b = tap.Take(clock.Instant(2))
	}
	if b.Every != 1 {
		t.Errorf("one request of %d is still left out when nothing happens", b.Every)
	}
}

const config = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.default.svc.cluster.local
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 3}}
    outlierDetection: {baseEjectionTime: 7s}
  subsets:
  - {name: old, labels: {version: v1}}
  - {name: new, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: new}}]
  - name: rest
    fault: {abort: {httpStatus: 500, percentage: {value: 25}}}
    route:
    - {destination: {host: reviews, subset: old}, weight: 70}
    - {destination: {host: reviews, subset: new}, weight: 30}
`

func TestDescribe(t *testing.T) {
	c, diags := istio.Read([]istio.File{{Name: "x.yaml", Data: []byte(config)}}, istio.ReadOptions{})
	for _, d := range diags {
		if d.Severity == istio.Error {
			t.Fatal(d)
		}
	}
	got := Describe(c, &translate.Registry{})
	if len(got.Splits) != 2 {
		t.Fatalf("%d rules that share out, want 2", len(got.Splits))
	}
	rest := got.Splits[1]
	if rest.Service != "reviews" || rest.Rule != 1 || rest.Mixed || rest.Parts[0] !=
		(Part{"old", "v1", 70}) || rest.Parts[1] != (Part{"new", "v2", 30}) {
		t.Errorf("the rule is described as %+v", rest)
	}
	if len(got.Limits) != 1 || got.Limits[0].Connections != 3 || got.Limits[0].Ejection != 7e9 {
		t.Errorf("limits %+v", got.Limits)
	}
	if len(got.Faults) != 1 || got.Faults[0].Share != 0.25 || got.Faults[0].Status != 500 {
		t.Errorf("faults %+v", got.Faults)
	}
}
