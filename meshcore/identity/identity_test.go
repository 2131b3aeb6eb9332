package identity_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/identity"
)

// start is when the tests' clocks begin: whole seconds, as certificates have them.
var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

var reviews = identity.Workload{Namespace: "default", ServiceAccount: "reviews"}

// authority returns one whose clock the test moves.
func authority(t *testing.T, ttl time.Duration) (*identity.Authority, *time.Time) {
	now := start
	a, err := identity.New(identity.Options{TTL: ttl, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return a, &now
}

// given reads what a workload is given: its chain, and the roots that it trusts.
func given(t *testing.T, a *identity.Authority, w identity.Workload) (
	chain []*x509.Certificate, roots *x509.CertPool,
) {
	t.Helper()
	s, err := a.Secrets(w)
	if err != nil {
		t.Fatal(err)
	}
	own := s["default"].GetTlsCertificate()
	pair, err := tls.X509KeyPair(own.GetCertificateChain().GetInlineBytes(),
		own.GetPrivateKey().GetInlineBytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(
		s["ROOTCA"].GetValidationContext().GetTrustedCa().GetInlineBytes())
	return chain, roots
}

// trusted says whether a proxy of the mesh accepts a certificate at this time.
func trusted(chain []*x509.Certificate, roots *x509.CertPool, at time.Time) error {
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// TestCertificates: root and workload certificates are what istiod and the agent make.
func TestCertificates(t *testing.T) {
	a, now := authority(t, 0)
	chain, roots := given(t, a, reviews)
	if len(chain) != 2 {
		t.Fatalf("a chain of %d; the root is part of it", len(chain))
	}
	leaf, root := chain[0], chain[1]
	got := fmt.Sprintln(leaf.Subject, leaf.URIs, leaf.DNSNames, leaf.NotBefore.Sub(*now),
		leaf.NotAfter.Sub(*now), leaf.KeyUsage, leaf.ExtKeyUsage, leaf.IsCA) +
		fmt.Sprintln(root.Subject, root.NotBefore.Sub(*now), root.NotAfter.Sub(*now), root.KeyUsage,
			root.IsCA)
	want := fmt.Sprintln("", "[spiffe://cluster.local/ns/default/sa/reviews]", "[]", "-2m0s",
		"24h0m0s", x509.KeyUsage(5), "[serverAuth clientAuth]", false) +
		fmt.Sprintln("O=cluster.local", "0s", "87600h0m0s", "keyCertSign", true)
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, e := range leaf.Extensions {
		if e.Id.String() == "2.5.29.17" && !e.Critical { // RFC 5280, where the subject is empty
			t.Error("the SAN is not critical")
		}
	}
	if err := trusted(chain, roots, *now); err != nil {
		t.Error(err)
	}
}

// TestShared: pods of one service account have one certificate, others have others.
func TestShared(t *testing.T) {
	a, _ := authority(t, 0)
	serials := map[string]bool{}
	for _, w := range []identity.Workload{
		reviews, reviews, {Namespace: "other", ServiceAccount: "reviews"},
		{TrustDomain: "td.example", Namespace: "default", ServiceAccount: "reviews"},
	} {
		chain, _ := given(t, a, w)
		serials[chain[0].SerialNumber.String()] = true
	}
	if len(serials) != 3 {
		t.Errorf("%d certificates, want 3", len(serials))
	}
}

// TestRenewal: a certificate is renewed half way through its life, give or take a hundredth of it,
// as soon as somebody asks; before, it is the same one. Rotate does not wait.
func TestRenewal(t *testing.T) {
	a, now := authority(t, time.Hour)
	serial := func() string {
		chain, _ := given(t, a, reviews)
		return chain[0].SerialNumber.String()
	}
	if _, ok := a.Next(); ok {
		t.Error("a renewal although there is no certificate")
	}
	first := serial()
	at, ok := a.Next()
	half, off := start.Add(30*time.Minute), 36*time.Second
	if !ok || at.Before(half.Add(-off)) || at.After(half.Add(off)) {
		t.Errorf("renewal at %s, want %s ± %s", at, half, off)
	}
	*now = at.Add(-time.Nanosecond)
	if serial() != first {
		t.Error("renewed too early")
	}
	*now = at
	second := serial()
	if second == first {
		t.Error("not renewed")
	}
	if next, _ := a.Next(); !next.After(at.Add(29 * time.Minute)) {
		t.Errorf("the renewal after %s is at %s", at, next)
	}
	a.Rotate()
	if serial() == second {
		t.Error("not rotated")
	}
	a.Keep(nil)
	if _, ok := a.Next(); ok {
		t.Error("a renewal for nobody")
	}
}

// TestSpecial: what scenarios and tests ask for is what proxies are to refuse.
func TestSpecial(t *testing.T) {
	for name, row := range map[string]struct {
		special identity.Special
		problem string // of the certificate; empty: none
		uri     string
	}{
		"nothing":    {uri: "spiffe://cluster.local/ns/default/sa/reviews"},
		"expired":    {special: identity.Expired(), problem: "expired"},
		"not yet":    {special: identity.NotYet(), problem: "is before"},
		"other root": {special: identity.Special{OtherRoot: true}, problem: "unknown authority"},
		"own root":   {special: identity.Special{OwnRoot: true}, problem: "unknown authority"},
		"other SAN":  {special: identity.Special{SAN: "spiffe://a/b"}, uri: "spiffe://a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			a, now := authority(t, 0)
			if err := a.Replace(reviews, row.special); err != nil {
				t.Fatal(err)
			}
			chain, roots := given(t, a, reviews)
			err := trusted(chain, roots, *now)
			if (err == nil) != (row.problem == "") ||
				err != nil && !strings.Contains(err.Error(), row.problem) {
				t.Errorf("got %v, want %q", err, row.problem)
			}
			if row.uri != "" && chain[0].URIs[0].String() != row.uri {
				t.Error(chain[0].URIs)
			}
			a.Rotate()
			if chain, roots = given(t, a, reviews); trusted(chain, roots, *now) != nil {
				t.Error("it stays after a rotation")
			}
		})
	}
}

// TestShort: a life ends with the root's, and may be as short as a second.
func TestShort(t *testing.T) {
	a, now := authority(t, time.Second)
	chain, roots := given(t, a, reviews)
	if err := trusted(chain, roots, now.Add(time.Second)); err != nil {
		t.Error(err)
	}
	if err := trusted(chain, roots, now.Add(2*time.Second)); err == nil {
		t.Error("valid for too long")
	}
	a, now = authority(t, 20*365*24*time.Hour)
	chain, _ = given(t, a, reviews)
	if !chain[0].NotAfter.Equal(now.Add(3650 * 24 * time.Hour)) {
		t.Error(chain[0].NotAfter)
	}
}

// TestClient: a client's certificate is a workload's that nobody else has, and prints no key.
func TestClient(t *testing.T) {
	a, _ := authority(t, 0)
	chain, _ := given(t, a, reviews)
	c, err := a.Issue(reviews, identity.Special{})
	if err != nil {
		t.Fatal(err)
	}
	pair := c.TLS()
	if pair.Leaf.URIs[0].String() != chain[0].URIs[0].String() || len(pair.Certificate) != 2 ||
		c.Serial() == chain[0].SerialNumber.String() {
		t.Errorf("%v", c)
	}
	key, err := c.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(key)
	parsed, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := parsed.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		printed := fmt.Sprintf(verb, c)
		if printed != "certificate "+c.Serial() || bytes.Contains([]byte(printed), raw) {
			t.Errorf("%s prints %q", verb, printed)
		}
	}
}

// TestBadNames: what is no SPIFFE ID is refused by name.
func TestBadNames(t *testing.T) {
	a, _ := authority(t, 0)
	for want, w := range map[string]identity.Workload{
		`trust domain "Cluster.Local"`:             {TrustDomain: "Cluster.Local", Namespace: "a", ServiceAccount: "b"},
		`identity of service account /b`:           {ServiceAccount: "b"},
		`identity of service account default/a b:`: {Namespace: "default", ServiceAccount: "a b"},
	} {
		if _, err := a.Secrets(w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
