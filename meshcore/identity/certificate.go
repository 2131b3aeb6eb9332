package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/url"
	"time"
)

// Certificate is a certificate with its key and its chain, the root last.
type Certificate struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
}

// PEM returns the chain.
func (c Certificate) PEM() []byte { return encode(c.chain) }

// KeyPEM returns the key, in the form in which istio-agent has it ("EC PRIVATE KEY").
func (c Certificate) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("identity: key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// TLS returns it as crypto/tls wants it.
func (c Certificate) TLS() tls.Certificate {
	t := tls.Certificate{PrivateKey: c.key, Leaf: c.chain[0]}
	for _, x := range c.chain {
		t.Certificate = append(t.Certificate, x.Raw)
	}
	return t
}

// Serial returns the serial number in decimal digits, as istioctl prints it.
func (c Certificate) Serial() string { return c.chain[0].SerialNumber.String() }

// NotAfter returns when it ends.
func (c Certificate) NotAfter() time.Time { return c.chain[0].NotAfter }

// String names it; nothing prints its key.
func (c Certificate) String() string { return "certificate " + c.Serial() }

// GoString is String.
func (c Certificate) GoString() string { return c.String() }

// Special says what is special about a certificate; the zero value: nothing.
type Special struct {
	TTL       time.Duration // 0: the Authority's
	Begins    time.Duration // from now until it is valid; negative: since when it has been
	SAN       string        // another URI than the workload's
	OtherRoot bool          // signed by a root that nobody knows
	OwnRoot   bool          // signed by itself
	Common    string        // the subject's common name
	DNS       []string      // DNS names beside the URI
}

// Expired is a certificate whose time is over.
func Expired() Special { return Special{Begins: -2 * time.Hour, TTL: time.Hour} }

// NotYet is a certificate whose time has not come.
func NotYet() Special { return Special{Begins: time.Hour, TTL: time.Hour} }

// Issue makes a certificate for a workload that is given to nobody else: for a client from
// outside, or one with something special about it. It is signed as istiod does it
// (security/pkg/pki/util/generate_cert.go genCertTemplateFromCSR): no subject, the identity as URI
// alone, good for servers and clients.
func (a *Authority) Issue(w Workload, s Special) (Certificate, error) {
	id := s.SAN
	if id == "" {
		var err error
		if id, err = w.ID(); err != nil {
			return Certificate{}, err
		}
	}
	uri, err := url.Parse(id)
	if err != nil {
		return Certificate{}, fmt.Errorf("identity: SAN %q: %w", id, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return Certificate{}, err
	}
	now := a.options.Now()
	begins, root := now.Add(s.Begins), a.root
	if s.OtherRoot {
		if root, err = newRoot(a.options.TrustDomain, now); err != nil {
			return Certificate{}, err
		}
	}
	ttl := s.TTL
	if ttl == 0 {
		ttl = a.options.TTL
	}
	ends := begins.Add(ttl)
	if last := root.NotAfter(); ends.After(last) {
		ends = last
	}
	if s.Begins <= 0 {
		begins = begins.Add(-backdate)
	}
	by := &root
	if s.OwnRoot {
		by = nil
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return sign(&x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: s.Common},
		NotBefore:             begins,
		NotAfter:              ends,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           usages,
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{uri},
		DNSNames:              s.DNS,
	}, by)
}
