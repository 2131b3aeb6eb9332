package engine

import (
	"runtime"
	"sync"
	"weak"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// Checks remembers in which resources there is nothing that is not carried out, and nothing that
// breaks a rule of the protos, so that of many engines that are given the same messages only the
// first looks at every field. It keeps no message alive. The zero value is ready for use, also by
// several goroutines.
type Checks struct {
	clean sync.Map // weak pointers to messages
}

// inspect is the function of this name, asked once for each message.
func (c *Checks) inspect(m proto.Message) findings {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		return once(c, m, m)
	case *endpointv3.ClusterLoadAssignment:
		return once(c, m, m)
	case *listenerv3.Listener:
		return once(c, m, m)
	case *routev3.RouteConfiguration:
		return once(c, m, m)
	case *tlsv3.Secret:
		return once(c, m, m)
	}
	return inspect(m)
}

func once[T any](c *Checks, p *T, m proto.Message) findings {
	key := weak.Make(p)
	if _, ok := c.clean.Load(key); ok {
		return findings{}
	}
	found := inspect(m)
	if !found.none() {
		return found
	}
	if _, known := c.clean.LoadOrStore(key, nil); !known {
		runtime.AddCleanup(p, func(k weak.Pointer[T]) { c.clean.Delete(k) }, key)
	}
	return found
}
