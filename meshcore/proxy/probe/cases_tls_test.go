package probe

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

// common is a context that shows these certificates and trusts what stands below root.
func common(t *testing.T, root *identity, shows ...*identity) *tlsv3.CommonTlsContext {
	t.Helper()
	out := &tlsv3.CommonTlsContext{TlsParams: &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}}
	for _, i := range shows {
		out.TlsCertificates = append(out.TlsCertificates, &tlsv3.TlsCertificate{
			CertificateChain: inline(i.pem()), PrivateKey: inline(i.keyPEM(t))})
	}
	if root != nil {
		out.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem())}}
	}
	return out
}

// sans adds wanted names to a context.
func sans(c *tlsv3.CommonTlsContext, list ...*matcherv3.StringMatcher) *tlsv3.CommonTlsContext {
	v := c.GetValidationContext()
	v.MatchSubjectAltNames = append(v.MatchSubjectAltNames, list...) //nolint:staticcheck // istiod uses it
	return c
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func starting(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

func pool(i *identity) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(i.cert)
	return p
}

// people are the identities of the cases.
type people struct {
	root, other, middle *identity
	server, client, rsa *identity
	below               *identity // its chain has an intermediate
}

func newPeople(t *testing.T) *people {
	p := &people{}
	p.root = issue(t, wish{cn: "root", ca: true})
	p.other = issue(t, wish{cn: "other root", ca: true})
	p.middle = issue(t, wish{cn: "middle", ca: true, above: p.root})
	p.server = issue(t, wish{cn: "server", uris: []string{"spiffe://cluster.local/ns/a/sa/server"},
		dns: []string{"server.example.com"}, above: p.root})
	p.client = issue(t, wish{uris: []string{"spiffe://cluster.local/ns/a/sa/client"}, above: p.root})
	p.rsa = issue(t, wish{cn: "rsa", dns: []string{"server.example.com"}, rsa: true, above: p.root})
	p.below = issue(t, wish{cn: "below", uris: []string{"spiffe://cluster.local/ns/a/sa/below"},
		above: p.middle})
	return p
}

// down is how a client connects: trusting all, showing what is given.
func down(shows ...*identity) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: "server.example.com"}
	for _, i := range shows {
		pair := i.pair()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil // whatever authorities the server names
		}
	}
	return c
}

// up is how an upstream answers; root: it wants a certificate from below it.
func up(root *identity, shows ...*identity) *tls.Config {
	c := &tls.Config{}
	for _, i := range shows {
		c.Certificates = append(c.Certificates, i.pair())
	}
	if root != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool(root)
	}
	return c
}

func with(c *tls.Config, f func(*tls.Config)) *tls.Config {
	f(c)
	return c
}

func required(c *tlsv3.CommonTlsContext) *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: c,
		RequireClientCertificate: wrapperspb.Bool(true)}
}

func optional(c *tlsv3.CommonTlsContext) *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: c}
}

func toward(c *tlsv3.CommonTlsContext) *tlsv3.UpstreamTlsContext {
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: c, Sni: "server.example.com"}
}

func securedCases(t *testing.T) []secured {
	t.Helper()
	serials = 0
	p := newPeople(t)
	var out []secured
	out = append(out, p.downstream(t)...)
	out = append(out, p.upstream(t)...)
	out = append(out, p.headers(t)...)
	out = append(out, p.tcp(t)...)
	out = append(out, p.requests(t)...)
	out = append(out, p.missing()...)
	return append(out, p.choice(t)...)
}

