package istio

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// Modes of servers.
const (
	passThrough     = networkingv1alpha3.ServerTLSSettings_PASSTHROUGH
	autoPassThrough = networkingv1alpha3.ServerTLSSettings_AUTO_PASSTHROUGH
	serverSimple    = networkingv1alpha3.ServerTLSSettings_SIMPLE
	serverMutual    = networkingv1alpha3.ServerTLSSettings_MUTUAL
	serverOptional  = networkingv1alpha3.ServerTLSSettings_OPTIONAL_MUTUAL
	serverIstio     = networkingv1alpha3.ServerTLSSettings_ISTIO_MUTUAL
)

// serverTLS checks the TLS settings of a server against its protocol and in themselves
// (pkg/config/validation/validation.go validateServer, validateTLSOptions).
func (c *checker) serverTLS(field string, s *networkingv1alpha3.Server) {
	protocol := strings.ToUpper(s.Port.Protocol)
	http := slices.Contains(
		[]string{"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"}, protocol)
	tls := protocol == "HTTPS" || protocol == "TLS"
	if s.Tls == nil {
		if tls {
			c.errorf(field, "server must have TLS settings for HTTPS/TLS protocols")
		}
		return
	}
	passes := s.Tls.Mode == passThrough || s.Tls.Mode == autoPassThrough
	switch {
	case tls:
		if s.Tls.HttpsRedirect {
			c.warnf(field+".httpsRedirect",
				"tls.httpsRedirect should only be used with http servers")
		}
	case http:
		if !passes || s.Tls.CaCertificates != "" || s.Tls.PrivateKey != "" ||
			s.Tls.ServerCertificate != "" {
			c.errorf(field, "server cannot have TLS settings for plain text HTTP ports; "+
				"only httpsRedirect is for them, certificates need protocol HTTPS")
			return
		}
		if !s.Tls.HttpsRedirect {
			c.warnf(field, "does nothing at a server of protocol %s; did you mean HTTPS?",
				s.Port.Protocol)
		}
	default:
		c.errorf(field,
			"server cannot have TLS settings for non HTTPS/TLS ports; write protocol TLS")
		return
	}
	c.versions(field, s.Tls)
	c.pins(field, s.Tls)
	switch {
	case s.Tls.Mode == serverIstio:
		c.meshCertificates(field, s.Tls)
		return
	case passes && !http && hasCertificates(s.Tls):
		c.warnf(field, "%v mode does not use certificates, they will be ignored", s.Tls.Mode)
	}
	c.certificateSource(field, s.Tls)
}

// versions checks the bounds of the protocol and its ciphers.
func (c *checker) versions(field string, s *networkingv1alpha3.ServerTLSSettings) {
	const tls12 = networkingv1alpha3.ServerTLSSettings_TLSV1_2
	if v := s.MinProtocolVersion; v != 0 && v < tls12 && len(s.CipherSuites) == 0 {
		c.warnf(field+".minProtocolVersion", "TLS version below TLSV1_2 require setting "+
			"compatible ciphers as by default they no longer include compatible ciphers")
	}
	if s.MaxProtocolVersion != 0 && s.MinProtocolVersion > s.MaxProtocolVersion {
		c.errorf(field+".maxProtocolVersion", "%v is below minProtocolVersion %v: no client could "+
			"connect", s.MaxProtocolVersion, s.MinProtocolVersion)
	}
	for i, name := range s.CipherSuites {
		switch f := at(field+".cipherSuites", i); {
		case !knownCipher(name):
			c.warnf(f, "ignoring invalid cipher suites: [%s]%s", name,
				didYouMean(name, knownCiphers))
		case slices.Contains(s.CipherSuites[:i], name):
			c.warnf(f, "ignoring duplicate cipher suites: [%s]", name)
		}
	}
}

