package transport

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Secret is a compiled Secret resource. It is immutable; its keys stay in memory.
type Secret struct {
	pair    *pair
	context *tlsv3.CertificateValidationContext
	tickets [][32]byte
}

// Lookup returns, for the name of a secret, what loads its present value; nil while there is none.
type Lookup func(name string) (load func() *Secret)

// pair is a certificate chain with its key.
type pair struct {
	cert  tls.Certificate
	shown *Certificate
	names []string // that it is chosen by: DNS names, else the common name
	ecdsa bool
}

// NewSecret compiles a secret. The error begins with the path of the field that is at fault.
func NewSecret(m *tlsv3.Secret) (*Secret, error) {
	s := &Secret{}
	var err error
	switch t := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		if s.pair, err = newPair(t.TlsCertificate); err != nil {
			return nil, fmt.Errorf("tls_certificate.%w", err)
		}
	case *tlsv3.Secret_ValidationContext:
		s.context = t.ValidationContext
		if _, err = newTrust(t.ValidationContext); err != nil {
			return nil, fmt.Errorf("validation_context.%w", err)
		}
	case *tlsv3.Secret_SessionTicketKeys:
		if s.tickets, err = ticketKeys(t.SessionTicketKeys); err != nil {
			return nil, fmt.Errorf("session_ticket_keys.%w", err)
		}
	default:
		return nil, fmt.Errorf("type: value is required")
	}
	return s, nil
}

// inlined returns the bytes of an inline data source.
func inlined(d *corev3.DataSource) []byte {
	if s, ok := d.GetSpecifier().(*corev3.DataSource_InlineString); ok {
		return []byte(s.InlineString)
	}
	return d.GetInlineBytes()
}

// newPair reads a certificate. A key is never named in an error.
func newPair(m *tlsv3.TlsCertificate) (*pair, error) {
	chain, key := inlined(m.GetCertificateChain()), inlined(m.GetPrivateKey())
	if len(chain) == 0 {
		return nil, fmt.Errorf("certificate_chain: No TLS certificates found")
	}
	if len(key) == 0 {
		return nil, fmt.Errorf("private_key: Failed to load incomplete private key: it is empty")
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate_chain: Failed to load certificate chain and private "+
			"key: %w", err)
	}
	p := &pair{cert: cert}
	var list []*x509.Certificate
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate_chain: Failed to load certificate chain: %w", err)
		}
		list = append(list, c)
	}
	p.cert.Leaf, p.shown = list[0], describe(list)
	_, p.ecdsa = list[0].PublicKey.(*ecdsa.PublicKey)
	if p.names = p.shown.DNS; len(p.names) == 0 && list[0].Subject.CommonName != "" {
		p.names = []string{list[0].Subject.CommonName}
	}
	return p, nil
}

// ticketKeys reads keys of 80 bytes (source/common/tls/context_config_impl.cc getSessionTicketKey);
// crypto/tls derives what it needs from the first 32 of each.
func ticketKeys(m *tlsv3.TlsSessionTicketKeys) ([][32]byte, error) {
	var out [][32]byte
	for i, d := range m.GetKeys() {
		b := inlined(d)
		if len(b) != 80 {
			//lint:ignore ST1005 Envoy's words, a full stop at their end
			return nil, fmt.Errorf("keys[%d]: Incorrect TLS session ticket key length. "+
				"Length %d, expected length 80.", i, len(b))
		}
		out = append(out, [32]byte(b[:32]))
	}
	return out, nil
}
