package transport

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Server is a compiled DownstreamTlsContext.
type Server struct {
	common
	require   bool // a certificate of the client, if there is something to check it against
	stateless bool // session tickets
	tickets   [][32]byte
	sdsKeys   func() *Secret
	fullScan  bool
	clients   bool // prefer_client_ciphers

	mu  sync.Mutex // serialises making cur
	cur atomic.Pointer[serverMaterial]
}

// serverMaterial is a Server with the secrets of one moment.
type serverMaterial struct {
	*material
	s       *Server
	now     func() time.Time
	auth    tls.ClientAuthType
	tickets [][32]byte
	byName  map[string][]*pair // exact names and "*.example.com"

	mu      sync.Mutex
	configs map[variant]*tls.Config
}

// variant is what is chosen for one client hello.
type variant struct {
	pair  *pair
	suite uint16 // for TLS 1.2; 0: any
	alpn  string
}

// NewServer compiles a context. The error begins with the path of the field that is at fault.
func NewServer(m *tlsv3.DownstreamTlsContext, find Lookup) (*Server, error) {
	c, err := newCommon(m.GetCommonTlsContext(), tls.VersionTLS13, find)
	if err != nil {
		return nil, fmt.Errorf("common_tls_context.%w", err)
	}
	s := &Server{common: *c, require: m.GetRequireClientCertificate().GetValue(),
		stateless: !m.GetDisableStatelessSessionResumption(),
		fullScan:  m.GetFullScanCertsOnSniMismatch().GetValue(),
		clients:   m.GetPreferClientCiphers()}
	if len(s.pairs) == 0 {
		return nil, fmt.Errorf("common_tls_context: No TLS certificates found for server context")
	}
	switch k := m.GetSessionTicketKeysType().(type) {
	case *tlsv3.DownstreamTlsContext_SessionTicketKeys:
		if s.tickets, err = ticketKeys(k.SessionTicketKeys); err != nil {
			return nil, fmt.Errorf("session_ticket_keys.%w", err)
		}
	case *tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig:
		s.sdsKeys = find(k.SessionTicketKeysSdsSecretConfig.GetName())
	}
	return s, nil
}

// material returns what handshakes use now; nil while a secret is missing.
func (s *Server) material(now func() time.Time) *serverMaterial {
	if m := s.cur.Load(); m != nil && s.current(m.material) {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &serverMaterial{material: s.load(), s: s, now: now, tickets: s.tickets,
		byName: map[string][]*pair{}, configs: map[variant]*tls.Config{}}
	if m.material == nil || s.complete(m.material) != nil {
		return nil
	}
	for _, p := range m.pairs {
		for _, n := range p.names {
			m.add(n, p)
		}
	}
	m.auth = s.auth(m.trust)
	if s.sdsKeys != nil {
		k := s.sdsKeys()
		if k == nil || len(k.tickets) == 0 {
			return nil
		}
		m.tickets = k.tickets
	}
	if len(m.tickets) == 0 {
		var key [32]byte
		rand.Read(key[:]) //nolint:errcheck // it never fails
		m.tickets = [][32]byte{key}
	}
	s.cur.Store(m)
	return m
}

// add makes a certificate be found by a name; of each type of key the first is taken
// (source/common/tls/default_tls_certificate_selector.cc populateServerNamesMap).
func (m *serverMaterial) add(name string, p *pair) {
	if !slices.ContainsFunc(m.byName[name], func(o *pair) bool { return o.ecdsa == p.ecdsa }) {
		m.byName[name] = append(m.byName[name], p)
	}
}

// auth is what is asked of clients (default_validator.cc initializeSslContexts; measured with 1.40:
// a certificate is required also where names or hashes are to be checked, and is not even asked for
// where there is nothing to check it against).
func (s *Server) auth(t *trust) tls.ClientAuthType {
	some, all := tls.RequestClientCert, tls.RequireAnyClientCert
	switch {
	case t == nil || t.pool == nil && !t.demanding() && !t.lenient:
		return tls.NoClientCert
	case t.pool != nil && !t.lenient && !t.late && len(t.crls) == 0:
		// crypto/tls verifies chains itself, and sends the alert that tells what is wrong.
		some, all = tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert
	}
	if s.require || t.demanding() && !t.lenient {
		return all
	}
	return some
}

// pick chooses for a client hello.
func (m *serverMaterial) pick(h *tls.ClientHelloInfo) (*tls.Config, *pair) {
	v := variant{pair: m.choose(h)}
	for _, p := range m.s.alpn {
		if p != "h2" && slices.Contains(h.SupportedProtos, p) { // HTTP/2 is not carried out yet
			v.alpn = p
			break
		}
	}
	if m.s.max < tls.VersionTLS13 || !slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
		v.suite = m.suite(h, v.pair)
	}
	return m.config(v), v.pair
}

