package echo

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"time"
)

// tlsOf describes a TLS connection; nil for none.
func tlsOf(s *tls.ConnectionState) *TLS {
	if s == nil {
		return nil
	}
	t := &TLS{
		Version: tls.VersionName(s.Version),
		SNI:     s.ServerName,
		ALPN:    s.NegotiatedProtocol,
	}
	if len(s.PeerCertificates) > 0 {
		peer := s.PeerCertificates[0]
		switch {
		case len(peer.URIs) > 0:
			t.Peer = peer.URIs[0].String()
		case len(peer.DNSNames) > 0:
			t.Peer = peer.DNSNames[0]
		default:
			t.Peer = peer.Subject.String()
		}
	}
	return t
}

// http1 is the only protocol that is agreed on.
const http1 = "http/1.1"

// tlsConfig serves a certificate that the app made itself. Any client certificate is taken, and
// told, but none is needed.
func (s *service) tlsConfig() *tls.Config {
	s.makeTLS.Do(func() {
		c := &tls.Config{
			Certificates: []tls.Certificate{selfSigned(cmp.Or(s.env.Host, s.env.Workload+".lab"))},
			ClientAuth:   tls.RequestClientCert,
		}
		withHTTP := c.Clone()
		withHTTP.NextProtos = []string{http1}
		// crypto/tls refuses clients that offer other protocols alone, such as "istio".
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, http1) {
				return withHTTP, nil
			}
			return nil, nil
		}
		s.tls = c
	})
	return s.tls
}

// selfSigned makes a certificate for one DNS name; its key is nowhere but in it.
func selfSigned(name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("echo: " + err.Error()) // the system has no randomness
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("echo: " + err.Error()) // nothing in the template can be refused
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
