package subscribe

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"time"
	"weak"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// resource is one decoded resource. It is immutable and shared by all clients of a pool.
type resource struct {
	name string
	msg  proto.Message
	// refs are what it asks for, by kind: EDS name of a cluster, RDS names of a listener, names of
	// secrets of both.
	refs     map[kind][]string
	patience map[string]time.Duration // with secrets, by name; 0: for ever
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
	switch k {
	case cds:
		c := &clusterv3.Cluster{}
		if err := body.UnmarshalTo(c); err != nil {
			return &resource{}, err
		}
		r := &resource{name: c.GetName(), msg: c, refs: map[kind][]string{}}
		if n, ok := xds.EndpointName(c); ok {
			r.refs[eds] = []string{n}
		}
		return r, r.secrets()
	case lds:
		l := &listenerv3.Listener{}
		if err := body.UnmarshalTo(l); err != nil {
			return &resource{}, err
		}
		names, err := xds.RouteNames(l)
		r := &resource{name: l.GetName(), msg: l, refs: map[kind][]string{rds: names}}
		if err != nil {
			return r, err
		}
		return r, r.secrets()
	}
	m := map[kind]proto.Message{
		eds: &endpointv3.ClusterLoadAssignment{}, sds: &tlsv3.Secret{},
		rds: &routev3.RouteConfiguration{},
	}[k]
	err := body.UnmarshalTo(m)
	return &resource{name: xds.Name(m), msg: m}, err
}

// secrets notes the secrets that a cluster or listener asks for.
func (r *resource) secrets() error {
	names, err := xds.SecretNames(r.msg)
	if len(names) > 0 {
		r.refs[sds], r.patience = names, xds.SecretPatience(r.msg)
	}
	return err
}
