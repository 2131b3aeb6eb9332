package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// identity is a self-signed certificate, which is its own authority, with its key, as PEM.
type identity struct{ cert, key string }

func newIdentity(t testing.TB, cn string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}
}

func (i identity) pair(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(i.cert), []byte(i.key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

// secrets are those that a bed's contexts name.
func (i identity) secrets() map[string]*tlsv3.Secret {
	return map[string]*tlsv3.Secret{
		"default": {Name: "default", Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(i.cert),
				PrivateKey: inline(i.key)}}},
		"ROOTCA": {Name: "ROOTCA", Type: &tlsv3.Secret_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(i.cert)}}},
	}
}

// mutual has the listener and the upstream cluster of a snapshot use mutual TLS.
func mutual(s *xds.Snapshot, id identity) {
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{
		Ads: &corev3.AggregatedConfigSource{}}}
	common := &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{
			{Name: "default", SdsConfig: ads}},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ROOTCA",
				SdsConfig: ads}}}
	socket := func(m proto.Message) *corev3.TransportSocket {
		return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(m)}}
	}
	chain := s.Listeners["l"].FilterChains[0]
	chain.TransportSocket = socket(&tlsv3.DownstreamTlsContext{CommonTlsContext: common,
		RequireClientCertificate: wrapperspb.Bool(true)})
	chain.TransportSocketConnectTimeout = durationpb.New(10 * time.Second)
	s.Clusters["up"].TransportSocket = socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common})
	s.Secrets = id.secrets()
}

// tlsListener accepts as a server with TLS, which wants a certificate.
type tlsListener struct {
	*net.TCPListener
	config *tls.Config
}

// Accept does the handshake, too.
func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	secure := tls.Server(c, l.config)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	defer c.SetDeadline(time.Time{})
	secure.Handshake() //nolint:errcheck // who reads it will see
	return secure, nil
}

// dialTLS connects as a client with TLS; the configuration is the bed's unless one is given.
func (b *bed) dialTLS(config *tls.Config) (*peer, tls.ConnectionState) {
	b.t.Helper()
	c, err := net.Dial("tcp4", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	if config == nil {
		config = b.tls
	}
	secure := tls.Client(c, config)
	p := newPeer(b.t, secure)
	if err := secure.Handshake(); err != nil {
		b.t.Fatal(err)
	}
	return p, secure.ConnectionState()
}

// TestSecretsRotate: a new secret changes what new connections see; those that stand, and the
// listener, stay.
func TestSecretsRotate(t *testing.T) {
	b := newBed(t, settings{tls: true})
	before, state := b.dialTLS(nil)
	chain := b.p.connections()[0].shown.Load()
	second := newIdentity(t, "second")
	s := snapshot(settings{})
	mutual(s, second)
	if err := b.p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	l := b.up.(tlsListener)
	config := &tls.Config{Certificates: []tls.Certificate{second.pair(t)}, InsecureSkipVerify: true}
	after, newState := b.dialTLS(config)
	if a, b := state.PeerCertificates[0].Subject.CommonName,
		newState.PeerCertificates[0].Subject.CommonName; a != "first" || b != "second" {
		t.Errorf("the certificates are %s, then %s", a, b)
	}
	l.config.Certificates = config.Certificates
	for _, c := range []*peer{before, after} {
		c.send(plainGet)
		up := b.accept()
		up.request()
		up.sendf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		c.status(200, "ok")
		if r := b.record(); r.TLS != "TLSv1.3" || r.UpstreamTLS != "TLSv1.3" {
			t.Errorf("the record has %q, %q", r.TLS, r.UpstreamTLS)
		}
	}
	if now := b.p.connections()[0].shown.Load(); now != chain {
		t.Error("a new secret has replaced the filter chain")
	}
}

// TestUpstreamResumes: the second connection to an upstream resumes the session of the first.
func TestUpstreamResumes(t *testing.T) {
	b := newBed(t, settings{tls: true})
	for i, want := range []bool{false, true, true} {
		c := b.dial()
		c.send(plainGet)
		up := b.accept()
		if got := up.Conn.(*tls.Conn).ConnectionState().DidResume; got != want {
			t.Errorf("connection %d: resumed is %v", i, got)
		}
		up.request()
		up.sendf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		c.status(200, "ok")
	}
}

// TestPooledIsClosed: a connection that the upstream closed while it was idle serves no request.
func TestPooledIsClosed(t *testing.T) {
	b := newBed(t, settings{tls: true})
	c := b.dial()
	for range 3 {
		c.send(plainGet)
		up := b.accept()
		up.request()
		up.reply(200, "ok")
		c.status(200, "ok")
		b.record()
		up.Close()
	}
}

// TestSlowHandshake: a client that does not end its handshake in time loses its connection.
func TestSlowHandshake(t *testing.T) {
	b := &bed{t: t, up: listen(t), mirror: listen(t)}
	s := snapshot(settings{})
	mutual(s, newIdentity(t, "first"))
	s.Listeners["l"].FilterChains[0].TransportSocketConnectTimeout = durationpb.New(50 * time.Millisecond)
	b.start(settings{}, s)
	for _, text := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		c, err := net.Dial("tcp4", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{bufio.NewReader(c), c, t}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		p.send(text)
		if _, err := io.ReadAll(p); err != nil && !isReset(err) {
			t.Errorf("%q: %v", text, err)
		}
		c.Close()
	}
}
