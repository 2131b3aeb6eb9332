package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// params allow these versions.
func params(low, high tlsv3.TlsParameters_TlsProtocol) *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: low, TlsMaximumProtocolVersion: high}
}

const (
	v12 = tlsv3.TlsParameters_TLSv1_2
	v13 = tlsv3.TlsParameters_TLSv1_3
)

// sdsContext takes both the certificate and what is trusted from secrets.
func sdsContext(high tlsv3.TlsParameters_TlsProtocol) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{TlsParams: params(v12, high),
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds("default")},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         &tlsv3.CertificateValidationContext{},
				ValidationContextSdsSecretConfig: sds("ROOTCA")}}}
}

func sds(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{}}
}

func rootSecret(t testing.TB, root *issued) *Secret {
	t.Helper()
	return mustSecret(t, &tlsv3.Secret{Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: source(root.pem())}}})
}

// mesh is a server and a client of it with mutual TLS.
func mesh(t testing.TB, high tlsv3.TlsParameters_TlsProtocol) (root *issued, b box, c *Client, s *Server) {
	t.Helper()
	root = issue(t, nil, named("root"))
	b = box{"default": issue(t, root, everyName).secret(t), "ROOTCA": rootSecret(t, root)}
	c = newClient(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: sdsContext(high), Sni: "a.example.com"}, b.find)
	s = newServer(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: sdsContext(high),
		RequireClientCertificate: wrapperspb.Bool(true)}, b.find)
	return root, b, c, s
}

// TestSecretsChange has new secrets act on new handshakes, and nothing while one is missing.
func TestSecretsChange(t *testing.T) {
	root, b, c, s := mesh(t, v13)
	want := func(cn string) {
		t.Helper()
		client, server, cErr, sErr := shake(t, c, s, Options{})
		if cErr != nil || sErr != nil {
			t.Fatal(cErr, sErr)
		}
		if got := client.State.Peer.Subject; got != cn {
			t.Errorf("the server is %q, not %q", got, cn)
		}
		if got := server.State.Peer.Subject; got != cn || !server.State.Validated {
			t.Errorf("the client is %q (validated: %v), not %q", got, server.State.Validated, cn)
		}
	}
	want("")
	b["default"] = issue(t, root, named("second")).secret(t)
	want("CN=second")
	other := issue(t, nil, named("other"))
	b["ROOTCA"] = rootSecret(t, other)
	_, _, err, _ := shake(t, c, s, Options{})
	if err == nil || !strings.Contains(err.Error(), "unable to get local issuer certificate") {
		t.Errorf("the old root is still trusted: %v", err)
	}
	for _, name := range []string{"default", "ROOTCA"} {
		old := b[name]
		delete(b, name)
		_, _, cErr, sErr := shake(t, c, s, Options{})
		if cErr.Error() != NotReady || sErr.Error() != NotReady {
			t.Errorf("without %s: %v, %v", name, cErr, sErr)
		}
		b[name] = old
	}
}

// TestResumed has the second connection resume the session of the first, at most so many sessions
// kept, and none once the secrets have changed.
func TestResumed(t *testing.T) {
	for _, high := range []tlsv3.TlsParameters_TlsProtocol{v12, v13} {
		root, b, c, s := mesh(t, high)
		// read lets the tickets of TLS 1.3 come, which follow the handshake.
		connect := func(c *Client) bool {
			client, server, cErr, sErr := shake(t, c, s, Options{})
			if cErr != nil || sErr != nil {
				t.Fatal(cErr, sErr)
			}
			server.Write([]byte("x")) //nolint:errcheck // the read says
			if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if client.State.Resumed != server.State.Resumed {
				t.Error("one side alone has resumed")
			}
			if server.State.Peer == nil || !server.State.Validated {
				t.Error("the client's certificate is not known")
			}
			return client.State.Resumed
		}
		if connect(c) {
			t.Errorf("%v: resumed from nothing", high)
		}
		for range 3 {
			if !connect(c) {
				t.Errorf("%v: not resumed", high)
			}
		}
		b["default"] = issue(t, root, named("second")).secret(t)
		if connect(c) {
			t.Errorf("%v: resumed with the certificate of before", high)
		}
		none := newClient(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: sdsContext(high),
			MaxSessionKeys: wrapperspb.UInt32(0)}, b.find)
		for range 2 {
			if connect(none) {
				t.Errorf("%v: resumed without a session kept", high)
			}
		}
	}
}

