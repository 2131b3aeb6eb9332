package relocate

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	configrbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func cidr(prefix string, n uint32) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: prefix, PrefixLen: wrapperspb.UInt32(n)}
}

// policy allows a port of an address to all of a network but one address.
func policy() *configrbacv3.RBAC {
	not := &configrbacv3.Principal{Identifier: &configrbacv3.Principal_DirectRemoteIp{
		DirectRemoteIp: cidr("10.244.0.9", 32)}}
	return &configrbacv3.RBAC{Policies: map[string]*configrbacv3.Policy{"p": {
		Permissions: []*configrbacv3.Permission{{Rule: &configrbacv3.Permission_AndRules{
			AndRules: &configrbacv3.Permission_Set{Rules: []*configrbacv3.Permission{
				{Rule: &configrbacv3.Permission_DestinationPort{DestinationPort: 80}},
				{Rule: &configrbacv3.Permission_NotRule{NotRule: &configrbacv3.Permission{
					Rule: &configrbacv3.Permission_DestinationIp{
						DestinationIp: cidr("10.244.0.2", 32)}}}},
			}}}}},
		Principals: []*configrbacv3.Principal{
			{Identifier: &configrbacv3.Principal_RemoteIp{RemoteIp: cidr("10.244.0.0", 29)}},
			{Identifier: &configrbacv3.Principal_NotId{NotId: not}},
		},
	}}}
}

func any(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// addresses lists the addresses and ports of rules, depth first.
func addresses(r *configrbacv3.RBAC) string {
	var out []string
	var permission func(*configrbacv3.Permission)
	permission = func(p *configrbacv3.Permission) {
		for _, x := range p.GetAndRules().GetRules() {
			permission(x)
		}
		for _, x := range p.GetOrRules().GetRules() {
			permission(x)
		}
		if n := p.GetNotRule(); n != nil {
			out = append(out, "not")
			permission(n)
		}
		if n := p.GetDestinationPort(); n != 0 {
			out = append(out, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(n)).String())
		}
		if c := p.GetDestinationIp(); c != nil {
			out = append(out, c.AddressPrefix)
		}
	}
	var principal func(*configrbacv3.Principal)
	principal = func(p *configrbacv3.Principal) {
		for _, x := range p.GetOrIds().GetIds() {
			principal(x)
		}
		if n := p.GetNotId(); n != nil {
			out = append(out, "not")
			principal(n)
		}
		//nolint:staticcheck // deprecated, and the only one that honours a PROXY header
		for _, c := range []*corev3.CidrRange{p.GetRemoteIp(), p.GetSourceIp()} {
			if c != nil {
				out = append(out, c.AddressPrefix)
			}
		}
	}
	permission(r.Policies["p"].Permissions[0])
	for _, p := range r.Policies["p"].Principals {
		principal(p)
	}
	return strings.Join(out, " ")
}

// TestPolicies: rules about addresses hold for the places of pods, too, rules about ports for theirs
// alone; the resources that they come from stay as they were.
func TestPolicies(t *testing.T) {
	pods := []netip.Addr{netip.MustParseAddr("10.244.0.2"), netip.MustParseAddr("10.244.0.3"),
		netip.MustParseAddr("10.244.0.9")}
	hcm := &hcmv3.HttpConnectionManager{HttpFilters: []*hcmv3.HttpFilter{{Name: "rbac",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: any(t, &httprbacv3.RBAC{
			Rules: policy(), ShadowRules: policy()})}}}}
	in := &listenerv3.Listener{
		Address: socketAddress(netip.MustParseAddrPort("0.0.0.0:15006")),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{Name: "hcm",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: any(t, hcm)}}}}},
		DefaultFilterChain: &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{Name: "rbac",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: any(t, &networkrbacv3.RBAC{
				Rules: policy()})}}}},
	}
	before := proto.CloneOf(in)
	k := New(place, place, pods...)
	out, err := k.listener(in, Proxy{IP: pods[0], App: app})
	if err != nil {
		t.Fatal(err)
	}
	const want = "0.0.0.0:64080 not 10.244.0.2 127.116.0.2 " +
		"10.244.0.0 127.116.0.2 127.116.0.3 not 10.244.0.9 127.116.0.9"
	// A filter that says where the app is comes first in every chain.
	if err := out.FilterChains[0].Filters[1].GetTypedConfig().UnmarshalTo(hcm); err != nil {
		t.Fatal(err)
	}
	var http httprbacv3.RBAC
	if err := hcm.HttpFilters[0].GetTypedConfig().UnmarshalTo(&http); err != nil {
		t.Fatal(err)
	}
	var network networkrbacv3.RBAC
	err = out.DefaultFilterChain.Filters[1].GetTypedConfig().UnmarshalTo(&network)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*configrbacv3.RBAC{
		"rules": http.Rules, "shadow rules": http.ShadowRules, "network": network.Rules,
	} {
		if got := addresses(r); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	if !proto.Equal(in, before) {
		t.Error("the resource itself was changed")
	}
}
