package engine

import (
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// resources are the messages that were taken and what was made of them.
type resources struct {
	clusters  taken[*clusterv3.Cluster, *Cluster]
	endpoints taken[*endpointv3.ClusterLoadAssignment, *assignment]
	listeners taken[*listenerv3.Listener, *Listener]
	routes    taken[*routev3.RouteConfiguration, *routeConfig]
	secrets   taken[*tlsv3.Secret, *transport.Secret]
}

// taken is one type's resources by name.
type taken[M proto.Message, C any] map[string]compiled[M, C]

type compiled[M proto.Message, C any] struct {
	message M
	value   C
}

// Check says whether one resource can be carried out; the error is a Refusals.
func (e *Engine) Check(m proto.Message) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var bad []Refusal
	switch m := m.(type) {
	case *clusterv3.Cluster:
		_, bad = compile(e, m, (*compiler).cluster)
	case *endpointv3.ClusterLoadAssignment:
		_, bad = compile(e, m, (*compiler).assignment)
	case *listenerv3.Listener:
		_, bad = compile(e, m, (*compiler).listener)
	case *routev3.RouteConfiguration:
		_, bad = compile(e, m, (*compiler).routeConfig)
	case *tlsv3.Secret:
		_, bad = compile(e, m, (*compiler).secret)
	default:
		what := string(m.ProtoReflect().Descriptor().FullName())
		bad = []Refusal{{Reason: what + " " + notCarried}}
	}
	if len(bad) == 0 {
		return nil
	}
	return Refusals(named(bad, "type.googleapis.com/"+
		string(m.ProtoReflect().Descriptor().FullName()), nameOf(m)))
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case *endpointv3.ClusterLoadAssignment:
		return m.GetClusterName()
	case interface{ GetName() string }:
		return m.GetName()
	}
	return ""
}

func named(list []Refusal, typeURL, name string) []Refusal {
	for i := range list {
		list[i].Type, list[i].Name = typeURL, name
	}
	return list
}

// compile makes the compiled form of a resource, or says what is wrong with it. What Check made is
// not made again. Caller must hold mu.
func compile[M proto.Message, C any](e *Engine, m M, f func(*compiler, M) C) (C, []Refusal) {
	if v, ok := e.checked[m].(C); ok {
		return v, nil
	}
	found := e.opt.Checks.inspect(m)
	whole := Refusals(found.invalid).Whole()
	if len(found.unsupported) > 0 {
		found.unsupported[0].Proto = whole
		var none C
		return none, found.unsupported
	}
	c := &compiler{e: e}
	value := f(c, m)
	if len(c.errs) == 0 { // our own words come first
		c.errs = found.invalid
	}
	if len(c.errs) > 0 {
		c.errs[0].Proto = whole
	}
	if len(c.errs) == 0 {
		e.checked[m] = value
	}
	return value, c.errs
}

// take compiles what changed of one type. It returns the new resources and those names that
// changed; or the refusals, and then nothing of the type changes.
func take[M proto.Message, C any](e *Engine, old taken[M, C], next map[string]M,
	f func(*compiler, M) C) (now taken[M, C], changed []string, bad []Refusal) {
	now = make(taken[M, C], len(next))
	for _, name := range slices.Sorted(maps.Keys(next)) {
		m := next[name]
		if have, ok := old[name]; ok && same(have.message, m) {
			now[name] = compiled[M, C]{m, have.value}
			continue
		}
		value, errs := compile(e, m, f)
		typeURL := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
		bad = append(bad, named(errs, typeURL, name)...)
		now[name] = compiled[M, C]{m, value}
		changed = append(changed, name)
	}
	if len(bad) > 0 {
		return old, nil, bad
	}
	return now, changed, nil
}

func same(a, b proto.Message) bool {
	return a == b || proto.Equal(a, b)
}

