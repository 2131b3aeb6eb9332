// Package plane is the control plane as a process of its own: it serves ADS to proxies, and takes
// from the lab, over HTTP, what it is to give them. It has no memory but its own: when it is killed
// and started again, it knows nothing until the lab tells it anew.
//
//	lab ── Client ═══ HTTP ═══▶ Server ═══ ADS ═══▶ proxies
//	        Set, Status, Break     └── pushes, as they are answered ──▶ lab
package plane

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// The form of snapshots: each resource once, however many nodes share it.
//
//	uvarint n, n × (uvarint type, bytes)             resources, by their numbers from 0
//	uvarint m, m × (string node, uvarint k, k × number)
//
// Type is the index in xds.Types.

// encode writes snapshots by node.
func encode(snaps map[string]*xds.Snapshot) ([]byte, error) {
	var resources, nodes []byte
	number := map[proto.Message]uint64{}
	for node, s := range snaps {
		var own []uint64
		for t, typ := range xds.Types {
			for _, m := range s.Resources(typ) {
				n, ok := number[m]
				if !ok {
					text, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
					if err != nil {
						return nil, fmt.Errorf("%s of %s: %w", xds.Name(m), node, err)
					}
					n = uint64(len(number))
					number[m] = n
					resources = protowire.AppendVarint(resources, uint64(t))
					resources = protowire.AppendBytes(resources, text)
				}
				own = append(own, n)
			}
		}
		nodes = protowire.AppendString(nodes, node)
		nodes = protowire.AppendVarint(nodes, uint64(len(own)))
		for _, n := range own {
			nodes = protowire.AppendVarint(nodes, n)
		}
	}
	out := protowire.AppendVarint(nil, uint64(len(number)))
	out = append(out, resources...)
	out = protowire.AppendVarint(out, uint64(len(snaps)))
	return append(out, nodes...), nil
}

// reader reads what encode has written.
type reader struct {
	text []byte
	err  error
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.text)
	if size <= 0 {
		r.text, r.err = nil, io.ErrUnexpectedEOF
		return 0
	}
	r.text = r.text[size:]
	return n
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.text)) {
		r.text, r.err = nil, io.ErrUnexpectedEOF
		return nil
	}
	out := r.text[:n]
	r.text = r.text[n:]
	return out
}

// decode reads snapshots by node.
func decode(text []byte) (map[string]*xds.Snapshot, error) {
	r := &reader{text: text}
	var all []proto.Message
	for n := r.number(); n > 0 && r.err == nil; n-- {
		m := fresh(r.number())
		if m == nil {
			return nil, fmt.Errorf("resource %d is of an unknown type", len(all))
		}
		if err := proto.Unmarshal(r.bytes(), m); err != nil {
			return nil, fmt.Errorf("resource %d: %w", len(all), err)
		}
		all = append(all, m)
	}
	out := map[string]*xds.Snapshot{}
	for m := r.number(); m > 0 && r.err == nil; m-- {
		node, s := string(r.bytes()), xds.NewSnapshot()
		for k := r.number(); k > 0 && r.err == nil; k-- {
			n := r.number()
			if n >= uint64(len(all)) {
				return nil, fmt.Errorf("node %s has resource %d of %d", node, n, len(all))
			}
			add(s, all[n])
		}
		out[node] = s
	}
	return out, r.err
}

// fresh returns an empty resource of a type; nil when there is none.
func fresh(typ uint64) proto.Message {
	if typ >= uint64(len(xds.Types)) {
		return nil
	}
	switch xds.Types[typ] {
	case xds.ClusterType:
		return &clusterv3.Cluster{}
	case xds.EndpointType:
		return &endpointv3.ClusterLoadAssignment{}
	case xds.ListenerType:
		return &listenerv3.Listener{}
	case xds.RouteType:
		return &routev3.RouteConfiguration{}
	case xds.SecretType:
		return &tlsv3.Secret{}
	}
	return nil
}

// add puts a resource into a snapshot, under its own name.
func add(s *xds.Snapshot, m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		s.Clusters[m.Name] = m
	case *endpointv3.ClusterLoadAssignment:
		s.Endpoints[m.ClusterName] = m
	case *listenerv3.Listener:
		s.Listeners[m.Name] = m
	case *routev3.RouteConfiguration:
		s.Routes[m.Name] = m
	case *tlsv3.Secret:
		s.Secrets[m.Name] = m
	}
}