// suite is the cipher suite for TLS 1.2: the first of ours that fits, and of a group the client's
// first (crypto/tls would use its own order).
func (m *serverMaterial) suite(h *tls.ClientHelloInfo, p *pair) uint16 {
	groups := m.s.suites
	if m.s.clients {
		groups = [][]uint16{m.s.flat()}
	}
	for _, group := range groups {
		for _, id := range h.CipherSuites {
			if slices.Contains(group, id) && fits(id, p) {
				return id
			}
		}
	}
	return 0
}

func fits(id uint16, p *pair) bool {
	return strings.HasPrefix(cipherNames[id], "ECDHE-ECDSA-") == p.ecdsa
}

func (m *serverMaterial) config(v variant) *tls.Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.configs[v]; c != nil {
		return c
	}
	c := &tls.Config{Time: m.now, Certificates: []tls.Certificate{v.pair.cert},
		MinVersion: m.s.min, MaxVersion: m.s.max, CipherSuites: m.s.flat(),
		CurvePreferences: m.s.curves, ClientAuth: m.auth,
		SessionTicketsDisabled: !m.s.stateless, VerifyConnection: m.verify}
	if v.suite != 0 {
		c.CipherSuites = []uint16{v.suite}
	}
	if v.alpn != "" {
		c.NextProtos = []string{v.alpn}
	}
	if m.trust != nil {
		c.ClientCAs = m.trust.pool
	}
	c.SetSessionTicketKeys(m.tickets)
	m.configs[v] = c
	return c
}

// notAccepted is a peer that is refused, in Envoy's words.
type notAccepted struct{ reason string }

// Error gives the words.
func (e *notAccepted) Error() string { return e.reason }

// verify is VerifyConnection: it looks at certificates also when a session is resumed.
func (m *serverMaterial) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return nil
	}
	p := m.peer()
	p.chain = len(s.VerifiedChains) > 0
	if _, wrong := m.trust.verify(s.PeerCertificates, p); wrong != "" {
		return &notAccepted{wrong}
	}
	return nil
}

// validated says whether a certificate that was accepted had been checked, and had held.
func (m *serverMaterial) validated(certs []*x509.Certificate) bool {
	if !m.trust.lenient {
		return true // it would not have been asked for
	}
	ok, _ := m.trust.verify(certs, m.peer())
	return ok
}

func (m *serverMaterial) peer() peer {
	return peer{now: m.now(), usage: x509.ExtKeyUsageClientAuth}
}

// Handshake secures a connection that was accepted. pre is what was received from it already; now
// is the wall clock, the same for all handshakes. The error is a *Failure.
func (s *Server) Handshake(c net.Conn, pre []byte, now func() time.Time) (*Conn, error) {
	m := s.material(now)
	if m == nil {
		return nil, &Failure{Reason: NotReady, err: errors.New(NotReady)}
	}
	var local *pair
	sock := newSocket(c, pre)
	conn := tls.Server(sock, &tls.Config{Time: now, MinVersion: s.min, MaxVersion: s.max,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			var config *tls.Config
			config, local = m.pick(h)
			return config, nil
		}})
	if err := conn.Handshake(); err != nil {
		f := m.failure(err, conn, local)
		if f.Reason == wrongVersion {
			c.Write([]byte(versionAlert)) //nolint:errcheck // nobody may be there to read it
		}
		return nil, f
	}
	told := conn.ConnectionState()
	out := &Conn{Conn: conn, sock: sock, State: s.state(told, local, told.PeerCertificates)}
	if len(told.PeerCertificates) > 0 {
		out.State.Validated = m.validated(told.PeerCertificates)
	}
	return out, nil
}

// failure says why a handshake failed.
func (m *serverMaterial) failure(err error, conn *tls.Conn, local *pair) *Failure {
	so := conn.ConnectionState()
	f := &Failure{err: err, Version: versionNames[so.Version], Group: groupName(so.CurveID)}
	if f.Version == "" {
		f.Version = "TLSv1.2" // what BoringSSL calls none
	}
	if local == nil {
		local = m.pairs[0]
	}
	f.Local = local.shown
	var bad *notAccepted
	var chain *tls.CertificateVerificationError
	shown := so.PeerCertificates
	switch {
	case errors.As(err, &bad):
		f.Reason = bad.reason
	case errors.As(err, &chain):
		shown = chain.UnverifiedCertificates
		f.Reason = verifyFailed("verify cert failed: X509_verify_cert: " +
			m.trust.explain(chain.UnverifiedCertificates, m.peer()))
	default:
		f.Reason = reasonOf(err, true)
	}
	f.Peer = m.s.peers.of(shown)
	return f
}
