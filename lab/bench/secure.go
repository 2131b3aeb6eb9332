package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// security is how the hops of a row speak with each other.
type security uint8

const (
	plain  security = iota
	mutual          // TLS with certificates on both sides, connections kept alive
	anew            // the same, with a new connection, its session resumed, for each request
)

// credentials are one certificate for both sides, which is its own authority.
type credentials struct{ cert, key string }

const workloadID = "spiffe://cluster.local/ns/default/sa/default"

func newCredentials() (credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credentials{}, err
	}
	id, err := url.Parse(workloadID)
	if err != nil {
		return credentials{}, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{id}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return credentials{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return credentials{pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", private)}, err
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// common is the part that both sides share, as istiod makes it for the mesh.
func (c credentials) common() *tlsv3.CommonTlsContext {
	inline := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
	}
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		AlpnProtocols: []string{"http/1.1"},
		TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: inline(c.cert),
			PrivateKey: inline(c.key)}},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(c.cert),
				MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
					SanType: tlsv3.SubjectAltNameMatcher_URI,
					Matcher: &matcherv3.StringMatcher{
						MatchPattern: &matcherv3.StringMatcher_Exact{Exact: workloadID}}}}}}}
}

func transportSocket(m proto.Message) (*corev3.TransportSocket, error) {
	a, err := anypb.New(m)
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: a}}, err
}

// secure makes a hop's listener and its cluster speak as the row does: plain text at the ends, and
// between the hops what s says.
func (c credentials) secure(b *bootstrapv3.Bootstrap, hop int, s security, cluster string) error {
	chain := b.StaticResources.Listeners[0].FilterChains[0]
	chain.TransportSocket = nil
	var up *clusterv3.Cluster
	for _, o := range b.StaticResources.Clusters {
		o.TransportSocketMatches, o.TransportSocket = nil, nil
		if o.Name == cluster {
			up = o
		}
	}
	if s == plain {
		return nil
	}
	var err error
	if hop > 0 {
		chain.TransportSocket, err = transportSocket(&tlsv3.DownstreamTlsContext{
			CommonTlsContext: c.common(), RequireClientCertificate: wrapperspb.Bool(true)})
		return err
	}
	t := &tlsv3.UpstreamTlsContext{CommonTlsContext: c.common(),
		Sni: "outbound_.8080_._.server.default.svc.cluster.local"}
	if s == anew {
		up.MaxRequestsPerConnection = wrapperspb.UInt32(1) //nolint:staticcheck // simplest
		// The sessions of TLS 1.3 are for one use, and the usual one is not enough for all at once.
		t.MaxSessionKeys = wrapperspb.UInt32(4 * connections)
	}
	up.TransportSocket, err = transportSocket(t)
	return err
}
