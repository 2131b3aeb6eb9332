package transport

import (
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

// Client is a compiled UpstreamTlsContext.
type Client struct {
	common
	sni      string
	hostSNI  bool // auto_host_sni
	sanIsSNI bool // auto_sni_san_validation
	sessions sessions

	mu  sync.Mutex // serialises making cur
	cur atomic.Pointer[material]
}

// Options is what one request wants otherwise than the context says (Envoy's transport socket
// options). Connections are shared by those that want the same.
type Options struct {
	ALPN string // separated by commas, instead of the context's; empty: the context's
	// Fallback is offered when neither says anything: what the codec speaks.
	Fallback string
	SNI      string // instead of the context's; empty: the context's
	SAN      string // the certificate must have it (auto_san_validation)
	Host     string // the endpoint's host name, for auto_host_sni
	HTTP2    bool   // the codec speaks HTTP/2: h2 is offered
}

// NewClient compiles a context. The error begins with the path of the field that is at fault.
func NewClient(m *tlsv3.UpstreamTlsContext, find Lookup) (*Client, error) {
	t := m.GetCommonTlsContext()
	if n := len(t.GetTlsCertificates()) + len(t.GetTlsCertificateSdsSecretConfigs()); n > 1 {
		return nil, fmt.Errorf("common_tls_context: Multiple TLS certificates are not supported " +
			"for client contexts")
	}
	c, err := newCommon(t, tls.VersionTLS12, find)
	if err != nil {
		return nil, fmt.Errorf("common_tls_context.%w", err)
	}
	out := &Client{common: *c, sni: m.GetSni(), hostSNI: m.GetAutoHostSni(),
		sanIsSNI: m.GetAutoSniSanValidation()}
	if strings.Contains(out.sni, "\x00") {
		return nil, fmt.Errorf("sni: SNI names containing NULL-byte are not allowed")
	}
	out.sessions.max = 1
	if n := m.GetMaxSessionKeys(); n != nil {
		out.sessions.max = int(n.GetValue())
	}
	if out.sanIsSNI && !out.checked {
		return nil, fmt.Errorf("auto_sni_san_validation: 'auto_sni_san_validation' was " +
			"configured without a validation context")
	}
	return out, nil
}

// material returns what handshakes use now; nil while a secret is missing.
func (c *Client) material() *material {
	if m := c.cur.Load(); m != nil && c.current(m) {
		return m
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.load()
	if m == nil || c.complete(m) != nil {
		return nil
	}
	c.sessions.forget() // they belong to what was shown and trusted before
	c.cur.Store(m)
	return m
}

// protocols is what is offered (source/common/tls/client_context_impl.cc newSsl).
func (c *Client) protocols(o *Options) []string {
	list := c.alpn
	switch {
	case o.ALPN != "":
		list = strings.Split(o.ALPN, ",")
	case len(list) == 0 && o.Fallback != "":
		return []string{o.Fallback}
	}
	out := list[:0:0]
	for _, p := range list {
		if (p != "h2" || o.HTTP2) && p != "" { // otherwise HTTP/2 is not carried out yet
			out = append(out, p)
		}
	}
	return out
}

func (c *Client) serverName(o *Options) string {
	switch {
	case o.SNI != "":
		return o.SNI
	case c.hostSNI && o.Host != "":
		return o.Host
	}
	return c.sni
}

// Handshake secures a connection to an upstream; now is the wall clock. The error is a *Failure.
func (c *Client) Handshake(conn net.Conn, o Options, now func() time.Time) (*Conn, error) {
	m := c.material()
	if m == nil {
		return nil, &Failure{Reason: NotReady, err: errors.New(NotReady)}
	}
	sni := c.serverName(&o)
	want := peer{now: now(), usage: x509.ExtKeyUsageServerAuth}
	if o.SAN != "" {
		want.sans = []string{o.SAN}
	}
	if c.sanIsSNI {
		want.dns = sni
	}
	validated := false
	config := &tls.Config{Time: now, MinVersion: c.min, MaxVersion: c.max, ServerName: sni,
		CipherSuites: c.flat(), CurvePreferences: c.curves, NextProtos: c.protocols(&o),
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it, as Envoy does
		VerifyConnection: func(s tls.ConnectionState) error {
			if m.trust == nil && len(want.sans) == 0 {
				return nil
			}
			var wrong string
			if validated, wrong = m.trust.verify(s.PeerCertificates, want); wrong != "" {
				return &notAccepted{wrong}
			}
			return nil
		}}
	var local *pair
	if len(m.pairs) > 0 {
		local = m.pairs[0]
		// Shown to whoever asks, whatever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &local.cert, nil
		}
	}
	var tickets *keeper
	if c.sessions.max > 0 {
		tickets = &keeper{sessions: &c.sessions}
		config.ClientSessionCache = tickets
	}
	sock := newSocket(conn, nil)
	secure := tls.Client(sock, config)
	if err := secure.Handshake(); err != nil {
		f := &Failure{err: err}
		var bad *notAccepted
		if errors.As(err, &bad) {
			f.Reason = bad.reason
		} else {
			f.Reason = reasonOf(err, false)
		}
		return nil, f
	}
	if tickets != nil {
		tickets.done.Store(true)
	}
	told := secure.ConnectionState()
	out := &Conn{Conn: secure, sock: sock, State: c.state(told, local, told.PeerCertificates)}
	out.State.SNI, out.State.Validated = sni, validated
	return out, nil
}

// sessions are the sessions of a context that may be resumed, the latest first: at any host, and
// those of TLS 1.3 once (client_context_impl.cc newSessionKey).
type sessions struct {
	max  int
	mu   sync.Mutex
	list []session
}

type session struct {
	state *tls.ClientSessionState
	once  bool
}

func (s *sessions) put(state *tls.ClientSessionState, once bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) >= s.max {
		s.list = s.list[:s.max-1]
	}
	s.list = append([]session{{state, once}}, s.list...)
}

func (s *sessions) get() (first session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return first
	}
	if first = s.list[0]; first.once {
		s.list = s.list[1:]
	}
	return first
}

// drop forgets a session that could not be resumed.
func (s *sessions) drop(state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(o session) bool { return o.state == state })
}

func (s *sessions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

// keeper is the sessions as one connection's crypto/tls sees them.
type keeper struct {
	*sessions
	got  *tls.ClientSessionState
	done atomic.Bool // the handshake has ended: a ticket is one of TLS 1.3
}

// Get returns the latest session, whoever gave it.
func (k *keeper) Get(string) (*tls.ClientSessionState, bool) {
	k.got = k.get().state
	return k.got, k.got != nil
}

// Put keeps a session.
func (k *keeper) Put(_ string, s *tls.ClientSessionState) {
	if s == nil {
		k.drop(k.got)
		return
	}
	k.put(s, k.done.Load())
}