// bad are certificates that are not to be taken, by what is wrong with them.
func (p *people) bad(t *testing.T, cn string) []struct {
	name string
	id   *identity
} {
	t.Helper()
	uris := []string{"spiffe://cluster.local/ns/a/sa/" + cn}
	selfCA := issue(t, wish{cn: "stray root", ca: true})
	expiredMiddle := issue(t, wish{cn: "old middle", ca: true, above: p.root,
		from: -2 * time.Hour, to: -time.Hour})
	strayMiddle := issue(t, wish{cn: "stray middle", ca: true, above: selfCA})
	return []struct {
		name string
		id   *identity
	}{
		{"untrusted root", issue(t, wish{cn: cn, uris: uris, above: p.other})},
		{"untrusted root with intermediate", issue(t, wish{cn: cn, uris: uris, above: strayMiddle})},
		{"self-signed", issue(t, wish{cn: cn, uris: uris})},
		{"self-signed authority", issue(t, wish{cn: cn, uris: uris, ca: true})},
		{"expired", issue(t, wish{cn: cn, uris: uris, above: p.root, from: -2 * time.Hour,
			to: -time.Hour})},
		{"not yet valid", issue(t, wish{cn: cn, uris: uris, above: p.root, from: time.Hour})},
		{"expired intermediate", issue(t, wish{cn: cn, uris: uris, above: expiredMiddle})},
		{"wrong SAN", issue(t, wish{cn: cn, uris: []string{"spiffe://elsewhere/ns/a/sa/" + cn},
			dns: []string{"a.example.com", "b.example.com"}, above: p.root})},
		{"no SAN", issue(t, wish{cn: cn, above: p.root})},
		{"server's purpose", issue(t, wish{cn: cn, uris: uris, above: p.root,
			usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})},
		{"client's purpose", issue(t, wish{cn: cn, uris: uris, above: p.root,
			usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})},
		{"issuer is no CA", issue(t, wish{cn: cn, uris: uris, above: p.server})},
	}
}

func (p *people) downstream(t *testing.T) []secured {
	t.Helper()
	plain := common(t, nil, p.server)
	mutual := func() *tlsv3.CommonTlsContext {
		return sans(common(t, p.root, p.server), starting("spiffe://cluster.local/"))
	}
	tls12 := func(c *tls.Config) *tls.Config {
		return with(c, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	}
	old := func(c *tls.Config) *tls.Config {
		return with(c, func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		})
	}
	alpn := func(server []string, client ...string) secured {
		c := common(t, nil, p.server)
		c.AlpnProtocols = server
		return secured{server: optional(c),
			down: with(down(), func(c *tls.Config) { c.NextProtos = client })}
	}
	named := func(name string, s secured) secured {
		s.name = name
		return s
	}
	only13 := common(t, nil, p.server)
	only13.TlsParams.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_3
	defaults := common(t, nil, p.server)
	defaults.TlsParams = nil
	ciphers := common(t, nil, p.rsa)
	ciphers.TlsParams.CipherSuites = []string{"ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
		"ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256"}
	cache := func() *tls.Config {
		return with(down(p.client), func(c *tls.Config) {
			c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		})
	}
	stateless := required(mutual())
	stateless.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
		DisableStatelessSessionResumption: true}
	stateless.DisableStatefulSessionResumption = true
	out := []secured{
		{name: "tls", server: optional(plain), down: down()},
		{name: "tls 1.2", server: optional(plain), down: tls12(down())},
		{name: "default versions, old client", server: optional(defaults), down: old(down())},
		{name: "default versions, tls 1.2", server: optional(defaults), down: tls12(down())},
		{name: "only tls 1.3, tls 1.2 client", server: optional(only13), down: tls12(down())},
		{name: "ciphers", server: optional(ciphers), down: tls12(down())},
		{name: "no common cipher", server: optional(ciphers), down: with(tls12(down()),
			func(c *tls.Config) {
				c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
			})},
		{name: "plain text to tls", server: optional(plain)},
		{name: "bytes to tls", server: optional(plain), raw: "hello, is anybody there?\n"},
		{name: "broken hello", server: optional(plain), raw: "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"},
		{name: "tls to plain", down: down()},
		{name: "mutual", server: required(mutual()), down: down(p.client)},
		{name: "mutual 1.2", server: required(mutual()), down: tls12(down(p.client))},
		{name: "mutual with intermediate", server: required(mutual()), down: down(p.below)},
		{name: "no client certificate", server: required(mutual()), down: down()},
		{name: "no client certificate 1.2", server: required(mutual()), down: tls12(down())},
		{name: "optional, none", server: optional(common(t, p.root, p.server)), down: down()},
		{name: "optional, SAN, none", server: optional(mutual()), down: down()},
		{name: "optional, shown", server: optional(common(t, p.root, p.server)), down: down(p.client)},
		{name: "not asked for", server: optional(plain), down: down(p.client)},
		{name: "required, nothing to check", server: required(common(t, nil, p.server)),
			down: down(p.client)},
		{name: "required, nothing to check, none", server: required(common(t, nil, p.server)),
			down: down()},
		named("alpn both", alpn([]string{"h2", "http/1.1"}, "http/1.1")),
		named("alpn none in common", alpn([]string{"h2", "http/1.1"}, "istio-http/1.1", "istio")),
		named("alpn server's order", alpn([]string{"b", "http/1.1"}, "http/1.1", "b")),
		named("alpn server alone", alpn([]string{"http/1.1"})),
		named("alpn client alone", alpn(nil, "http/1.1")),
		{name: "resumed", server: required(mutual()), down: cache(), times: 2},
		{name: "resumed 1.2", server: required(mutual()), down: tls12(cache()), times: 2},
		{name: "not resumed", server: stateless, down: cache(), times: 2},
		{name: "not resumed 1.2", server: stateless, down: tls12(cache()), times: 2},
	}
	for _, b := range p.bad(t, "client") {
		out = append(out, secured{name: "client, " + b.name, server: required(mutual()),
			down: down(b.id)})
		if b.name == "expired" || b.name == "untrusted root" {
			out = append(out, secured{name: "client 1.2, " + b.name, server: required(mutual()),
				down: tls12(down(b.id))})
			lenient := mutual()
			lenient.GetValidationContext().TrustChainVerification =
				tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
			out = append(out, secured{name: "accepted, " + b.name, server: required(lenient),
				down: down(b.id)})
			late := mutual()
			late.GetValidationContext().AllowExpiredCertificate = true
			out = append(out, secured{name: "expired allowed, " + b.name, server: required(late),
				down: down(b.id)})
		}
	}
	return out
}

