package translate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// ClientTLSSettings with short names.
const (
	tlsDisable     = networkingv1alpha3.ClientTLSSettings_DISABLE
	tlsSimple      = networkingv1alpha3.ClientTLSSettings_SIMPLE
	tlsMutual      = networkingv1alpha3.ClientTLSSettings_MUTUAL
	tlsIstioMutual = networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL
)

// Where a proxy looks for what chooses an endpoint's transport socket, and what a sidecar's
// endpoint has there.
const (
	socketMatchKey  = "envoy.transport_socket_match"
	socketMatchName = "tlsMode"
	istioSocket     = "istio"
)

// upstreamTransport sets how a cluster's connections are secured: as the rule says, else by mutual
// TLS to each endpoint that has a sidecar. Istio pilot/pkg/networking/core/cluster_tls.go.
func (c *clusters) upstreamTransport(
	b *clusterBuilder, of subsetOf, settings *networkingv1alpha3.ClientTLSSettings,
) {
	number, subset := of.port.number, of.subset.GetName()
	switch {
	case settings == nil:
		if !c.automaticTLS(of) {
			return
		}
		context := istioMutual(of.service.accounts, sniOf(number, subset, of.service.Host), b)
		if b.out.GetType() == clusterv3.Cluster_ORIGINAL_DST { // no endpoint to ask
			b.out.TransportSocket = tlsSocket(context)
			return
		}
		b.out.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
			{
				Name: "tlsMode-istio", Match: socketMatch(), TransportSocket: tlsSocket(context),
			},
			{
				Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: rawSocket(),
			},
		}
	case settings.Mode == tlsIstioMutual:
		names := settings.SubjectAltNames
		if names == nil {
			names = of.service.accounts
		}
		sni := cmp.Or(settings.Sni, sniOf(number, subset, of.service.Host))
		b.out.TransportSocket = tlsSocket(istioMutual(names, sni, b))
	case settings.Mode != tlsDisable && !c.ignoresCredential(of, settings):
		b.out.TransportSocket = tlsSocket(b.originate(of, settings))
	}
}

// automaticTLS says whether a cluster without TLS settings uses mutual TLS where it can: unless
// that is off for the mesh, or by policy for the namespace of the service. Where the client chose
// the pod, all pods must have a sidecar. Istio pilot/pkg/model/push_context.go
// BestEffortInferServiceMTLSMode.
func (c *clusters) automaticTLS(of subsetOf) bool {
	if on := c.ix.mesh.GetEnableAutoMtls(); !on.GetValue() || of.service.meshExternal() {
		return false
	}
	policy := of.rule.trafficPolicy()
	if of.subset != nil {
		policy = of.subset.GetTrafficPolicy()
	}
	passthrough := policy.GetLoadBalancer().GetSimple() ==
		networkingv1alpha3.LoadBalancerSettings_PASSTHROUGH
	if of.service.passthrough() || passthrough {
		instances := of.service.instances[of.port.number]
		if len(instances) == 0 || slices.ContainsFunc(instances, func(in instance) bool {
			return !in.takesMutualTLS()
		}) {
			return false
		}
	}
	return c.ix.peers.ofNamespace(of.service.Namespace) != mutualDisable
}

// ignoresCredential: a sidecar may not read Secrets for a rule that applies to whole namespaces, so
// istiod leaves TLS out without a word.
func (c *clusters) ignoresCredential(
	of subsetOf, settings *networkingv1alpha3.ClientTLSSettings,
) bool {
	return !c.gateway && settings.CredentialName != "" &&
		!strings.HasPrefix(settings.CredentialName, configMapCredential) &&
		of.rule.spec.GetWorkloadSelector() == nil
}

// configMapCredential names roots in a ConfigMap, which anyone may read.
const configMapCredential = "configmap://"