// TestStale has an idle connection be usable while the TLS layer alone has news, and no longer once
// the peer has said anything else.
func TestStale(t *testing.T) {
	for _, high := range []tlsv3.TlsParameters_TlsProtocol{v12, v13} {
		for name, row := range map[string]struct {
			do    func(server *Conn)
			stale bool
		}{
			"nothing":      {func(*Conn) {}, false},
			"close_notify": {func(s *Conn) { s.CloseWrite() }, true}, //nolint:errcheck // seen then
			"closed below": {func(s *Conn) { s.Under().Close() }, true},
			"data":         {func(s *Conn) { s.Write([]byte("unasked")) }, true}, //nolint:errcheck // seen then
		} {
			_, _, c, s := mesh(t, high)
			client, server, cErr, sErr := shake(t, c, s, Options{})
			if cErr != nil || sErr != nil {
				t.Fatal(cErr, sErr)
			}
			for range 2 { // to look changes nothing
				if client.Stale() {
					t.Errorf("%v, %s: stale at once", high, name)
				}
			}
			row.do(server)
			if row.stale {
				readable(t, client)
			}
			if client.Stale() != row.stale {
				t.Errorf("%v, %s: stale is %v", high, name, !row.stale)
			}
			if !row.stale { // and it can be used still
				server.Write([]byte("x")) //nolint:errcheck // the read says
				if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
					t.Errorf("%v, %s: %v", high, name, err)
				}
			}
		}
	}
}

// readable waits until the socket below has something to read.
func readable(t *testing.T, c *Conn) {
	t.Helper()
	raw, err := c.Under().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
}

// TestRefused has contexts refused by the field that is at fault, and secrets without a word of a key.
func TestRefused(t *testing.T) {
	root := issue(t, nil, named("root"))
	leaf, other := issue(t, root, everyName), issue(t, root, everyName)
	mixed := &tlsv3.TlsCertificate{CertificateChain: source(leaf.pem()),
		PrivateKey: source(other.keyPEM(t))}
	common := func(f func(*tlsv3.CommonTlsContext)) *tlsv3.DownstreamTlsContext {
		c := &tlsv3.CommonTlsContext{
			TlsCertificates: []*tlsv3.TlsCertificate{leaf.certificate(t)}}
		f(c)
		return &tlsv3.DownstreamTlsContext{CommonTlsContext: c}
	}
	validation := func(text string) *tlsv3.DownstreamTlsContext {
		return common(func(c *tlsv3.CommonTlsContext) {
			c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
				ValidationContext: contextOf(t, text)}
		})
	}
	ciphers := func(names ...string) *tlsv3.DownstreamTlsContext {
		return common(func(c *tlsv3.CommonTlsContext) {
			c.TlsParams = &tlsv3.TlsParameters{CipherSuites: names}
		})
	}
	for want, m := range map[string]*tlsv3.DownstreamTlsContext{
		"common_tls_context: No TLS certificates found": {},
		"common_tls_context.tls_certificates[0].certificate_chain: ": common(
			func(c *tlsv3.CommonTlsContext) { c.TlsCertificates[0] = mixed }),
		"common_tls_context.validation_context.trusted_ca: ":             validation(`{"trustedCa":{"inlineString":"x"}}`),
		"common_tls_context.validation_context.crl: ":                    validation(`{"crl":{"inlineString":"x"}}`),
		"common_tls_context.validation_context.verify_certificate_hash[": validation(`{"verifyCertificateHash":["00"]}`),
		"common_tls_context.validation_context.verify_certificate_spki[": validation(`{"verifyCertificateSpki":["00"]}`),
		"common_tls_context.validation_context.match_typed_subject_alt_names[0].san_type: ": validation(
			`{"matchTypedSubjectAltNames":[{"sanType":"OTHER_NAME","matcher":{"exact":"x"},"oid":"1.2"}]}`),
		"common_tls_context.tls_params.cipher_suites[1]: ": ciphers("AES128-SHA", "ROT13"),
		"common_tls_context.tls_params.cipher_suites: ":    ciphers("PSK-AES128-CBC-SHA"),
		"common_tls_context.tls_params.tls_minimum_": common(func(c *tlsv3.CommonTlsContext) {
			c.TlsParams = params(v13, v12)
		}),
		"common_tls_context.alpn_protocols: ": common(func(c *tlsv3.CommonTlsContext) {
			c.AlpnProtocols = []string{"a,,b"}
		}),
		"session_ticket_keys.keys[0]: ": {CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificates: []*tlsv3.TlsCertificate{leaf.certificate(t)}},
			SessionTicketKeysType: &tlsv3.DownstreamTlsContext_SessionTicketKeys{
				SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{source("x")}}}},
	} {
		_, err := NewServer(m, box{}.find)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if _, err := NewServer(ciphers("PSK-AES128-CBC-SHA", "AES128-SHA"), box{}.find); err != nil {
		t.Errorf("a cipher suite that crypto/tls lacks beside one that it has: %v", err)
	}
	_, err := NewSecret(&tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: mixed}})
	if err == nil || strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Errorf("a key that does not belong to its certificate: %v", err)
	}
}

