package echo

import (
	"crypto/tls"
	"net/http"
)

// tlsOf describes a request's TLS connection.
func tlsOf(r *http.Request) *TLS {
	t := &TLS{
		Version: tls.VersionName(r.TLS.Version),
		SNI:     r.TLS.ServerName,
		ALPN:    r.TLS.NegotiatedProtocol,
	}
	if len(r.TLS.PeerCertificates) > 0 {
		peer := r.TLS.PeerCertificates[0]
		switch {
		case len(peer.URIs) > 0:
			t.Peer = peer.URIs[0].String()
		case len(peer.DNSNames) > 0:
			t.Peer = peer.DNSNames[0]
		}
	}
	return t
}
