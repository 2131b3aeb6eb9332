package transport

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// trust is a compiled CertificateValidationContext (source/common/tls/cert_validator/
// default_validator.cc).
type trust struct {
	roots        []*x509.Certificate
	pool         *x509.CertPool // nil: chains are not looked at
	names        []nameMatch
	hashes, keys [][32]byte
	crls         []*x509.RevocationList
	leafCRL      bool
	lenient      bool // ACCEPT_UNTRUSTED
	late         bool // allow_expired_certificate
	seen         chains
}

// nameMatch is one SAN matcher.
type nameMatch struct {
	kind  int
	dns   string // of DNS names exactly, by the rules of DNS; else value
	value match.String
}

func newTrust(m *tlsv3.CertificateValidationContext) (*trust, error) {
	t := &trust{leafCRL: m.GetOnlyVerifyLeafCertCrl(), late: m.GetAllowExpiredCertificate(),
		lenient: m.GetTrustChainVerification() ==
			tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED}
	ca := inlined(m.GetTrustedCa())
	if m.GetTrustedCa().GetSpecifier() != nil && len(ca) == 0 {
		return nil, fmt.Errorf("trusted_ca: DataSource cannot be empty")
	}
	if err := t.authorities(ca); err != nil {
		return nil, err
	}
	for i, h := range m.GetVerifyCertificateHash() {
		b, err := hex.DecodeString(strings.ReplaceAll(h, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("verify_certificate_hash[%d]: Invalid hex-encoded SHA-256 %s",
				i, h)
		}
		t.hashes = append(t.hashes, [32]byte(b))
	}
	for i, h := range m.GetVerifyCertificateSpki() {
		b, err := base64.StdEncoding.DecodeString(h)
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("verify_certificate_spki[%d]: Invalid base64-encoded SHA-256 "+
				"%s", i, h)
		}
		t.keys = append(t.keys, [32]byte(b))
	}
	if err := t.revoked(inlined(m.GetCrl())); err != nil {
		return nil, err
	}
	return t, t.matchers(m)
}

// sound says whether a whole validation context demands what only authorities can tell.
// Envoy source/common/tls/cert_validator/default_validator.cc initializeSslContexts,
// source/common/ssl/certificate_validation_context_config_impl.cc initialize.
func (t *trust) sound() error {
	switch {
	case len(t.roots) > 0:
		return nil
	case len(t.names) > 0:
		return fmt.Errorf("trusted_ca: SAN-based verification of peer certificates without " +
			"trusted CA is insecure and not allowed")
	case t.late:
		return fmt.Errorf("allow_expired_certificate: Certificate validity period is always " +
			"ignored without trusted CA")
	}
	return nil
}

// authorities reads trusted_ca.
func (t *trust) authorities(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	t.pool = x509.NewCertPool()
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("trusted_ca: Failed to load trusted CA certificates: %w", err)
		}
		t.roots = append(t.roots, c)
		t.pool.AddCert(c)
	}
	if len(t.roots) == 0 {
		return fmt.Errorf("trusted_ca: Failed to load trusted CA certificates: there is none")
	}
	return nil
}

// revoked reads crl.
func (t *trust) revoked(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		l, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return fmt.Errorf("crl: Failed to load CRL: %w", err)
		}
		t.crls = append(t.crls, l)
	}
	if len(t.crls) == 0 {
		return fmt.Errorf("crl: Failed to load CRL: there is none")
	}
	return nil
}

// sanKinds are the kinds that a matcher without kind is for, and those of typed ones.
var (
	sanKinds = []int{sanDNS, sanURI, sanEmail, sanIP}
	sanTypes = map[tlsv3.SubjectAltNameMatcher_SanType]int{
		tlsv3.SubjectAltNameMatcher_EMAIL: sanEmail, tlsv3.SubjectAltNameMatcher_DNS: sanDNS,
		tlsv3.SubjectAltNameMatcher_URI: sanURI, tlsv3.SubjectAltNameMatcher_IP_ADDRESS: sanIP,
	}
)

// matchers reads the SAN matchers; those without kind count only when there are no others
// (source/common/ssl/certificate_validation_context_config_impl.cc getSubjectAltNameMatchers).
func (t *trust) matchers(m *tlsv3.CertificateValidationContext) error {
	for i, typed := range m.GetMatchTypedSubjectAltNames() {
		field := fmt.Sprintf("match_typed_subject_alt_names[%d]", i)
		kind, ok := sanTypes[typed.GetSanType()]
		if !ok {
			return fmt.Errorf("%s.san_type: %s is not carried out yet", field, typed.GetSanType())
		}
		if err := t.match(field+".matcher", typed.GetMatcher(), kind); err != nil {
			return err
		}
	}
	if len(t.names) > 0 {
		return nil
	}
	//nolint:staticcheck // the deprecated field still acts in Envoy, and istiod uses it
	for i, s := range m.GetMatchSubjectAltNames() {
		field := fmt.Sprintf("match_subject_alt_names[%d]", i)
		if err := t.match(field, s, sanKinds...); err != nil {
			return err
		}
	}
	return nil
}

