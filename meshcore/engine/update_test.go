package engine

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// The text is YAML of one resource; want is the whole message of the refusal.
func TestRefusals(t *testing.T) {
	for _, row := range []struct{ kind, text, want string }{
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], routes: [{match: {prefix: /},
			route: {cluster: c, requestMirrorPolicies: [{clusterHeader: x}]}}]}]}`,
			"RouteConfiguration r: virtual_hosts[0].routes[0].route.request_mirror_policies[0]" +
				".cluster_header: is not carried out yet"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], rateLimits: [{actions: []}],
			routes: []}]}`,
			"RouteConfiguration r: virtual_hosts[0].rate_limits: is not carried out yet"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], typedPerFilterConfig: {f: {
			"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute,
			disabled: true}}}]}`,
			`RouteConfiguration r: virtual_hosts[0].typed_per_filter_config["f"]: ` +
				"envoy.extensions.filters.http.buffer.v3.BufferPerRoute is not carried out yet"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a, A]}]}`,
			"RouteConfiguration r: virtual_hosts[0].domains: Only unique values for domains are " +
				"permitted. Duplicate entry of domain A in route r"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: ["*"]}, {name: w, domains: ["*"]}]}`,
			"RouteConfiguration r: virtual_hosts[1].domains: Only a single wildcard domain is " +
				"permitted in route r"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], routes: [{match: {safeRegex: {
			regex: "("}}, directResponse: {status: 200}}]}]}`,
			"RouteConfiguration r: virtual_hosts[0].routes[0].match.safe_regex.regex: error parsing " +
				"regexp: missing closing ): `(`"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], routes: [{match: {prefix: /},
			route: {weightedClusters: {clusters: [{name: c, weight: 0}]}}}]}]}`,
			"RouteConfiguration r: virtual_hosts[0].routes[0].route.weighted_clusters.clusters: Sum " +
				"of weights in the weighted_cluster must be greater than 0."},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], routes: [{match: {prefix: /},
			route: {cluster: c, timeout: -1s}}]}]}`,
			"RouteConfiguration r: virtual_hosts[0].routes[0].route.timeout: Invalid duration: " +
				"Expected positive duration: -1s"},
		{"route", `{name: r, requestHeadersToAdd: [{header: {key: ":path", value: /}}]}`,
			"RouteConfiguration r: request_headers_to_add[0].header.key: :-prefixed or host headers " +
				"may not be modified"},
		{"route", `{name: r, requestHeadersToAdd: [{header: {key: a, value: "%CEL(x)%"}}]}`,
			"RouteConfiguration r: request_headers_to_add[0].header.value: command operator " +
				"%CEL% is not carried out yet: expressions are not evaluated"},
		{"route", `{name: r, virtualHosts: [{name: v, domains: [a], routes: [{match: {prefix: /},
			route: {cluster: c, regexRewrite: {pattern: {regex: a}, substitution: "\\1"}}}]}]}`,
			"RouteConfiguration r: virtual_hosts[0].routes[0].route.regex_rewrite.substitution: " +
				"requests 1 matches, but the regexp only has 0; this is not carried out yet"},
		{"cluster", `{name: c, type: STATIC, connectTimeout: -1s}`,
			"Cluster c: connect_timeout: Invalid duration: Expected positive duration: -1s\n" +
				"Cluster c: connect_timeout: value must be greater than 0s"},
		{"cluster", `{name: c, type: STRICT_DNS}`, "Cluster c: type: STRICT_DNS is not carried out yet"},
		{"cluster", `{name: c, type: STATIC, outlierDetection: {maxEjectionPercent: 101}}`,
			"Cluster c: outlier_detection.max_ejection_percent: 101; must be at most 100"},
		{"cluster", `{name: c, type: STATIC, lbPolicy: MAGLEV, maglevLbConfig: {tableSize: 10}}`,
			"Cluster c: maglev_lb_config.table_size: 10; must be prime"},
		{"cluster", `{name: c, type: STATIC, healthChecks: [{}]}`,
			"Cluster c: health_checks: is not carried out yet"},
		{"listener", `{name: l, address: {envoyInternalAddress: {serverListenerName: x}}}`,
			"Listener l: address.envoy_internal_address: is not carried out yet"},
		{"listener", `{name: l, address: {pipe: {path: /x}}}`,
			"Listener l: filter_chains: error adding listener '/x': no filter chains specified"},
		{"listener", `{name: l, address: {socketAddress: {address: 0.0.0.0, portValue: 1}},
			filterChains: [{filters: [{name: hcm, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
			routeConfig: {}}}]}]}`,
			"Listener l: filter_chains[0].filters[0].typed_config.http_filters: a chain without a router filter is not carried out yet"},
	} {
		var err error
		e := New(Options{})
		switch row.kind {
		case "route":
			err = e.Check(protoYAML(t, []byte("- "+row.text),
				func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} })[0])
		case "cluster":
			err = e.Check(protoYAML(t, []byte("- "+row.text),
				func() *clusterv3.Cluster { return &clusterv3.Cluster{} })[0])
		case "listener":
			err = e.Check(protoYAML(t, []byte("- "+row.text),
				func() *listenerv3.Listener { return &listenerv3.Listener{} })[0])
		}
		if err == nil || err.Error() != row.want {
			t.Errorf("got  %v\nwant %s", err, row.want)
		}
	}
}

