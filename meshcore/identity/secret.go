package identity

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Names of the secrets that every proxy of the mesh has (Istio pkg/security/security.go
// WorkloadKeyCertResourceName, RootCertReqResourceName).
const (
	Default = "default"
	RootCA  = "ROOTCA"
)

// rootSecret is the secret of the trusted root, as istio-agent serves it
// (security/pkg/nodeagent/sds/sdsservice.go toEnvoySecret).
func rootSecret(pem []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: RootCA, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(pem)},
	}}
}

// certificateSecret is the secret of a workload's certificate, likewise.
func certificateSecret(c Certificate) (*tlsv3.Secret, error) {
	key, err := c.KeyPEM()
	if err != nil {
		return nil, err
	}
	return &tlsv3.Secret{Name: Default, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(c.PEM()), PrivateKey: inline(key),
		},
	}}, nil
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
