package runner_test

import (
	"context"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// play runs a bundled scenario and judges it.
func play(t *testing.T, name string, d embedded.Driver, seed uint64) *reports.Result {
	t.Helper()
	_, res := playKept(t, name, d, seed, nil)
	return res
}

// playKept does so, and keeps in c what the proxies carried out.
func playKept(
	t *testing.T, name string, d embedded.Driver, seed uint64, c *reports.Carried,
) (*reports.Run, *reports.Result) {
	t.Helper()
	s, diags := scenarios.Open(scenarios.Catalogue(), name+".yaml")
	for _, d := range diags {
		t.Fatal(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	run, err := runner.Run(ctx, s, runner.Options{
		Driver: d, Topology: "embedded", Proxy: "meshcore", Seed: seed, Version: "test",
		Carried: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := reports.Judge(run)
	if err != nil {
		t.Fatal(err)
	}
	return run, res
}

// TestPlantedBugs builds data planes that are wrong in one thing each; a scenario must notice.
func TestPlantedBugs(t *testing.T) {
	for _, c := range []struct {
		bug, scenario string
		tamper        func(*xds.Snapshot)
	}{
		{"weights are 80 / 20 in place of 90 / 10", "canary", routes(weights)},
		{"no hashing", "sticky", routes(noHash)},
		{"faults strike 20 % in place of 10 %", "faults", routes(moreFaults)},
		{"one retry in place of two", "retries", routes(oneRetry)},
		{"no time-out", "retries", routes(noTimeout)},
		{"no limit of pending requests", "breaker", clusters(noBreaker)},
		{"ejected for ten times as long", "breaker", clusters(longEjection)},
	} {
		t.Run(c.bug, func(t *testing.T) {
			t.Parallel()
			d := embedded.Driver{Tamper: func(s *xds.Snapshot) *xds.Snapshot {
				s = clone(s)
				c.tamper(s)
				return s
			}}
			if res := play(t, c.scenario, d, 1); res.Verdict != assert.Fail {
				t.Errorf("%s does not notice: %s\n%s", c.scenario, res.Verdict, text(t, res))
			}
		})
	}
}

func text(t *testing.T, res *reports.Result) string {
	t.Helper()
	w := &builder{}
	if err := reports.Text(w, res, reports.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	return string(w.b)
}

type builder struct{ b []byte }

func (b *builder) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// clone copies what tampers change.
func clone(s *xds.Snapshot) *xds.Snapshot {
	out := *s
	out.Routes = map[string]*routev3.RouteConfiguration{}
	for k, r := range s.Routes {
		out.Routes[k] = proto.CloneOf(r)
	}
	out.Clusters = map[string]*clusterv3.Cluster{}
	for k, c := range s.Clusters {
		out.Clusters[k] = proto.CloneOf(c)
	}
	return &out
}

// routes changes every route of a snapshot.
func routes(change func(*routev3.Route)) func(*xds.Snapshot) {
	return func(s *xds.Snapshot) {
		for _, rc := range s.Routes {
			for _, vh := range rc.VirtualHosts {
				for _, r := range vh.Routes {
					change(r)
				}
			}
		}
	}
}

// clusters changes every cluster of a snapshot.
func clusters(change func(*clusterv3.Cluster)) func(*xds.Snapshot) {
	return func(s *xds.Snapshot) {
		for _, c := range s.Clusters {
			change(c)
		}
	}
}

func weights(r *routev3.Route) {
	w := r.GetRoute().GetWeightedClusters().GetClusters()
	if len(w) == 2 && w[0].Weight.GetValue() == 90 {
		w[0].Weight, w[1].Weight = wrapperspb.UInt32(80), wrapperspb.UInt32(20)
	}
}

func noHash(r *routev3.Route) {
	if a := r.GetRoute(); a != nil {
		a.HashPolicy = nil
	}
}

const faultFilter = "envoy.filters.http.fault"

func moreFaults(r *routev3.Route) {
	b := r.TypedPerFilterConfig[faultFilter]
	if b == nil {
		return
	}
	var f faultv3.HTTPFault
	if b.UnmarshalTo(&f) != nil {
		return
	}
	twice := &typev3.FractionalPercent{Numerator: 20}
	if f.Abort != nil {
		f.Abort.Percentage = twice
	}
	if f.Delay != nil {
		f.Delay = &faultcommonv3.FaultDelay{
			FaultDelaySecifier: f.Delay.FaultDelaySecifier, Percentage: twice,
		}
	}
	if b, err := anypb.New(&f); err == nil {
		r.TypedPerFilterConfig[faultFilter] = b
	}
}

func oneRetry(r *routev3.Route) {
	if p := r.GetRoute().GetRetryPolicy(); p.GetNumRetries().GetValue() == 2 {
		p.NumRetries = wrapperspb.UInt32(1)
	}
}

func noTimeout(r *routev3.Route) {
	if a := r.GetRoute(); a != nil {
		a.Timeout = durationpb.New(0)
	}
}

func noBreaker(c *clusterv3.Cluster) { c.CircuitBreakers = nil }

func longEjection(c *clusterv3.Cluster) {
	if o := c.OutlierDetection; o != nil {
		o.BaseEjectionTime = durationpb.New(10 * o.BaseEjectionTime.AsDuration())
	}
}
