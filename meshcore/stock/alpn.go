package stock

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	httpstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The ALPN that Istio's sidecars speak to each other. On a TLS context it is "istio", or in front
// of "h2"; the filter istio.alpn puts what the request is in front (Istio pilot/pkg/xds/filters/
// filters.go mtlsHTTP11ALPN). "http/1.1" is left out: no sidecar picks it before the others.
const (
	alpnIstio = "istio"
	alpnHTTP  = "istio-http/1.1,istio"
)

// Where the ALPN of a cluster's requests stands in its metadata, and what reads it from there.
const (
	metadataSpace = "mesh-lab"
	metadataKey   = "alpn"
	alpnFilter    = "envoy.filters.http.set_filter_state"
	alpnState     = "envoy.network.application_protocols" // Envoy network/application_protocol.cc
	routerType    = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
	clusterALPN   = "%METADATA(CLUSTER:" + metadataSpace + ":" + metadataKey + ")%"
)

// noteALPN writes the ALPN of its requests into a cluster's metadata.
func noteALPN(c *clusterv3.Cluster) {
	if c.Metadata == nil {
		c.Metadata = &corev3.Metadata{}
	}
	if c.Metadata.FilterMetadata == nil {
		c.Metadata.FilterMetadata = map[string]*structpb.Struct{}
	}
	c.Metadata.FilterMetadata[metadataSpace] = &structpb.Struct{
		Fields: map[string]*structpb.Value{metadataKey: structpb.NewStringValue(alpnHTTP)}}
}

// setALPN puts the filter in front of the router of a listener's outbound connection managers.
func setALPN(l *listenerv3.Listener) (*listenerv3.Listener, error) {
	if l.GetTrafficDirection() != corev3.TrafficDirection_OUTBOUND {
		return l, nil
	}
	return xds.EditManagers(l, func(m *hcmv3.HttpConnectionManager) (bool, error) {
		at := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
			return f.GetTypedConfig().GetTypeUrl() == routerType
		})
		if at < 0 {
			return false, nil
		}
		m.HttpFilters = slices.Insert(m.HttpFilters, at, filter())
		return true, nil
	})
}

// filter gives the ALPN of the request's cluster, where it has one, to the connection upstream.
func filter() *hcmv3.HttpFilter {
	format := &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: clusterALPN}}},
		OmitEmptyValues: true,
	}
	packed, err := anypb.New(&httpstatev3.Config{OnRequestHeaders: []*statev3.FilterStateValue{{
		Key:                &statev3.FilterStateValue_ObjectKey{ObjectKey: alpnState},
		Value:              &statev3.FilterStateValue_FormatString{FormatString: format},
		SharedWithUpstream: statev3.FilterStateValue_ONCE,
		SkipIfEmpty:        true,
	}}})
	if err != nil {
		panic("stock: " + err.Error()) // the message above is well-formed
	}
	return &hcmv3.HttpFilter{
		Name: alpnFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed},
	}
}
