package als

import (
	"fmt"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// config is what one case is served by: a listener of its own, its routes, and two clusters, the
// second one for mirrored copies.
type config struct {
	name      string
	listener  *listenerv3.Listener
	hcm       *hcmv3.HttpConnectionManager // nil: tcp
	tcp       *tcpproxyv3.TcpProxy
	vhost     *routev3.VirtualHost
	route     *routev3.Route
	action    *routev3.RouteAction
	cluster   *clusterv3.Cluster
	addresses []string // of the cluster
	mirror    []string // of the other
}

func newConfig(name string, i int) *config {
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 1, byte(1 + i)}), 80)
	c := &config{
		name: name,
		action: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
			Timeout:          durationpb.New(0),
		},
		cluster: &clusterv3.Cluster{
			Name:                 name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			}},
			ConnectTimeout: durationpb.New(10 * time.Second),
		},
		tcp: &tcpproxyv3.TcpProxy{
			StatPrefix:       name,
			ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: name},
		},
	}
	c.route = &routev3.Route{
		Name:   "route of " + name,
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: c.action},
		Metadata: metadata("istio", "config",
			"/apis/networking.istio.io/v1/namespaces/default/virtual-service/"+name),
	}
	c.vhost = &routev3.VirtualHost{Name: "any", Domains: []string{"*"},
		Routes: []*routev3.Route{c.route}}
	filter := func(name string, m proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)}}
	}
	c.hcm = &hcmv3.HttpConnectionManager{
		StatPrefix: name,
		HttpFilters: []*hcmv3.HttpFilter{
			filter("envoy.filters.http.fault", &faultv3.HTTPFault{}),
			filter("envoy.filters.http.cors", &corsv3.Cors{}),
			filter("envoy.filters.http.router", &routerv3.Router{}),
		},
		NormalizePath: wrapperspb.Bool(true),
		RequestIdExtension: &hcmv3.RequestIDExtension{TypedConfig: pack(&uuidv3.UuidRequestIdConfig{
			UseRequestIdForTraceSampling: wrapperspb.Bool(true),
		})},
		StreamIdleTimeout:   durationpb.New(0),
		DelayedCloseTimeout: durationpb.New(10 * time.Millisecond),
		UseRemoteAddress:    wrapperspb.Bool(false),
		UpgradeConfigs:      []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	c.listener = &listenerv3.Listener{
		Name: name, Address: socket(at.String()), TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		FilterChains: []*listenerv3.FilterChain{{Name: "chain of " + name}},
	}
	return c
}

// add puts the case's resources into a snapshot.
func (c *config) add(s *xds.Snapshot) {
	f := &listenerv3.Filter{Name: "last"}
	if c.hcm != nil {
		c.hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{
			RouteConfig: &routev3.RouteConfiguration{Name: c.name,
				ValidateClusters: wrapperspb.Bool(false),
				VirtualHosts:     []*routev3.VirtualHost{c.vhost}},
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(c.hcm)}
	} else {
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(c.tcp)}
	}
	c.listener.FilterChains[0].Filters = []*listenerv3.Filter{f}
	s.Listeners[c.name] = c.listener
	s.Clusters[c.name] = c.cluster
	s.Endpoints[c.name] = endpoints(c.name, c.addresses...)
	other := proto.CloneOf(c.cluster)
	other.Name = c.name + "-mirror"
	s.Clusters[other.Name] = other
	s.Endpoints[other.Name] = endpoints(other.Name, c.mirror...)
}

func metadata(namespace, key, value string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{namespace: {
		Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}}}}
}

func socket(at string) *corev3.Address {
	a := netip.MustParseAddrPort(at)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func endpoints(name string, at ...string) *endpointv3.ClusterLoadAssignment {
	l := &endpointv3.LocalityLbEndpoints{}
	for i, a := range at {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: socket(a)}},
			Metadata: metadata("istio", "workload",
				fmt.Sprintf("b-%d;default;b;v%d;Kubernetes", i, i)),
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}
