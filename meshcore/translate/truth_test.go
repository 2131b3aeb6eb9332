package translate

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// waiting lists recorded cases that are read but not yet translated as istiod translates them, with
// the reason. A case that begins to agree must leave the list.
var waiting = map[string]string{}

// artefacts lists recorded resources (CASE NODE/TYPE) that no installed istiod would have made,
// with the reason.
var artefacts = map[string]string{
	"services/headless-http archive-0.library/Cluster":        noTargetPort,
	"services/headless-http archive-0.library/Listener":       noTargetPort,
	"services/headless-tcp archive-0.library/Cluster":         noTargetPort,
	"services/headless-tcp archive-0.library/Listener":        noTargetPort,
	"services/headless-undeclared archive-0.library/Cluster":  noTargetPort,
	"services/headless-undeclared archive-0.library/Listener": noTargetPort,
	"services/statefulset-pod-name vault-0.library/Cluster":   noTargetPort,
	"services/statefulset-pod-name vault-0.library/Listener":  noTargetPort,
}

const noTargetPort = "recorded without the API server, which sets targetPort to port where it is left out: " +
	"the cluster is inbound|0|| and the listener has no chain for the port"

// TestTruth compares our resources with those that istiod generated, by meaning: normal says what
// is left out. Cases whose configuration needs what is not carried out yet wait, and are listed.
func TestTruth(t *testing.T) {
	compared := 0
	wait := map[string]string{}
	book := evidence.Open(t, evidenceFolder, "generated", fidelity.Evidence{
		By: "meshcore/translate TestTruth", Short: "recorded", Shows: fidelity.Generated,
		What: "our resources with those that istiod generated for recorded configurations",
		Unit: "resources",
	})
	for _, c := range truth.Cases(t) {
		if c.Rejected {
			continue // there is no xDS: the reader's tests have these
		}
		t.Run(c.String(), func(t *testing.T) {
			config, reason := readCase(t, c)
			if reason != "" {
				wait[c.String()] = reason
				return
			}
			if reason := waiting[c.String()]; reason != "" {
				wait[c.String()] = reason
				if _, diff := compareCase(t, c, config, nil); diff == "" {
					t.Errorf("%s agrees with istiod now: take it off the list of waiting cases", c)
				}
				return
			}
			compared++
			resources, _ := compareCase(t, c, config, func(name, diff string) {
				t.Run(name, func(t *testing.T) { t.Errorf("(-istiod +ours)\n%s", diff) })
			})
			book.Add(c.String(), resources, config)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(wait)) {
		t.Logf("waits: %s: %s", name, wait[name])
	}
	t.Logf("%d cases compared, %d wait", compared, len(wait))
	if compared == 0 {
		t.Error("no case was compared")
	}
}

// readCase reads the configuration of a case; the reason says what is not carried out yet.
func readCase(t *testing.T, c truth.Case) (config *istio.Config, reason string) {
	t.Helper()
	file := istio.File{Name: "config.yaml", Data: c.Read(t, "config.yaml")}
	config, problems := istio.Read([]istio.File{file}, istio.ReadOptions{})
	for _, d := range problems {
		if d.Severity != istio.Error {
			continue
		}
		if !strings.Contains(d.Msg, "not carried out yet") {
			t.Fatalf("the reader refuses it: %s", d)
		}
		reason = d.String()
	}
	return config, reason
}

const evidenceFolder = "../../reports/fidelity/evidence"

// compareCase compares each recorded node; it returns how many resources it compared and the first
// difference, and reports all.
func compareCase(
	t *testing.T, c truth.Case, config *istio.Config, report func(name, diff string),
) (resources int, first string) {
	t.Helper()
	registry, _ := NewRegistry(config, nil)
	translator := New(config, registry)
	for _, node := range c.Nodes {
		i := slices.IndexFunc(registry.Pods, func(p *Pod) bool { return p.ID() == node })
		if i < 0 {
			t.Fatalf("no pod %s", node)
		}
		got, _ := translator.Snapshot(registry.Pods[i])
		if err := got.Consistent(); err != nil {
			t.Errorf("%s: %v", node, err)
		}
		want := normal(t, recorded(t, c, node))
		got = normal(t, got)
		for _, typeURL := range xds.Types {
			name := node + "/" + typeURL[strings.LastIndexByte(typeURL, '.')+1:]
			diff := difference(want.Resources(typeURL), got.Resources(typeURL))
			if reason := artefacts[c.String()+" "+name]; reason != "" {
				if diff == "" {
					t.Errorf("%s agrees with istiod now: take it off the list of artefacts", name)
				}
				continue
			}
			resources += len(want.Resources(typeURL))
			if diff == "" {
				continue
			}
			if first == "" {
				first = diff
			}
			if report != nil {
				report(name, diff)
			}
		}
	}
	return resources, first
}

func difference(want, got map[string]proto.Message) string {
	return cmp.Diff(want, got, protocmp.Transform())
}
