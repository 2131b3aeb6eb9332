package sidecar

import (
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// TestCounts: what each kind of record adds up to.
func TestCounts(t *testing.T) {
	c := &counters{}
	chain := &engine.Chain{StatPrefix: "p"}
	a := func(flags string, status int) observe.Attempt {
		return observe.Attempt{Cluster: "c", Upstream: "10.0.0.1:80", Flags: flags, Status: status}
	}
	for _, r := range []observe.Request{
		{Status: 200, Cluster: "c", Attempts: []observe.Attempt{a("", 200)}, BytesSent: 5},
		{Status: 200, Cluster: "c", Attempts: []observe.Attempt{a("", 503), a("", 200)}},
		{Status: 503, Cluster: "c", Flags: "UF,URX", Attempts: []observe.Attempt{a("UF", 0)}},
		{Status: 504, Cluster: "c", Flags: "UT", Attempts: []observe.Attempt{a("UT", 0)}},
		{Status: 503, Cluster: "c", Flags: "UO", Attempts: []observe.Attempt{a("UO", 0)}},
		{Status: 503, Cluster: "c", Flags: "UH"},
		{Status: 418, Cluster: "c", Flags: "FI"}, // never came to the cluster
		{Status: 404, Flags: "NR"},
		{Status: 503, Flags: "NC"},
	} {
		c.RecordOn(chain, &r)
	}
	cl := get[clusterCount](&c.clusters, "c")
	h := get[hostCount](&cl.hosts, "10.0.0.1:80")
	p := get[prefixCount](&c.prefixes, "p")
	for name, row := range map[string][2]uint64{
		"rq_total":           {cl.total.Load(), 4},
		"rq_retry":           {cl.retry.Load(), 1},
		"rq_timeout":         {cl.timeout.Load(), 1},
		"pending_failure":    {cl.pendingFailed.Load(), 1},
		"pending_overflow":   {cl.overflow.Load(), 1},
		"rq_200":             {cl.codes[200].Load(), 2},
		"rq_503":             {cl.codes[503].Load(), 3},
		"rq_504":             {cl.codes[504].Load(), 1},
		"rq_418":             {cl.codes[418].Load(), 0},
		"host rq_success":    {h.success.Load(), 2},
		"host rq_error":      {h.failed.Load(), 2},
		"host rq_timeout":    {h.timeout.Load(), 1},
		"downstream_rq":      {p.total.Load(), 9},
		"downstream_rq_418":  {p.codes[418].Load(), 1},
		"no_route":           {p.noRoute.Load(), 1},
		"no_cluster":         {p.noCluster.Load(), 1},
		"downstream tx_byte": {p.sent.Load(), 5},
	} {
		if row[0] != row[1] {
			t.Errorf("%s: %d, want %d", name, row[0], row[1])
		}
	}
}

func TestPrune(t *testing.T) {
	dump := &adminv3.ClustersConfigDump{VersionInfo: "v",
		StaticClusters: []*adminv3.ClustersConfigDump_StaticCluster{{
			Cluster: packed(&clusterv3.Cluster{Name: "a", AltStatName: "b"})}}}
	if err := prune(dump.ProtoReflect(), []string{"static_clusters.cluster.name"}); err != nil {
		t.Fatal(err)
	}
	var c clusterv3.Cluster
	if err := dump.StaticClusters[0].Cluster.UnmarshalTo(&c); err != nil {
		t.Fatal(err)
	}
	if dump.VersionInfo != "" || c.Name != "a" || c.AltStatName != "" {
		t.Error(dump)
	}
}

// TestValidate: every problem with where it stands.
func TestValidate(t *testing.T) {
	b := &bootstrapv3.Bootstrap{}
	err := protojson.Unmarshal([]byte(`{"staticResources": {"clusters": [
		{"name": "a", "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}},
		{"name": "b", "type": "STRICT_DNS", "connectTimeout": "-1s"}],
		"listeners": [{"name": "l", "address": {"pipe": {"path": "x"}}}, {"name": "l"}]}}`), b)
	if err != nil {
		t.Fatal(err)
	}
	got := Validate(b).Error()
	for _, want := range []string{
		"static_resources.clusters[0]: Cluster a: type: EDS is not carried out yet",
		"static_resources.clusters[1]: Cluster b: connect_timeout: value must be greater than 0s",
		"static_resources.listeners[1]: Listener l: address: value is required",
		"static_resources.listeners: two have one name",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	// Envoy gives listeners without a name one of their own.
	b.StaticResources = &bootstrapv3.Bootstrap_StaticResources{
		Listeners: []*listenerv3.Listener{{}, {}}}
	if s := static(b); len(s.Listeners) != 2 {
		t.Error(s.Listeners)
	}
}
