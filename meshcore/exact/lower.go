package exact

import (
	_ "embed" // the Lua script
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

//go:embed exact.lua
var script string

// Lower returns a proxy's snapshot in which what is left to chance is decided by draws that the
// proxy enumerates, for Envoy as it is released. Every connection manager that asks for routes gets
// a Lua filter, behind the filters that may turn a request away and before those that decide; a
// route with decisions gets them as metadata, and becomes as many routes as its faults and mirrors
// have outcomes, each with matchers on the draws (range_match), while weights take theirs by
// header_name. The draws are removed before the request goes upstream.
//
// Connection managers get the filter whether their routes have decisions now or not: a change of
// weights is then a change of routes alone, which reaches connections that are open.
//
// The snapshot itself is not changed; what is altered in no way is shared with it.
func Lower(s *xds.Snapshot) (*xds.Snapshot, error) { return NewLowering().Snapshot(s) }

// Lowering lowers the snapshots of several proxies. What they share they still share afterwards.
type Lowering struct {
	routes    map[*routev3.RouteConfiguration]*routev3.RouteConfiguration
	listeners map[*listenerv3.Listener]*listenerv3.Listener
}

// NewLowering returns a Lowering.
func NewLowering() *Lowering {
	return &Lowering{
		routes:    map[*routev3.RouteConfiguration]*routev3.RouteConfiguration{},
		listeners: map[*listenerv3.Listener]*listenerv3.Listener{},
	}
}

// Snapshot does what Lower says.
func (w *Lowering) Snapshot(s *xds.Snapshot) (*xds.Snapshot, error) {
	out := *s
	var err error
	if out.Routes, err = each(s.Routes, w.routes, lowerConfig); err != nil {
		return nil, err
	}
	if out.Listeners, err = each(s.Listeners, w.listeners, lowerListener); err != nil {
		return nil, err
	}
	return &out, nil
}

// each lowers the resources of one type, those that are known already aside.
func each[M interface {
	comparable
	GetName() string
}](in map[string]M, known map[M]M, lower func(M) (M, error)) (map[string]M, error) {
	out := make(map[string]M, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		m := in[name]
		if _, ok := known[m]; !ok {
			low, err := lower(m)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.GetName(), err)
			}
			known[m] = low
		}
		out[name] = known[m]
	}
	return out, nil
}

// lowerListener puts the filter into the connection managers of a listener.
func lowerListener(l *listenerv3.Listener) (*listenerv3.Listener, error) {
	return xds.EditManagers(l, lowerManager)
}

// lowerManager changes a connection manager whose routes come over RDS, or stand in it and have
// decisions.
func lowerManager(m *hcmv3.HttpConnectionManager) (done bool, err error) {
	if rc := m.GetRouteConfig(); rc != nil {
		lowered, err := lowerConfig(rc)
		if err != nil || lowered == rc {
			return false, err
		}
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: lowered}
	}
	at := slices.IndexFunc(m.GetHttpFilters(), func(f *hcmv3.HttpFilter) bool {
		return f.GetTypedConfig().MessageIs(&faultv3.HTTPFault{}) ||
			f.GetTypedConfig().MessageIs(&routerv3.Router{})
	})
	if at < 0 {
		return false, nil // it does not route
	}
	lua, err := anypb.New(&luav3.Lua{
		DefaultSourceCode: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: script}},
		// Once for all headers, by the script itself.
		ClearRouteCache: wrapperspb.Bool(false),
	})
	if err != nil {
		return false, err
	}
	m.HttpFilters = slices.Insert(m.HttpFilters, at, &hcmv3.HttpFilter{
		Name: Name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: lua}})
	return true, nil
}

// lowerConfig returns the route configuration itself when nothing in it is left to chance.
func lowerConfig(rc *routev3.RouteConfiguration) (*routev3.RouteConfiguration, error) {
	var out *routev3.RouteConfiguration
	for i, v := range rc.GetVirtualHosts() {
		var routes []*routev3.Route
		altered := false
		for _, r := range v.GetRoutes() {
			decisions := Of(r)
			if len(decisions) == 0 {
				routes = append(routes, r)
				continue
			}
			variants, err := lowerRoute(ID(rc.GetName(), v.GetName(), r), r, decisions)
			if err != nil {
				return nil, fmt.Errorf("virtual host %s: %w", v.GetName(), err)
			}
			routes, altered = append(routes, variants...), true
		}
		if !altered {
			continue
		}
		if out == nil {
			out = shallow(rc)
		}
		fresh := &routev3.VirtualHost{}
		copyFields(fresh, v)
		fresh.Routes = routes
		out.VirtualHosts[i] = fresh
	}
	if out == nil {
		return rc, nil
	}
	return out, nil
}

// shallow copies a route configuration; its virtual hosts are the same until they are replaced.
func shallow(rc *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{}
	copyFields(out, rc)
	out.VirtualHosts = slices.Clone(rc.VirtualHosts)
	return out
}

// copyFields sets the fields of a message to those of another, sharing what they hold.
func copyFields(to, from proto.Message) {
	m := to.ProtoReflect()
	for fd, v := range from.ProtoReflect().Range {
		m.Set(fd, v)
	}
}
