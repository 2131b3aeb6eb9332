package xds_test

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

func snapshot(names ...string) *xds.Snapshot {
	s := xds.NewSnapshot()
	for _, name := range names {
		s.Clusters[name] = &clusterv3.Cluster{
			Name:                 name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		}
		s.Endpoints[name] = &endpointv3.ClusterLoadAssignment{ClusterName: name}
	}
	return s
}

func TestConsistent(t *testing.T) {
	s := snapshot("a", "b")
	if err := s.Consistent(); err != nil {
		t.Error(err)
	}
	delete(s.Endpoints, "b")
	s.Clusters["c"] = &clusterv3.Cluster{Name: "d"}
	err := s.Consistent()
	for _, want := range []string{"cluster b: no endpoints b", `"d" is kept as "c"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestVersion(t *testing.T) {
	a, same, other := snapshot("a", "b"), snapshot("b", "a"), snapshot("a")
	if a.Version() != same.Version() {
		t.Error("the same content has two versions")
	}
	if a.Version() == other.Version() {
		t.Error("two contents have one version")
	}
	other.Clusters = a.Clusters
	if a.TypeVersion(xds.ClusterType) != other.TypeVersion(xds.ClusterType) ||
		a.TypeVersion(xds.EndpointType) == other.TypeVersion(xds.EndpointType) {
		t.Error("the version of a type does not follow its own content alone")
	}
}

func TestText(t *testing.T) {
	text, err := snapshot("b", "a").YAML()
	if err != nil {
		t.Fatal(err)
	}
	want := `clusters:
  - name: a
    type: EDS
  - name: b
    type: EDS
endpoints:
  - clusterName: a
  - clusterName: b
`
	if string(text) != want {
		t.Errorf("got\n%s", text)
	}
}