func (p *people) upstream(t *testing.T) []secured {
	t.Helper()
	verify := func() *tlsv3.CommonTlsContext {
		return sans(common(t, p.root, p.client), exactly("spiffe://cluster.local/ns/a/sa/server"))
	}
	plain := common(t, nil)
	defaults := common(t, nil)
	defaults.TlsParams = nil
	alpn := common(t, nil)
	alpn.AlpnProtocols = []string{"istio"}
	limited := func(min, max uint16) *tls.Config {
		return with(up(nil, p.server), func(c *tls.Config) { c.MinVersion, c.MaxVersion = min, max })
	}
	protos := func(c *tls.Config, list ...string) *tls.Config {
		return with(c, func(c *tls.Config) { c.NextProtos = list })
	}
	noSNI := toward(common(t, nil))
	noSNI.Sni = ""
	host := toward(common(t, nil))
	host.AutoHostSni = true
	sanSNI := toward(common(t, p.root))
	sanSNI.AutoSniSanValidation = true
	wrongSNI := toward(common(t, p.root))
	wrongSNI.AutoSniSanValidation, wrongSNI.Sni = true, "other.example.com"
	out := []secured{
		{name: "upstream tls", client: toward(plain), up: up(nil, p.server)},
		{name: "upstream default versions", client: toward(defaults), up: up(nil, p.server)},
		{name: "upstream tls 1.1 only", client: toward(plain), up: limited(tls.VersionTLS10, tls.VersionTLS11)},
		{name: "upstream tls 1.3 only, default", client: toward(defaults), up: limited(tls.VersionTLS13, 0)},
		{name: "upstream mutual", client: toward(verify()), up: up(p.root, p.server)},
		{name: "upstream mutual 1.2", client: toward(verify()),
			up: with(up(p.root, p.server), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })},
		{name: "upstream no sni", client: noSNI, up: up(nil, p.server)},
		{name: "upstream auto host sni", client: host, up: up(nil, p.server)},
		{name: "upstream auto sni", client: toward(common(t, nil)), up: up(nil, p.server),
			opts: `"upstreamHttpProtocolOptions":{"autoSni":true}`},
		{name: "upstream auto san", client: toward(common(t, p.root)), up: up(nil, p.server),
			opts: `"upstreamHttpProtocolOptions":{"autoSni":true,"autoSanValidation":true}`},
		{name: "upstream auto san, no sni", client: noSNI, up: up(nil, p.server),
			opts: `"upstreamHttpProtocolOptions":{"autoSanValidation":true}`},
		{name: "upstream sni is san", client: sanSNI, up: up(nil, p.server)},
		{name: "upstream sni is no san", client: wrongSNI, up: up(nil, p.server)},
		{name: "upstream alpn", client: toward(alpn), up: protos(up(nil, p.server), "istio")},
		{name: "upstream alpn fallback", client: toward(plain), up: protos(up(nil, p.server), "http/1.1")},
		{name: "upstream alpn not agreed", client: toward(alpn), up: protos(up(nil, p.server), "other")},
		{name: "upstream wants a certificate", client: toward(plain), up: up(p.root, p.server)},
		{name: "upstream wants a certificate 1.2", client: toward(plain),
			up: with(up(p.root, p.server), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })},
		{name: "upstream does not trust us", client: toward(verify()), up: up(p.other, p.server)},
		{name: "upstream does not trust us 1.2", client: toward(verify()),
			up: with(up(p.other, p.server), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })},
		{name: "tls to plain upstream", client: toward(plain)},
		{name: "plain to tls upstream", up: up(nil, p.server)},
		{name: "match", client: toward(verify()), up: up(p.root, p.server), matches: true,
			metadata: `{"tlsMode":"istio"}`},
		{name: "no match", client: toward(verify()), matches: true, metadata: `{"tlsMode":"x"}`},
		{name: "no metadata", client: toward(verify()), matches: true},
		{name: "upstream connections", client: toward(verify()), up: up(p.root, p.server), times: 2},
	}
	for _, b := range p.bad(t, "server") {
		out = append(out, secured{name: "server, " + b.name, client: toward(verify()),
			up: up(nil, b.id)})
	}
	return out
}

