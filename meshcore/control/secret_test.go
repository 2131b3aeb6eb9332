package control_test

import (
	"fmt"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// secured is a transport socket whose certificate is a secret of this name.
func secured(t tester, name string) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, &tlsv3.UpstreamTlsContext{
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{
					Name: name, SdsConfig: ads()}},
			}})},
	}
}

func secret(name string, version int) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{
		GenericSecret: &tlsv3.GenericSecret{Secret: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: fmt.Sprint(version)}}}}}
}

// TestSecrets: secrets come before what needs them, and a changed one comes alone, in one stage.
func TestSecrets(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{}
		l.connect("a", x)
		secret0 := secret("default", 0)
		with := func(version int) *xds.Snapshot {
			s := mesh(t, "one", "two")
			s.Clusters["one"].TransportSocket = secured(t, "default")
			s.Listeners["0.0.0.0_8080"].FilterChains[0].TransportSocket = secured(t, "gateway")
			s.Secrets["default"] = secret("default", version)
			s.Secrets["gateway"] = secret("gateway", 0)
			return s
		}
		l.set(snapshots{"a.default": with(0)})
		if got := x.snapshot().Secrets["default"]; got.String() != secret0.String() {
			t.Error(got)
		}
		l.mu.Lock()
		before := len(l.pushes)
		l.mu.Unlock()
		r := l.set(snapshots{"a.default": with(1)})
		if err := same(x.snapshot(), with(1)); err != nil || r.Stages != 1 || r.Changed != 1 {
			t.Errorf("%v, %+v", err, r)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		var kinds []string
		for _, p := range l.pushes[before:] {
			kinds = append(kinds, p.Type)
		}
		if !slices.Equal(kinds, []string{"SDS"}) {
			t.Errorf("pushed %v", kinds)
		}
		x.check(t)
	})
}

// TestMissingSecret: a secret that is not there, such as a gateway's credential that nobody made,
// holds up nobody; when it comes it is sent. In delta the server says that it is not there, in the
// state of the world it can not.
func TestMissingSecret(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{}
		l.connect("a", x)
		with := func() *xds.Snapshot {
			s := mesh(t, "one")
			s.Listeners["0.0.0.0_8080"].FilterChains[0].TransportSocket =
				secured(t, "kubernetes://none")
			return s
		}
		l.set(snapshots{"a.default": with()})
		if err := same(x.snapshot(), with()); err != nil && !l.world {
			t.Error(err)
		}
		s := with()
		s.Secrets["kubernetes://none"] = secret("kubernetes://none", 0)
		l.set(snapshots{"a.default": s})
		if err := same(x.snapshot(), s); err != nil {
			t.Error(err)
		}
		x.check(t)
	})
}
