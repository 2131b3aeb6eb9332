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
	sds
	lds
	rds
	kinds
)

var typeURLs = [kinds]string{
	xds.ClusterType, xds.EndpointType, xds.SecretType, xds.ListenerType, xds.RouteType,
}

func (k kind) typeURL() string { return typeURLs[k] }

func kindOf(typeURL string) (kind, bool) {
	i := slices.Index(typeURLs[:], typeURL)
	return kind(max(i, 0)), i >= 0
}

// byName says whether resources of this kind are asked for by name; the others are wanted whole.
func (k kind) byName() bool { return k != cds && k != lds }

// above returns the kinds that change in effect with k: those that refer to it, or k itself.
func (k kind) above() []kind {
	switch k {
	case cds, eds:
		return []kind{cds}
	case lds, rds:
		return []kind{lds}
	}
	return []kind{cds, lds}
}

// own returns the kind that only resources of kind k refer to, clusters or listeners; secrets are
// what both do.
func (k kind) own() kind {
	if k == cds {
		return eds
	}
	return rds
}

// held is an accepted resource and the server's version of it. A secret that the server says it
// does not have is held without a message.
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
// what is in effect so far. Waiting reports, of clusters and listeners that k may concern, that
// some wait for their references.
func warm(k kind, now *tables, old *active) (a *active, waiting map[kind]bool) {
	a, waiting = &active{}, map[kind]bool{}
	*a = *old
	for _, above := range k.above() {
		below := above.own()
		waiting[above] = false
		a[above] = make(map[string]*resource, len(now[above]))
		a[below] = make(map[string]*resource, len(now[below]))
		for name, h := range now[above] {
			r := h.resource
			if !ready(r, now) {
				waiting[above] = true
				if r = old[above][name]; r == nil {
					continue
				}
			}
			a[above][name] = r
			for _, ref := range r.refs[below] {
				if h, ok := now[below][ref]; ok {
					a[below][ref] = h.resource
				} else {
					a[below][ref] = old[below][ref]
				}
			}
		}
	}
	a[sds] = secrets(now, a, old)
	return a, waiting
}

// secrets returns those that what is in effect refers to, as far as there are any.
func secrets(now *tables, a, old *active) map[string]*resource {
	out := map[string]*resource{}
	for _, above := range sds.above() {
		for _, r := range a[above] {
			for _, ref := range r.refs[sds] {
				if h := now[sds][ref]; h.resource != nil && h.msg != nil {
					out[ref] = h.resource
				} else if r := old[sds][ref]; r != nil {
					out[ref] = r
				}
			}
		}
	}
	return out
}

func ready(r *resource, now *tables) bool {
	for below, refs := range r.refs {
		for _, ref := range refs {
			if _, ok := now[below][ref]; !ok {
				return false
			}
		}
	}
	return true
}

// wanted returns the names of kind below that are to be subscribed: what the accepted resources
// refer to, and what the ones in effect do.
func wanted(now *tables, a *active, below kind) map[string]bool {
	names := map[string]bool{}
	for _, above := range below.above() {
		for name, h := range now[above] {
			for _, ref := range h.refs[below] {
				names[ref] = true
			}
			if r := a[above][name]; r != nil {
				for _, ref := range r.refs[below] {
					names[ref] = true
				}
			}
		}
	}
	return names
}

func (a *active) equal(b *active) bool {
	for k := range kinds {
		if !maps.Equal(a[k], b[k]) {
			return false
		}
	}
	return true
}

func (a *active) snapshot() *xds.Snapshot {
	s := &xds.Snapshot{
		Clusters:  make(map[string]*clusterv3.Cluster, len(a[cds])),
		Endpoints: make(map[string]*endpointv3.ClusterLoadAssignment, len(a[eds])),
		Listeners: make(map[string]*listenerv3.Listener, len(a[lds])),
		Routes:    make(map[string]*routev3.RouteConfiguration, len(a[rds])),
		Secrets:   make(map[string]*tlsv3.Secret, len(a[sds])),
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
	for n, r := range a[sds] {
		s.Secrets[n] = r.msg.(*tlsv3.Secret)
	}
	return s
}
