package sidecar

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// configDump shows the configuration in effect in Envoy's form (source/server/admin/
// config_dump_handler.cc): ?include_eds adds endpoints, ?resource= leaves one kind of resource,
// ?mask= some fields of each, ?name_regex= some names.
func (s *Sidecar) configDump(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var names *regexp.Regexp
	if text := q.Get("name_regex"); text != "" {
		var err error
		if names, err = regexp.Compile("^(?:" + text + ")$"); err != nil {
			http.Error(w, "Error while parsing name_regex from "+text, http.StatusBadRequest)
			return
		}
	}
	all := s.configs(q.Has("include_eds"), names)
	var mask []string
	if text := q.Get("mask"); text != "" {
		mask = strings.Split(text, ",")
	}
	if resource := q.Get("resource"); resource != "" {
		found, ok := list(all, resource)
		if !ok {
			http.Error(w, resource+" not found in config dump", http.StatusNotFound)
			return
		}
		all = found
	}
	out := &adminv3.ConfigDump{}
	for _, m := range all {
		if len(mask) > 0 {
			m = proto.Clone(m)
			if err := prune(m.ProtoReflect(), mask); err != nil {
				http.Error(w, "FieldMask "+q.Get("mask")+" could not be successfully used: "+
					err.Error(), http.StatusBadRequest)
				return
			}
		}
		out.Configs = append(out.Configs, packed(m))
	}
	writeJSON(w, out)
}

// packed is what Envoy packs, without private keys; a message that came over the wire always packs.
func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(xds.Redact(m))
	if err != nil {
		return &anypb.Any{}
	}
	return a
}

// configs returns the sections of a dump.
func (s *Sidecar) configs(endpoints bool, names *regexp.Regexp) []proto.Message {
	d := s.plane.dump()
	at := timestamppb.New(d.updated)
	began := timestamppb.New(s.began)
	clusters := &adminv3.ClustersConfigDump{VersionInfo: d.versions[xds.ClusterType]}
	for _, name := range sorted(d.static.Clusters, names) {
		clusters.StaticClusters = append(clusters.StaticClusters,
			&adminv3.ClustersConfigDump_StaticCluster{
				Cluster: packed(d.static.Clusters[name]), LastUpdated: began})
	}
	for _, name := range sorted(d.dynamic.Clusters, names) {
		clusters.DynamicActiveClusters = append(clusters.DynamicActiveClusters,
			&adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: d.versions[xds.ClusterType],
				Cluster: packed(d.dynamic.Clusters[name]), LastUpdated: at})
	}
	out := []proto.Message{
		&adminv3.BootstrapConfigDump{Bootstrap: s.opt.Bootstrap, LastUpdated: began}, clusters,
	}
	if endpoints {
		e := &adminv3.EndpointsConfigDump{}
		for _, name := range sorted(d.dynamic.Endpoints, names) {
			e.DynamicEndpointConfigs = append(e.DynamicEndpointConfigs,
				&adminv3.EndpointsConfigDump_DynamicEndpointConfig{
					VersionInfo:    d.versions[xds.EndpointType],
					EndpointConfig: packed(d.dynamic.Endpoints[name]), LastUpdated: at})
		}
		out = append(out, e)
	}
	return append(out, listenersDump(d, began, at, names), &adminv3.ScopedRoutesConfigDump{},
		routesDump(d, began, at, names), secretsDump(d, at, names))
}

// secretsDump shows the secrets in effect; packed redacts them.
func secretsDump(
	d dump, at *timestamppb.Timestamp, names *regexp.Regexp,
) *adminv3.SecretsConfigDump {
	out := &adminv3.SecretsConfigDump{}
	for _, name := range sorted(d.dynamic.Secrets, names) {
		out.DynamicActiveSecrets = append(out.DynamicActiveSecrets,
			&adminv3.SecretsConfigDump_DynamicSecret{
				Name: name, VersionInfo: d.versions[xds.SecretType], LastUpdated: at,
				Secret: packed(d.dynamic.Secrets[name])})
	}
	return out
}

