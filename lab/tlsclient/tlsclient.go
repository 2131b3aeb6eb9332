// Package tlsclient is TLS as the lab's own clients speak it: requests and loads. A server's
// certificate is shown, not checked, unless roots are given.
package tlsclient

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
)

// Options are what the user says about TLS. Certificates and keys are PEM, never files: who reads
// files does so before.
type Options struct {
	SNI      string // server name; empty: the URL's host, NoSNI: none
	CACert   string // roots to check the server's certificate against; empty: it is not checked
	Cert     string // client certificate, with intermediates
	Key      string // its private key
	Identity string // NAMESPACE/SERVICEACCOUNT: a client certificate of the mesh's authority
}

// NoSNI is the SNI that asks for a handshake without one.
const NoSNI = "none"

// Issuer makes client certificates of the mesh's authority. Keys stay in memory.
type Issuer interface {
	Issue(namespace, serviceAccount string) (tls.Certificate, error)
}

// Config returns how to speak TLS to host. alpn is what to offer. An error names the option as its
// flag does. issuer is needed for Identity alone, and may be nil.
func (o Options) Config(issuer Issuer, host string, alpn ...string) (*tls.Config, error) {
	c := &tls.Config{NextProtos: alpn, InsecureSkipVerify: true} // see below: roots check it
	name := host
	if o.SNI != "" && o.SNI != NoSNI {
		name = o.SNI
	}
	if o.SNI != NoSNI {
		c.ServerName = name
	}
	if o.CACert != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(o.CACert)) {
			return nil, errors.New("cacert: no PEM certificate in it")
		}
		c.VerifyConnection = func(s tls.ConnectionState) error { return verify(s, roots, name) }
	}
	cert, err := o.certificate(issuer)
	if err != nil {
		return nil, err
	}
	if cert != nil { // whoever the server says it trusts: to be refused is what the user asks about
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert, nil
		}
	}
	return c, nil
}

// certificate returns the client's certificate; nil without one.
func (o Options) certificate(issuer Issuer) (*tls.Certificate, error) {
	switch {
	case o.Identity != "" && o.Cert+o.Key != "":
		return nil, errors.New("identity and cert: one client certificate, not both")
	case o.Identity != "":
		ns, account, ok := strings.Cut(o.Identity, "/")
		if !ok || ns == "" || account == "" || strings.Contains(account, "/") {
			return nil, fmt.Errorf("identity %q: want NAMESPACE/SERVICEACCOUNT", o.Identity)
		}
		if issuer == nil {
			return nil, errors.New("identity: this lab has no certificate authority")
		}
		c, err := issuer.Issue(ns, account)
		if err != nil {
			return nil, fmt.Errorf("identity %s: %w", o.Identity, err)
		}
		return &c, nil
	case o.Cert == "" && o.Key == "":
		return nil, nil
	case o.Key == "":
		return nil, errors.New("cert needs key: the certificate's private key")
	case o.Cert == "":
		return nil, errors.New("key needs cert: the key's certificate")
	}
	c, err := tls.X509KeyPair([]byte(o.Cert), []byte(o.Key))
	if err != nil {
		return nil, fmt.Errorf("cert and key: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &c, nil
}

// Fingerprint is equal for options that make equal connections.
func (o Options) Fingerprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{
		o.SNI, o.CACert, o.Cert, o.Key, o.Identity}))
	return hex.EncodeToString(sum[:])
}

// Used says whether any option is given.
func (o Options) Used() bool { return o != Options{} }

// verify checks a server's certificate as a browser does.
func verify(s tls.ConnectionState, roots *x509.CertPool, name string) error {
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: name,
	})
	if err != nil {
		return fmt.Errorf("failed to verify certificate: %w", err)
	}
	return nil
}

// Conn is a connection that is protected by TLS.
type Conn struct {
	*tls.Conn
	below *watched
	heard atomic.Bool // the server has sent something of its own
}

// Client makes the handshake on a connection, which it closes when that fails. The error is an
// *Error, or ctx's.
func Client(ctx context.Context, c net.Conn, config *tls.Config) (*Conn, error) {
	below := &watched{Conn: c}
	t := &Conn{Conn: tls.Client(below, config), below: below}
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, failure(err)
	}
	return t, nil
}

// Read reads what the server sends. A server that checks the client's certificate says only now
// what it thinks of it: that is an *Error.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(true)
	}
	var op *net.OpError
	switch {
	case err == nil || c.heard.Load():
	case errors.As(err, &op) && op.Op == "remote error": // an alert
		err = failure(err)
	case c.below.broken.Load() && !errors.Is(err, os.ErrDeadlineExceeded):
		err = &Error{closed} // without TLS' farewell, which a server that let us in says
	}
	return n, err
}

// Write sends; where the server has already refused, it says why.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && !c.heard.Load() {
		if _, rerr := c.Read(make([]byte, 1)); rerr != nil {
			err = rerr
		}
	}
	return n, err
}

// watched notes whether a connection broke below TLS.
type watched struct {
	net.Conn
	broken atomic.Bool
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

// Error is why TLS did not come about.
type Error struct{ Reason string }

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// closed is the reason of servers that give none.
const closed = "closed by the server"

// failure words an error of a handshake.
func failure(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &Error{closed}
	}
	return &Error{strings.TrimPrefix(err.Error(), "tls: ")}
}