func (t *trust) match(field string, m *matcherv3.StringMatcher, kinds ...int) error {
	n := nameMatch{}
	fold := m.GetIgnoreCase()
	exact := false
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		n.value, exact = match.NewString(match.Exact, p.Exact, fold), true
	case *matcherv3.StringMatcher_Prefix:
		n.value = match.NewString(match.Prefix, p.Prefix, fold)
	case *matcherv3.StringMatcher_Suffix:
		n.value = match.NewString(match.Suffix, p.Suffix, fold)
	case *matcherv3.StringMatcher_Contains:
		n.value = match.NewString(match.Contains, p.Contains, fold)
	case *matcherv3.StringMatcher_SafeRegex:
		var err error
		if n.value, err = match.NewRegex(p.SafeRegex.GetRegex()); err != nil {
			return fmt.Errorf("%s.safe_regex.regex: %w", field, err)
		}
	default:
		return fmt.Errorf("%s: a match pattern is required", field)
	}
	for _, kind := range kinds {
		n.kind, n.dns = kind, ""
		if kind == sanDNS && exact {
			n.dns = m.GetExact()
		}
		t.names = append(t.names, n)
	}
	return nil
}

func (n *nameMatch) holds(s san) bool {
	switch {
	case s.kind != n.kind:
		return false
	case n.dns != "":
		return dnsMatch(n.dns, s.value)
	}
	return n.value.Match([]byte(s.value))
}

// dnsMatch compares a name with what a certificate says, where * stands for one label
// (source/common/tls/utility.cc dnsNameMatch).
func dnsMatch(name, pattern string) bool {
	name, pattern = strings.ToLower(name), strings.ToLower(pattern)
	if name == pattern {
		return true
	}
	rest, wild := strings.CutPrefix(pattern, "*.")
	_, above, ok := strings.Cut(name, ".")
	return wild && ok && above == rest
}

// demanding says that it asks for something of the certificate beside its chain.
func (t *trust) demanding() bool {
	return t != nil && len(t.names)+len(t.hashes)+len(t.keys) > 0
}

// peer says what is wanted of the peer of a connection beside the validation context.
type peer struct {
	now   time.Time
	usage x509.ExtKeyUsage // of its certificate
	sans  []string         // auto_san_validation: one of these
	dns   string           // auto_sni_san_validation: this DNS name, instead of the matchers
	chain bool             // its chain has been verified
}

// verify checks a peer's chain. validated says that something was checked, and held; what is wrong
// is told in Envoy's words.
func (t *trust) verify(certs []*x509.Certificate, p peer) (validated bool, wrong string) {
	if t == nil {
		t = &trust{}
		if len(p.sans) > 0 { // BoringSSL's own verification, which trusts nobody
			return false, verifyFailed("")
		}
	}
	failed := false
	if t.pool != nil && !p.chain {
		if why := t.checkChain(certs, p); why != "" {
			if !t.lenient {
				return false, verifyFailed("verify cert failed: X509_verify_cert: " + why)
			}
			return false, ""
		}
	}
	validated = t.pool != nil
	checked, why := t.checkLeaf(certs[0], p)
	failed = why != "" || t.pool == nil && !checked
	switch {
	case why == "":
		return validated || checked, ""
	case t.lenient:
		return false, ""
	case failed:
		return false, verifyFailed("verify cert failed: " + why)
	}
	return validated, ""
}

// checkLeaf looks at names and hashes.
func (t *trust) checkLeaf(leaf *x509.Certificate, p peer) (checked bool, wrong string) {
	names := namesOf(leaf)
	if len(p.sans) > 0 {
		if !slices.ContainsFunc(names, func(s san) bool { return isOneOf(s, p.sans) }) {
			return true, fmt.Sprintf("verify SAN list, expected SANs: [%s], certificate SANs: [%s]",
				strings.Join(p.sans, ", "), values(names))
		}
		checked = true
	}
	want := t.names
	if len(p.sans) == 0 && p.dns != "" {
		want = []nameMatch{{kind: sanDNS, dns: p.dns}}
	}
	if len(want) > 0 {
		if !slices.ContainsFunc(want, func(n nameMatch) bool {
			return slices.ContainsFunc(names, n.holds)
		}) {
			return true, "SAN matcher, certificate SANs are [" + values(names) + "]"
		}
		checked = true
	}
	if len(t.hashes)+len(t.keys) > 0 {
		if !slices.Contains(t.hashes, sha256.Sum256(leaf.Raw)) &&
			!slices.Contains(t.keys, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)) {
			return true, "cert hash and spki"
		}
		checked = true
	}
	return checked, ""
}

func isOneOf(s san, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool {
		return s.kind == sanDNS && dnsMatch(w, s.value) || s.kind != sanDNS && w == s.value
	})
}

// values joins names as Envoy's messages do.
func values(names []san) string {
	var list []string
	for _, n := range names {
		list = append(list, n.value)
	}
	return strings.Join(list, ", ")
}
