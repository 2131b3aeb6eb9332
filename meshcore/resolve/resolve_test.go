package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is what names have for addresses: "ip4 name".
type book struct {
	mu    sync.Mutex
	addrs map[string]string
	asked map[string]int
}

func (b *book) set(key, addrs string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[key] = addrs
}

func (b *book) lookup(_ context.Context, network, name string) ([]netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked != nil {
		b.asked[network+" "+name]++
	}
	text, ok := b.addrs[network+" "+name]
	if !ok {
		return nil, errors.New("no such host")
	}
	var out []netip.Addr
	for _, a := range strings.Fields(text) {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func dns(kind clusterv3.Cluster_DiscoveryType, family clusterv3.Cluster_DnsLookupFamily,
	names ...string) *clusterv3.Cluster {
	var list []*endpointv3.LbEndpoint
	for _, n := range names {
		list = append(list, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{Address: n,
					PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80}}}}}}})
	}
	return &clusterv3.Cluster{
		Name: "c", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: kind}, DnsLookupFamily: family,
		DnsRefreshRate: durationpb.New(1e6),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: "c",
			Endpoints: []*endpointv3.LocalityLbEndpoints{{Priority: 1, LbEndpoints: list}}},
	}
}

// hosts are the addresses of an assignment.
func hosts(e *endpointv3.ClusterLoadAssignment) string {
	var out []string
	for _, l := range e.GetEndpoints() {
		for _, h := range l.GetLbEndpoints() {
			out = append(out, h.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
	return strings.Join(out, " ")
}

func TestFamilies(t *testing.T) {
	b := &book{addrs: map[string]string{
		"ip4 both": "10.0.0.2 10.0.0.1", "ip6 both": "fd00::1", "ip4 four": "10.0.0.4",
		"ip6 six": "fd00::6", "ip6 mapped": "::ffff:10.0.0.9",
	}}
	strict, logical := clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS
	for _, row := range []struct {
		kind   clusterv3.Cluster_DiscoveryType
		family clusterv3.Cluster_DnsLookupFamily
		names  []string
		want   string
	}{
		{strict, clusterv3.Cluster_AUTO, []string{"both"}, "fd00::1"},
		{strict, clusterv3.Cluster_AUTO, []string{"four"}, "10.0.0.4"},
		{strict, clusterv3.Cluster_V4_ONLY, []string{"both", "four"}, "10.0.0.1 10.0.0.2 10.0.0.4"},
		{strict, clusterv3.Cluster_V4_ONLY, []string{"six"}, ""},
		{strict, clusterv3.Cluster_V6_ONLY, []string{"both"}, "fd00::1"},
		{strict, clusterv3.Cluster_V6_ONLY, []string{"mapped"}, "10.0.0.9"},
		{strict, clusterv3.Cluster_V4_PREFERRED, []string{"both"}, "10.0.0.1 10.0.0.2"},
		{strict, clusterv3.Cluster_V4_PREFERRED, []string{"six"}, "fd00::6"},
		{strict, clusterv3.Cluster_ALL, []string{"both"}, "10.0.0.1 10.0.0.2 fd00::1"},
		{strict, clusterv3.Cluster_ALL, []string{"none"}, ""},
		{strict, clusterv3.Cluster_AUTO, []string{"192.0.2.7"}, "192.0.2.7"},
		{logical, clusterv3.Cluster_V4_ONLY, []string{"both"}, "10.0.0.2"}, // the first one
	} {
		r := &Resolver{Lookup: b.lookup}
		c := dns(row.kind, row.family, row.names...)
		clusters, endpoints := r.Set(t.Context(), map[string]*clusterv3.Cluster{"c": c})
		e := endpoints["dns:c"]
		if got := hosts(e); got != row.want || e.GetEndpoints()[0].GetPriority() != 1 {
			t.Errorf("%v %v %v: %q, want %q", row.kind, row.family, row.names, got, row.want)
		}
		to := clusters["c"]
		if to.GetType() != clusterv3.Cluster_EDS || to.GetLoadAssignment() != nil ||
			to.GetEdsClusterConfig().GetServiceName() != "dns:c" || to.GetDnsRefreshRate() != nil {
			t.Errorf("%v", to)
		}
		r.Close()
	}
}

// TestChanges: other addresses are told, a failure keeps the old ones, and what is no longer wanted
// is no longer asked for.
func TestChanges(t *testing.T) {
	b := &book{addrs: map[string]string{"ip4 a": "10.0.0.1"}}
	changed := make(chan struct{})
	r := &Resolver{Lookup: b.lookup, Changed: func() { changed <- struct{}{} }}
	defer r.Close()
	want := map[string]*clusterv3.Cluster{
		"c": dns(clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_V4_ONLY, "a")}
	first, _ := r.Set(t.Context(), want)
	b.set("ip4 a", "10.0.0.2")
	<-changed
	second, endpoints := r.Set(t.Context(), want)
	if got := hosts(endpoints["dns:c"]); got != "10.0.0.2" || first["c"] != second["c"] {
		t.Errorf("%s %v %v", got, first, second)
	}
	b.mu.Lock()
	delete(b.addrs, "ip4 a")
	b.asked = map[string]int{}
	b.mu.Unlock()
	for asked := 0; asked < 3; {
		b.mu.Lock()
		asked = b.asked["ip4 a"]
		b.mu.Unlock()
	}
	if _, endpoints = r.Set(t.Context(), want); hosts(endpoints["dns:c"]) != "10.0.0.2" {
		t.Error("a failed lookup took the address away")
	}
	if clusters, _ := r.Set(t.Context(), nil); len(clusters) != 0 {
		t.Error(clusters)
	}
}

func TestStatic(t *testing.T) {
	c, err := Static(dns(clusterv3.Cluster_STRICT_DNS, 0, "a", "b"))
	if err != nil || hosts(c.GetLoadAssignment()) != "192.0.2.1 192.0.2.1" ||
		c.GetType() != clusterv3.Cluster_STATIC {
		t.Errorf("%v %v", c, err)
	}
	fast := dns(clusterv3.Cluster_STRICT_DNS, 0, "a")
	fast.DnsRefreshRate = durationpb.New(1)
	custom := dns(clusterv3.Cluster_STRICT_DNS, 0, "a")
	custom.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().
		ResolverName = "x"
	resolver := func(servers ...*corev3.Address) *clusterv3.Cluster {
		a, err := anypb.New(&caresv3.CaresDnsResolverConfig{Resolvers: servers})
		if err != nil {
			t.Fatal(err)
		}
		c := dns(clusterv3.Cluster_STRICT_DNS, 0, "a")
		c.TypedDnsResolverConfig = &corev3.TypedExtensionConfig{Name: "cares", TypedConfig: a}
		return c
	}
	if c, err := Static(resolver()); err != nil || c.GetTypedDnsResolverConfig() != nil {
		t.Errorf("%v %v", c, err)
	}
	for want, c := range map[string]*clusterv3.Cluster{
		"typed_config.resolvers: is not carried out yet":                                        resolver(&corev3.Address{}),
		"dns_refresh_rate: value must be greater than 1ms":                                      fast,
		"lb_endpoints[0].endpoint.address.socket_address.resolver_name: is not carried out yet": custom,
		"must have a single": dns(clusterv3.Cluster_LOGICAL_DNS, 0, "a", "b"),
		"load_assignment.endpoints[0].lb_endpoints[1].endpoint.address: a socket address": dns(
			clusterv3.Cluster_STRICT_DNS, 0, "a", ""),
	} {
		if _, err := Static(c); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
