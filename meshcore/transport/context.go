package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// common is what both kinds of context share.
type common struct {
	pairs    []func() *Secret // tls_certificates, then SDS
	base     *tlsv3.CertificateValidationContext
	trusted  func() *Secret // nil: base alone
	checked  bool           // there is a validation context
	min, max uint16
	suites   [][]uint16 // for TLS 1.2, in order; those of a group are alike
	curves   []tls.CurveID
	alpn     []string
	peers    *described
}

// versions are crypto/tls's; TLS_AUTO is not among them.
var versions = map[tlsv3.TlsParameters_TlsProtocol]uint16{
	tlsv3.TlsParameters_TLSv1_0: tls.VersionTLS10, tlsv3.TlsParameters_TLSv1_1: tls.VersionTLS11,
	tlsv3.TlsParameters_TLSv1_2: tls.VersionTLS12, tlsv3.TlsParameters_TLSv1_3: tls.VersionTLS13,
}

// versionNames are as Envoy prints them (SSL_get_version).
var versionNames = map[uint16]string{
	tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2",
	tls.VersionTLS13: "TLSv1.3",
}

// suiteNames are OpenSSL's names of those cipher suites that crypto/tls has.
var suiteNames = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// absentSuites are those that BoringSSL has and crypto/tls lacks.
var absentSuites = []string{"ECDHE-PSK-AES128-CBC-SHA", "ECDHE-PSK-AES256-CBC-SHA",
	"ECDHE-PSK-CHACHA20-POLY1305", "PSK-AES128-CBC-SHA", "PSK-AES256-CBC-SHA",
	"ECDHE-RSA-AES128-SHA256"}

// cipherNames gives OpenSSL's name of each cipher suite.
var cipherNames = func() map[uint16]string {
	out := map[uint16]string{}
	for name, id := range suiteNames {
		out[id] = name
	}
	for _, id := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384,
		tls.TLS_CHACHA20_POLY1305_SHA256} {
		out[id] = tls.CipherSuiteName(id)
	}
	return out
}()

// defaultSuites are source/common/tls/context_config_impl.cc DEFAULT_CIPHER_SUITES.
const defaultSuites = "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305] " +
	"[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305] " +
	"ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384"

// curveNames are BoringSSL's.
var curveNames = map[string]tls.CurveID{"X25519": tls.X25519, "P-256": tls.CurveP256,
	"P-384": tls.CurveP384, "P-521": tls.CurveP521, "X25519MLKEM768": tls.X25519MLKEM768}

// newCommon compiles a CommonTlsContext; auto is the highest version unless one is said.
func newCommon(m *tlsv3.CommonTlsContext, auto uint16, find Lookup) (*common, error) {
	c := &common{min: tls.VersionTLS12, max: auto, peers: &described{}}
	for i, t := range m.GetTlsCertificates() {
		p, err := newPair(t)
		if err != nil {
			return nil, fmt.Errorf("tls_certificates[%d].%w", i, err)
		}
		s := &Secret{pair: p}
		c.pairs = append(c.pairs, func() *Secret { return s })
	}
	for i, s := range m.GetTlsCertificateSdsSecretConfigs() {
		if s.GetSdsConfig() == nil {
			return nil, fmt.Errorf("tls_certificate_sds_secret_configs[%d]: Unknown static "+
				"secret: %s", i, s.GetName())
		}
		c.pairs = append(c.pairs, find(s.GetName()))
	}
	if err := c.validation(m, find); err != nil {
		return nil, err
	}
	if err := c.parameters(m.GetTlsParams()); err != nil {
		return nil, fmt.Errorf("tls_params.%w", err)
	}
	// One text with commas (source/common/tls/context_config_impl.cc).
	if joined := strings.Join(m.GetAlpnProtocols(), ","); joined != "" {
		c.alpn = strings.Split(joined, ",")
	}
	for _, p := range c.alpn {
		if p == "" || len(p) > 255 {
			return nil, fmt.Errorf("alpn_protocols: invalid ALPN protocol string")
		}
	}
	return c, nil
}

// validation compiles what peers are checked against.
func (c *common) validation(m *tlsv3.CommonTlsContext, find Lookup) error {
	field := ""
	// One without a source is of the bootstrap, where none are carried out.
	static := func(name string, s *tlsv3.SdsSecretConfig) error {
		if s == nil || s.GetSdsConfig() != nil {
			return nil
		}
		return fmt.Errorf("%s: Unknown static certificate validation context: %s", name,
			s.GetName())
	}
	switch v := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		c.base, field = v.ValidationContext, "validation_context"
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		err := static("validation_context_sds_secret_config", v.ValidationContextSdsSecretConfig)
		if err != nil {
			return err
		}
		c.trusted = find(v.ValidationContextSdsSecretConfig.GetName())
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		v2 := v.CombinedValidationContext
		err := static("combined_validation_context.validation_context_sds_secret_config",
			v2.GetValidationContextSdsSecretConfig())
		if err != nil {
			return err
		}
		c.base = v2.GetDefaultValidationContext()
		c.trusted = find(v2.GetValidationContextSdsSecretConfig().GetName())
		field = "combined_validation_context.default_validation_context"
	default:
		return nil
	}
	c.checked = true
	t, err := newTrust(c.base)
	if err == nil && c.trusted == nil {
		err = t.sound()
	}
	if err != nil {
		return fmt.Errorf("%s.%w", field, err)
	}
	return nil
}

