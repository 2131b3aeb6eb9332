package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// noon is the wall clock of the tests.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key   crypto.Signer
	above *issued
}

// issue makes a certificate that is valid around noon; nil above: self-signed.
func issue(t testing.TB, above *issued, change func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: noon.Add(-time.Hour),
		NotAfter: noon.Add(time.Hour), BasicConstraintsValid: true, IsCA: above == nil,
		KeyUsage: x509.KeyUsageDigitalSignature}
	if above == nil {
		tmpl.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if change != nil {
		change(tmpl)
	}
	parent, signer := tmpl, crypto.Signer(key)
	if above != nil {
		parent, signer = above.Certificate, above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key, above}
}

func named(cn string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: cn} }
}

// everyName has a name of each kind.
func everyName(c *x509.Certificate) {
	c.DNSNames = []string{"a.example.com", "*.wild.example.com"}
	c.EmailAddresses = []string{"me@example.com"}
	c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/a/sa/b"}}
}

func (i *issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Raw}))
}

func (i *issued) keyPEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func source(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func (i *issued) certificate(t testing.TB) *tlsv3.TlsCertificate {
	t.Helper()
	return &tlsv3.TlsCertificate{CertificateChain: source(i.pem()), PrivateKey: source(i.keyPEM(t))}
}

func (i *issued) secret(t testing.TB) *Secret {
	t.Helper()
	return mustSecret(t, &tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: i.certificate(t)}})
}

func mustSecret(t testing.TB, m *tlsv3.Secret) *Secret {
	t.Helper()
	s, err := NewSecret(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// box is where secrets are looked up.
type box map[string]*Secret

func (b box) find(name string) func() *Secret { return func() *Secret { return b[name] } }

// connected returns both ends of a connection through the loopback interface.
func connected(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return client, server
}

// shake does both handshakes.
func shake(t testing.TB, c *Client, s *Server, o Options) (client, server *Conn, cErr, sErr error) {
	t.Helper()
	a, b := connected(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if server, sErr = s.Handshake(b, nil, atNoon); sErr != nil {
			b.Close()
		}
	}()
	if client, cErr = c.Handshake(a, o, atNoon); cErr != nil {
		a.Close()
	}
	<-done
	return client, server, cErr, sErr
}

func newServer(t testing.TB, m *tlsv3.DownstreamTlsContext, find Lookup) *Server {
	t.Helper()
	s, err := NewServer(m, find)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(t testing.TB, m *tlsv3.UpstreamTlsContext, find Lookup) *Client {
	t.Helper()
	c, err := NewClient(m, find)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
