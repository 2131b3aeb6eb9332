package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// serverALPN is what servers that end TLS offer, of HTTP or not. Istio
// pilot/pkg/networking/util/util.go ALPNHttp, ALPNDownstream.
var serverALPN = []string{"h2", "http/1.1"}

// serverTLS makes the transport socket of a server that ends TLS. Istio
// pilot/pkg/networking/core/listener.go BuildListenerTLSContext.
func serverTLS(
	s *networkingv1alpha3.ServerTLSSettings, mesh *meshconfig.MeshConfig,
) *corev3.TransportSocket {
	demands := asksForCertificates(s) &&
		s.Mode != networkingv1alpha3.ServerTLSSettings_OPTIONAL_MUTUAL
	common := &tlsv3.CommonTlsContext{AlpnProtocols: serverALPN}
	if s.Mode != networkingv1alpha3.ServerTLSSettings_ISTIO_MUTUAL {
		common.TlsParams = serverParams(s, mesh.GetTlsDefaults())
	}
	secrets := serverSecretsOf(s)
	common.TlsCertificateSdsSecretConfigs = secrets.certificates
	context := &tlsv3.CertificateValidationContext{
		MatchSubjectAltNames: anyOf(s.SubjectAltNames), //nolint:staticcheck // as istiod
	}
	switch {
	case asksForCertificates(s):
		if s.GetInsecureSkipVerify().GetValue() {
			context.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}
		if secrets.pins {
			context.VerifyCertificateSpki = s.VerifyCertificateSpki
			context.VerifyCertificateHash = s.VerifyCertificateHash
		}
		common.ValidationContextType = validateWith(secrets.root, context)
	case secrets.pins && len(s.SubjectAltNames) > 0:
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: context,
		}
	}
	return tlsSocket(&tlsv3.DownstreamTlsContext{
		CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(demands),
	})
}

// asksForCertificates: clients are to show a certificate, if they have one at least.
func asksForCertificates(s *networkingv1alpha3.ServerTLSSettings) bool {
	switch s.Mode {
	case networkingv1alpha3.ServerTLSSettings_MUTUAL,
		networkingv1alpha3.ServerTLSSettings_OPTIONAL_MUTUAL,
		networkingv1alpha3.ServerTLSSettings_ISTIO_MUTUAL:
		return true
	}
	return false
}

// serverSecrets are what a server needs: its certificates, and the roots of its clients'.
type serverSecrets struct {
	certificates []*tlsv3.SdsSecretConfig
	root         *tlsv3.SdsSecretConfig
	// pins: verifyCertificateSpki, verifyCertificateHash and, without client certificates,
	// subjectAltNames come into force, as istiod has it for Secrets only.
	pins bool
}

func serverSecretsOf(s *networkingv1alpha3.ServerTLSSettings) serverSecrets {
	if s.Mode == networkingv1alpha3.ServerTLSSettings_ISTIO_MUTUAL {
		return serverSecrets{
			certificates: []*tlsv3.SdsSecretConfig{agentSecret(workloadSecret)},
			root:         agentSecret(rootSecret),
		}
	}
	out := serverSecrets{}
	if names := credentialNames(s); len(names) > 0 {
		for _, n := range names {
			out.certificates = append(out.certificates, controlPlaneSecret(credentialResource(n)))
		}
		out.root = controlPlaneSecret(credentialResource(rootCredential(s)))
		out.pins = true
		return out
	}
	files := s.TlsCertificates
	if len(files) == 0 {
		files = []*networkingv1alpha3.ServerTLSSettings_TLSCertificate{
			{ServerCertificate: s.ServerCertificate, PrivateKey: s.PrivateKey},
		}
	}
	for _, f := range files {
		name := fileCertificate(f.ServerCertificate, f.PrivateKey)
		out.certificates = append(out.certificates, agentSecret(name))
	}
	out.root = agentSecret(fileRoot(s.CaCertificates))
	return out
}

// credentialNames are the Secrets of a server's certificates, for several kinds of keys.
func credentialNames(s *networkingv1alpha3.ServerTLSSettings) []string {
	if len(s.CredentialNames) > 0 {
		return s.CredentialNames
	}
	if s.CredentialName != "" {
		return []string{s.CredentialName}
	}
	return nil
}

// rootCredential is the Secret of the roots: of several Secrets with certificates the first one's
// counts.
func rootCredential(s *networkingv1alpha3.ServerTLSSettings) string {
	if s.CaCertCredentialName != "" {
		return s.CaCertCredentialName
	}
	return credentialNames(s)[0] + caSuffix
}

// serverParams bounds versions and ciphers: as the server says, else as the mesh does; nil leaves
// them to Envoy. Istio pilot/pkg/networking/core/listener.go applyDownstreamTLSDefaults,
// applyServerTLSSettings.
func serverParams(
	s *networkingv1alpha3.ServerTLSSettings, mesh *meshconfig.MeshConfig_TLSConfig,
) *tlsv3.TlsParameters {
	out := &tlsv3.TlsParameters{
		// Istio's values have the same numbers.
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TlsProtocol(s.MinProtocolVersion),
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TlsProtocol(s.MaxProtocolVersion),
		CipherSuites:              istio.CipherSuites(s.CipherSuites),
		EcdhCurves:                mesh.GetEcdhCurves(),
	}
	if out.TlsMinimumProtocolVersion == 0 {
		switch mesh.GetMinProtocolVersion() {
		case meshconfig.MeshConfig_TLSConfig_TLSV1_2:
			out.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_2
		case meshconfig.MeshConfig_TLSConfig_TLSV1_3:
			out.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_3
		}
	}
	if len(out.CipherSuites) == 0 {
		out.CipherSuites = mesh.GetCipherSuites()
	}
	if proto.Size(out) == 0 {
		return nil
	}
	return out
}

// caSuffix ends the name of a Secret that has roots only.
const caSuffix = "-cacert"

// credentialResource names the secret of a credentialName. Istio
// pilot/pkg/model/credentials/resource.go ToResourceName.
func credentialResource(name string) string {
	if strings.HasPrefix(name, kubernetesSecret) {
		return name
	}
	return kubernetesSecret + name
}

const kubernetesSecret = "kubernetes://"

func fileCertificate(certificate, key string) string {
	return "file-cert:" + certificate + "~" + key
}

func fileRoot(path string) string { return "file-root:" + path }