func simple(t testing.TB) *xds.Snapshot {
	s := xds.NewSnapshot()
	for _, c := range protoYAML(t, []byte(`
- {name: a, type: EDS, edsClusterConfig: {edsConfig: {ads: {}}}, lbPolicy: ROUND_ROBIN}
- {name: b, type: EDS, edsClusterConfig: {edsConfig: {ads: {}}}, lbPolicy: ROUND_ROBIN}`),
		func() *clusterv3.Cluster { return &clusterv3.Cluster{} }) {
		s.Clusters[c.GetName()] = c
	}
	s.Endpoints["a"] = endpoints(t, "10.244.0.2", "10.244.0.3")
	for _, r := range protoYAML(t, []byte(`
- {name: "80", virtualHosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: a}}]}]}`),
		func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} }) {
		s.Routes[r.GetName()] = r
	}
	return s
}

func endpoints(t testing.TB, addrs ...string) *endpointv3.ClusterLoadAssignment {
	var b strings.Builder
	b.WriteString("- {clusterName: a, endpoints: [{lbEndpoints: [")
	for _, a := range addrs {
		b.WriteString("{endpoint: {address: {socketAddress: {address: " + a + ", portValue: 80}}}},")
	}
	b.WriteString("]}]}")
	return protoYAML(t, []byte(b.String()),
		func() *endpointv3.ClusterLoadAssignment { return &endpointv3.ClusterLoadAssignment{} })[0]
}

func hosts(e *Engine, cluster string) map[Address]*Endpoint {
	return e.clusters[cluster].Load().hosts
}

func TestEndpointsSurviveUpdates(t *testing.T) {
	var removed []string
	e := New(Options{Removed: func(ep *Endpoint) { removed = append(removed, ep.Addr.String()) }})
	s := simple(t)
	if err := e.Update(0, s); err != nil {
		t.Fatal(err)
	}
	before := hosts(e, "a")[bindOf("10.244.0.2:80")]
	next := *s
	next.Endpoints = map[string]*endpointv3.ClusterLoadAssignment{
		"a": endpoints(t, "10.244.0.2", "10.244.0.4")}
	if err := e.Update(1, &next); err != nil {
		t.Fatal(err)
	}
	if after := hosts(e, "a")[before.Addr]; after != before {
		t.Error("an endpoint that stayed was made anew")
	}
	if strings.Join(removed, " ") != "10.244.0.3:80" {
		t.Error("removed", removed)
	}
	// A change of the cluster itself makes everything anew.
	removed = nil
	third := next
	third.Clusters = map[string]*clusterv3.Cluster{"a": proto.Clone(s.Clusters["a"]).(*clusterv3.Cluster)}
	third.Clusters["a"].LbPolicy = clusterv3.Cluster_RANDOM
	if err := e.Update(2, &third); err != nil {
		t.Fatal(err)
	}
	if after := hosts(e, "a")[before.Addr]; after == before {
		t.Error("an endpoint outlived its cluster")
	}
	if len(removed) != 2 || e.clusters["b"].Load() != nil {
		t.Error("removed", removed)
	}
}

