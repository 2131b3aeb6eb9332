package translate

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// tlsTransport is the transport protocol of connections that begin with a TLS handshake.
const tlsTransport = "tls"

// What clients with a sidecar offer: over HTTP, over anything else, and all of it. Istio
// pilot/pkg/networking/core/listener.go.
var (
	meshHTTPALPNs = []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	meshTCPALPNs  = []string{"istio-peer-exchange", "istio"}
	meshALPNs     = []string{
		"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2",
	}
)

// inboundCiphers are what sidecars accept below TLS 1.3. Istio
// pilot/pkg/security/authn/utils/utils.go SupportedCiphers.
var inboundCiphers = []string{
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"AES256-GCM-SHA384", "AES128-GCM-SHA256",
}

// inboundMatch is one kind of connection to a port, and what takes it.
type inboundMatch struct {
	alpn      []string
	transport string
	http      bool // taken by a connection manager, else passed on as bytes
	terminate bool // mutual TLS ends here
}

// inboundMatches lists the kinds of connections to a port. Istio
// pilot/pkg/networking/core/filterchain_options.go.
func inboundMatches(p protocol, mode mutualTLS) []inboundMatch {
	switch {
	case p.isHTTP() && mode == mutualStrict:
		return []inboundMatch{{nil, tlsTransport, true, true}}
	case p.isHTTP() && mode == mutualPermissive:
		return []inboundMatch{
			{meshALPNs, tlsTransport, true, true},
			{nil, rawBuffer, true, false},
		}
	case p.isHTTP():
		return []inboundMatch{{nil, rawBuffer, true, false}}
	case p == protoDetect && mode == mutualStrict:
		return []inboundMatch{
			{meshHTTPALPNs, tlsTransport, true, true},
			{nil, tlsTransport, false, true},
		}
	case p == protoDetect && mode == mutualPermissive:
		return []inboundMatch{
			{meshHTTPALPNs, tlsTransport, true, true},
			{httpALPNs, rawBuffer, true, false},
			{meshTCPALPNs, tlsTransport, false, true},
			{nil, rawBuffer, false, false},
			{nil, tlsTransport, false, false}, // the application's own TLS
		}
	case p == protoDetect:
		return []inboundMatch{
			{httpALPNs, rawBuffer, true, false},
			{nil, rawBuffer, false, false},
		}
	case mode == mutualStrict:
		return []inboundMatch{{nil, tlsTransport, false, true}}
	case mode == mutualPermissive:
		return []inboundMatch{
			{meshALPNs, tlsTransport, false, true},
			{nil, tlsTransport, false, false},
			{nil, rawBuffer, false, false},
		}
	}
	return []inboundMatch{{nil, rawBuffer, false, false}}
}

// inboundTLS makes the context with which sidecars end mutual TLS. Istio
// pilot/pkg/security/authn/utils/utils.go BuildInboundTLS.
func inboundTLS(mesh *meshconfig.MeshConfig) *tlsv3.DownstreamTlsContext {
	least := tlsv3.TlsParameters_TLSv1_2
	if mesh.GetMeshMTLS().GetMinProtocolVersion() == meshconfig.MeshConfig_TLSConfig_TLSV1_3 {
		least = tlsv3.TlsParameters_TLSv1_3
	}
	ciphers := inboundCiphers
	if c := mesh.GetMeshMTLS().GetCipherSuites(); c != nil {
		ciphers = c
	}
	var domains []*matcherv3.StringMatcher
	for _, d := range acceptedDomains(mesh) {
		domains = append(domains, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + d + "/"},
		})
	}
	return &tlsv3.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols: []string{"h2", "http/1.1"},
			TlsParams: &tlsv3.TlsParameters{
				CipherSuites:              ciphers,
				TlsMinimumProtocolVersion: least,
				TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{agentSecret(workloadSecret)},
			ValidationContextType: validateWith(agentSecret(rootSecret),
				&tlsv3.CertificateValidationContext{MatchSubjectAltNames: domains}),
		},
	}
}

