package istio

import (
	"slices"
	"strings"
	"testing"
)

const ring = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec:
  host: a
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-a, maglev: {tableSize: 101}}}
  subsets: [{name: v1, labels: {"tableSize": "5"}}]
`

func TestUsed(t *testing.T) {
	c, diags := Read([]File{{Name: "a.yaml", Data: []byte(ring)}}, ReadOptions{})
	if HasErrors(diags) {
		t.Fatal(diags)
	}
	got := Used(c)
	for _, want := range []string{
		"DestinationRule.host", "DestinationRule.subsets", "Subset.labels", "MagLev.tableSize",
		"ConsistentHashLB.httpHeaderName",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %v", want, got)
		}
	}
	if slices.Contains(got, "DestinationRule.exportTo") {
		t.Error("exportTo is not used")
	}
}

// TestWideIntegers writes numbers of 64 bits as Istio's schema wants them, so that what get prints
// can be applied.
func TestWideIntegers(t *testing.T) {
	c, _ := Read([]File{{Name: "a.yaml", Data: []byte(ring)}}, ReadOptions{})
	y, err := Encode(c.Objects[0], YAML)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(y), "tableSize: 101") {
		t.Errorf("%s", y)
	}
	if _, diags := Read([]File{{Name: "b.yaml", Data: y}}, ReadOptions{}); HasErrors(diags) {
		t.Error(diags)
	}
}