// TestClock has certificates be judged by the clock that is given.
func TestClock(t *testing.T) {
	_, _, c, s := mesh(t, v13)
	for at, want := range map[time.Duration]string{
		-2 * time.Hour: "certificate is not yet valid", 0: "", 2 * time.Hour: "certificate has expired",
	} {
		a, b := connected(t)
		go s.Handshake(b, nil, atNoon) //nolint:errcheck // the client says
		_, err := c.Handshake(a, Options{}, func() time.Time { return noon.Add(at) })
		var f *Failure
		switch {
		case want == "" && err != nil:
			t.Errorf("at %v: %v", at, err)
		case want != "" && (!errors.As(err, &f) || !strings.Contains(f.Reason, want)):
			t.Errorf("at %v: want %s, got %v", at, want, err)
		}
	}
}

// TestRefusedPeer has a server tell which certificate it has refused, whoever looked at it:
// crypto/tls, or Envoy's own checks behind it. A client that has shown none has no identity.
func TestRefusedPeer(t *testing.T) {
	for _, row := range []struct{ validation, certificate string }{
		{`{"trustedCa":{"inlineString":"ROOT"}}`, "stranger"},
		{`{"trustedCa":{"inlineString":"ROOT"},"verifyCertificateHash":["` +
			strings.Repeat("00", 32) + `"]}`, "leaf"},
		{`{"trustedCa":{"inlineString":"ROOT"}}`, ""},
	} {
		root := issue(t, nil, named("root"))
		shown := map[string]*issued{"leaf": issue(t, root, everyName),
			"stranger": issue(t, issue(t, nil, named("other")), everyName)}[row.certificate]
		text := strings.ReplaceAll(row.validation, "ROOT",
			strings.ReplaceAll(root.pem(), "\n", `\n`))
		s := newServer(t, &tlsv3.DownstreamTlsContext{
			RequireClientCertificate: wrapperspb.Bool(true),
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificates: []*tlsv3.TlsCertificate{issue(t, root, everyName).certificate(t)},
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
					ValidationContext: contextOf(t, text)}}}, box{}.find)
		own := &tlsv3.CommonTlsContext{}
		if shown != nil {
			own.TlsCertificates = []*tlsv3.TlsCertificate{shown.certificate(t)}
		}
		c := newClient(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: own}, box{}.find)
		_, _, _, err := shake(t, c, s, Options{})
		var f *Failure
		if !errors.As(err, &f) {
			t.Fatalf("%+v: %v", row, err)
		}
		switch {
		case shown == nil && f.Peer != nil:
			t.Errorf("%+v", f.Peer)
		case shown != nil && (f.Peer == nil || f.Peer.PEM != describe([]*x509.Certificate{shown.Certificate}).PEM):
			t.Errorf("%+v: %+v", row, f.Peer)
		}
	}
}

// TestReasons words errors of crypto/tls that no handshake of a test brings about.
func TestReasons(t *testing.T) {
	for _, row := range []struct {
		err    error
		server bool
		want   string
	}{
		{io.EOF, true, ""},
		{io.ErrUnexpectedEOF, false, ""},
		{net.ErrClosed, false, ""},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, false,
			"TLS_error:|268436498:SSL routines:OPENSSL_internal:SSLV3_ALERT_BAD_CERTIFICATE:TLS_error_end"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(200)}, false,
			"TLS_error:|268436656:SSL routines:OPENSSL_internal:UNKNOWN_ALERT_TYPE_200:TLS_error_end"},
		{tls.RecordHeaderError{RecordHeader: [5]byte([]byte("CONNE"))}, true,
			"TLS_error:|268435613:SSL routines:OPENSSL_internal:HTTPS_PROXY_REQUEST:TLS_error_end"},
		{tls.RecordHeaderError{RecordHeader: [5]byte([]byte("GET /"))}, false, wrongVersion},
		{x509.UnknownAuthorityError{}, false,
			"TLS_error:|x509: certificate signed by unknown authority:TLS_error_end"},
	} {
		if got := reasonOf(row.err, row.server); got != row.want {
			t.Errorf("%v: got %q, want %q", row.err, got, row.want)
		}
	}
}
