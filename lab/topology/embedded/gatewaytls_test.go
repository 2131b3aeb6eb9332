package embedded_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// tlsCall is a request from outside to a server that ends TLS, in the golden case gateway-tls of
// meshcore/translate.
type tlsCall struct {
	sni, host   string
	certificate string // "": none; "client", "other" of the same authority, "stranger" or "mesh"
	config      func(*tls.Config)
	want        string // NAME of the server's certificate, version, status; or "refused"
}

// rsaOnly is a client whose signature algorithms, but not its ciphers, speak of ECDSA: Envoy looks
// at the former only, and chooses the certificate that does not fit (source/common/tls/
// default_tls_certificate_selector.cc isClientEcdsaCapable).
func rsaOnly(c *tls.Config) {
	c.MaxVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
}

func old(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }

func newest(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }

var tlsCalls = []tlsCall{
	{"a.example.com", "a.example.com", "", nil, "a TLS 1.2 200"},
	{"a.example.com", "a.example.com", "", newest, "refused"},
	{"a.example.com", "a.example.com", "", old, "refused"},
	{"a.example.com", "c.example.com", "", nil, "a TLS 1.2 404"},
	{"A.Example.com", "a.example.com", "client", nil, "a TLS 1.2 200"},
	{"b.example.com", "b.example.com", "", nil, "refused"},
	{"b.example.com", "b.example.com", "client", nil, "b TLS 1.3 200"},
	{"b.example.com", "b.example.com", "stranger", nil, "refused"},
	{"c.example.com", "c.example.com", "", nil, "c TLS 1.3 200"},
	{"c.example.com", "c.example.com", "client", nil, "c TLS 1.3 200"},
	{"c.example.com", "c.example.com", "stranger", nil, "refused"},
	{"two.example.com", "two.example.com", "", nil, "ec TLS 1.3 200"},
	{"two.example.com", "two.example.com", "", rsaOnly, "refused"},
	{"mesh.example.com", "mesh.example.com", "", nil, "refused"},
	{"mesh.example.com", "mesh.example.com", "client", nil, "refused"},
	{"mesh.example.com", "mesh.example.com", "mesh", nil, " TLS 1.3 200"},
	{"pin.example.com", "pin.example.com", "client", nil, "b TLS 1.3 200"},
	{"pin.example.com", "pin.example.com", "other", nil, "refused"},
	{"lax.example.com", "lax.example.com", "stranger", nil, "a TLS 1.3 200"},
	{"lax.example.com", "lax.example.com", "", nil, "refused"},
	{"file.example.com", "file.example.com", "", nil, "a TLS 1.3 200"},
	{"files.example.com", "files.example.com", "client", nil, "ec TLS 1.3 200"},
	{"files.example.com", "files.example.com", "stranger", nil, "refused"},
	{"raw.example.com", "anything", "", nil, "b TLS 1.3 200"},
	{"x.y.example.com", "x.y.example.com", "", nil, "b TLS 1.3 200"},
	{"other.example.org", "a.example.com", "", nil, "refused"},
}

// TestGatewayTLS asks our gateway over TLS.
func TestGatewayTLS(t *testing.T) { testGatewayTLS(t, embedded.Driver{}) }