// headers are the forms of x-forwarded-client-cert.
func (p *people) headers(t *testing.T) []secured {
	t.Helper()
	subject := pkix.Name{CommonName: "a, \"b\"; c=d + <e> é", Organization: []string{"o", "p"},
		OrganizationalUnit: []string{"u"}, Country: []string{"NL"}, Province: []string{"x y"},
		Locality: []string{" l "}, SerialNumber: "7", StreetAddress: []string{"s"},
		ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "a@b.c"},
			{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "dc"},
			{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: "unknown"}}}
	many := issue(t, wish{subject: &subject, above: p.root,
		uris: []string{"spiffe://cluster.local/one", "spiffe://cluster.local/two"},
		dns:  []string{"one.example.com", "two.example.com"}})
	server := issue(t, wish{cn: "server", above: p.root,
		uris: []string{"spiffe://cluster.local/s1", "spiffe://cluster.local/s2"}})
	bare := issue(t, wish{cn: "bare", above: p.root})
	mutual := func() *tlsv3.DownstreamTlsContext { return optional(common(t, p.root, server)) }
	all := `,"setCurrentClientCertDetails":{"subject":true,"dns":true,"uri":true}`
	var out []secured
	for _, mode := range []string{"SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET",
		"ALWAYS_FORWARD_ONLY"} {
		hcm := `{"forwardClientCertDetails":"` + mode + `"` + all + `}`
		out = append(out,
			secured{name: "xfcc " + mode, hcm: hcm, server: mutual(), down: down(many),
				xfcc: "By=x;Hash=y"},
			secured{name: "xfcc " + mode + ", none given", hcm: hcm, server: mutual(), down: down(p.client)},
			secured{name: "xfcc " + mode + ", no certificate", hcm: hcm, server: mutual(), down: down(),
				xfcc: "By=x;Hash=y"},
			secured{name: "xfcc " + mode + ", plain", hcm: hcm, xfcc: "By=x;Hash=y"})
	}
	set := func(name, details string, s, c *identity) secured {
		return secured{name: "xfcc " + name, server: optional(common(t, p.root, s)), down: down(c),
			hcm: `{"forwardClientCertDetails":"SANITIZE_SET","setCurrentClientCertDetails":` + details + `}`}
	}
	return append(out,
		set("nothing more", `{}`, server, many),
		set("no URI of ours", `{"subject":true,"uri":true,"dns":true}`, bare, bare),
		set("subject", `{"subject":true}`, server, p.client),
		set("certificate", `{"cert":true}`, server, p.below),
		set("everything", `{"cert":true,"chain":true,"uri":true,"dns":true,"subject":true}`, server,
			p.below),
		set("order", `{"uri":true,"dns":true,"subject":true}`, server, many),
		secured{name: "xff proto", server: mutual(), down: down(), hcm: `{"useRemoteAddress":true}`},
	)
}

