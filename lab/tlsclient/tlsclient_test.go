package tlsclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
)

// made is a self-signed certificate and its PEM texts.
type made struct {
	tls.Certificate
	cert, key string
}

func selfSigned(t *testing.T, name string) made {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return made{
		tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
}

// issuer knows one account.
type issuer struct{ tls.Certificate }

func (i issuer) Issue(namespace, account string) (tls.Certificate, error) {
	if namespace+"/"+account != "a/b" {
		return tls.Certificate{}, errors.New("no such account")
	}
	return i.Certificate, nil
}

func TestConfig(t *testing.T) {
	one, two := selfSigned(t, "one"), selfSigned(t, "two")
	for _, c := range []struct {
		o    tlsclient.Options
		i    tlsclient.Issuer
		sni  string
		fail string
	}{
		{o: tlsclient.Options{}, sni: "host"},
		{o: tlsclient.Options{SNI: "x"}, sni: "x"},
		{o: tlsclient.Options{SNI: "none"}},
		{o: tlsclient.Options{Cert: one.cert, Key: one.key}, sni: "host"},
		{o: tlsclient.Options{Cert: one.cert}, fail: "cert needs key"},
		{o: tlsclient.Options{Key: one.key}, fail: "key needs cert"},
		{o: tlsclient.Options{Cert: one.cert, Key: two.key}, fail: "cert and key: private key does not match"},
		{o: tlsclient.Options{CACert: "nonsense"}, fail: "cacert: no PEM"},
		{o: tlsclient.Options{Identity: "a/b"}, i: issuer{one.Certificate}, sni: "host"},
		{o: tlsclient.Options{Identity: "a/c"}, i: issuer{}, fail: "identity a/c: no such account"},
		{o: tlsclient.Options{Identity: "a"}, i: issuer{}, fail: "want NAMESPACE/SERVICEACCOUNT"},
		{o: tlsclient.Options{Identity: "a/b"}, fail: "no certificate authority"},
		{o: tlsclient.Options{Identity: "a/b", Cert: "x"}, fail: "one client certificate, not both"},
	} {
		config, err := c.o.Config(c.i, "host")
		switch {
		case c.fail != "":
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%+v: got %v, want %q", c.o, err, c.fail)
			}
		case err != nil:
			t.Errorf("%+v: %v", c.o, err)
		case config.ServerName != c.sni:
			t.Errorf("%+v: SNI %q", c.o, config.ServerName)
		}
	}
}

// exchange connects to a server and reads what it says; server has the other end.
func exchange(
	t *testing.T, o tlsclient.Options, server func(net.Conn),
) (text string, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		server(c)
	}()
	defer func() { <-done }()
	config, err := o.Config(nil, "one")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := tlsclient.Client(ctx, raw, config)
	if err != nil {
		return "", err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "x\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// answer serves TLS and says "hi", after having read a line.
func answer(config *tls.Config) func(net.Conn) {
	return func(raw net.Conn) {
		c := tls.Server(raw, config)
		if _, err := c.Read(make([]byte, 2)); err == nil {
			io.WriteString(c, "hi")
		}
		c.Close()
	}
}

func TestClient(t *testing.T) {
	one, two := selfSigned(t, "one"), selfSigned(t, "two")
	open := &tls.Config{Certificates: []tls.Certificate{one.Certificate}}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(two.cert))
	mutual := &tls.Config{
		Certificates: open.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}
	silent := func(raw net.Conn) { // lets the client in, and goes without a word
		c := tls.Server(raw, open)
		c.Read(make([]byte, 2))
	}
	abrupt := func(raw net.Conn) { raw.Read(make([]byte, 1)) }
	for _, c := range []struct {
		name   string
		o      tlsclient.Options
		server func(net.Conn)
		want   string // what comes back
		fail   string // a reason of TLS
	}{
		{name: "not checked", server: answer(open), want: "hi"},
		{name: "checked", o: tlsclient.Options{CACert: one.cert}, server: answer(open), want: "hi"},
		{name: "other root", o: tlsclient.Options{CACert: two.cert}, server: answer(open),
			fail: "failed to verify certificate: x509"},
		{name: "other name", o: tlsclient.Options{CACert: one.cert, SNI: "two"}, server: answer(open),
			fail: "failed to verify certificate: x509: certificate is valid for one, not two"},
		{name: "no certificate", server: answer(mutual), fail: "remote error: tls: certificate required"},
		{name: "stranger", o: tlsclient.Options{Cert: one.cert, Key: one.key}, server: answer(mutual),
			fail: "remote error: tls: unknown certificate authority"},
		{name: "friend", o: tlsclient.Options{Cert: two.cert, Key: two.key}, server: answer(mutual),
			want: "hi"},
		{name: "closed in the handshake", server: abrupt, fail: "closed by the server"},
		{name: "closed after it", server: silent, fail: "closed by the server"},
		{name: "said farewell", server: func(raw net.Conn) {
			c := tls.Server(raw, open)
			c.Read(make([]byte, 2))
			c.Close()
		}},
		{name: "no TLS", server: func(raw net.Conn) {
			raw.Read(make([]byte, 1000))
			io.WriteString(raw, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, fail: "first record does not look like a TLS handshake"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := exchange(t, c.o, c.server)
			var te *tlsclient.Error
			switch {
			case c.fail != "":
				if !errors.As(err, &te) || !strings.Contains(te.Reason, c.fail) {
					t.Errorf("got %q, %v; want %q", got, err, c.fail)
				}
			case err != nil || got != c.want:
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestPatience ends a handshake that nobody answers with the context.
func TestPatience(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		b.Read(make([]byte, 1)) // the handshake has begun
		cancel()
	}()
	config, err := tlsclient.Options{}.Config(nil, "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tlsclient.Client(ctx, a, config); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
