package accept_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/generate"
	"github.com/mesh-lab/mesh-lab/meshcore/resolve"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

var (
	seed = flag.Uint64("seed", 1, "of random configurations and mutations; 0: a fresh one")
	many = flag.Int("many", 0, "so many random configurations and mutations; 0: some seconds of them")
)

// startSeed is the flag's seed, or one of the clock.
func startSeed(t *testing.T) uint64 {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (-seed %[1]d replays it)", s)
	return s
}

// enough says whether to go on with the n-th of random cases.
func enough(n, few int) bool {
	if *many > 0 {
		return n >= *many
	}
	if testing.Short() {
		few /= 10
	}
	return n >= few
}

// judge asks a real Envoy and our engine, one after the other.
type judge struct {
	t      *testing.T
	server *control.Server
	asked  int
}

func newJudge(t *testing.T, api string) *judge {
	j := &judge{t: t, server: control.New(control.Options{Clock: clock.NewReal()})}
	startEnvoy(t, api, func(g *grpc.Server) { j.server.Register(g) }, control.GRPCOptions()...)
	return j
}

// refusal says who does not take a snapshot, and why; empty for nobody.
func (j *judge) refusal(s *xds.Snapshot) string {
	j.asked++
	if err := ours(s); err != nil {
		return "our engine: " + err.Error()
	}
	return j.envoy(s)
}

// envoy is refusal by Envoy alone.
func (j *judge) envoy(s *xds.Snapshot) string {
	ctx, cancel := context.WithTimeout(j.t.Context(), time.Minute)
	defer cancel()
	_, err := j.server.Set(ctx, map[string]*xds.Snapshot{node: unbound(s)})
	if err != nil {
		return "Envoy: " + err.Error()
	}
	for kind, st := range j.server.Status()[0].Types {
		if st.Sent != st.Acked || st.Nack != "" {
			return fmt.Sprintf("Envoy: %s: %+v", kind, st)
		}
	}
	return ""
}

// ours gives a snapshot to an engine as the subscription does: each resource alone, then all.
func ours(s *xds.Snapshot) error {
	e := engine.New(engine.Options{})
	for _, typeURL := range xds.Types {
		for _, m := range s.Resources(typeURL) {
			if err := e.Check(m); err != nil {
				return err
			}
		}
	}
	return e.Update(0, s)
}

// snapshots translates a configuration for each of its proxies; equal ones come once.
func snapshots(config *istio.Config) (map[string]*xds.Snapshot, error) {
	registry, problems := translate.NewRegistry(config, nil)
	translator := translate.New(config, registry)
	for _, d := range append(problems, translator.Diagnostics()...) {
		if d.Severity == istio.Error {
			return nil, fmt.Errorf("%s", d)
		}
	}
	out, seen := map[string]*xds.Snapshot{}, map[string]bool{}
	low := stock.NewLowering()
	for _, p := range registry.Pods {
		s, _ := translator.Snapshot(p)
		v := s.Version()
		if seen[v] || len(s.Listeners)+len(s.Clusters) == 0 {
			continue
		}
		seen[v] = true
		own, err := authority().Secrets(identity.Workload{
			TrustDomain: config.Mesh.GetTrustDomain(), Namespace: p.Namespace,
			ServiceAccount: p.ServiceAccount,
		})
		if err != nil {
			return nil, err
		}
		with := *s
		with.Secrets = maps.Clone(s.Secrets)
		maps.Copy(with.Secrets, own)
		if err := located(&with); err != nil {
			return nil, err
		}
		if out[p.ID()], err = low.Snapshot(&with); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// located gives clusters whose endpoints are names an address for each, as a lab does before it
// sends them, and our data plane before its engine sees them: no test may ask the machine's DNS.
func located(s *xds.Snapshot) error {
	s.Clusters, s.Endpoints = maps.Clone(s.Clusters), maps.Clone(s.Endpoints)
	for name, c := range s.Clusters {
		if !resolve.Is(c) {
			continue
		}
		if _, err := resolve.Static(c); err != nil { // what our data plane says of the names
			return err
		}
		to, endpoints := resolve.Fixed(c, func(string) []netip.Addr {
			return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}
		})
		s.Clusters[name], s.Endpoints[endpoints.ClusterName] = to, endpoints
	}
	return nil
}

// authority is the mesh's, as a control plane has one.
var authority = sync.OnceValue(func() *identity.Authority {
	a, err := identity.New(identity.Options{})
	if err != nil {
		panic(err)
	}
	return a
})

// accept wants every snapshot of a configuration taken.
func (j *judge) accept(t *testing.T, config *istio.Config) {
	t.Helper()
	all, err := snapshots(config)
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range all {
		if why := j.refusal(s); why != "" {
			t.Errorf("%s: %s", id, why)
		}
	}
}

func read(t *testing.T, name string, text []byte) (*istio.Config, []istio.Diagnostic) {
	config, problems := istio.Read([]istio.File{{Name: name, Data: text}}, istio.ReadOptions{})
	var bad []istio.Diagnostic
	for _, d := range problems {
		if d.Severity == istio.Error {
			bad = append(bad, d)
		}
	}
	return config, bad
}

// TestAccepted: Envoy and our engine ACK whatever the control plane makes.
func TestAccepted(t *testing.T) {
	for name, api := range apis {
		t.Run(name, func(t *testing.T) {
			j := newJudge(t, api)
			t.Run("golden", func(t *testing.T) { golden(t, j) })
			t.Run("recorded", func(t *testing.T) { recorded(t, j) })
			t.Run("random", func(t *testing.T) { random(t, j) })
			t.Logf("%d snapshots", j.asked)
		})
	}
}

// refusedGoldens are the cases of translate that show what is refused, so that a control plane sends
// nothing of them. Every other one is sent, and these may not become valid unnoticed.
var refusedGoldens = []string{"client-tls", "gateway-secrets", "l4-refused"}

// golden takes the cases of translate.
func golden(t *testing.T, j *judge) {
	inputs, err := filepath.Glob("../translate/testdata/*/in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	for _, input := range inputs {
		name := filepath.Base(filepath.Dir(input))
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			config, problems := read(t, input, text)
			if len(problems) > 0 {
				t.Fatal(problems[0])
			}
			if slices.Contains(refusedGoldens, name) {
				if _, err := snapshots(config); err == nil {
					t.Error("is refused no more; take it off the list")
				}
				return
			}
			j.accept(t, config)
		})
	}
}

