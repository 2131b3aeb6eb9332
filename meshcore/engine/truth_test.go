package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/truth"

	// Extensions that recorded resources may hold, so that their refusal names the extension.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// load reads one kind of a node's recorded resources.
func load[M proto.Message](t testing.TB, c truth.Case, node, file string, m map[string]M, fresh func() M,
	name func(M) string) {
	t.Helper()
	if !c.Has("xds", node, file) {
		return
	}
	var list []json.RawMessage
	if err := json.Unmarshal(c.Read(t, "xds", node, file), &list); err != nil {
		t.Fatal(err)
	}
	for _, raw := range list {
		r := fresh()
		if err := protojson.Unmarshal(raw, r); err != nil {
			t.Skipf("%s %s: %v", c, file, err)
		}
		m[name(r)] = r
	}
}

// recorded returns a node's resources without what mutual TLS adds: this is the one place where
// tests strip it.
func recorded(t testing.TB, c truth.Case, node string) *xds.Snapshot {
	t.Helper()
	s := xds.NewSnapshot()
	load(t, c, node, "listeners.json", s.Listeners,
		func() *listenerv3.Listener { return &listenerv3.Listener{} }, (*listenerv3.Listener).GetName)
	load(t, c, node, "routes.json", s.Routes,
		func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} },
		(*routev3.RouteConfiguration).GetName)
	load(t, c, node, "clusters.json", s.Clusters,
		func() *clusterv3.Cluster { return &clusterv3.Cluster{} }, (*clusterv3.Cluster).GetName)
	load(t, c, node, "endpoints.json", s.Endpoints,
		func() *endpointv3.ClusterLoadAssignment { return &endpointv3.ClusterLoadAssignment{} },
		(*endpointv3.ClusterLoadAssignment).GetClusterName)
	for _, cl := range s.Clusters {
		cl.TransportSocket, cl.TransportSocketMatches = nil, nil
	}
	for _, l := range s.Listeners {
		var keep []*listenerv3.FilterChain
		for _, f := range l.GetFilterChains() {
			if f.GetFilterChainMatch().GetTransportProtocol() == "tls" || f.GetTransportSocket() != nil {
				continue
			}
			keep = append(keep, f)
		}
		l.FilterChains = keep
		var filters []*listenerv3.ListenerFilter
		for _, f := range l.GetListenerFilters() {
			if !strings.HasSuffix(f.GetName(), "tls_inspector") {
				filters = append(filters, f)
			}
		}
		l.ListenerFilters = filters
	}
	return s
}

// waiting names what belongs to later steps: a recorded case that is refused only for these is not
// counted as a fault.
var waiting = []string{
	"lua", "local_ratelimit", "STRICT_DNS", "LOGICAL_DNS", "DYNAMIC",
	"typed_dns_resolver_config", "dns_", "no filter chains",
	"requirements", "sni_dynamic", "internal_upstream", "respect_dns_ttl", "malformed IP address",
}

var httpAreas = []string{"bookshop", "chain", "dr-lb", "gateway", "pools-outliers", "resilience",
	"services", "vs-hosts", "vs-match", "vs-route", "egress", "sidecar", "gateway-api"}

func TestTruthCompiles(t *testing.T) {
	for _, c := range truth.Cases(t, append([]string{"security", "tcp-tls"}, httpAreas...)...) {
		for _, node := range c.Nodes {
			t.Run(c.String()+"/"+node, func(t *testing.T) {
				err := New(Options{}).Update(0, recorded(t, c, node))
				var list Refusals
				if errors.As(err, &list) {
					for _, r := range list {
						if !isWaiting(r) {
							t.Error(r)
							continue
						}
						t.Log("waits for a later step: ", r)
					}
				}
			})
		}
	}
}

func isWaiting(r Refusal) bool {
	for _, w := range waiting {
		if strings.Contains(r.Field+" "+r.Reason, w) {
			return true
		}
	}
	return false
}