// acceptedDomains are the domains whose identities the mesh takes, each once. Istio
// pilot/pkg/networking/plugin/authn/util.go TrustDomainsForValidation.
func acceptedDomains(mesh *meshconfig.MeshConfig) []string {
	all := append([]string{trustDomain(mesh)}, mesh.GetTrustDomainAliases()...)
	for _, ca := range mesh.GetCaCertificates() {
		all = append(all, ca.GetTrustDomains()...)
	}
	var out []string
	for _, d := range all {
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// inspectors are the listener filters that look at the first bytes of connections: only where some
// chain of the port asks for what they find. Istio pilot/pkg/networking/core/listener_inbound.go
// populateListenerFilters.
func inspectors(chains []*listenerv3.FilterChain) []*listenerv3.ListenerFilter {
	tls, http := map[uint32]bool{}, map[uint32]bool{}
	for _, c := range chains {
		m := c.GetFilterChainMatch()
		number := m.GetDestinationPort().GetValue()
		tls[number] = tls[number] || m.GetTransportProtocol() == tlsTransport
		http[number] = http[number] || slices.ContainsFunc(m.GetApplicationProtocols(),
			func(p string) bool { return slices.Contains(httpALPNs, p) })
	}
	var out []*listenerv3.ListenerFilter
	if off := portsThat(tls, false); len(portsThat(tls, true)) > 0 {
		switch {
		case tls[0] && len(off) > 0:
			out = append(out, tlsInspector(toPorts(off)))
		case tls[0]:
			out = append(out, tlsInspector(nil))
		default:
			out = append(out, tlsInspector(not(toPorts(portsThat(tls, true)))))
		}
	}
	if off := portsThat(http, false); len(off) < len(http) {
		if len(off) == 0 {
			return append(out, httpInspector(nil))
		}
		out = append(out, httpInspector(toPorts(off)))
	}
	return out
}

func portsThat(m map[uint32]bool, want bool) []uint32 {
	var out []uint32
	for number, is := range m {
		if is == want {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

func not(p *listenerv3.ListenerFilterChainMatchPredicate) *predicate {
	return &predicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_NotMatch{NotMatch: p}}
}

type predicate = listenerv3.ListenerFilterChainMatchPredicate

// clientCertificate says what of a client's certificate a connection manager passes on. Istio
// pilot/pkg/networking/util/util.go GetProxyHeadersFromProxyConfig,
// pilot/pkg/networking/core/gateway.go buildGatewayConnectionManager.
func clientCertificate(out *hcmv3.HttpConnectionManager, c class, mesh *meshconfig.MeshConfig) {
	config := mesh.GetDefaultConfig()
	how, details := config.GetProxyHeaders().GetForwardedClientCert(),
		config.GetProxyHeaders().GetSetCurrentClientCertDetails()
	on := func(v *wrapperspb.BoolValue, otherwise bool) bool {
		if v == nil {
			return otherwise
		}
		return v.Value
	}
	if c == inboundClass {
		out.ForwardClientCertDetails = forwardCertificate(how,
			hcmv3.HttpConnectionManager_APPEND_FORWARD)
		out.SetCurrentClientCertDetails = &certificateDetails{
			Subject: wrapperspb.Bool(on(details.GetSubject(), true)),
			Uri:     on(details.GetUri(), true),
			Dns:     on(details.GetDns(), true),
			Cert:    on(details.GetCert(), false),
			Chain:   on(details.GetChain(), false),
		}
		return
	}
	out.ForwardClientCertDetails = forwardCertificate(
		config.GetGatewayTopology().GetForwardClientCertDetails(),
		hcmv3.HttpConnectionManager_SANITIZE_SET)
	switch out.ForwardClientCertDetails {
	case hcmv3.HttpConnectionManager_APPEND_FORWARD, hcmv3.HttpConnectionManager_SANITIZE_SET:
		out.SetCurrentClientCertDetails = &certificateDetails{
			Subject: wrapperspb.Bool(true), Cert: true, Dns: true, Uri: true,
		}
	}
}

type certificateDetails = hcmv3.HttpConnectionManager_SetCurrentClientCertDetails

// forwardCertificate is Istio's setting in Envoy's numbers.
func forwardCertificate(
	how meshconfig.ForwardClientCertDetails,
	otherwise hcmv3.HttpConnectionManager_ForwardClientCertDetails,
) hcmv3.HttpConnectionManager_ForwardClientCertDetails {
	switch how {
	case meshconfig.ForwardClientCertDetails_SANITIZE:
		return hcmv3.HttpConnectionManager_SANITIZE
	case meshconfig.ForwardClientCertDetails_FORWARD_ONLY:
		return hcmv3.HttpConnectionManager_FORWARD_ONLY
	case meshconfig.ForwardClientCertDetails_APPEND_FORWARD:
		return hcmv3.HttpConnectionManager_APPEND_FORWARD
	case meshconfig.ForwardClientCertDetails_SANITIZE_SET:
		return hcmv3.HttpConnectionManager_SANITIZE_SET
	case meshconfig.ForwardClientCertDetails_ALWAYS_FORWARD_ONLY:
		return hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY
	}
	return otherwise
}
