// Package identity is the mesh's certificate authority: a root as istiod signs itself one, workload
// certificates as istiod issues them to istio-agent, and when each is to be renewed.
//
//	Workload ─▶ Authority.Secrets ─▶ "default" (certificate, key) and "ROOTCA" (trusted root)
//	                 ▲
//	clock ─▶ Next ───┘ half of a certificate's life has passed
//
// Everything lives in memory only. Keys leave it in two ways: in the Secrets, which are sent to the
// proxies and printed nowhere (xds.Redact), and in a Certificate, for a client that presents it.
package identity

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Istio's defaults.
const (
	// DefaultTrustDomain is that of a mesh whose MeshConfig names none.
	DefaultTrustDomain = "cluster.local"
	// DefaultTTL is how long a workload's certificate is valid (pilot/cmd/pilot-agent/options/
	// options.go SECRET_TTL).
	DefaultTTL = 24 * time.Hour
	// rootTTL is how long the root is (pilot/pkg/bootstrap/istio_ca.go
	// CITADEL_SELF_SIGNED_CA_CERT_TTL).
	rootTTL = 3650 * 24 * time.Hour
	// backdate is how much earlier a workload's certificate begins, for clocks that differ
	// (security/pkg/pki/util/generate_cert.go ClockSkewGracePeriod). A root is not backdated.
	backdate = 2 * time.Minute
	// graceRatio is the part of its life that a certificate has left when it is renewed, give or
	// take jitter (options.go SECRET_GRACE_PERIOD_RATIO, SECRET_GRACE_PERIOD_RATIO_JITTER).
	graceRatio, graceJitter = 0.5, 0.01
)

// Workload names who a certificate is for. TrustDomain is DefaultTrustDomain when empty.
type Workload struct{ TrustDomain, Namespace, ServiceAccount string }

// ID returns the SPIFFE ID: spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT (Istio
// pkg/spiffe/spiffe.go).
func (w Workload) ID() (string, error) {
	td, err := spiffeid.TrustDomainFromString(cmp.Or(w.TrustDomain, DefaultTrustDomain))
	if err != nil {
		return "", fmt.Errorf("trust domain %q: %w", w.TrustDomain, err)
	}
	id, err := spiffeid.FromSegments(td, "ns", w.Namespace, "sa", w.ServiceAccount)
	if err != nil {
		return "", fmt.Errorf("identity of service account %s/%s: %w", w.Namespace,
			w.ServiceAccount, err)
	}
	return id.String(), nil
}

// Options configure an Authority.
type Options struct {
	TrustDomain string           // the root's organisation; empty: DefaultTrustDomain
	TTL         time.Duration    // of workload certificates; 0: DefaultTTL
	Now         func() time.Time // nil: time.Now
}

// Authority issues certificates. Its methods are safe for concurrent use.
type Authority struct {
	options Options
	root    Certificate
	rootCA  *tlsv3.Secret

	mu     sync.Mutex
	issued map[Workload]*issued
}

// issued is a workload's certificate in use.
type issued struct {
	secret *tlsv3.Secret
	next   time.Time // when it is to be renewed
}

// New makes an authority with a root of its own.
func New(o Options) (*Authority, error) {
	o.TrustDomain = cmp.Or(o.TrustDomain, DefaultTrustDomain)
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	if o.Now == nil {
		o.Now = time.Now
	}
	root, err := newRoot(o.TrustDomain, o.Now())
	if err != nil {
		return nil, err
	}
	return &Authority{
		options: o, root: root, rootCA: rootSecret(root.PEM()), issued: map[Workload]*issued{},
	}, nil
}

// newRoot signs a root for itself, as istiod does (security/pkg/pki/ca/ca.go
// NewSelfSignedIstioCAOptions), with a key of another kind: see docs/decisions/0007.
func newRoot(org string, now time.Time) (Certificate, error) {
	serial, err := serialNumber()
	if err != nil {
		return Certificate{}, err
	}
	return sign(&x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{org}},
		NotBefore:    now,
		NotAfter:     now.Add(rootTTL),
		KeyUsage:     x509.KeyUsageCertSign,
		IsCA:         true, BasicConstraintsValid: true,
	}, nil)
}

// serialNumber draws one of up to 128 bits (security/pkg/pki/util/generate_cert.go genSerialNum).
func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
}

// sign makes a key and a certificate for it that by has signed, or that is its own root.
func sign(template *x509.Certificate, by *Certificate) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("identity: key: %w", err)
	}
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.chain[0], by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Certificate{}, fmt.Errorf("identity: certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("identity: certificate: %w", err)
	}
	c := Certificate{key: key, chain: []*x509.Certificate{leaf}}
	if by != nil { // istiod adds its root to the chain, and the agent keeps it there
		c.chain = append(c.chain, by.chain...)
	}
	return c, nil
}

// RootPEM returns the root certificate.
func (a *Authority) RootPEM() []byte { return a.root.PEM() }

// Secrets returns what a workload's proxy is given, "default" and "ROOTCA". They are the same
// messages until the certificate is due for renewal, and for all pods of a service account. Nobody
// may change them.
func (a *Authority) Secrets(w Workload) (map[string]*tlsv3.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.options.Now()
	have := a.issued[w]
	if have == nil || !now.Before(have.next) {
		var err error
		if have, err = a.replace(w, Special{}); err != nil {
			return nil, err
		}
		have.next = renewal(now, have.next)
	}
	return map[string]*tlsv3.Secret{Default: have.secret, RootCA: a.rootCA}, nil
}

// Replace gives a workload a certificate with something special about it, until Rotate.
func (a *Authority) Replace(w Workload, s Special) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	have, err := a.replace(w, s)
	if err == nil {
		have.next = a.root.NotAfter()
	}
	return err
}

// replace issues a certificate; its end is next. Caller must hold mu.
func (a *Authority) replace(w Workload, s Special) (*issued, error) {
	c, err := a.Issue(w, s)
	if err != nil {
		return nil, err
	}
	secret, err := certificateSecret(c)
	if err != nil {
		return nil, err
	}
	a.issued[w] = &issued{secret: secret, next: c.NotAfter()}
	return a.issued[w], nil
}

// renewal is when the agent renews a certificate that it got now (security/pkg/nodeagent/cache/
// secretcache.go rotateTime).
func renewal(now, notAfter time.Time) time.Time {
	left := graceRatio + graceJitter*(2*mathrand.Float64()-1)
	return notAfter.Add(-time.Duration(left * float64(notAfter.Sub(now))))
}

// Next returns when the first certificate in use is to be renewed: from then on Secrets issues
// another. ok is false where none is in use.
func (a *Authority) Next() (at time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range a.issued {
		if !ok || i.next.Before(at) {
			at, ok = i.next, true
		}
	}
	return at, ok
}

// Rotate has every certificate issued anew by the next Secrets, due or not.
func (a *Authority) Rotate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range a.issued {
		i.next = time.Time{}
	}
}

// Keep forgets the certificates of all but these workloads.
func (a *Authority) Keep(workloads []Workload) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.issued, func(w Workload, _ *issued) bool {
		return !slices.Contains(workloads, w)
	})
}

// encode returns the PEM form of certificates.
func encode(chain []*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
