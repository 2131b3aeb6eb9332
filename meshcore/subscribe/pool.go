package subscribe

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"weak"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// resource is one decoded resource. It is immutable and shared by all clients of a pool.
type resource struct {
	name string
	msg  proto.Message
	refs []string // EDS name of a cluster, RDS names of a listener
}

// Pool lets clients in one process share decoded resources: of what a hundred sidecars are given,
// most is the same. It holds resources only as long as a client does. The zero Pool is ready for
// use.
type Pool struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[resource]
}

// decode returns the resource with this encoding.
func (p *Pool) decode(k kind, body *anypb.Any) (*resource, error) {
	if body.GetTypeUrl() != k.typeURL() {
		return nil, fmt.Errorf("a resource of type %q in a response of type %s",
			body.GetTypeUrl(), k.typeURL())
	}
	h := sha256.New()
	h.Write([]byte(body.GetTypeUrl()))
	h.Write(body.GetValue())
	key := [sha256.Size]byte(h.Sum(nil))
	if r := p.find(key); r != nil {
		return r, nil
	}
	r, err := parse(k, body)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.known[key].Value(); other != nil {
		return other, nil // another client was faster
	}
	if p.known == nil {
		p.known = map[[sha256.Size]byte]weak.Pointer[resource]{}
	}
	p.known[key] = weak.Make(r)
	runtime.AddCleanup(r, p.forget, key)
	return r, nil
}

func (p *Pool) find(key [sha256.Size]byte) *resource {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[key].Value()
}

func (p *Pool) forget(key [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.known[key]; ok && w.Value() == nil {
		delete(p.known, key)
	}
}

func parse(k kind, body *anypb.Any) (*resource, error) {
	r := &resource{}
	var err error
	switch k {
	case cds:
		c := &clusterv3.Cluster{}
		err = body.UnmarshalTo(c)
		r.name, r.msg = c.GetName(), c
		if n, ok := xds.EndpointName(c); ok {
			r.refs = []string{n}
		}
	case eds:
		e := &endpointv3.ClusterLoadAssignment{}
		err = body.UnmarshalTo(e)
		r.name, r.msg = e.GetClusterName(), e
	case lds:
		l := &listenerv3.Listener{}
		if err = body.UnmarshalTo(l); err == nil {
			r.refs, err = xds.RouteNames(l)
		}
		r.name, r.msg = l.GetName(), l
	case rds:
		c := &routev3.RouteConfiguration{}
		err = body.UnmarshalTo(c)
		r.name, r.msg = c.GetName(), c
	}
	return r, err
}
