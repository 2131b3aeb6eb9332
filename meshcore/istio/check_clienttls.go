package istio

import (
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// clientTLS checks the TLS settings of a rule (pkg/config/validation/agent/validation.go
// ValidateTLS).
func (c *checker) clientTLS(field string, s *networkingv1alpha3.ClientTLSSettings) {
	if s == nil {
		return
	}
	simple := s.Mode == networkingv1alpha3.ClientTLSSettings_SIMPLE
	mutual := s.Mode == networkingv1alpha3.ClientTLSSettings_MUTUAL
	if s.InsecureSkipVerify.GetValue() {
		checked := s.CaCertificates != "" || s.SubjectAltNames != nil
		switch {
		case simple && (checked || s.CredentialName != ""):
			c.errorf(field, "cannot specify caCertificates or credentialName or subjectAltNames "+
				"when insecureSkipVerify is set true")
		case mutual && checked:
			c.errorf(field, "cannot specify caCertificates or subjectAltNames when "+
				"insecureSkipVerify is set true")
		}
	}
	if !simple && !mutual {
		c.unusedTLS(field, s)
		return
	}
	if s.CredentialName != "" {
		if strings.HasPrefix(s.CredentialName, "configmap://") {
			c.errorf(field+".credentialName",
				"a ConfigMap is not carried out yet; name a Secret with key ca.crt")
		}
		if s.ClientCertificate != "" || s.CaCertificates != "" || s.PrivateKey != "" {
			c.errorf(field, "cannot specify client certificates or CA certificate or CA CRL "+
				"if credentialName is set")
		}
		return
	}
	if mutual && s.ClientCertificate == "" {
		c.errorf(field+".clientCertificate", "client certificate required for mutual tls")
	}
	if mutual && s.PrivateKey == "" {
		c.errorf(field+".privateKey", "private key required for mutual tls")
	}
	if simple && (s.ClientCertificate != "" || s.PrivateKey != "") {
		c.warnf(field, "mode SIMPLE presents no certificate: clientCertificate and privateKey are "+
			"not used; write mode: MUTUAL")
	}
}

// unusedTLS warns of settings that istiod leaves out without a word: of DISABLE all, of
// ISTIO_MUTUAL those of certificates, which are the mesh's.
func (c *checker) unusedTLS(field string, s *networkingv1alpha3.ClientTLSSettings) {
	certificates := s.ClientCertificate != "" || s.PrivateKey != "" || s.CaCertificates != "" ||
		s.CredentialName != "" || s.InsecureSkipVerify.GetValue()
	switch {
	case s.Mode == networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL:
		if certificates {
			c.warnf(field, "with mode ISTIO_MUTUAL the mesh's own certificates are used and "+
				"checked; of the other fields only sni and subjectAltNames count")
		}
	case certificates || s.Sni != "" || s.SubjectAltNames != nil:
		c.warnf(field, "mode DISABLE sends plain text: the other fields do nothing%s", tlsModes)
	}
}

const tlsModes = "; write mode: SIMPLE, MUTUAL or ISTIO_MUTUAL"
