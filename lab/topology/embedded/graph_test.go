package embedded_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// shop is a service graph: shop ─▶ (cart ─▶ stock) and (search ─▶ index, stock); then checkout ─▶
// pay ─▶ bank, and then ship and audit.
const shop = `
defaults: {requestSize: 100, responseSize: 2 KB}
services:
- name: shop
  isEntrypoint: true
  responseSize: 12345
  script:
  - - call: cart
    - call: search
  - sleep: 2ms
  - call: {service: checkout, size: 10K}
- {name: cart, script: [{call: stock}]}
- {name: search, script: [{call: index}, {call: stock}]}
- {name: checkout, script: [{call: pay}, [{call: ship}, {call: audit}]]}
- {name: pay, script: [{call: {service: bank, hostname: bank.default.svc.cluster.local:8080}}]}
- {name: bank, errorRate: 50%}
- {name: stock, numReplicas: 2}
- {name: index}
- {name: ship}
- {name: audit, responseSize: 0}
`

// TestServiceGraph brings up a service graph and calls its entry point: who called whom is what the
// scripts say, and a failure comes up through all of them.
func TestServiceGraph(t *testing.T) { onBoth(t, testServiceGraph) }

func testServiceGraph(t *testing.T, d embedded.Driver) {
	c, diags := istio.Read([]istio.File{{Name: "shop.yaml", Data: []byte(shop)}},
		istio.ReadOptions{})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	m := upOn(t, d, c)
	entry := request.Spec{From: "client", URL: "http://shop:8080/"}

	good := ask(t, m, entry)[0]
	if good.Status != 200 || len(good.Body) != 12345 {
		t.Errorf("got %d with %d bytes", good.Status, len(good.Body))
	}
	want := []string{
		"cart stock", "checkout audit", "checkout pay", "checkout ship", "client shop", "pay bank",
		"search index", "search stock", "shop cart", "shop checkout", "shop search",
	}
	if diff := cmp.Diff(want, edges(good)); diff != "" {
		t.Errorf("calls: -want +got\n%s", diff)
	}

	bad := ask(t, m, entry)[0] // the bank's second
	body := "simulated failure"
	for _, host := range []string{"bank.default.svc.cluster.local", "pay", "checkout"} {
		body = "service " + host + ":8080 responded with 500 Internal Server Error (body: " + body +
			")\n"
	}
	if bad.Status != 500 || bad.Body != body {
		t.Errorf("got %d %q, want %q", bad.Status, bad.Body, body)
	}
	want = slices.DeleteFunc(want, func(call string) bool {
		return call == "checkout audit" || call == "checkout ship"
	})
	if diff := cmp.Diff(want, edges(bad)); diff != "" {
		t.Errorf("calls when the bank fails: -want +got\n%s", diff)
	}
}

// edges lists who called whom in a request, as the callers' records tell it.
func edges(r request.Result) []string {
	var out []string
	for _, h := range r.Hops {
		if h.Reporter == "source" {
			to := strings.TrimPrefix(h.Cluster, "outbound|8080||")
			out = append(out, h.Workload+" "+strings.TrimSuffix(to, ".default.svc.cluster.local"))
		}
	}
	slices.Sort(out)
	return out
}
