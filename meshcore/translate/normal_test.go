package translate

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// recorded reads what istiod generated for a node.
func recorded(t *testing.T, c truth.Case, node string) *xds.Snapshot {
	t.Helper()
	s := xds.NewSnapshot()
	load(t, c.Read(t, "xds", node, "listeners.json"), s.Listeners)
	load(t, c.Read(t, "xds", node, "routes.json"), s.Routes)
	load(t, c.Read(t, "xds", node, "clusters.json"), s.Clusters)
	load(t, c.Read(t, "xds", node, "endpoints.json"), s.Endpoints)
	return s
}

func load[M proto.Message](t *testing.T, data []byte, into map[string]M) {
	t.Helper()
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for _, raw := range list {
		var zero M
		m := zero.ProtoReflect().New().Interface().(M)
		if err := protojson.Unmarshal(raw, m); err != nil {
			t.Fatal(err)
		}
		into[xds.Name(m)] = m
	}
}

// normal returns a snapshot without what the comparison with istiod leaves out. This is the one
// place that says what that is.
func normal(t *testing.T, in *xds.Snapshot) *xds.Snapshot {
	out := xds.NewSnapshot()
	for name, l := range in.Listeners {
		out.Listeners[name] = normalListener(t, proto.Clone(l).(*listenerv3.Listener))
	}
	for name, r := range in.Routes {
		out.Routes[name] = normalRoutes(proto.Clone(r).(*routev3.RouteConfiguration))
	}
	for name, c := range in.Clusters {
		out.Clusters[name] = normalCluster(proto.Clone(c).(*clusterv3.Cluster))
	}
	for name, e := range in.Endpoints {
		out.Endpoints[name] = normalEndpoints(proto.Clone(e).(*endpointv3.ClusterLoadAssignment))
	}
	return out
}

func normalListener(t *testing.T, l *listenerv3.Listener) *listenerv3.Listener {
	// Which chain is chosen does not depend on their order.
	slices.SortStableFunc(l.FilterChains, func(a, b *listenerv3.FilterChain) int {
		return strings.Compare(a.Name+a.GetFilterChainMatch().String(), b.Name+b.GetFilterChainMatch().String())
	})
	for _, c := range append(l.FilterChains, l.GetDefaultFilterChain()) {
		for _, f := range c.GetFilters() {
			normalManager(t, f)
			normalProxy(t, f)
		}
	}
	return l
}

func normalManager(t *testing.T, f *listenerv3.Filter) {
	m := &hcmv3.HttpConnectionManager{}
	if !f.GetTypedConfig().MessageIs(m) {
		return
	}
	if err := f.GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	if r := m.GetRouteConfig(); r != nil {
		normalRoutes(r)
	}
	f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: typed(m)}
}

func normalProxy(t *testing.T, f *listenerv3.Filter) {
	p := &tcpv3.TcpProxy{}
	if !f.GetTypedConfig().MessageIs(p) {
		return
	}
	if err := f.GetTypedConfig().UnmarshalTo(p); err != nil {
		t.Fatal(err)
	}
	f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: typed(p)}
}

func normalRoutes(r *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	// Which virtual host is chosen does not depend on their order, nor on the order of their
	// domains.
	slices.SortStableFunc(r.VirtualHosts, func(a, b *routev3.VirtualHost) int {
		return strings.Compare(a.Name, b.Name)
	})
	for _, vh := range r.VirtualHosts {
		slices.Sort(vh.Domains)
		for _, route := range vh.Routes {
			slices.SortStableFunc(route.Match.QueryParameters,
				func(a, b *routev3.QueryParameterMatcher) int { return strings.Compare(a.Name, b.Name) })
			// Names the object that the route comes from, for telemetry.
			delete(route.GetMetadata().GetFilterMetadata(), "istio")
			delete(route.GetMetadata().GetFilterMetadata(), RuleMetadata)
			if len(route.GetMetadata().GetFilterMetadata()) == 0 {
				route.Metadata = nil
			}
		}
	}
	return r
}

func normalCluster(c *clusterv3.Cluster) *clusterv3.Cluster {
	// Names for telemetry.
	c.AltStatName = ""
	c.Metadata = normalMetadata(c.Metadata)
	return c
}

func normalEndpoints(e *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
	for _, l := range e.Endpoints {
		for _, ep := range l.LbEndpoints {
			ep.Metadata = normalMetadata(ep.Metadata)
		}
	}
	return e
}

func normalMetadata(m *corev3.Metadata) *corev3.Metadata {
	// Names for telemetry; alpn_override is for Istio's ALPN filter.
	istio := m.GetFilterMetadata()["istio"]
	override := istio.GetFields()["alpn_override"]
	delete(m.GetFilterMetadata(), "istio")
	if override != nil {
		m.FilterMetadata["istio"] = &structpb.Struct{
			Fields: map[string]*structpb.Value{"alpn_override": override},
		}
	}
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	return m
}
