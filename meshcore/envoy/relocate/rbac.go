package relocate

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	configrbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// rules is what HTTP and network filters of RBAC have in common.
type rules interface {
	proto.Message
	GetRules() *configrbacv3.RBAC
	GetShadowRules() *configrbacv3.RBAC
}

// policies has the RBAC filters of a listener know addresses where they really are, too, and ports
// there alone: an Envoy sees its peer at a loopback address, unless a PROXY header or
// x-forwarded-for says the logical one.
func (k *Linker) policies(l *listenerv3.Listener) error {
	for _, c := range xds.Chains(l) {
		for _, f := range c.Filters {
			if err := k.filterPolicies(f); err != nil {
				return fmt.Errorf("chain %s: %s: %w", c.Name, f.Name, err)
			}
		}
	}
	return nil
}

func (k *Linker) filterPolicies(f *listenerv3.Filter) error {
	hcm := &hcmv3.HttpConnectionManager{}
	if !f.GetTypedConfig().MessageIs(hcm) {
		_, err := k.decide(f.GetTypedConfig(), &networkrbacv3.RBAC{})
		return err
	}
	if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil {
		return err
	}
	changed := false
	for _, h := range hcm.HttpFilters {
		one, err := k.decide(h.GetTypedConfig(), &httprbacv3.RBAC{})
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		changed = changed || one
	}
	if !changed {
		return nil
	}
	return f.GetTypedConfig().MarshalFrom(hcm)
}

// decide moves the rules of a filter, if it is one of RBAC.
func (k *Linker) decide(config *anypb.Any, m rules) (bool, error) {
	if !config.MessageIs(m) {
		return false, nil
	}
	if err := config.UnmarshalTo(m); err != nil {
		return false, err
	}
	for _, r := range []*configrbacv3.RBAC{m.GetRules(), m.GetShadowRules()} {
		for _, p := range r.GetPolicies() {
			for _, x := range p.Permissions {
				k.permission(x)
			}
			for _, x := range p.Principals {
				k.principal(x)
			}
		}
	}
	return true, config.MarshalFrom(m)
}

// permission moves addresses and ports that connections come to.
func (k *Linker) permission(p *configrbacv3.Permission) {
	switch r := p.Rule.(type) {
	case *configrbacv3.Permission_AndRules:
		for _, x := range r.AndRules.Rules {
			k.permission(x)
		}
	case *configrbacv3.Permission_OrRules:
		for _, x := range r.OrRules.Rules {
			k.permission(x)
		}
	case *configrbacv3.Permission_NotRule:
		k.permission(r.NotRule)
	case *configrbacv3.Permission_DestinationPort:
		r.DestinationPort = k.port(r.DestinationPort)
	case *configrbacv3.Permission_DestinationIp:
		any := &configrbacv3.Permission_Set{}
		for _, c := range k.blocks(r.DestinationIp) {
			any.Rules = append(any.Rules, &configrbacv3.Permission{
				Rule: &configrbacv3.Permission_DestinationIp{DestinationIp: c}})
		}
		p.Rule = &configrbacv3.Permission_OrRules{OrRules: any}
	}
}

// principal moves addresses that connections come from.
func (k *Linker) principal(p *configrbacv3.Principal) {
	any := func(block *corev3.CidrRange, one func(*corev3.CidrRange) *configrbacv3.Principal) {
		set := &configrbacv3.Principal_Set{}
		for _, c := range k.blocks(block) {
			set.Ids = append(set.Ids, one(c))
		}
		p.Identifier = &configrbacv3.Principal_OrIds{OrIds: set}
	}
	switch r := p.Identifier.(type) {
	case *configrbacv3.Principal_AndIds:
		for _, x := range r.AndIds.Ids {
			k.principal(x)
		}
	case *configrbacv3.Principal_OrIds:
		for _, x := range r.OrIds.Ids {
			k.principal(x)
		}
	case *configrbacv3.Principal_NotId:
		k.principal(r.NotId)
	case *configrbacv3.Principal_DirectRemoteIp:
		// Where a PROXY header stands for iptables, who dialled is not who called: source_ip is the
		// same address otherwise (source/extensions/filters/common/rbac/matchers.cc IPMatcher).
		any(r.DirectRemoteIp, func(c *corev3.CidrRange) *configrbacv3.Principal {
			return &configrbacv3.Principal{
				Identifier: &configrbacv3.Principal_SourceIp{SourceIp: c}}
		})
	case *configrbacv3.Principal_RemoteIp:
		any(r.RemoteIp, func(c *corev3.CidrRange) *configrbacv3.Principal {
			return &configrbacv3.Principal{
				Identifier: &configrbacv3.Principal_RemoteIp{RemoteIp: c}}
		})
	}
}

// blocks returns a block and, one by one, where the pods that are in it really are. The lab's own
// loopback addresses are nobody's that a configuration would name.
func (k *Linker) blocks(c *corev3.CidrRange) []*corev3.CidrRange {
	out := []*corev3.CidrRange{c}
	ip, err := netip.ParseAddr(c.GetAddressPrefix())
	if err != nil {
		return out
	}
	block, err := ip.Prefix(int(c.GetPrefixLen().GetValue()))
	if err != nil {
		return out
	}
	for _, pod := range k.pods {
		real := k.place(netip.AddrPortFrom(pod, 0)).Addr()
		if block.Contains(pod) && real != pod {
			out = append(out, &corev3.CidrRange{AddressPrefix: real.String(),
				PrefixLen: wrapperspb.UInt32(uint32(real.BitLen()))})
		}
	}
	return out
}
