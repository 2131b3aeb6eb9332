package transport

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

func contextOf(t testing.TB, text string) *tlsv3.CertificateValidationContext {
	t.Helper()
	m := &tlsv3.CertificateValidationContext{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// TestTrust has each thing that a validation context can ask for hold, and not hold.
func TestTrust(t *testing.T) {
	root := issue(t, nil, named("root"))
	leaf := issue(t, root, everyName)
	sum := sha256.Sum256(leaf.Raw)
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	colons := strings.ToUpper(hex.EncodeToString(sum[:]))
	for i := len(colons) - 2; i > 0; i -= 2 {
		colons = colons[:i] + ":" + colons[i:]
	}
	typed := func(kind, matcher string) string {
		return `{"matchTypedSubjectAltNames":[{"sanType":"` + kind + `","matcher":` + matcher + `}]}`
	}
	names := func(matcher string) string { return `{"matchSubjectAltNames":[` + matcher + `]}` }
	zero := strings.Repeat("00", 32)
	for _, row := range []struct {
		text string
		want bool
	}{
		{names(`{"exact":"a.example.com"}`), true},
		{names(`{"exact":"A.example.com"}`), true}, // DNS names have no case
		{names(`{"exact":"x.wild.example.com"}`), true},
		{names(`{"exact":"x.y.wild.example.com"}`), false},
		{names(`{"exact":"wild.example.com"}`), false},
		{names(`{"exact":"spiffe://cluster.local/ns/a/sa/b"}`), true},
		{names(`{"exact":"spiffe://cluster.local/ns/a/sa/B"}`), false},
		{names(`{"exact":"spiffe://cluster.local/ns/a/sa/B","ignoreCase":true}`), true},
		{names(`{"prefix":"spiffe://cluster.local/"}`), true},
		{names(`{"prefix":"spiffe://other/"}`), false},
		{names(`{"suffix":"/sa/b"}`), true},
		{names(`{"suffix":"/sa/c"}`), false},
		{names(`{"contains":"/ns/a/"}`), true},
		{names(`{"contains":"/ns/b/"}`), false},
		{names(`{"safeRegex":{"regex":"spiffe://.*/sa/[a-c]"}}`), true},
		{names(`{"safeRegex":{"regex":"spiffe://.*/sa"}}`), false},
		{names(`{"exact":"10.0.0.1"}`), true},
		{names(`{"exact":"me@example.com"}`), true},
		{names(`{"exact":"nobody"},{"exact":"me@example.com"}`), true},
		{typed("URI", `{"prefix":"spiffe://"}`), true},
		{typed("DNS", `{"prefix":"spiffe://"}`), false},
		{typed("DNS", `{"exact":"q.wild.example.com"}`), true},
		{typed("IP_ADDRESS", `{"exact":"10.0.0.1"}`), true},
		{typed("EMAIL", `{"exact":"10.0.0.1"}`), false},
		{`{"verifyCertificateHash":["` + hex.EncodeToString(sum[:]) + `"]}`, true},
		{`{"verifyCertificateHash":["` + colons + `"]}`, true},
		{`{"verifyCertificateHash":["` + zero + `"]}`, false},
		{`{"verifyCertificateSpki":["` + base64.StdEncoding.EncodeToString(key[:]) + `"]}`, true},
		{`{"verifyCertificateSpki":["` + base64.StdEncoding.EncodeToString(sum[:]) + `"]}`, false},
		{`{"verifyCertificateHash":["` + zero + `"],"verifyCertificateSpki":["` +
			base64.StdEncoding.EncodeToString(key[:]) + `"]}`, true},
	} {
		for _, chain := range []bool{false, true} {
			m := contextOf(t, row.text)
			if chain {
				m.TrustedCa = source(root.pem())
			}
			tr, err := newTrust(m)
			if err != nil {
				t.Fatalf("%s: %v", row.text, err)
			}
			ok, wrong := tr.verify([]*x509.Certificate{leaf.Certificate},
				peer{now: noon, usage: x509.ExtKeyUsageServerAuth})
			if ok != row.want || (wrong == "") != row.want {
				t.Errorf("%s, chain %v: got %v %q", row.text, chain, ok, wrong)
			}
		}
	}
}

// revoke makes a list of an issuer.
func revoke(t *testing.T, by *issued, serials ...int64) string {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: noon.Add(-time.Hour),
		NextUpdate: noon.Add(time.Hour)}
	for _, n := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: noon})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, by.Certificate, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// TestRevocation has lists that name a certificate of a chain, do not, or are not there.
func TestRevocation(t *testing.T) {
	serial := func(n int64, ca bool) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			named(fmt.Sprint("number ", n))(c)
			c.SerialNumber = big.NewInt(n)
			if c.IsCA = ca; ca {
				c.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
			}
		}
	}
	root := issue(t, nil, serial(1, true))
	middle := issue(t, root, serial(2, true))
	leaf := issue(t, middle, serial(3, false))
	for _, row := range []struct {
		lists []string
		leaf  bool
		want  string
	}{
		{lists: []string{revoke(t, root), revoke(t, middle)}},
		{lists: []string{revoke(t, root), revoke(t, middle, 3)},
			want: "at depth 0: certificate revoked"},
		{lists: []string{revoke(t, root, 2), revoke(t, middle)},
			want: "at depth 1: certificate revoked"},
		{lists: []string{revoke(t, root, 2), revoke(t, middle)}, leaf: true},
		{lists: []string{revoke(t, root)}, want: "at depth 0: unable to get certificate CRL"},
		{lists: []string{revoke(t, middle)}, want: "at depth 1: unable to get certificate CRL"},
	} {
		m := &tlsv3.CertificateValidationContext{TrustedCa: source(root.pem()),
			Crl: source(strings.Join(row.lists, "")), OnlyVerifyLeafCertCrl: row.leaf}
		tr, err := newTrust(m)
		if err != nil {
			t.Fatal(err)
		}
		_, wrong := tr.verify([]*x509.Certificate{leaf.Certificate, middle.Certificate},
			peer{now: noon, usage: x509.ExtKeyUsageServerAuth})
		if row.want == "" && wrong != "" || !strings.Contains(wrong, row.want) {
			t.Errorf("%v: want %q, got %q", row.lists, row.want, wrong)
		}
	}
}

// FuzzChain has no certificate make anything panic, whatever is in it, and no chain accepted that is
// not below the root.
func FuzzChain(f *testing.F) {
	root := issue(f, nil, named("root"))
	other := issue(f, nil, named("other"))
	for _, c := range []*issued{issue(f, root, everyName), issue(f, other, everyName), other} {
		f.Add(c.Raw)
	}
	trusts := map[string]*trust{}
	for _, text := range []string{`{}`, `{"allowExpiredCertificate":true}`,
		`{"trustChainVerification":"ACCEPT_UNTRUSTED"}`,
		`{"matchSubjectAltNames":[{"safeRegex":{"regex":"spiffe://.*"}}]}`} {
		m := contextOf(f, text)
		m.TrustedCa = source(root.pem())
		tr, err := newTrust(m)
		if err != nil {
			f.Fatal(err)
		}
		trusts[text] = tr
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		nameText(der)
		certs, err := x509.ParseCertificates(der)
		if err != nil || len(certs) == 0 {
			return
		}
		describe(certs)
		for text, tr := range trusts {
			p := peer{now: noon, usage: x509.ExtKeyUsageClientAuth}
			tr.explain(certs, p)
			ok, _ := tr.verify(certs, p)
			if ok && bytes.Equal(certs[0].RawIssuer, other.RawSubject) {
				t.Errorf("%s: accepted", text)
			}
		}
	})
}
