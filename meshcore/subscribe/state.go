package subscribe

import (
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// kind is a resource type that a client asks for, in the order in which it does.
type kind uint8

const (
	cds kind = iota
	eds
	lds
	rds
	kinds
)

var typeURLs = [kinds]string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.RouteType}

func (k kind) typeURL() string { return typeURLs[k] }

func kindOf(typeURL string) (kind, bool) {
	i := slices.Index(typeURLs[:], typeURL)
	return kind(max(i, 0)), i >= 0
}

// byName says whether resources of this kind are asked for by name; the others are wanted whole.
func (k kind) byName() bool { return k == eds || k == rds }

// pair returns the kinds that k belongs with: the one that refers and the one that is referred to.
func (k kind) pair() (above, below kind) {
	if k <= eds {
		return cds, eds
	}
	return lds, rds
}

// held is an accepted resource and the server's version of it.
type held struct {
	*resource
	version string // delta
}

// tables are accepted resources by kind and name. They are replaced, never changed, so that a
// refused response leaves no trace.
type tables [kinds]map[string]held

// active is what the data plane has in effect: of each resource the newest that is warm. Envoy
// keeps an old cluster or listener at work while its successor waits for endpoints or routes
// (source/common/upstream/cluster_manager_impl.cc, source/common/listener_manager/).
type active [kinds]map[string]*resource

// warm returns what is to be in effect after a change of kind k: now is what has been accepted, old
// what is in effect so far. Waiting reports that something of that pair of kinds waits for its
// references.
func warm(k kind, now *tables, old *active) (a *active, waiting bool) {
	above, below := k.pair()
	a = &active{}
	*a = *old
	a[above] = make(map[string]*resource, len(now[above]))
	a[below] = make(map[string]*resource, len(now[below]))
	for name, h := range now[above] {
		r := h.resource
		if !ready(r, now[below]) {
			waiting = true
			if r = old[above][name]; r == nil {
				continue
			}
		}
		a[above][name] = r
		for _, ref := range r.refs {
			if h, ok := now[below][ref]; ok {
				a[below][ref] = h.resource
			} else {
				a[below][ref] = old[below][ref]
			}
		}
	}
	return a, waiting
}

func ready(r *resource, below map[string]held) bool {
	for _, ref := range r.refs {
		if _, ok := below[ref]; !ok {
			return false
		}
	}
	return true
}

// wanted returns the names of kind below that are to be subscribed: what the accepted resources
// refer to, and what the ones in effect do.
func wanted(now *tables, a *active, above kind) map[string]bool {
	names := make(map[string]bool, len(now[above]))
	for name, h := range now[above] {
		for _, ref := range h.refs {
			names[ref] = true
		}
		if r := a[above][name]; r != nil {
			for _, ref := range r.refs {
				names[ref] = true
			}
		}
	}
	return names
}

// equal compares the pair of kinds that a change of kind k may have changed.
func (a *active) equal(b *active, k kind) bool {
	above, below := k.pair()
	return maps.Equal(a[above], b[above]) && maps.Equal(a[below], b[below])
}

func (a *active) snapshot() *xds.Snapshot {
	s := &xds.Snapshot{
		Clusters:  make(map[string]*clusterv3.Cluster, len(a[cds])),
		Endpoints: make(map[string]*endpointv3.ClusterLoadAssignment, len(a[eds])),
		Listeners: make(map[string]*listenerv3.Listener, len(a[lds])),
		Routes:    make(map[string]*routev3.RouteConfiguration, len(a[rds])),
		Secrets:   map[string]*tlsv3.Secret{},
	}
	for n, r := range a[cds] {
		s.Clusters[n] = r.msg.(*clusterv3.Cluster)
	}
	for n, r := range a[eds] {
		s.Endpoints[n] = r.msg.(*endpointv3.ClusterLoadAssignment)
	}
	for n, r := range a[lds] {
		s.Listeners[n] = r.msg.(*listenerv3.Listener)
	}
	for n, r := range a[rds] {
		s.Routes[n] = r.msg.(*routev3.RouteConfiguration)
	}
	return s
}