func listenersDump(
	d dump, began, at *timestamppb.Timestamp, names *regexp.Regexp,
) *adminv3.ListenersConfigDump {
	out := &adminv3.ListenersConfigDump{VersionInfo: d.versions[xds.ListenerType]}
	for _, name := range sorted(d.static.Listeners, names) {
		out.StaticListeners = append(out.StaticListeners,
			&adminv3.ListenersConfigDump_StaticListener{
				Listener: packed(d.static.Listeners[name]), LastUpdated: began})
	}
	for _, name := range sorted(d.dynamic.Listeners, names) {
		out.DynamicListeners = append(out.DynamicListeners,
			&adminv3.ListenersConfigDump_DynamicListener{
				Name: name, ActiveState: &adminv3.ListenersConfigDump_DynamicListenerState{
					VersionInfo: d.versions[xds.ListenerType],
					Listener:    packed(d.dynamic.Listeners[name]), LastUpdated: at}})
	}
	return out
}

func routesDump(
	d dump, began, at *timestamppb.Timestamp, names *regexp.Regexp,
) *adminv3.RoutesConfigDump {
	out := &adminv3.RoutesConfigDump{}
	inline := func(s *xds.Snapshot, at *timestamppb.Timestamp) {
		for _, name := range sorted(s.Listeners, nil) {
			for _, rc := range inlineRoutes(s.Listeners[name]) {
				if named(names, rc.GetName()) {
					out.StaticRouteConfigs = append(out.StaticRouteConfigs,
						&adminv3.RoutesConfigDump_StaticRouteConfig{
							RouteConfig: packed(rc), LastUpdated: at})
				}
			}
		}
	}
	inline(d.static, began)
	inline(d.dynamic, at)
	for _, name := range sorted(d.dynamic.Routes, names) {
		out.DynamicRouteConfigs = append(out.DynamicRouteConfigs,
			&adminv3.RoutesConfigDump_DynamicRouteConfig{
				VersionInfo: d.versions[xds.RouteType],
				RouteConfig: packed(d.dynamic.Routes[name]), LastUpdated: at})
	}
	return out
}

// inlineRoutes returns the route configurations that stand in a listener itself.
func inlineRoutes(l *listenerv3.Listener) []*routev3.RouteConfiguration {
	var out []*routev3.RouteConfiguration
	for _, chain := range l.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			var h hcmv3.HttpConnectionManager
			if !f.GetTypedConfig().MessageIs(&h) || f.GetTypedConfig().UnmarshalTo(&h) != nil {
				continue
			}
			if rc := h.GetRouteConfig(); rc != nil {
				out = append(out, rc)
			}
		}
	}
	return out
}

func named(names *regexp.Regexp, name string) bool {
	return names == nil || names.MatchString(name)
}

// sorted returns the keys that names leaves.
func sorted[M any](m map[string]M, names *regexp.Regexp) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(n string) bool {
		return !named(names, n)
	})
}

// list returns the elements of the repeated field of this name in any section.
func list(all []proto.Message, field string) (out []proto.Message, ok bool) {
	for _, m := range all {
		r := m.ProtoReflect()
		fd := r.Descriptor().Fields().ByName(protoreflect.Name(field))
		if fd == nil {
			continue
		}
		ok = true
		if !fd.IsList() {
			out = append(out, r.Get(fd).Message().Interface())
			continue
		}
		for i := range r.Get(fd).List().Len() {
			out = append(out, r.Get(fd).List().Get(i).Message().Interface())
		}
	}
	return out, ok
}

// prune leaves the fields of a mask, through messages that are packed, too. A section that has none
// of them is left empty.
func prune(m protoreflect.Message, mask []string) error {
	keep := map[protoreflect.Name][]string{}
	for _, path := range mask {
		name, rest, deeper := strings.Cut(path, ".")
		below := keep[protoreflect.Name(name)]
		if deeper {
			below = append(below, rest)
		}
		keep[protoreflect.Name(name)] = below
	}
	var err error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		below, kept := keep[fd.Name()]
		switch {
		case !kept:
			m.Clear(fd)
		case len(below) == 0:
		case fd.Message() == nil || fd.IsMap():
			err = fmt.Errorf("%s has no fields", fd.Name())
		case fd.IsList():
			for i := range v.List().Len() {
				if err == nil {
					err = pruneBelow(v.List().Get(i).Message(), below)
				}
			}
		default:
			err = pruneBelow(v.Message(), below)
		}
		return err == nil
	})
	return err
}

func pruneBelow(m protoreflect.Message, mask []string) error {
	a, ok := m.Interface().(*anypb.Any)
	if !ok {
		return prune(m, mask)
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		return err
	}
	if err := prune(inner.ProtoReflect(), mask); err != nil {
		return err
	}
	return a.MarshalFrom(inner)
}
