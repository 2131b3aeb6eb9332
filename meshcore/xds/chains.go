package xds

import (
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Chains returns all filter chains of a listener, the default one last.
func Chains(l *listenerv3.Listener) []*listenerv3.FilterChain {
	list := l.GetFilterChains()
	if d := l.GetDefaultFilterChain(); d != nil {
		list = append(list[:len(list):len(list)], d)
	}
	return list
}

// EditManagers changes the HTTP connection managers of a listener. edit changes the one that it is
// given and says whether it did. The listener itself stays as it is: what comes back is a copy, or
// the listener where nothing was changed.
func EditManagers(
	l *listenerv3.Listener, edit func(*hcmv3.HttpConnectionManager) (changed bool, err error),
) (*listenerv3.Listener, error) {
	out := l
	for i, chain := range Chains(l) {
		for k, f := range chain.GetFilters() {
			m := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(m) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(m); err != nil {
				return nil, fmt.Errorf("filter chain %s: %s: %w", chain.GetName(), f.GetName(), err)
			}
			changed, err := edit(m)
			if err != nil {
				return nil, err
			}
			if !changed {
				continue
			}
			a, err := anypb.New(m)
			if err != nil {
				return nil, err
			}
			if out == l {
				out = proto.CloneOf(l)
			}
			Chains(out)[i].Filters[k].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
		}
	}
	return out, nil
}
