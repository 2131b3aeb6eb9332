package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// Mutual TLS between proxies is not carried out yet. Everything that istiod makes for it has its
// place here, and only here:
//   - clusters: transport_socket_matches tlsMode-istio and tlsMode-disabled, or what tls.mode says;
//   - endpoints: metadata envoy.transport_socket_match, tlsMode: istio for pods with a sidecar;
//   - virtualInbound: chains for transport_protocol tls with istio's ALPNs, tls_inspector;
//   - connection managers: forward_client_cert_details and what of the certificate is forwarded.

// upstreamTransport sets how a cluster's connections are secured.
func upstreamTransport(*clusterv3.Cluster, *networkingv1alpha3.ClientTLSSettings) {}

// endpointTransport marks an endpoint whose sidecar takes mutual TLS.
func endpointTransport(*corev3.Metadata, *Pod) {}

// inboundTransport returns the filter chains beside a plain one that take the same traffic over
// TLS.
func inboundTransport(*listenerv3.FilterChain) []*listenerv3.FilterChain { return nil }

// inspectTLS returns the listener filter that finds TLS handshakes on inbound connections.
func inspectTLS() []*listenerv3.ListenerFilter { return nil }

// clientCertificate says what of a client's certificate a connection manager passes on.
func clientCertificate(*hcmv3.HttpConnectionManager) {}
