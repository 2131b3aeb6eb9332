package parity_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/lab/parity"
	"github.com/mesh-lab/mesh-lab/lab/parity/rules"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// drawn, generated and access are the fuzzer's own sources.
var (
	drawn     = parity.Source{Name: "rules", Mesh: rules.Mesh(), Draw: rules.Draw}
	generated = parity.Source{
		Name: "generated", Mesh: rules.GeneratedMesh(), Draw: rules.Generated,
	}
	access = parity.Source{Name: "access", Mesh: rules.AccessMesh(), Draw: rules.Access}
)

// fixed is a source of one configuration.
func fixed(yaml string) parity.Source {
	return parity.Source{Name: "fixed", Mesh: rules.Mesh(), Draw: func(*rand.Rand) []*istio.Object {
		c, diags := istio.Read([]istio.File{{Name: "rules.yaml", Data: []byte(yaml)}},
			istio.ReadOptions{})
		if istio.HasErrors(diags) {
			panic(diags[0].String())
		}
		return c.Objects
	}}
}

// newRun compares our data plane with one that is tampered with.
func newRun(t *testing.T, tamper func(*routev3.Route)) *parity.Run {
	t.Helper()
	var d embedded.Driver
	if tamper != nil {
		d.Tamper = routes(tamper)
	}
	return parity.NewRun(parity.Options{
		A:    parity.Side{Name: "meshcore", Driver: embedded.Driver{}},
		B:    parity.Side{Name: "tampered", Driver: d},
		Spec: topology.Spec{Seed: 1}, Max: 200,
		Effort:   parity.Effort{Groups: 2, Least: 100, Most: 800},
		Progress: func(s string) { t.Log(s) },
	})
}

// routes tampers with every route of what a proxy is given.
func routes(change func(*routev3.Route)) func(*xds.Snapshot) *xds.Snapshot {
	return func(s *xds.Snapshot) *xds.Snapshot {
		out := *s
		out.Routes = map[string]*routev3.RouteConfiguration{}
		for k, r := range s.Routes {
			r = proto.CloneOf(r)
			for _, vh := range r.VirtualHosts {
				for _, route := range vh.Routes {
					change(route)
				}
			}
			out.Routes[k] = r
		}
		return &out
	}
}

// TestSame finds no difference between our data plane and itself.
func TestSame(t *testing.T) {
	r := newRun(t, nil)
	r.Max = 15
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := r.Fuzz(ctx, drawn, 15); err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 || r.Tally.Configs != 15 || r.Tally.Invalid > 0 {
		t.Errorf("%+v\n%s", r.Tally, report(t, r))
	}
	if len(r.Tally.Fields) < 20 {
		t.Errorf("only these fields were drawn: %v", r.Tally.Fields)
	}
}

func report(t *testing.T, r *parity.Run) string {
	t.Helper()
	var b strings.Builder
	if err := r.Report(0).Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// everything is a configuration in which each planted bug has its place, among others.
const everything = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: default}
spec:
  host: echo
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: default}
spec:
  hosts: [other]
  http:
  - name: split
    route:
    - {destination: {host: echo, subset: v1}, weight: 90}
    - {destination: {host: echo, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo]
  http:
  - name: exact
    match:
    - uri: {exact: /exact}
    - uri: {prefix: /header}
      headers: {x-user: {exact: jason}}
    route: [{destination: {host: echo, subset: v2}}]
    headers: {request: {set: {x-set: here}}, response: {remove: [x-gone]}}
  - name: rest
    match: [{uri: {prefix: /retry}}]
    route: [{destination: {host: echo, subset: v1}}]
    retries: {attempts: 2, retryOn: 5xx}
  - name: last
    route: [{destination: {host: echo, subset: v1}}]
    rewrite: {uri: /}
    timeout: 5s
`

// TestPlanted changes one rule of the data plane each time: it must be found, and shrunk to a small
// request under a small configuration.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		tamper  func(*routev3.Route)
		request int // bytes of the smallest request, as JSON
		config  int // lines of the smallest configuration
		random  bool
	}{
		"an exact match is a prefix": {request: 65, config: 22,
			tamper: func(r *routev3.Route) {
				if p := r.GetMatch().GetPath(); p != "" {
					r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p}
				}
			}},
		"paths match in any case": {request: 65, config: 22,
			tamper: func(r *routev3.Route) {
				if r.GetMatch().GetPath() != "" {
					r.Match.CaseSensitive = wrapperspb.Bool(false)
				}
			}},
		"a header's value is a prefix": {request: 90, config: 24,
			tamper: func(r *routev3.Route) {
				for _, h := range r.GetMatch().GetHeaders() {
					if s := h.GetStringMatch(); s.GetExact() != "" {
						s.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: s.GetExact()}
					}
				}
			}},
		"a header operation is dropped": {request: 65, config: 22,
			tamper: func(r *routev3.Route) { r.RequestHeadersToAdd = nil }},
		"one retry is dropped": {request: 130, config: 18,
			tamper: func(r *routev3.Route) {
				if p := r.GetRoute().GetRetryPolicy(); p.GetRetryOn() == "5xx" {
					p.NumRetries = wrapperspb.UInt32(1)
				}
			}},
		"weights are 70 / 30": {random: true,
			tamper: func(r *routev3.Route) {
				if w := r.GetRoute().GetWeightedClusters().GetClusters(); len(w) == 2 {
					w[0].Weight, w[1].Weight = wrapperspb.UInt32(70), wrapperspb.UInt32(30)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, c.tamper)
			r.Max = 0 // all that the configuration makes
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := r.Fuzz(ctx, fixed(everything), 1); err != nil {
				t.Fatal(err)
			}
			if len(r.Findings) == 0 {
				t.Fatal("it is not found")
			}
			if c.random {
				if r.Findings[0].Shares == nil {
					t.Error(report(t, r))
				}
				return
			}
			for _, f := range r.Findings {
				b, err := json.Marshal(f.Smallest)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %d bytes, %d lines", b, len(b), strings.Count(f.Config, "\n"))
				if len(b) <= c.request && strings.Count(f.Config, "\n") <= c.config {
					return
				}
			}
			t.Errorf("no finding is small enough:\n%s", report(t, r))
		})
	}
}