func TestRefusedTypeStays(t *testing.T) {
	e := New(Options{})
	s := simple(t)
	if err := e.Update(0, s); err != nil {
		t.Fatal(err)
	}
	route := e.routes["80"].Load()
	next := *s
	bad := proto.Clone(s.Clusters["b"]).(*clusterv3.Cluster)
	bad.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	bad.EdsClusterConfig = nil
	next.Clusters = map[string]*clusterv3.Cluster{"b": bad}
	next.Endpoints = map[string]*endpointv3.ClusterLoadAssignment{"a": endpoints(t, "10.244.0.9")}
	err := e.Update(1, &next)
	var list Refusals
	if !errors.As(err, &list) || len(list.Of(xds.ClusterType)) != 1 || len(list) != 1 {
		t.Fatal(err)
	}
	if len(hosts(e, "a")) != 1 || e.clusters["b"].Load() == nil {
		t.Error("the refused type changed, or the others did not")
	}
	if e.routes["80"].Load() != route {
		t.Error("an equal route was compiled anew")
	}
	if err := e.Update(2, s); err != nil {
		t.Error(err)
	}
}

// Requests, updates and ticks at the same time: for the race detector.
func TestConcurrentUse(t *testing.T) {
	s := simple(t)
	s.Clusters["a"].OutlierDetection = &clusterv3.OutlierDetection{}
	for _, l := range protoYAML(t, []byte(scriptListener),
		func() *listenerv3.Listener { return &listenerv3.Listener{} }) {
		s.Listeners[l.GetName()] = l
	}
	e := New(Options{Wake: func(clock.Instant) {}})
	if err := e.Update(0, s); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			ci := &ConnInfo{Local: netip.MustParseAddrPort("10.96.0.10:80"), Transport: "raw_buffer",
				Remote: netip.MustParseAddrPort("10.244.0.2:40000")}
			var x Exchange
			for n := range 300 {
				ch := e.Listener(bindOf("0.0.0.0:15001"), ci.Local).Chain(ci)
				h := &wire.Head{Method: []byte("GET"), Target: []byte("/"), NoBody: true,
					Authority: []byte("h")}
				now := clock.Instant(n)
				d := e.Start(&x, ch, ci, h, now, uint64(n*w))
				if d.Kind == Attempt {
					x.Handle(Event{Kind: Connected}, now)
					resp := &wire.Head{Status: 500 + n%4}
					x.Handle(Event{Kind: ResponseHead, Head: resp}, now)
				}
				if x.Handle(Event{Kind: Sent}, now).Kind != Done {
					t.Error("not done")
				}
			}
		})
	}
	for n := range 50 {
		next := *s
		next.Endpoints = map[string]*endpointv3.ClusterLoadAssignment{
			"a": endpoints(t, "10.244.0.2", "10.244.0."+strconv.Itoa(n%20+3))}
		if err := e.Update(clock.Instant(n), &next); err != nil {
			t.Error(err)
		}
		e.Tick(clock.Instant(n))
	}
	wg.Wait()
	for _, ep := range hosts(e, "a") {
		if ep.Active() != 0 {
			t.Errorf("%v: %d requests in flight", ep.Addr, ep.Active())
		}
	}
}