// requests are what depends on the handshake in HTTP: routes, and a filter that chooses protocols.
func (p *people) requests(t *testing.T) []secured {
	t.Helper()
	match := func(name, fields string, lenient bool, s *tls.Config) secured {
		c := common(t, p.root, p.server)
		if lenient {
			c.GetValidationContext().TrustChainVerification =
				tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}
		return secured{name: "match " + name, server: optional(c), down: s,
			match: `,"tlsContext":{` + fields + `}`}
	}
	stray := issue(t, wish{cn: "stray", above: p.other})
	plain := match("plain, not presented", `"presented":false,"validated":false`, false, nil)
	plain.server = nil
	plainPresented := match("plain, presented", `"presented":true`, false, nil)
	plainPresented.server = nil
	istio := common(t, nil)
	istio.AlpnProtocols = []string{"istio"}
	offers := func(name, format, more string, list ...string) secured {
		return secured{name: "filter state " + name, client: toward(istio), more: more,
			up: with(up(nil, p.server), func(c *tls.Config) { c.NextProtos = list }),
			filters: `{"name":"alpn","typedConfig":{
				"@type":"type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
				"onRequestHeaders":[{"objectKey":"envoy.network.application_protocols",
				"formatString":{"textFormatSource":{"inlineString":"` + format + `"},"omitEmptyValues":true},
				"sharedWithUpstream":"ONCE","skipIfEmpty":true}]}},`}
	}
	const meta = `"metadata":{"filterMetadata":{"mesh-lab":{"alpn":"istio-http/1.1,istio"}}},`
	const fromCluster = `%METADATA(CLUSTER:mesh-lab:alpn)%`
	return []secured{
		match("presented", `"presented":true`, false, down(p.client)),
		match("presented, none", `"presented":true`, false, down()),
		match("not presented", `"presented":false`, false, down()),
		match("validated", `"validated":true`, false, down(p.client)),
		match("validated, stray", `"presented":true,"validated":true`, true, down(stray)),
		match("not validated, stray", `"presented":true,"validated":false`, true, down(stray)),
		plain, plainPresented,
		offers("first", fromCluster, meta, "istio-http/1.1"),
		offers("second", fromCluster, meta, "istio"),
		offers("none of them", fromCluster, meta, "http/1.1"),
		offers("no metadata", fromCluster, "", "istio"),
		offers("constant", "a,b", "", "b"),
	}
}