// istioMutual makes the context of mutual TLS within the mesh.
func istioMutual(names []string, sni string, b *clusterBuilder) *tlsv3.UpstreamTlsContext {
	alpn := []string{"istio"}
	if b.isHTTP2() {
		alpn = []string{"istio", "h2"}
	}
	return &tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams:                      upstreamParams(),
			AlpnProtocols:                  alpn,
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{agentSecret(workloadSecret)},
			ValidationContextType: validateWith(agentSecret(rootSecret),
				&tlsv3.CertificateValidationContext{MatchSubjectAltNames: anyOf(names)}),
		},
	}
}

func upstreamParams() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
	}
}

// isHTTP2: the cluster always speaks HTTP/2.
func (b *clusterBuilder) isHTTP2() bool {
	return b.options.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil
}

// originate makes the context of TLS to a server that need not be of the mesh (SIMPLE, MUTUAL).
// Istio pilot/pkg/networking/core/cluster_tls.go constructUpstreamTLS.
func (b *clusterBuilder) originate(
	of subsetOf, settings *networkingv1alpha3.ClientTLSSettings,
) *tlsv3.UpstreamTlsContext {
	common := &tlsv3.CommonTlsContext{TlsParams: upstreamParams()}
	b.followAuthority(settings)
	secrets := clientSecretsOf(settings)
	if secrets.certificate != nil {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{secrets.certificate}
	}
	names := settings.SubjectAltNames
	if len(names) == 0 && of.service.entry != nil {
		names = of.service.accounts
	}
	switch {
	case secrets.root != nil:
		context := &tlsv3.CertificateValidationContext{MatchSubjectAltNames: anyOf(names)}
		if settings.CaCrl != "" && settings.CredentialName == "" {
			context.Crl = &corev3.DataSource{
				Specifier: &corev3.DataSource_Filename{Filename: settings.CaCrl},
			}
		}
		common.ValidationContextType = validateWith(secrets.root, context)
	case settings.CredentialName == "":
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{}
	}
	tlsDefaults(common, b.ix.mesh.GetTlsDefaults())
	if b.isHTTP2() {
		common.AlpnProtocols = []string{"h2"}
	}
	return &tlsv3.UpstreamTlsContext{Sni: settings.Sni, CommonTlsContext: common}
}

// tlsDefaults lays the mesh's curves and ciphers over those of Envoy.
func tlsDefaults(common *tlsv3.CommonTlsContext, d *meshconfig.MeshConfig_TLSConfig) {
	if len(d.GetEcdhCurves()) > 0 {
		common.TlsParams.EcdhCurves = d.EcdhCurves
	}
	if len(d.GetCipherSuites()) > 0 {
		common.TlsParams.CipherSuites = d.CipherSuites
	}
}

// followAuthority has the SNI of each connection be the request's authority where the rule gives
// none, and the server's certificate be checked for it where the rule gives no names either.
func (b *clusterBuilder) followAuthority(settings *networkingv1alpha3.ClientTLSSettings) {
	if settings.Sni != "" {
		return
	}
	check := len(settings.SubjectAltNames) == 0 && !settings.GetInsecureSkipVerify().GetValue()
	o := b.httpOptions()
	o.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{
		AutoSni: true, AutoSanValidation: check,
	}
}

// clientSecrets are the secrets that TLS settings need; nil ones are not needed.
type clientSecrets struct{ certificate, root *tlsv3.SdsSecretConfig }

// clientSecretsOf names a credential of Kubernetes, or the files in the proxy's container.
func clientSecretsOf(s *networkingv1alpha3.ClientTLSSettings) clientSecrets {
	var out clientSecrets
	mutual, unchecked := s.Mode == tlsMutual, s.GetInsecureSkipVerify().GetValue()
	if name := s.CredentialName; name != "" {
		if mutual {
			out.certificate = controlPlaneSecret(credentialResource(name))
		}
		if !unchecked {
			out.root = controlPlaneSecret(credentialResource(name + caSuffix))
		}
		return out
	}
	if mutual {
		out.certificate = agentSecret(fileCertificate(s.ClientCertificate, s.PrivateKey))
	}
	if !unchecked {
		out.root = agentSecret(fileRoot(cmp.Or(s.CaCertificates, systemRoots)))
	}
	return out
}

