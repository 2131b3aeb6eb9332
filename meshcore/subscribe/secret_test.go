package subscribe

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// ads is where a secret of this name comes from.
func ads(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}}
}

func socket(t *testing.T, m proto.Message) *corev3.TransportSocket {
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.TransportSocket{Name: "tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: a}}
}

// common uses a certificate and a root of these names.
func common(certificate, root string) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{ads(certificate)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				ValidationContextSdsSecretConfig: ads(root)}},
	}
}

func tlsCluster(t *testing.T, name, certificate, root string) *clusterv3.Cluster {
	c := cluster(name, "1", "")
	c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{Name: "m",
		TransportSocket: socket(t, &tlsv3.UpstreamTlsContext{
			CommonTlsContext: common(certificate, root)})}}
	return c
}

func tlsListener(t *testing.T, name, certificate string) *listenerv3.Listener {
	l := listener(t, name, "1", "r")
	l.FilterChains[0].TransportSocket = socket(t, &tlsv3.DownstreamTlsContext{
		CommonTlsContext: common(certificate, "ROOTCA")})
	return l
}

func secret(name, version string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: version}}}}}
}

// TestPatience: who waits for a secret that nobody sends goes on without it in time, unless it is to
// wait for ever.
func TestPatience(t *testing.T) {
	y := newPlay(t)
	y.gets(cds, nil, "ask LDS, ack CDS", "")
	l := listener(t, "l", "1")
	wants := func(name string, patience time.Duration) *listenerv3.FilterChain {
		s := ads(name)
		s.SdsConfig.InitialFetchTimeout = durationpb.New(patience)
		return &listenerv3.FilterChain{TransportSocket: socket(t, &tlsv3.DownstreamTlsContext{
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{s}}})}
	}
	l.FilterChains = []*listenerv3.FilterChain{
		wants("soon", time.Minute), wants("later", time.Hour)}
	m := listener(t, "m", "1")
	m.FilterChains = []*listenerv3.FilterChain{wants("never", 0)}
	y.gets(lds, nil, "ask SDS +later +never +soon, ack LDS", "", l, m)
	if _, stop := y.c.late(); len(y.c.since) != 2 {
		t.Errorf("waits for %v", y.c.since)
	} else {
		stop()
	}
	began := y.c.since["soon"]
	for _, step := range []struct {
		after    time.Duration
		inEffect string
		waits    int
	}{
		{time.Minute - 1, "", 2}, {time.Minute, "", 1}, {time.Hour, "", 0},
	} {
		if err := y.c.giveUp(y.s, began.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if y.p.inEffect != step.inEffect || len(y.c.awaited()) != step.waits {
			t.Errorf("after %s: in effect %q, waits for %v", step.after, y.p.inEffect,
				y.c.awaited())
		}
	}
	// m, which waits for ever, holds up the first listeners; without it l is there.
	y.gets(lds, []string{"m"}, "ask SDS -never, ack LDS", "l/1")
	if late, _ := y.c.late(); late != nil {
		t.Error("waits for nothing")
	}
}

// handed notes the secrets of each snapshot.
type handed struct {
	plane
	secrets string
}

func (h *handed) Update(s *xds.Snapshot) error {
	var words []string
	for _, n := range slices.Sorted(maps.Keys(s.Secrets)) {
		words = append(words, n+"/"+s.Secrets[n].GetTlsCertificate().GetCertificateChain().
			GetInlineString())
	}
	h.secrets = strings.Join(words, " ")
	return h.plane.Update(s)
}

// TestSecrets: clusters and listeners warm until their secrets have come, each secret once for all
// that use it; a new one changes nothing else; one that is not there holds up nobody.
func TestSecrets(t *testing.T) {
	y := newPlay(t)
	h := &handed{}
	y.c.Target, y.p = h, &h.plane
	has := func(want string) {
		t.Helper()
		if h.secrets != want {
			t.Errorf("secrets %q, want %q", h.secrets, want)
		}
	}
	y.gets(cds, nil, "ask EDS +a, ask SDS +ROOTCA +default, ack CDS", "",
		tlsCluster(t, "a", "default", "ROOTCA"))
	y.gets(eds, nil, "ack EDS", "", endpoints("a"))
	y.gets(sds, nil, "ack SDS", "", secret("ROOTCA", "1"))
	y.gets(sds, nil, "ask LDS, ack SDS", "", secret("default", "1"))
	y.gets(lds, nil, "ask RDS +r, ack LDS", "", tlsListener(t, "l", "default"))
	y.gets(rds, nil, "ack RDS", "a/1 l/1", route("r"))
	has("ROOTCA/1 default/1")

	y.gets(sds, nil, "ack SDS", "a/1 l/1", secret("default", "2"))
	has("ROOTCA/1 default/2")

	// A listener that waits for a secret is not there; the others are.
	y.gets(lds, nil, "ask SDS +kubernetes://x, ack LDS", "a/1 l/1",
		tlsListener(t, "g", "kubernetes://x"))
	y.gets(sds, []string{"kubernetes://x"}, "ack SDS", "a/1 g/1 l/1")
	has("ROOTCA/1 default/2")
	y.gets(sds, nil, "ack SDS", "a/1 g/1 l/1", secret("kubernetes://x", "1"))
	has("ROOTCA/1 default/2 kubernetes://x/1")
	// A secret in use stays when the server has it no more.
	updates := h.updates
	y.gets(sds, []string{"kubernetes://x"}, "ack SDS", "a/1 g/1 l/1")
	has("ROOTCA/1 default/2 kubernetes://x/1")
	if h.updates != updates {
		t.Error("an update although nothing changed")
	}
	// What nobody uses any more is not asked for any more.
	y.gets(lds, []string{"g"}, "ask SDS -kubernetes://x, ack LDS", "a/1 l/1")
	has("ROOTCA/1 default/2")
	y.gets(cds, []string{"a"}, "ask EDS -a, ack CDS", "l/1")
	has("ROOTCA/1 default/2") // of the listener
}
