package request

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
)

// dial connects as the workload would, and secures the connection as the URL says.
func (c *conn) dial(ctx context.Context, p *plan) error {
	c.remote, c.tls = "", nil
	nc, err := c.w.mesh.Dial(ctx, c.w.from, p.address)
	if err != nil {
		return &connectError{err}
	}
	if t, ok := nc.LocalAddr().(*net.TCPAddr); ok && c.w.addr.IsValid() {
		c.remote = netip.AddrPortFrom(c.w.addr, uint16(t.Port)).String()
	}
	if p.secure() {
		if nc, err = c.secure(ctx, p, nc); err != nil {
			return err
		}
	}
	c.net, c.channel, c.r = nc, p.channel(), bufio.NewReader(nc)
	return nil
}

// secure makes the TLS handshake.
func (c *conn) secure(ctx context.Context, p *plan, nc net.Conn) (net.Conn, error) {
	config, err := p.tlsConfig(c.w.issuer())
	if err != nil {
		nc.Close()
		return nil, &tlsclient.Error{Reason: err.Error()}
	}
	t, err := tlsclient.Client(ctx, nc, config)
	if err != nil {
		return nil, err
	}
	c.tls = security(t.ConnectionState())
	return t, nil
}

// issuer makes certificates of the mesh's authority; nil when it has none.
func (w *worker) issuer() tlsclient.Issuer {
	i, _ := w.mesh.(tlsclient.Issuer)
	return i
}

// tlsConfig returns how a plan's connections are secured. HTTP/1.1 is what https:// offers.
func (p *plan) tlsConfig(i tlsclient.Issuer) (*tls.Config, error) {
	if p.scheme == "tls" {
		return p.TLS.Config(i, p.name)
	}
	return p.TLS.Config(i, p.name, "http/1.1")
}

// channel is equal for plans that may share a connection.
func (p *plan) channel() string {
	if !p.secure() {
		return p.scheme + " " + p.address
	}
	return p.scheme + " " + p.address + " " + p.name + " " + p.TLS.Fingerprint()
}

// security is what is told of a TLS connection.
func security(s tls.ConnectionState) *TLS {
	out := &TLS{
		Version: strings.Replace(tls.VersionName(s.Version), "TLS ", "TLSv", 1),
		Cipher:  tls.CipherSuiteName(s.CipherSuite), ALPN: s.NegotiatedProtocol, SNI: s.ServerName,
	}
	if len(s.PeerCertificates) > 0 {
		leaf := s.PeerCertificates[0]
		out.Certificate, out.Subject = slices.Clone(leaf.DNSNames), leaf.Subject.String()
		for _, u := range leaf.URIs {
			out.URIs = append(out.URIs, u.String())
		}
	}
	return out
}

// line sends bytes without HTTP, and reads the line that comes back, or what comes until the server
// closes.
func (c *conn) line(p *plan) ([]byte, error) {
	text := p.Body
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if _, err := io.WriteString(c.net, text); err != nil {
		return nil, err
	}
	b, err := c.r.ReadBytes('\n')
	if len(b) > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}

type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// classify names what went wrong in the contract's words, with the reason after a colon.
func classify(err error) string {
	var ce *connectError
	var te *tlsclient.Error
	var dns *net.DNSError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &te):
		return "tls: " + te.Reason
	case errors.As(err, &dns):
		return "connect: " + dns.Err + ": " + dns.Name
	case errors.As(err, &ce):
		return "connect: " + reason(ce.error)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset: " + reason(err)
	}
	return "protocol: " + err.Error()
}

// reason is the innermost cause, which names no loopback address.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		err = se.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "connection closed"
	}
	return err.Error()
}
