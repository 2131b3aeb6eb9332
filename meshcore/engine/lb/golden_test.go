package lb_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
)

// testCase is a cluster that both Envoy and the balancer get.
type testCase struct {
	Name             string
	Policy           lb.Policy
	LocalityWeighted bool
	Panic            uint32
	MinRing, MaxRing uint64
	Table            uint64
	Localities       []testLocality
	Retries          int
	Requests         int
}

type testLocality struct {
	Region    string
	Weight    uint32
	Priority  uint32
	Endpoints []testEndpoint
}

type testEndpoint struct {
	Address   string
	Weight    uint32
	Unhealthy bool
}

// at makes the endpoints 127.77.0.FROM ... 127.77.0.TO with a port that nobody else uses.
func at(from, to int, weights ...uint32) []testEndpoint {
	var out []testEndpoint
	for i := from; i <= to; i++ {
		e := testEndpoint{Address: fmt.Sprintf("127.77.0.%d:18417", i)}
		if len(weights) > 0 {
			e.Weight = weights[i-from]
		}
		out = append(out, e)
	}
	return out
}

func one(endpoints []testEndpoint) []testLocality {
	return []testLocality{{Endpoints: endpoints}}
}

func down(endpoints []testEndpoint, indexes ...int) []testEndpoint {
	for _, i := range indexes {
		endpoints[i].Unhealthy = true
	}
	return endpoints
}

var (
	twoRegions = []testLocality{
		{Region: "west", Weight: 3, Endpoints: at(2, 4)},
		{Region: "east", Weight: 1, Endpoints: at(5, 6)},
	}
	halfDown = []testLocality{
		{Region: "near", Endpoints: down(at(2, 5), 1, 3)},
		{Region: "far", Priority: 1, Endpoints: at(6, 8)},
	}
	// 25 % of 140 % at priority 0, so 35 there, the rest at priority 1; below the threshold of 50.
	panicking = []testLocality{
		{Region: "near", Endpoints: down(at(2, 5), 0, 1, 2)},
		{Region: "far", Priority: 1, Endpoints: down(at(6, 8), 0, 1)},
	}
)

// cases are what Envoy was asked.
var cases = []testCase{
	{
		Name: "ring", Policy: lb.RingHash,
		Localities: one(at(2, 6)), Requests: 200,
	},
	{
		Name: "ring-small", Policy: lb.RingHash,
		MinRing: 7, MaxRing: 100, Localities: one(at(2, 6)), Requests: 60,
	},
	{
		Name: "ring-weights", Policy: lb.RingHash,
		MinRing: 64, MaxRing: 1000, Localities: one(at(2, 4, 1, 2, 5)), Requests: 200,
	},
	{
		Name: "ring-capped", Policy: lb.RingHash,
		MinRing: 10, MaxRing: 10, Localities: one(at(2, 4)), Requests: 60,
	},
	{
		Name: "ring-regions", Policy: lb.RingHash,
		LocalityWeighted: true, Localities: twoRegions, Requests: 200,
	},
	{
		Name: "ring-priorities", Policy: lb.RingHash,
		Localities: halfDown, Requests: 200,
	},
	{
		Name: "ring-panic", Policy: lb.RingHash,
		Panic: 50, Localities: panicking, Requests: 200,
	},
	{
		Name: "retry-ring", Policy: lb.RingHash,
		MinRing: 64, MaxRing: 1000, Localities: one(at(2, 6)), Retries: 3, Requests: 60,
	},
	{
		Name: "maglev", Policy: lb.Maglev,
		Localities: one(at(2, 6)), Requests: 200,
	},
	{
		Name: "maglev-weights", Policy: lb.Maglev,
		Table: 1009, Localities: one(at(2, 4, 1, 2, 5)), Requests: 200,
	},
	{
		Name: "maglev-regions", Policy: lb.Maglev,
		LocalityWeighted: true, Table: 1009, Localities: twoRegions, Requests: 200,
	},
	{
		Name: "retry-maglev", Policy: lb.Maglev,
		Table: 1009, Localities: one(at(2, 6)), Retries: 3, Requests: 60,
	},
	{
		Name: "rotation", Policy: lb.RoundRobin,
		Localities: one(at(2, 6)), Requests: 20,
	},
	{
		Name: "rotation-weights", Policy: lb.RoundRobin,
		Localities: one(at(2, 5, 1, 2, 5, 2)), Requests: 60,
	},
	{
		Name: "rotation-regions", Policy: lb.RoundRobin,
		LocalityWeighted: true, Localities: twoRegions, Requests: 60,
	},
	{
		Name: "requests-weights", Policy: lb.LeastRequest,
		Localities: one(at(2, 5, 1, 2, 5, 2)), Requests: 60,
	},
}

func (c testCase) hashed() bool { return c.Policy == lb.RingHash || c.Policy == lb.Maglev }

func (c testCase) key(i int) string { return fmt.Sprintf("key-%d", i) }

func (c testCase) endpoints() []testEndpoint {
	var out []testEndpoint
	for _, l := range c.Localities {
		out = append(out, l.Endpoints...)
	}
	return out
}

// balancer is the case in our words.
func (c testCase) balancer(t *testing.T, seed uint64) *lb.Balancer {
	t.Helper()
	b, err := lb.New(lb.Config{
		Policy: c.Policy, HealthyPanicThreshold: c.Panic, LocalityWeighted: c.LocalityWeighted,
		MinRingSize: c.MinRing, MaxRingSize: c.MaxRing, TableSize: c.Table, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	var a lb.Assignment
	for _, l := range c.Localities {
		out := lb.LocalityEndpoints{Locality: lb.Locality{Region: l.Region}, Weight: l.Weight,
			Priority: l.Priority}
		for _, e := range l.Endpoints {
			out.Endpoints = append(out.Endpoints, lb.Endpoint{Host: &lb.Host{Address: e.Address},
				Weight: e.Weight, Unhealthy: e.Unhealthy})
		}
		a.Localities = append(a.Localities, out)
	}
	b.Update(a, 0)
	return b
}

// answer plays the requests of the case: with retries every host fails, and no host is tried twice
// while another choice is offered.
func (c testCase) answer(b *lb.Balancer) [][]string {
	var out [][]string
	for i := range c.Requests {
		var tried []string
		for attempt := range c.Retries + 1 {
			ctx := lb.Context{Hash: xxhash.Sum64String(c.key(i)), HasHash: true, Rnd: uint64(i)}
			if attempt > 0 {
				ctx.MaxTries = 5
				ctx.Skip = func(h *lb.Host) bool { return slices.Contains(tried, h.Address) }
			}
			tried = append(tried, b.Pick(&ctx).Address)
		}
		out = append(out, tried)
	}
	return out
}

// TestAsEnvoy compares with what the real Envoy did. Hash policies agree host by host. Rotations
// agree for one of the possible random starts.
func TestAsEnvoy(t *testing.T) {
	want := readGolden(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if len(want[c.Name]) != c.Requests {
				t.Fatalf("golden file has %d requests, want %d", len(want[c.Name]), c.Requests)
			}
			if c.hashed() {
				if diff := cmp.Diff(want[c.Name], c.answer(c.balancer(t, 1))); diff != "" {
					t.Error("(-envoy +ours):\n", diff)
				}
				return
			}
			for seed := range uint64(200) {
				if cmp.Equal(want[c.Name], c.answer(c.balancer(t, seed))) {
					return
				}
			}
			t.Error("no start of the rotation gives what Envoy did")
		})
	}
}
