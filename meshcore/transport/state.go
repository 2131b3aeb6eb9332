// Package transport secures connections: it makes crypto/tls configurations of Envoy's TLS contexts
// and secrets, does the handshakes, and says what they told, in Envoy's words also where they fail.
//
//	DownstreamTlsContext ─NewServer─▶ Server ─Handshake─▶ Conn (a net.Conn) + State, or Failure
//	UpstreamTlsContext   ─NewClient─▶ Client ─Handshake─▶
//	Secret ─NewSecret─▶ in a slot that both look into at each handshake
package transport

import "time"

// State is what the TLS handshake of a connection told. It is immutable.
type State struct {
	Version string // as Envoy prints it: "TLSv1.3"
	Cipher  string // OpenSSL's name: "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
	Group   string // of the key exchange: "X25519"
	SNI     string // requested_server_name; empty without one
	ALPN    string // what was agreed on; empty without
	Resumed bool
	// Peer is the other side's certificate, nil when it presented none; Validated says that it was
	// checked against a validation context. Local is our own, nil when we presented none.
	Peer, Local *Certificate
	Validated   bool
}

// Certificate is what policies, headers and records use of an X.509 certificate.
type Certificate struct {
	Subject, Issuer string   // RFC 2253, as Envoy prints them
	Serial          string   // hex, lower case
	Hash            string   // SHA-256 of the DER form, hex, lower case
	SHA1            string   // likewise
	URIs, DNS       []string // subject alternative names
	IPs, Emails     []string
	PEM             string // URL-encoded, as in x-forwarded-client-cert's Cert
	Chain           string // the whole chain, likewise
	NotBefore       time.Time
	NotAfter        time.Time
}

// Principal is the identity that a peer shows: its first URI, else its first DNS name, else its
// subject; empty without a certificate (Envoy source/extensions/filters/common/rbac/matchers.cc
// AuthenticatedMatcher without a principal_name takes any of them).
func (s *State) Principal() string {
	switch {
	case s == nil || s.Peer == nil:
		return ""
	case len(s.Peer.URIs) > 0:
		return s.Peer.URIs[0]
	case len(s.Peer.DNS) > 0:
		return s.Peer.DNS[0]
	}
	return s.Peer.Subject
}
