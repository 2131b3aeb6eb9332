package envoy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	real "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

var _ = &routerv3.Router{} // registered for the Any below

const listenerText = `{"name": "in", "address": {"pipe": {"path": %q}}, "filter_chains": [{"name": "all",
"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
 "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
 "stat_prefix": "in",
 "rds": {"route_config_name": "80", "config_source": {"ads": {}, "resource_api_version": "V3"}},
 "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`

const routesText = `{"name": "80", "virtual_hosts": [{"name": "app", "domains": ["*"],
"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]}`

const clusterText = `{"name": "app", "type": "EDS", "connect_timeout": "1s",
"eds_cluster_config": {"service_name": "endpoints", "eds_config": {"ads": {}, "resource_api_version": "V3"}},
"outlier_detection": {"consecutive_5xx": 2, "enforcing_consecutive_5xx": 100,
 "max_ejection_percent": 100, "interval": "0.01s", "base_ejection_time": "0.01s"}}`

// snapshot serves at a unix socket; it ejects its one host after two errors, and lets it back soon.
func snapshot(socket, upstream string) *xds.Snapshot {
	host, port, _ := net.SplitHostPort(upstream)
	s := xds.NewSnapshot()
	s.Listeners["in"] = parse(fmt.Sprintf(listenerText, socket), &listenerv3.Listener{})
	s.Routes["80"] = parse(routesText, &routev3.RouteConfiguration{})
	s.Clusters["app"] = parse(clusterText, &clusterv3.Cluster{})
	s.Endpoints["endpoints"] = parse(fmt.Sprintf(`{"cluster_name": "endpoints", "endpoints":
[{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": %q, "port_value": %s}}}}]}]}`,
		host, port), &endpointv3.ClusterLoadAssignment{})
	return s
}

func parse[M proto.Message](text string, m M) M {
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		panic(err)
	}
	return m
}

// TestValidate: Envoy's reason comes back whole, and the snapshot as it was.
func TestValidate(t *testing.T) {
	b := real.Binary(t)
	for name, c := range map[string]struct {
		spoil func(*xds.Snapshot)
		want  string // "": taken
	}{
		"good":                {func(*xds.Snapshot) {}, ""},
		"empty":               {func(s *xds.Snapshot) { *s = *xds.NewSnapshot() }, ""},
		"cluster comes later": {route(`{"match": {"prefix": "/"}, "route": {"cluster": "later"}}`), ""},
		"no endpoints": {func(s *xds.Snapshot) {
			s.Endpoints["endpoints"].Endpoints = nil
		}, ""},
		"cluster must be there": {func(s *xds.Snapshot) {
			s.Routes["80"] = parse(strings.ReplaceAll(strings.Replace(routesText, "{", `{"validate_clusters": true,`, 1),
				`"cluster": "app"`, `"cluster": "later"`), &routev3.RouteConfiguration{})
		}, "envoy refuses it: route: unknown cluster 'later'"},
		"regex": {route(`{"match": {"safe_regex": {"regex": "("}}, "route": {"cluster": "app"}}`),
			"envoy refuses it: missing ): ("},
		"duplicate domain": {func(s *xds.Snapshot) {
			vh := s.Routes["80"].VirtualHosts
			s.Routes["80"].VirtualHosts = append(vh, proto.CloneOf(vh[0]))
		}, "envoy refuses it: Only a single wildcard domain is permitted in route 80"},
		"duration": {func(s *xds.Snapshot) {
			s.Clusters["app"].ConnectTimeout.Seconds = -1
		}, "Invalid duration: Expected positive duration"},
		"default chain": {func(s *xds.Snapshot) {
			l := s.Listeners["in"]
			l.DefaultFilterChain, l.FilterChains = l.FilterChains[0], nil
			s.Routes["80"].VirtualHosts[0].Domains = nil
		}, "Domains"},
		"port": {func(s *xds.Snapshot) {
			s.Endpoints["endpoints"].Endpoints[0].LbEndpoints[0].GetEndpoint().GetAddress().
				GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: 70000}
		}, "PortValue"},
		"routes are missing":    {func(s *xds.Snapshot) { delete(s.Routes, "80") }, "listener in: filter_chains[all].filters[envoy.filters.network.http_connection_manager]: no route configuration 80 in the snapshot"},
		"endpoints are missing": {func(s *xds.Snapshot) { clear(s.Endpoints) }, "cluster app: no endpoints endpoints in the snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshot("@nobody", "127.0.0.1:80")
			c.spoil(s)
			before := s.Version()
			err := envoy.Validate(t.Context(), b, s)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "/dev/fd") {
				t.Errorf("%v names a file that is gone", err)
			}
			if s.Version() != before {
				t.Error("the snapshot has changed")
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := envoy.Validate(ctx, b, snapshot("@nobody", "127.0.0.1:80")); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if err := envoy.Validate(t.Context(), envoy.Binary{Path: "none"}, xds.NewSnapshot()); err == nil {
		t.Error("no Envoy, no error")
	}
}

func route(text string) func(*xds.Snapshot) {
	return func(s *xds.Snapshot) {
		s.Routes["80"].VirtualHosts[0].Routes = []*routev3.Route{parse(text, &routev3.Route{})}
	}
}

// TestValidateKeepsKeys: a snapshot with a private key is judged without a file, however large it
// is, and whether the program reads it or not.
func TestValidateKeepsKeys(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nowhere"))
	s := snapshot("@nobody", "127.0.0.1:80")
	s.Secrets["default"] = parse(`{"name": "default", "tls_certificate": {
"certificate_chain": {"inline_string": "chain"}, "private_key": {"inline_string": "key"}}}`,
		&tlsv3.Secret{})
	host := s.Routes["80"].VirtualHosts[0]
	for i := range 5000 { // more than a pipe holds
		host.Domains = append(host.Domains, fmt.Sprintf("%d.example.com", i))
	}
	if err := envoy.Validate(t.Context(), real.Binary(t), s); err != nil {
		t.Error(err)
	}
	deaf, err := exec.LookPath("false")
	if err != nil {
		t.Skip(err)
	}
	if err := envoy.Validate(t.Context(), envoy.Binary{Path: deaf}, s); err == nil {
		t.Error("a program that reads nothing takes it")
	}
}
