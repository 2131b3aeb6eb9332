package probe

import (
	"crypto/x509/pkix"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// askedTLS are the cases in which the client, or the authorizer, is secured.
func askedTLS(t *testing.T) []asked {
	t.Helper()
	serials = 0
	p := newPeople(t)
	both := func(e *extauthzv3.ExtAuthz, _ *corev3.GrpcService) {
		e.IncludePeerCertificate, e.IncludeTlsSession = true, true
	}
	fine := allows(nil)
	req := "GET /a HTTP/1.1\r\nHost: svc3\r\n\r\n"
	of := func(name string, server *tlsv3.DownstreamTlsContext, shows ...*identity) asked {
		return asked{probe: probe{name: name, client: []step{send(req), recv}}, check: fine,
			server: server, down: down(shows...), setCall: both}
	}
	dns := issue(t, wish{cn: "client", dns: []string{"client.example.com", "second.example.com"}, above: p.root})
	named := issue(t, wish{subject: &pkix.Name{CommonName: "a, b", Organization: []string{"probe"},
		Country: []string{"XX"}}, above: p.root})
	silent := of("no SNI", optional(common(t, p.root, p.server)))
	silent.down.ServerName = ""
	plain := of("without certificate and session", required(common(t, p.root, p.server)), p.client)
	plain.setCall = nil
	grpcTLS := of("the authorizer's side", nil)
	grpcTLS.down = nil
	grpcTLS.setCall = nil
	grpcTLS.checkTLS = up(p.root, p.server)
	grpcTLS.toward = toward(common(t, p.root, p.client))
	distrusted := grpcTLS
	distrusted.name, distrusted.toward = "the authorizer is not trusted", toward(common(t, p.other, p.client))
	return []asked{
		of("a URI", required(common(t, p.root, p.server)), p.client),
		of("a DNS name", required(common(t, p.root, p.server)), dns),
		of("a subject", required(common(t, p.root, p.server)), named),
		of("no certificate", optional(common(t, p.root, p.server))),
		of("below another", required(common(t, p.root, p.below)), p.below),
		of("a server with a DNS name", required(common(t, p.root, p.rsa)), p.client),
		of("a server with a subject", required(common(t, p.root, named)), p.client),
		silent, plain, grpcTLS, distrusted,
	}
}

// secureListener gives a listener the case's TLS context.
func (a *asked) secureListener(l *listenerv3.Listener) {
	if a.server == nil {
		return
	}
	l.FilterChains[0].TransportSocket = socketOf(a.server)
	l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "tls",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{
			TypedConfig: typed(&tlsinspectorv3.TlsInspector{})}}}
}

func (a *asked) secureCluster(c *clusterv3.Cluster) {
	if a.toward != nil {
		c.TransportSocket = socketOf(a.toward)
	}
}

// TestExtAuthzTLSEnvoy has the real Envoy show what the golden file says.
func TestExtAuthzTLSEnvoy(t *testing.T) { askedEnvoy(t, askedTLS(t), "envoy-extauthz-tls") }

// TestExtAuthzTLS has our proxy show what Envoy shows.
func TestExtAuthzTLS(t *testing.T) { askedProxy(t, askedTLS(t), "envoy-extauthz-tls") }
