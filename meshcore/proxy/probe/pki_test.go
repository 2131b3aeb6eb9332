package probe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// identity is a certificate with its key, and what stands above it.
type identity struct {
	cert  *x509.Certificate
	key   crypto.Signer
	above *identity // nil: self-signed
}

// wanted describes a certificate. The zero value is valid for a day and names nothing.
type wish struct {
	cn        string
	subject   *pkix.Name
	uris, dns []string
	from, to  time.Duration // from now; an hour ago, and in a day, unless said
	ca, rsa   bool
	usage     []x509.ExtKeyUsage
	above     *identity
}

var serials int64

// issue makes a certificate.
func issue(t testing.TB, w wish) *identity {
	t.Helper()
	id := &identity{above: w.above}
	var err error
	if w.rsa {
		id.key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		id.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.from == 0 {
		w.from = -time.Hour
	}
	if w.to == 0 {
		w.to = 24 * time.Hour
	}
	serials++
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serials), NotBefore: now.Add(w.from),
		NotAfter: now.Add(w.to), DNSNames: w.dns, BasicConstraintsValid: true, IsCA: w.ca,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: w.usage}
	if w.cn != "" {
		tmpl.Subject = pkix.Name{CommonName: w.cn, Organization: []string{"probe"}}
	}
	if w.subject != nil {
		tmpl.Subject = *w.subject
	}
	if w.ca {
		tmpl.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	for _, u := range w.uris {
		p, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = append(tmpl.URIs, p)
	}
	parent, key := tmpl, id.key
	if w.above != nil {
		parent, key = w.above.cert, w.above.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, id.key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if id.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return id
}

// chain is the certificate and those above it, without the root.
func (i *identity) chain() []*identity {
	out := []*identity{i}
	for c := i.above; c != nil && c.above != nil; c = c.above {
		out = append(out, c)
	}
	return out
}

func (i *identity) pem() string {
	var out []byte
	for _, c := range i.chain() {
		out = append(out, pem.EncodeToMemory(
			&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
	}
	return string(out)
}

func (i *identity) keyPEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// pair is what crypto/tls wants.
func (i *identity) pair() tls.Certificate {
	out := tls.Certificate{PrivateKey: i.key}
	for _, c := range i.chain() {
		out.Certificate = append(out.Certificate, c.cert.Raw)
	}
	return out
}
