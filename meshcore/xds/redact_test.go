package xds_test

import (
	"bytes"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

const private = "a private key"

func text(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func certificate() *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{
		CertificateChain: text("a chain"),
		PrivateKey: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(private)}},
		Password: text("a password"),
	}
}

// TestRedact: no text of a snapshot has a key, wherever it stands; the rest is there.
func TestRedact(t *testing.T) {
	context, err := anypb.New(&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificates: []*tlsv3.TlsCertificate{certificate()}}})
	if err != nil {
		t.Fatal(err)
	}
	s := xds.NewSnapshot()
	s.Secrets["a"] = &tlsv3.Secret{Name: "a",
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate()}}
	s.Secrets["t"] = &tlsv3.Secret{Name: "t", Type: &tlsv3.Secret_SessionTicketKeys{
		SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{text(private)}}}}
	s.Secrets["g"] = &tlsv3.Secret{Name: "g", Type: &tlsv3.Secret_GenericSecret{
		GenericSecret: &tlsv3.GenericSecret{Secret: text(private)}}}
	s.Listeners["l"] = &listenerv3.Listener{Name: "l",
		FilterChains: []*listenerv3.FilterChain{{TransportSocket: &corev3.TransportSocket{
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: context}}}}}
	before := proto.CloneOf(s.Secrets["a"])
	for name, write := range map[string]func() ([]byte, error){"JSON": s.JSON, "YAML": s.YAML} {
		out, err := write()
		if err != nil {
			t.Fatal(err)
		}
		inBase64 := protojson.Format(&corev3.DataSource{
			Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(private)}})
		inBase64 = strings.Split(inBase64, `"`)[3]
		for _, bad := range []string{private, inBase64, "a password"} {
			if bytes.Contains(out, []byte(bad)) {
				t.Errorf("%s shows %q:\n%s", name, bad, out)
			}
		}
		if n := bytes.Count(out, []byte("a chain")); n != 2 {
			t.Errorf("%s shows %d chains of 2:\n%s", name, n, out)
		}
		if n := bytes.Count(out, []byte("W3JlZGFjdGVkXQ==")); n != 2 { // "[redacted]", as Envoy
			t.Errorf("%s shows %d redacted keys of 2:\n%s", name, n, out)
		}
	}
	if !proto.Equal(before, s.Secrets["a"]) {
		t.Error("the snapshot itself has changed")
	}
	open := &listenerv3.Listener{Name: "open"}
	if xds.Redact(open) != open {
		t.Error("copied although there is nothing to redact")
	}
}

// TestSecretNames: only what comes over ADS is asked for, each once.
func TestSecretNames(t *testing.T) {
	over := func(name string, ads bool) *tlsv3.SdsSecretConfig {
		c := &corev3.ConfigSource{}
		if ads {
			c.ConfigSourceSpecifier = &corev3.ConfigSource_Ads{}
		}
		return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: c}
	}
	socket := func(c *tlsv3.CommonTlsContext) *corev3.TransportSocket {
		a, err := anypb.New(&tlsv3.DownstreamTlsContext{CommonTlsContext: c})
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.TransportSocket{
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: a}}
	}
	got, err := xds.SecretNames(&listenerv3.Listener{
		FilterChains: []*listenerv3.FilterChain{{}, {TransportSocket: socket(&tlsv3.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{over("a", true), over("x", false)},
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
				ValidationContextSdsSecretConfig: over("b", true)},
		})}},
		DefaultFilterChain: &listenerv3.FilterChain{TransportSocket: socket(&tlsv3.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{over("a", true)},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					ValidationContextSdsSecretConfig: over("c", true)}},
		})},
	})
	if want := "a b c"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