func (c *common) parameters(m *tlsv3.TlsParameters) error {
	if v, ok := versions[m.GetTlsMinimumProtocolVersion()]; ok {
		c.min = v
	}
	if v, ok := versions[m.GetTlsMaximumProtocolVersion()]; ok {
		c.max = v
	}
	if c.min > c.max {
		return fmt.Errorf("tls_minimum_protocol_version: the minimum is above the maximum")
	}
	list := m.GetCipherSuites()
	if len(list) == 0 {
		list = strings.Fields(defaultSuites)
	}
	var lacking []string
	for i, entry := range list {
		var group []uint16
		for _, name := range strings.Split(strings.Trim(entry, "[]"), "|") {
			id, ok := suiteNames[name]
			if ok {
				group = append(group, id)
				continue
			}
			if isRule(name) {
				return fmt.Errorf("cipher_suites[%d]: %q is not carried out yet; name the suites",
					i, name)
			}
			if !slices.Contains(absentSuites, name) {
				return fmt.Errorf("cipher_suites[%d]: Failed to initialize cipher suites. The "+
					"following ciphers were rejected when tried individually: %s", i, name)
			}
			lacking = append(lacking, name)
		}
		if len(group) > 0 {
			c.suites = append(c.suites, group)
		}
	}
	if len(c.suites) == 0 {
		return fmt.Errorf("cipher_suites: %s is not carried out yet", strings.Join(lacking, ", "))
	}
	for i, name := range m.GetEcdhCurves() {
		id, ok := curveNames[name]
		if !ok {
			return fmt.Errorf("ecdh_curves[%d]: %s is not carried out yet", i, name)
		}
		c.curves = append(c.curves, id)
	}
	return nil
}

// rules are words that stand for many suites in BoringSSL (ssl/ssl_cipher.cc kCipherAliases).
var rules = strings.Fields("ALL kRSA kECDHE kEECDH kPSK aRSA aECDSA aPSK ECDHE EECDH RSA " +
	"ECDSA PSK 3DES AES128 AES256 AES AESGCM CHACHA20 SHA SHA1 SSLv3 TLSv1 TLSv1.2 HIGH FIPS")

// isRule says that an entry of cipher_suites is no suite, but a rule to add or take away some.
func isRule(name string) bool {
	return name == "" || strings.ContainsAny(name[:1], "-+!@") || slices.Contains(rules, name) ||
		slices.ContainsFunc(strings.Split(name, "+"), func(s string) bool {
			return s != name && slices.Contains(rules, s)
		})
}

// material is what the secrets are at one moment.
type material struct {
	from  []*Secret // what it was made of
	pairs []*pair
	trust *trust // nil: peers are not checked
}

// load returns what the secrets are now; nil while one is missing.
func (c *common) load() *material {
	m := &material{}
	for _, f := range c.pairs {
		s := f()
		if s == nil || s.pair == nil {
			return nil
		}
		m.from, m.pairs = append(m.from, s), append(m.pairs, s.pair)
	}
	if c.trusted != nil {
		s := c.trusted()
		if s == nil || s.context == nil {
			return nil
		}
		m.from = append(m.from, s)
	}
	return m
}

// current says whether the secrets are still those that m was made of. It allocates nothing.
func (c *common) current(m *material) bool {
	for i, f := range c.pairs {
		if f() != m.from[i] {
			return false
		}
	}
	return c.trusted == nil || c.trusted() == m.from[len(c.pairs)]
}

// complete compiles the validation context: the default one, over which the secret's is merged
// (source/common/tls/context_config_impl.cc getCombinedValidationContextConfig).
func (c *common) complete(m *material) error {
	if !c.checked {
		return nil
	}
	v := &tlsv3.CertificateValidationContext{}
	if c.base != nil {
		proto.Merge(v, c.base)
	}
	if c.trusted != nil {
		proto.Merge(v, m.from[len(c.pairs)].context)
	}
	var err error
	if m.trust, err = newTrust(v); err != nil {
		return err
	}
	return m.trust.sound()
}

// flat is the cipher suites in order.
func (c *common) flat() []uint16 { return slices.Concat(c.suites...) }

// state says what a handshake told.
func (c *common) state(s tls.ConnectionState, local *pair, chain []*x509.Certificate) *State {
	out := &State{Version: versionNames[s.Version], Cipher: cipherNames[s.CipherSuite],
		Group: groupName(s.CurveID), SNI: s.ServerName, ALPN: s.NegotiatedProtocol,
		Resumed: s.DidResume, Peer: c.peers.of(chain)}
	if local != nil {
		out.Local = local.shown
	}
	return out
}

func groupName(id tls.CurveID) string {
	for name, c := range curveNames {
		if c == id {
			return name
		}
	}
	return ""
}
