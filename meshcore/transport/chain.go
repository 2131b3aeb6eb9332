package transport

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"
)

// What BoringSSL calls the faults of a chain (crypto/x509/x509_txt.cc).
const (
	noIssuer     = "unable to get local issuer certificate"
	selfSigned   = "self signed certificate"
	selfInChain  = "self signed certificate in certificate chain"
	expired      = "certificate has expired"
	notYetValid  = "certificate is not yet valid"
	badSignature = "certificate signature failure"
	badPurpose   = "unsupported certificate purpose"
	noCA         = "invalid CA certificate"
	noCRL        = "unable to get certificate CRL"
	wasRevoked   = "certificate revoked"
	refused      = "application verification failure"
)

// atDepth is utility.cc getX509VerificationErrorInfo.
func atDepth(depth int, what string) string {
	return fmt.Sprintf("certificate verification error at depth %d: %s", depth, what)
}

// checkChain verifies a chain against the trusted certificates; what is wrong is told in
// BoringSSL's words.
func (t *trust) checkChain(certs []*x509.Certificate, p peer) (wrong string) {
	key := t.seen.key(certs, p.usage)
	if t.seen.valid(key, p.now) {
		return ""
	}
	o := x509.VerifyOptions{Roots: t.pool, Intermediates: x509.NewCertPool(), CurrentTime: p.now,
		KeyUsages: []x509.ExtKeyUsage{p.usage}}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(o)
	if err != nil && t.late {
		chains, err = t.verifyLate(certs, o)
	}
	if err != nil {
		return t.explain(certs, p)
	}
	if wrong = t.checkRevoked(chains); wrong == "" && !t.late {
		t.seen.add(key, chains[0])
	}
	return wrong
}

// chains remembers the latest chains that were verified, and how long each is valid: peers come
// again and again, and signatures do not change.
type chains struct {
	mu   sync.Mutex
	seen map[string]window
}

type window struct{ from, until time.Time }

// maxChains bounds what is remembered.
const maxChains = 256

func (c *chains) key(certs []*x509.Certificate, usage x509.ExtKeyUsage) string {
	key := []byte{byte(usage)}
	for _, c := range certs {
		key = append(key, c.Raw...)
	}
	return string(key)
}

func (c *chains) valid(key string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.seen[key]
	return ok && !now.Before(w.from) && !now.After(w.until)
}

func (c *chains) add(key string, chain []*x509.Certificate) {
	w := window{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(w.from) {
			w.from = c.NotBefore
		}
		if c.NotAfter.Before(w.until) {
			w.until = c.NotAfter
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= maxChains {
		c.seen = map[string]window{}
	}
	c.seen[key] = w
}

// verifyLate looks for any time at which the chain is valid: X509_V_FLAG_NO_CHECK_TIME does not
// look at all.
func (t *trust) verifyLate(certs []*x509.Certificate, o x509.VerifyOptions) (
	chains [][]*x509.Certificate, err error) {
	for _, c := range slices.Concat(certs, t.roots) {
		for _, at := range []time.Time{c.NotBefore, c.NotAfter} {
			o.CurrentTime = at
			if chains, err = certs[0].Verify(o); err == nil {
				return chains, nil
			}
		}
	}
	return nil, err
}

// checkRevoked wants a list of each issuer of some chain, and nobody on it (X509_V_FLAG_CRL_CHECK,
// and _ALL unless the leaf alone is to be looked at).
func (t *trust) checkRevoked(chains [][]*x509.Certificate) (wrong string) {
	if len(t.crls) == 0 {
		return ""
	}
	for _, chain := range chains {
		if wrong = t.revokedIn(chain); wrong == "" {
			return ""
		}
	}
	return wrong
}

func (t *trust) revokedIn(chain []*x509.Certificate) string {
	for depth, c := range chain {
		if t.leafCRL && depth > 0 {
			return ""
		}
		issuer := chain[min(depth+1, len(chain)-1)]
		i := slices.IndexFunc(t.crls, func(l *x509.RevocationList) bool {
			return bytes.Equal(l.RawIssuer, c.RawIssuer) && l.CheckSignatureFrom(issuer) == nil
		})
		if i < 0 {
			return atDepth(depth, noCRL)
		}
		for _, r := range t.crls[i].RevokedCertificateEntries {
			if r.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return atDepth(depth, wasRevoked)
			}
		}
	}
	return ""
}

// explain finds what BoringSSL's verification, in its order, complains about first in a chain that
// is not accepted (crypto/x509/x509_vfy.cc X509_verify_cert): the chain is built, then extensions
// are looked at, then, from the top, signatures and times.
func (t *trust) explain(certs []*x509.Certificate, p peer) string {
	chain := []*x509.Certificate{certs[0]}
	for !t.trusts(chain[len(chain)-1]) {
		last := chain[len(chain)-1]
		depth := len(chain) - 1
		if bytes.Equal(last.RawSubject, last.RawIssuer) && mayIssue(last) {
			if depth == 0 {
				return atDepth(0, selfSigned)
			}
			return atDepth(depth, selfInChain)
		}
		above := issuerOf(last, certs[1:], chain)
		if above == nil {
			above = issuerOf(last, t.roots, chain)
		}
		if above == nil {
			return atDepth(depth, noIssuer)
		}
		chain = append(chain, above)
	}
	for depth, c := range chain {
		switch {
		case depth > 0 && c.BasicConstraintsValid && !c.IsCA:
			return atDepth(depth, noCA)
		case !serves(c, p.usage):
			return atDepth(depth, badPurpose)
		}
	}
	for depth, c := range slices.Backward(chain) {
		above := chain[min(depth+1, len(chain)-1)]
		switch {
		case depth < len(chain)-1 && c.CheckSignatureFrom(above) != nil:
			return atDepth(depth, badSignature)
		case !t.late && p.now.Before(c.NotBefore):
			return atDepth(depth, notYetValid)
		case !t.late && p.now.After(c.NotAfter):
			return atDepth(depth, expired)
		}
	}
	return atDepth(0, refused)
}

func (t *trust) trusts(c *x509.Certificate) bool {
	return slices.ContainsFunc(t.roots, c.Equal)
}

// issuerOf finds who could have issued a certificate: by name, and allowed to.
func issuerOf(c *x509.Certificate, from, not []*x509.Certificate) *x509.Certificate {
	for _, a := range from {
		if bytes.Equal(a.RawSubject, c.RawIssuer) && !slices.ContainsFunc(not, a.Equal) &&
			mayIssue(a) {
			return a
		}
	}
	return nil
}

func mayIssue(c *x509.Certificate) bool {
	return c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0
}

// serves says whether a certificate is good for a purpose; one that names none is good for all.
func serves(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, usage) ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}