// pins checks the fingerprints of clients' certificates: Envoy refuses a listener with others
// (source/common/tls/cert_validator/default_validator.cc initializeSslContexts).
func (c *checker) pins(field string, s *networkingv1alpha3.ServerTLSSettings) {
	for i, h := range s.VerifyCertificateHash {
		if b, err := hex.DecodeString(strings.ReplaceAll(h, ":", "")); err != nil || len(b) != 32 {
			c.errorf(at(field+".verifyCertificateHash", i), "must be a SHA-256 fingerprint in "+
				"hexadecimal, with colons or without, as openssl x509 -fingerprint -sha256 "+
				"prints it")
		}
	}
	for i, h := range s.VerifyCertificateSpki {
		if b, err := base64.StdEncoding.DecodeString(h); err != nil || len(b) != 32 {
			c.errorf(at(field+".verifyCertificateSpki", i),
				"must be the SHA-256 of a public key in base64")
		}
	}
}

func hasCertificates(s *networkingv1alpha3.ServerTLSSettings) bool {
	return s.CaCrl != "" || s.ServerCertificate != "" || s.PrivateKey != "" ||
		s.CaCertificates != "" || len(s.TlsCertificates) > 0 || s.CredentialName != "" ||
		len(s.CredentialNames) > 0
}

// meshCertificates: with ISTIO_MUTUAL they are the mesh's.
func (c *checker) meshCertificates(field string, s *networkingv1alpha3.ServerTLSSettings) {
	refuse := func(set bool, name, what string) {
		if set {
			c.errorf(field+"."+name, "ISTIO_MUTUAL TLS cannot have associated %s", what)
		}
	}
	refuse(s.ServerCertificate != "", "serverCertificate", "server certificate")
	refuse(s.PrivateKey != "", "privateKey", "private key")
	refuse(s.CaCertificates != "", "caCertificates", "CA bundle")
	refuse(len(s.TlsCertificates) > 0, "tlsCertificates", "tlsCertificates")
	refuse(s.CredentialName != "", "credentialName", "credentialName")
	refuse(len(s.CredentialNames) > 0, "credentialNames", "credentialNames")
}

// certificateSource: a server that ends TLS has certificates, from one source.
func (c *checker) certificateSource(field string, s *networkingv1alpha3.ServerTLSSettings) {
	sources := 0
	for _, set := range []bool{
		s.ServerCertificate != "" && s.PrivateKey != "", s.CredentialName != "",
		len(s.CredentialNames) > 0, len(s.TlsCertificates) > 0,
	} {
		if set {
			sources++
		}
	}
	if sources > 1 {
		c.errorf(field, "only one of credential_name, credential_names, "+
			"server_certificate/private_key, tls_certificates should be specified")
	}
	mutual := s.Mode == serverMutual || s.Mode == serverOptional
	if !mutual && s.Mode != serverSimple {
		return
	}
	c.credential(field+".credentialName", s.CredentialName)
	for i, name := range s.CredentialNames {
		c.credential(at(field+".credentialNames", i), name)
	}
	c.credential(field+".caCertCredentialName", s.CaCertCredentialName)
	if s.CredentialName != "" || len(s.CredentialNames) > 0 {
		return
	}
	what := "SIMPLE TLS"
	if mutual {
		what = "MUTUAL TLS"
		if s.CaCertificates == "" {
			c.errorf(field+".caCertificates", "%s requires a client CA bundle", what)
		}
	}
	if len(s.TlsCertificates) > 2 {
		c.warnf(field+".tlsCertificates", "%s can support up to 2 server certificates", what)
	}
	check := func(field, cert, key string) {
		if cert == "" {
			c.errorf(field+".serverCertificate", "%s requires a server certificate", what)
		}
		if key == "" {
			c.errorf(field+".privateKey", "%s requires a private key", what)
		}
	}
	for i, f := range s.TlsCertificates {
		check(at(field+".tlsCertificates", i), f.ServerCertificate, f.PrivateKey)
	}
	if len(s.TlsCertificates) == 0 {
		check(field, s.ServerCertificate, s.PrivateKey)
	}
}

// credential refuses the sources of certificates that the lab does not have.
func (c *checker) credential(field, name string) {
	for _, scheme := range []string{"sds://", "builtin://", "configmap://", "kubernetes-gateway://",
		"invalid://"} {
		if strings.HasPrefix(name, scheme) {
			c.errorf(field, "%s is not carried out yet; name a Secret", scheme)
		}
	}
}