// systemRoots stands for the roots of the proxy's operating system.
const systemRoots = "system"

// sniOf is the server name of the mesh's own connections: the cluster, as a DNS name. Istio
// pilot/pkg/model/push_context.go BuildDNSSrvSubsetKey.
func sniOf(number uint32, subset, host string) string {
	return "outbound_." + strconv.FormatUint(uint64(number), 10) + "_." + subset + "_." + host
}

func rawSocket() *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: typed(&rawbufferv3.RawBuffer{}),
		},
	}
}

// socketMatch is what an endpoint with a sidecar is known by.
func socketMatch() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		socketMatchName: structpb.NewStringValue(istioSocket),
	}}
}

// keepsALPN says that Istio's ALPN filter leaves the cluster alone: its server is not of the mesh.
func keepsALPN(m *corev3.Metadata, mode networkingv1alpha3.ClientTLSSettings_TLSmode) {
	if mode == tlsSimple || mode == tlsMutual {
		m.FilterMetadata["istio"].Fields["alpn_override"] = structpb.NewStringValue("false")
	}
}

const tlsModeLabel = "security.istio.io/tlsMode"

// takesMutualTLS says whether an endpoint is marked so, by a label: the injector gives it to pods
// with a sidecar that do not have it already, and to no gateway. Istio
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml.
func (p *Pod) takesMutualTLS() bool {
	if p == nil {
		return false
	}
	if mode, ok := p.Labels[tlsModeLabel]; ok {
		return mode == istioSocket
	}
	return p.Role == Sidecar
}

// endpointTLS is the mode that a rule fixes for the endpoints of a cluster; ok is false where it
// fixes none. Settings of a port without TLS leave those around them, other than in clusters. Istio
// pilot/pkg/xds/endpoints/mtls_checker.go tlsModeForDestinationRule.
func (of subsetOf) endpointTLS() (mode networkingv1alpha3.ClientTLSSettings_TLSmode, ok bool) {
	for _, p := range []*networkingv1alpha3.TrafficPolicy{
		of.subset.GetTrafficPolicy(), of.rule.trafficPolicy(),
	} {
		settings := p.GetTls()
		for _, s := range p.GetPortLevelSettings() {
			if s.GetPort().GetNumber() == of.port.number && s.Tls != nil {
				settings = s.Tls
				break
			}
		}
		if settings != nil {
			return settings.Mode, true
		}
	}
	return 0, false
}

// withSocketMatch returns endpoint metadata with the mark of a sidecar.
func withSocketMatch(m *corev3.Metadata) *corev3.Metadata {
	out := proto.Clone(m).(*corev3.Metadata)
	out.FilterMetadata[socketMatchKey] = socketMatch()
	return out
}

// accounts lists the identities of a service's endpoints: of all pods, those without a sidecar and
// unready ones too, in each of the mesh's trust domains. Istio pilot/pkg/model/push_context.go
// addServiceAccounts.
func (ix *index) accounts(s *service) []string {
	domains := append([]string{trustDomain(ix.mesh)}, ix.mesh.GetTrustDomainAliases()...)
	var out []string
	for _, list := range s.instances {
		for _, in := range list {
			ns, name, ok := in.account()
			for _, d := range domains {
				if ok {
					out = append(out, spiffeID(d, ns, name))
				}
			}
		}
	}
	if s.entry != nil {
		out = append(out, s.entry.SubjectAltNames...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *destinationRule) trafficPolicy() *networkingv1alpha3.TrafficPolicy {
	if d == nil {
		return nil
	}
	return d.spec.GetTrafficPolicy()
}
