package embedded_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

const subsets = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: recommendation, namespace: default}
spec:
  host: recommendation
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: recommendation, namespace: default}
spec:
  hosts: [recommendation]
  http:
  - fault: {abort: {httpStatus: 418, percentage: {value: 10}}}
    mirror: {host: recommendation, subset: v2}
    mirrorPercentage: {value: 30}
    route:
    - {destination: {host: recommendation, subset: v1}, weight: 70}
    - {destination: {host: recommendation, subset: v2}, weight: 30}
`

// TestExact has 1,000 requests prove a fault of 10 %, a split of 70/30 and a mirror of 30 % to the
// request, on each data plane, and again after a change.
func TestExact(t *testing.T) {
	for _, proxy := range []string{"meshcore", "envoy"} {
		t.Run(proxy, func(t *testing.T) {
			if proxy == "envoy" {
				testenvoy.Binary(t)
			}
			testExact(t, embedded.Driver{Proxy: proxy, Dir: t.TempDir()}, proxy == "envoy")
		})
	}
}

func testExact(t *testing.T, d embedded.Driver, altered bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := d.Up(ctx, topology.Spec{Config: customer(t, subsets), Seed: 1, Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	want := map[string]int{"418": 100, "200 v1": 630, "200 v2": 270, "copies": 270}
	if d := cmp.Diff(want, thousand(t, m)); d != "" {
		t.Error("(-wanted +got)\n", d)
	}
	x := m.(topology.Exact).Exactness()
	if got := len(x.Altered) > 0; got != altered {
		t.Errorf("altered: %v", x.Altered)
	}
	all := strings.Join(x.Enumerated, "\n")
	for _, what := range []string{"weights 70/30 by x-mesh-lab-draw-split",
		"abort 10 % by x-mesh-lab-draw-abort", "mirror 30 % to outbound|80|v2|recommendation"} {
		if !strings.Contains(all, what) {
			t.Errorf("no %q in\n%s", what, all)
		}
	}
	changed := strings.NewReplacer("weight: 70", "weight: 60", "weight: 30", "weight: 40",
		"value: 10", "value: 20").Replace(subsets)
	if _, err := m.Apply(ctx, customer(t, changed)); err != nil {
		t.Fatal(err)
	}
	want = map[string]int{"418": 200, "200 v1": 480, "200 v2": 320, "copies": 240}
	if d := cmp.Diff(want, thousand(t, m)); d != "" {
		t.Error("after the change (-wanted +got)\n", d)
	}
}

// thousand counts what becomes of 1,000 requests, and the copies made of them, as the caller's
// sidecar records it.
func thousand(t *testing.T, m topology.Mesh) map[string]int {
	t.Helper()
	before := recorded(t, m)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return m.Dial(ctx, "preference-0.default", address)
	}}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 250 {
				resp, err := c.Get("http://recommendation:8080/")
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body) //nolint:errcheck // the record tells
				resp.Body.Close()
			}
		})
	}
	all.Wait()
	out := recorded(t, m)
	for sort, n := range before {
		if out[sort] -= n; out[sort] == 0 {
			delete(out, sort)
		}
	}
	return out
}

func recorded(t *testing.T, m topology.Mesh) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, r := range m.Recorder().Snapshot().Requests {
		if r.Proxy == "preference-0.default" && r.Reporter == observe.Source {
			out[strings.TrimSpace(strconv.Itoa(r.Status)+" "+r.Dest.Version)]++
			out["copies"] += len(r.Mirrors)
		}
	}
	return out
}