func (p *people) tcp(t *testing.T) []secured {
	t.Helper()
	mutual := func() *tlsv3.CommonTlsContext { return common(t, p.root, p.server) }
	return []secured{
		{name: "tcp plain", tcp: true},
		{name: "tcp downstream", tcp: true, server: required(mutual()), down: down(p.client)},
		{name: "tcp upstream", tcp: true, client: toward(mutual()), up: up(p.root, p.server)},
		{name: "tcp both", tcp: true, server: required(mutual()), down: down(p.client),
			client: toward(mutual()), up: up(p.root, p.server)},
		{name: "tcp both 1.2", tcp: true, server: required(mutual()),
			down:   with(down(p.client), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
			client: toward(mutual()),
			up:     with(up(p.root, p.server), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })},
		{name: "tcp no client certificate", tcp: true, racy: true, server: required(mutual()), down: down()},
		{name: "tcp plain text to tls", tcp: true, racy: true, server: required(mutual()), raw: "hello hello\n"},
		{name: "tcp tls to plain upstream", tcp: true, client: toward(mutual())},
		{name: "tcp upstream untrusted", tcp: true, client: toward(common(t, p.other, p.client)),
			up: up(p.root, p.server)},
		{name: "tcp upstream wants a certificate", tcp: true, client: toward(common(t, nil)),
			up: up(p.root, p.server)},
		{name: "tcp alpn", tcp: true, client: toward(common(t, nil)),
			up: with(up(nil, p.server), func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} })},
	}
}

// missing are contexts whose secrets never come.
func (p *people) missing() []secured {
	sds := func() *tlsv3.CommonTlsContext {
		return &tlsv3.CommonTlsContext{TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{
			Name: "missing", SdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}}}}
	}
	return []secured{
		{name: "secret missing, downstream", server: optional(sds()), down: down()},
		{name: "secret missing, upstream", client: toward(sds()), up: up(nil, p.server)},
		{name: "tcp secret missing, downstream", tcp: true, racy: true, server: optional(sds()), down: down()},
		{name: "tcp secret missing, upstream", tcp: true, client: toward(sds()), up: up(nil, p.server)},
	}
}

// choice is which of several certificates is shown.
func (p *people) choice(t *testing.T) []secured {
	t.Helper()
	named := func(cn string, rsa bool, dns ...string) *identity {
		return issue(t, wish{cn: cn, dns: dns, rsa: rsa, above: p.root})
	}
	certs := []*identity{named("first", true, "first.example.com"),
		named("exact-rsa", true, "a.example.com"), named("exact-ec", false, "a.example.com"),
		named("wild", false, "*.example.com"), named("cn.example.org", false),
		named("last", false, "last.example.com")}
	ctx := optional(common(t, nil, certs...))
	ecFirst := optional(common(t, nil, named("ec", false, "ec.example.com"),
		named("rsa", true, "rsa.example.com")))
	ask := func(name string, server *tlsv3.DownstreamTlsContext, sni string, rsaOnly bool) secured {
		return secured{name: "choice " + name, server: server, down: with(down(),
			func(c *tls.Config) {
				c.ServerName = sni
				if rsaOnly {
					c.MaxVersion = tls.VersionTLS12
					c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
				}
			})}
	}
	return []secured{
		ask("exact", ctx, "a.example.com", false),
		ask("exact, rsa client", ctx, "a.example.com", true),
		ask("wildcard", ctx, "b.example.com", false),
		ask("wildcard, rsa client", ctx, "b.example.com", true),
		ask("wildcard covers one label", ctx, "b.b.example.com", false),
		ask("common name", ctx, "cn.example.org", false),
		ask("last", ctx, "last.example.com", false),
		ask("unknown name", ctx, "nowhere.test", false),
		ask("unknown name, rsa client", ctx, "nowhere.test", true),
		ask("no name", ctx, "", false),
		ask("no name, rsa client", ctx, "", true),
		ask("upper case", ctx, "A.Example.com", false),
		ask("no name, rsa client, ec first", ecFirst, "", true),
		ask("unknown name, rsa client, ec first", ecFirst, "nowhere.test", true),
	}
}
