package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// gatewayListeners makes the listeners of a gateway proxy: one for each port and address of its
// merged Gateways. Ports that are not HTTP have none yet: the reader refuses them.
func (ix *index) gatewayListeners(p *Pod, m *managers) []*listenerv3.Listener {
	var out []*listenerv3.Listener
	for _, port := range ix.gatewayView(p).ports {
		if !port.protocol.isHTTP() {
			continue
		}
		ip := wildcard
		if port.bind != "" {
			ip = port.bind
		}
		name := listenerName(ip, port.number)
		hcm := m.manager(gatewayClass, "outbound_"+name)
		if port.protocol == protoGRPCWeb {
			grpcWeb(hcm)
		}
		out = append(out, &listenerv3.Listener{
			Name:    name,
			Address: socketAddress(ip, port.number),
			FilterChains: []*listenerv3.FilterChain{{
				Filters:                       []*listenerv3.Filter{withRDS(hcm, port.routeName)},
				TransportSocketConnectTimeout: chainTimeout(),
			}},
			TrafficDirection:                     corev3.TrafficDirection_OUTBOUND,
			MaxConnectionsToAcceptPerSocketEvent: wrapperspb.UInt32(1),
			AccessLog:                            m.logs.listener,
		})
	}
	return out
}
