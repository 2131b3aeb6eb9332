package als

import (
	"strings"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// listeners returns an HTTP and a TCP listener.
func listeners() (http, tcp *listenerv3.Listener) {
	s := xds.NewSnapshot()
	c := newConfig("http", 0)
	c.add(s)
	c = newConfig("tcp", 1)
	c.hcm = nil
	c.add(s)
	return s.Listeners["http"], s.Listeners["tcp"]
}

// TestInstrument: the copy reports, and what it was made from is as before.
func TestInstrument(t *testing.T) {
	http, tcp := listeners()
	http.DefaultFilterChain = proto.CloneOf(http.FilterChains[0])
	for _, l := range []*listenerv3.Listener{http, tcp} {
		before := proto.CloneOf(l)
		got, err := Instrument(l, "als", []string{"x-user"})
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(l, before) {
			t.Errorf("%s was changed", l.Name)
		}
		if len(got.AccessLog) != 1 {
			t.Errorf("%s: %d access logs", l.Name, len(got.AccessLog))
		}
		chains := got.FilterChains
		if got.DefaultFilterChain != nil {
			chains = append(chains, got.DefaultFilterChain)
		}
		for _, c := range chains {
			instrumented(t, c.Filters[0].GetTypedConfig())
		}
	}
}

// instrumented wants logs in an HTTP connection manager and its router, or in a TCP proxy.
func instrumented(t *testing.T, a *anypb.Any) {
	t.Helper()
	h, tp := &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{}
	if a.MessageIs(tp) {
		if err := a.UnmarshalTo(tp); err != nil || len(tp.AccessLog) != 1 {
			t.Error(tp, err)
		}
		return
	}
	if err := a.UnmarshalTo(h); err != nil {
		t.Fatal(err)
	}
	r := &routerv3.Router{}
	last := h.HttpFilters[len(h.HttpFilters)-1]
	if err := last.GetTypedConfig().UnmarshalTo(r); err != nil {
		t.Fatal(err)
	}
	if len(h.AccessLog) != 1 || len(r.UpstreamLog) != 1 ||
		h.HttpFilters[0].Name != "envoy.filters.http.set_filter_state" || len(h.HttpFilters) != 4 {
		t.Error(h)
	}
	if !proto.Equal(streamOf(t, h.AccessLog[0]), streamOf(t, r.UpstreamLog[0])) {
		t.Error("two configurations make two streams")
	}
}

// streamOf is what Envoy makes a stream for (http_grpc_access_log_impl.cc getOrCreateLogger).
func streamOf(t *testing.T, l *accesslogv3.AccessLog) *grpclogv3.CommonGrpcAccessLogConfig {
	c := &grpclogv3.HttpGrpcAccessLogConfig{}
	if err := l.GetTypedConfig().UnmarshalTo(c); err != nil {
		t.Fatal(err)
	}
	return c.CommonConfig
}

// TestInstrumentBad: what can not be read is named.
func TestInstrumentBad(t *testing.T) {
	bad := func(a *anypb.Any) { a.Value = []byte{0xff} }
	http, tcp := listeners()
	bad(tcp.FilterChains[0].Filters[0].GetTypedConfig())
	h := &hcmv3.HttpConnectionManager{}
	a := http.FilterChains[0].Filters[0].GetTypedConfig()
	if err := a.UnmarshalTo(h); err != nil {
		t.Fatal(err)
	}
	bad(h.HttpFilters[2].GetTypedConfig())
	if err := a.MarshalFrom(h); err != nil {
		t.Fatal(err)
	}
	second, _ := listeners()
	second.DefaultFilterChain = tcp.FilterChains[0]
	for want, l := range map[string]*listenerv3.Listener{
		"listener tcp: filter_chains[0].filters[0].typed_config: ": tcp,
		"listener http: filter_chains[0].filters[0].typed_config: " +
			"http_filters[2].typed_config: ": http,
		"listener http: default_filter_chain.filters[0].typed_config: ": second,
	} {
		if _, err := Instrument(l, "als", nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestInstrumentRoutes: routes that mirror say so; others, and the original, stay as they are.
func TestInstrumentRoutes(t *testing.T) {
	plain := &routev3.Route{Name: "plain", Action: &routev3.Route_Route{Route: &routev3.RouteAction{}}}
	mirror := proto.CloneOf(plain)
	mirror.GetRoute().RequestMirrorPolicies = make([]*routev3.RouteAction_RequestMirrorPolicy, 2)
	mirror.Metadata = metadata("istio", "config", "x")
	config := func(r ...*routev3.Route) *routev3.RouteConfiguration {
		return &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{}, {Routes: r}}}
	}
	if r := config(plain); InstrumentRoutes(r) != r {
		t.Error("a copy for nothing")
	}
	r := config(plain, mirror)
	before := proto.CloneOf(r)
	got := InstrumentRoutes(r).GetVirtualHosts()[1].GetRoutes()
	if !proto.Equal(r, before) {
		t.Error("was changed")
	}
	m := got[1].GetMetadata().GetFilterMetadata()
	if got[0].GetMetadata() != nil || m["mesh-lab"].GetFields()["mirrors"].GetStringValue() != "2" ||
		m["istio"].GetFields()["config"].GetStringValue() != "x" {
		t.Error(got)
	}
	policy := &routev3.RouteAction_RequestMirrorPolicy{RuntimeFraction: fraction(100)}
	mirror.GetRoute().RequestMirrorPolicies[0] = policy
	if n := copies(mirror.GetRoute()); n != "2" {
		t.Errorf("all of the time: %s", n)
	}
	policy.RuntimeFraction = fraction(99)
	if n := copies(mirror.GetRoute()); n != "2?" {
		t.Errorf("some of the time: %s", n)
	}
}

func fraction(percent uint32) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{
		DefaultValue: &typev3.FractionalPercent{Numerator: percent}}
}
