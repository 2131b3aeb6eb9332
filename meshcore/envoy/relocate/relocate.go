// Package relocate moves finished resources to where a lab on loopback really binds them, as a
// linker moves code. Configuration is generated for logical addresses (10.244.0.2:8080, as in a
// cluster); our own data plane asks its network for each of them, the real Envoy dials by itself.
//
//	app ─ PROXY header ─▶ unix socket ─▶ Envoy ─▶ 127.BLOCK.0.3:8080 ─▶ Envoy ─▶ app
//	                     virtualOutbound          virtualInbound
//
// What a request experiences stays as it was generated: routes, clusters, filters and policies are
// left alone, and rings are hashed over the logical addresses.
package relocate

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Place says where a logical address and port really are. It must be one to one.
type Place func(logical netip.AddrPort) (real netip.AddrPort)

// Proxy is the Envoy that a snapshot is for.
type Proxy struct {
	IP       netip.Addr // the pod's logical address
	Gateway  bool
	Outbound string   // unix socket for what the app sends; "@" begins an abstract one
	App      Place    // where the pod's own app listens, by the pod's logical address and port
	Ports    []uint16 // the app's ports beside those that the snapshot's chains name
}

// Linker relocates the snapshots of one lab. What several proxies share is relocated once. It is
// not safe for concurrent use.
type Linker struct {
	place, dial Place
	pods        []netip.Addr
	assignments map[*endpointv3.ClusterLoadAssignment]*endpointv3.ClusterLoadAssignment
	endpoints   map[*endpointv3.LbEndpoint]*endpointv3.LbEndpoint
	listeners   map[*listenerv3.Listener]*listenerv3.Listener // outbound ones, which no pod owns
}

// New returns a linker for addresses that are bound where place says, and called where dial says;
// pods are all from which an Envoy may be called.
func New(place, dial Place, pods ...netip.Addr) *Linker {
	return &Linker{
		place: place, dial: dial, pods: pods,
		assignments: map[*endpointv3.ClusterLoadAssignment]*endpointv3.ClusterLoadAssignment{},
		endpoints:   map[*endpointv3.LbEndpoint]*endpointv3.LbEndpoint{},
		listeners:   map[*listenerv3.Listener]*listenerv3.Listener{},
	}
}

// Snapshot returns a snapshot that a real Envoy can carry out on loopback. s is not changed.
func (k *Linker) Snapshot(s *xds.Snapshot, p Proxy) (*xds.Snapshot, error) {
	out := *s
	out.Endpoints = make(map[string]*endpointv3.ClusterLoadAssignment, len(s.Endpoints))
	for name, a := range s.Endpoints {
		moved, err := k.assignment(a)
		if err != nil {
			return nil, fmt.Errorf("endpoints %s: %w", name, err)
		}
		out.Endpoints[name] = moved
	}
	out.Listeners = make(map[string]*listenerv3.Listener, len(s.Listeners))
	for name, l := range s.Listeners {
		moved, err := k.listener(l, p)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", name, err)
		}
		out.Listeners[name] = moved
	}
	return &out, nil
}

// assignment moves the endpoints of a cluster.
func (k *Linker) assignment(
	a *endpointv3.ClusterLoadAssignment,
) (*endpointv3.ClusterLoadAssignment, error) {
	if moved := k.assignments[a]; moved != nil {
		return moved, nil
	}
	out := &endpointv3.ClusterLoadAssignment{
		ClusterName: a.ClusterName, NamedEndpoints: a.NamedEndpoints, Policy: a.Policy,
	}
	for _, group := range a.Endpoints {
		g := proto.CloneOf(&endpointv3.LocalityLbEndpoints{
			Locality: group.Locality, Metadata: group.Metadata,
			LoadBalancingWeight: group.LoadBalancingWeight, Priority: group.Priority,
			Proximity: group.Proximity, LbConfig: group.LbConfig,
		})
		for _, e := range group.LbEndpoints {
			moved, err := k.endpoint(e)
			if err != nil {
				return nil, err
			}
			g.LbEndpoints = append(g.LbEndpoints, moved)
		}
		out.Endpoints = append(out.Endpoints, g)
	}
	k.assignments[a] = out
	return out, nil
}

// endpoint moves one endpoint. Rings and tables are hashed over "ADDRESS:PORT", or over hash_key of
// the metadata where there is one (source/extensions/load_balancing_policies/common/
// thread_aware_lb_impl.h hashKey): it keeps the logical address.
func (k *Linker) endpoint(e *endpointv3.LbEndpoint) (*endpointv3.LbEndpoint, error) {
	if moved := k.endpoints[e]; moved != nil {
		return moved, nil
	}
	logical, _, err := k.move(e.GetEndpoint().GetAddress())
	if err != nil {
		return nil, err
	}
	real := k.dial(logical)
	out := proto.CloneOf(e)
	if logical != real {
		setAddress(out.GetEndpoint().Address, real)
		if out.Metadata == nil {
			out.Metadata = &corev3.Metadata{}
		}
		if out.Metadata.FilterMetadata == nil {
			out.Metadata.FilterMetadata = map[string]*structpb.Struct{}
		}
		lb := out.Metadata.FilterMetadata["envoy.lb"]
		if lb == nil {
			lb = &structpb.Struct{}
			out.Metadata.FilterMetadata["envoy.lb"] = lb
		}
		if lb.Fields == nil {
			lb.Fields = map[string]*structpb.Value{}
		}
		lb.Fields["hash_key"] = structpb.NewStringValue(logical.String())
	}
	k.endpoints[e] = out
	return out, nil
}

// move reads a socket address and says where it really is.
func (k *Linker) move(a *corev3.Address) (logical, real netip.AddrPort, err error) {
	s := a.GetSocketAddress()
	if s == nil {
		return logical, real, fmt.Errorf("address %v: only socket addresses can be relocated", a)
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return logical, real, fmt.Errorf("address: %w", err)
	}
	logical = netip.AddrPortFrom(ip, uint16(s.GetPortValue()))
	return logical, k.place(logical), nil
}

func setAddress(a *corev3.Address, to netip.AddrPort) {
	a.Address = socketAddress(to).Address
}

func socketAddress(at netip.AddrPort) *corev3.Address {
	s := &corev3.SocketAddress{
		Address:       at.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: s}}
}