// recorded takes the recorded configurations that are carried out.
func recorded(t *testing.T, j *judge) {
	taken := 0
	for _, c := range truth.Cases(t) {
		if c.Rejected {
			continue
		}
		config, problems := read(t, "config.yaml", c.Read(t, "config.yaml"))
		if len(problems) > 0 {
			continue // translate's own test lists what waits
		}
		taken++
		t.Run(c.String(), func(t *testing.T) { j.accept(t, config) })
	}
	t.Logf("%d configurations", taken)
	if taken == 0 {
		t.Error("no recorded configuration was taken")
	}
}

// random takes generated configurations, and shows the smallest that is refused.
func random(t *testing.T, j *judge) {
	first := startSeed(t)
	n := 0
	for ; !enough(n, 150); n++ {
		make := generate.Mesh
		if n%3 == 2 {
			make = generate.Rules
		}
		c := make(first+uint64(n), 1+n%5)
		why := j.refused(c)
		if why == "" {
			continue
		}
		small := generate.Minimize(c, 400, func(c generate.Config) bool {
			again := j.refused(c)
			return again != "" && kindOfRefusal(again) == kindOfRefusal(why)
		})
		t.Errorf("seed %d: %s\n%s", first+uint64(n), j.refused(small), small.YAML())
		break
	}
	t.Logf("%d configurations", n)
}

// kindOfRefusal is a refusal without the names in it.
func kindOfRefusal(why string) string {
	who, rest, _ := strings.Cut(why, ": ")
	if i := strings.LastIndex(rest, ": "); i >= 0 {
		rest = rest[i:]
	}
	return who + rest
}

// refused says why one of a configuration's proxies is refused; what is no valid configuration is
// not refused.
func (j *judge) refused(c generate.Config) string {
	config, problems := read(j.t, "generated.yaml", c.YAML())
	if len(problems) > 0 {
		return ""
	}
	all, err := snapshots(config)
	if err != nil {
		return ""
	}
	for id, s := range all {
		if why := j.refusal(s); why != "" {
			return why + "\nat " + id
		}
	}
	return ""
}

// randomSnapshots translates a random configuration, proxy by proxy, in a fixed order.
func randomSnapshots(t *testing.T, seed uint64) []*xds.Snapshot {
	config, problems := read(t, "generated.yaml", generate.Mesh(seed, 4).YAML())
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	all, err := snapshots(config)
	if err != nil {
		t.Fatal(err)
	}
	var out []*xds.Snapshot
	for _, id := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[id])
	}
	return out
}