// TestGatewayTLSEnvoy asks a real Envoy.
func TestGatewayTLSEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	testGatewayTLS(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

func testGatewayTLS(t *testing.T, d embedded.Driver) {
	text, err := os.ReadFile("../../../meshcore/translate/testdata/gateway-tls/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := tlsConfig(t, string(text))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := d.Up(ctx, topology.Spec{Config: config, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(context.WithoutCancel(ctx))
	certificates := map[string]tls.Certificate{
		"client": pair(t, config, "client"), "other": pair(t, config, "cert-c"),
		"stranger": stranger(t), "mesh": meshCertificate(t, m),
	}
	for _, c := range tlsCalls {
		var own []tls.Certificate
		if c.certificate != "" {
			own = append(own, certificates[c.certificate])
		}
		if got := c.ask(t, ctx, m, own); got != c.want {
			t.Errorf("SNI %s, host %s, certificate %q: got %q, want %q",
				c.sni, c.host, c.certificate, got, c.want)
		}
	}
	// A new certificate is in the next handshake; who is connected stays so.
	conn := tls.Client(dialGateway(t, ctx, m, "443"), insecure("c.example.com", nil))
	defer conn.Close()
	if got := exchange(conn, "c.example.com"); got != "200" {
		t.Fatalf("before: %s", got)
	}
	renewed := strings.Replace(string(text), "name: cert-c}", "name: cert-was}", 1)
	renewed = strings.Replace(renewed, "name: cert-a}", "name: cert-c}", 1)
	renewed = strings.Replace(renewed, "name: cert-was}", "name: cert-a}", 1)
	if _, err := m.Apply(ctx, tlsConfig(t, renewed)); err != nil {
		t.Fatal(err)
	}
	after := tlsCall{sni: "c.example.com", host: "c.example.com"}
	if got := after.ask(t, ctx, m, nil); got != "a TLS 1.3 200" {
		t.Errorf("with a new certificate: %q", got)
	}
	if got := exchange(conn, "c.example.com"); got != "200" {
		t.Errorf("on the old connection: %s", got)
	}
}

func tlsConfig(t *testing.T, text string) *istio.Config {
	t.Helper()
	config, diags := istio.Read([]istio.File{{Name: "in.yaml", Data: []byte(text)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	return config
}

// ask makes a connection of its own with one request.
func (c tlsCall) ask(
	t *testing.T, ctx context.Context, m topology.Mesh, own []tls.Certificate,
) string {
	t.Helper()
	config := insecure(c.sni, own)
	if c.config != nil {
		c.config(config)
	}
	conn := tls.Client(dialGateway(t, ctx, m, "443"), config)
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return "refused"
	}
	status := exchange(conn, c.host)
	if status == "" { // a client learns after the handshake that its certificate is refused
		return "refused"
	}
	state := conn.ConnectionState()
	return fmt.Sprintf("%s %s %s", state.PeerCertificates[0].Subject.CommonName,
		tls.VersionName(state.Version), status)
}

// insecure takes any certificate of the server: the test looks at its name.
func insecure(sni string, own []tls.Certificate) *tls.Config {
	out := &tls.Config{
		ServerName: sni, InsecureSkipVerify: true, //nolint:gosec // see above
		NextProtos: []string{"http/1.1"},
	}
	if len(own) > 0 { // whoever the server says that it trusts
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &own[0], nil
		}
	}
	return out
}

// exchange returns the status of a request's answer; "" when there is none.
func exchange(conn *tls.Conn, host string) string {
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return ""
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return ""
	}
	return fmt.Sprint(r.StatusCode)
}

// pair reads the certificate of a Secret.
func pair(t *testing.T, config *istio.Config, secret string) tls.Certificate {
	t.Helper()
	for _, o := range config.Kind("Secret") {
		if o.Name == secret {
			data := o.Body.(*corev1.Secret).StringData
			c, err := tls.X509KeyPair([]byte(data["tls.crt"]), []byte(data["tls.key"]))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no Secret %s", secret)
	return tls.Certificate{}
}

// stranger makes a certificate that nobody has issued.
func stranger(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"client.example.com"},
		NotAfter: time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// meshCertificate is one of the mesh's own authority.
func meshCertificate(t *testing.T, m topology.Mesh) tls.Certificate {
	t.Helper()
	c, err := m.(topology.Issuer).Issue("default", "visitor")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAutoPassthrough reaches a pod's sidecar through a gateway that passes the mesh's TLS on, by
// the name of the cluster.
func TestAutoPassthrough(t *testing.T) { testAutoPassthrough(t, embedded.Driver{}) }

// TestAutoPassthroughEnvoy does the same with real Envoys.
func TestAutoPassthroughEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	testAutoPassthrough(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

func testAutoPassthrough(t *testing.T, d embedded.Driver) {
	text, err := os.ReadFile("../../../meshcore/translate/testdata/auto-passthrough/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := d.Up(ctx, topology.Spec{Config: tlsConfig(t, string(text)), Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(context.WithoutCancel(ctx))
	certificate := meshCertificate(t, m)
	const host = "lamp.default.svc.cluster.local"
	for _, c := range []struct {
		sni, alpn string
		own       []tls.Certificate
		want      string
	}{
		{"outbound_.80_._." + host, "istio-http/1.1", []tls.Certificate{certificate}, "200"},
		{"outbound_.80_.one_." + host, "istio-http/1.1", []tls.Certificate{certificate}, "200"},
		{"outbound_.80_._." + host, "istio-http/1.1", nil, "refused"},
		{"outbound_.80_._." + host, "http/1.1", []tls.Certificate{certificate}, "refused"},
		{"outbound_.80_.bare_." + host, "istio-http/1.1", []tls.Certificate{certificate}, "refused"},
		{"outbound_.81_._." + host, "istio-http/1.1", []tls.Certificate{certificate}, "refused"},
		{host, "istio-http/1.1", []tls.Certificate{certificate}, "refused"},
	} {
		config := insecure(c.sni, c.own)
		config.NextProtos = []string{c.alpn, "istio"}
		if c.alpn == "http/1.1" {
			config.NextProtos = config.NextProtos[:1]
		}
		conn := tls.Client(dialGateway(t, ctx, m, "15443"), config)
		got := "refused"
		if err := conn.HandshakeContext(ctx); err == nil {
			got = cmp.Or(exchange(conn, "lamp"), got)
		}
		conn.Close()
		if got != c.want {
			t.Errorf("SNI %s, ALPN %s: got %s, want %s", c.sni, c.alpn, got, c.want)
		}
	}
}