// Update takes a snapshot. Resources that are the same message as before, or equal to it, cost
// next to nothing. When a resource of a type is refused, all resources of that type stay as
// they were (as Envoy rejects a response) and the error, a Refusals, names them; other types
// are taken.
func (e *Engine) Update(now clock.Instant, s *xds.Snapshot) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var refused Refusals
	h := &e.have
	secrets, fresh, bad := take(e, h.secrets, s.Secrets, (*compiler).secret)
	refused = append(refused, bad...)
	h.secrets = secrets
	e.applySecrets(fresh)
	oldClusters := h.clusters
	clusters, freshClusters, bad := take(e, h.clusters, s.Clusters, (*compiler).cluster)
	refused = append(refused, bad...)
	endpoints, freshEndpoints, bad := take(e, h.endpoints, s.Endpoints, (*compiler).assignment)
	refused = append(refused, bad...)
	h.clusters, h.endpoints = clusters, endpoints
	e.applyClusters(now, oldClusters, freshClusters, freshEndpoints)

	listeners, fresh, bad := take(e, h.listeners, s.Listeners, (*compiler).listener)
	if bad = append(bad, sameAddress(listeners, h.listeners)...); len(bad) > 0 {
		listeners, fresh = h.listeners, nil
	}
	refused = append(refused, bad...)
	if len(fresh) > 0 || len(listeners) != len(h.listeners) {
		list := make([]*Listener, 0, len(listeners))
		for _, name := range slices.Sorted(maps.Keys(listeners)) {
			list = append(list, listeners[name].value)
		}
		h.listeners = listeners
		e.listeners.Store(&list)
	}

	oldRoutes := h.routes
	routes, fresh, bad := take(e, h.routes, s.Routes, (*compiler).routeConfig)
	refused = append(refused, bad...)
	h.routes = routes
	for _, name := range fresh {
		e.routeSlot(name).Store(routes[name].value)
	}
	for name := range oldRoutes {
		if _, ok := routes[name]; !ok {
			e.routeSlot(name).Store(nil)
		}
	}
	clear(e.checked)
	if len(refused) > 0 {
		return refused
	}
	return nil
}

// sameAddress refuses listeners at the address of another one: of one that was there before, or
// whose name comes first (source/common/listener_manager/listener_manager_impl.cc
// hasListenerWithDuplicatedAddress).
func sameAddress(now, old taken[*listenerv3.Listener, *Listener]) []Refusal {
	at := map[Address]string{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if old[name].value == now[name].value {
			for _, addr := range now[name].value.addrs {
				at[addr] = name
			}
		}
	}
	var bad []Refusal
	for _, name := range slices.Sorted(maps.Keys(now)) {
		for _, addr := range now[name].value.addrs {
			other, taken := at[addr]
			if !taken {
				at[addr] = name
			} else if other != name {
				bad = append(bad, Refusal{Type: xds.ListenerType, Name: name, Field: "address",
					Reason: "has duplicate address '" + addr.String() +
						"' as existing listener " + other})
				break
			}
		}
	}
	return bad
}

// applyClusters makes new clusters visible with their endpoints, gives others new endpoints, and
// removes what is gone.
func (e *Engine) applyClusters(now clock.Instant, old taken[*clusterv3.Cluster, *Cluster],
	fresh, freshEndpoints []string) {
	h := &e.have
	assign := map[string]bool{}
	for _, name := range freshEndpoints {
		assign[name] = true
	}
	gone := 0
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if c, ok := h.clusters[name]; !ok || c.value != old[name].value {
			if !ok {
				e.clusterSlot(name).Store(nil)
				gone++
			}
			defer old[name].value.close()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.clusters)) {
		c := h.clusters[name].value
		isFresh := slices.Contains(fresh, name)
		switch {
		case c.kind == clusterv3.Cluster_EDS && (isFresh || assign[c.service] || e.lost(c)):
			c.assign(h.endpoints[c.service].value, now)
		case c.kind == clusterv3.Cluster_STATIC && isFresh:
			c.assign(c.static, now)
		}
		if isFresh {
			e.clusterSlot(name).Store(c)
		}
	}
	if len(fresh)+gone == 0 {
		return
	}
	e.live = e.live[:0]
	for _, name := range slices.Sorted(maps.Keys(h.clusters)) {
		e.live = append(e.live, h.clusters[name].value)
	}
}

// lost says that the cluster has endpoints but its resource has gone.
func (e *Engine) lost(c *Cluster) bool {
	_, ok := e.have.endpoints[c.service]
	return !ok && len(c.hosts) > 0
}
