package engine

import (
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// secret compiles a Secret resource.
func (c *compiler) secret(m *tlsv3.Secret) *transport.Secret {
	s, err := transport.NewSecret(m)
	if err != nil {
		c.failAs(err, "")
	}
	return s
}

// secretSlot returns the slot of a secret; it is empty until the secret comes. Caller must hold mu.
func (e *Engine) secretSlot(name string) *slot[transport.Secret] {
	s := e.secrets[name]
	if s == nil {
		s = &slot[transport.Secret]{}
		e.secrets[name] = s
	}
	return s
}

func (c *compiler) lookup(name string) func() *transport.Secret { return c.e.secretSlot(name).Load }

// applySecrets puts new secrets where handshakes find them; those that are gone stay, as in Envoy,
// for those who use them.
func (e *Engine) applySecrets(fresh []string) {
	for _, name := range fresh {
		e.secretSlot(name).Store(e.have.secrets[name].value)
	}
}

// Wall turns an instant into wall time.
func (e *Engine) Wall(at clock.Instant) time.Time { return e.opt.Wall(at) }

// serverSocket compiles the transport socket of a filter chain; nil is plain text.
func (c *compiler) serverSocket(m *corev3.TransportSocket) *transport.Server {
	return socket(c, m, &tlsv3.DownstreamTlsContext{}, transport.NewServer)
}

// clientSocket compiles the transport socket of a cluster; nil is plain text.
func (c *compiler) clientSocket(m *corev3.TransportSocket) *transport.Client {
	return socket(c, m, &tlsv3.UpstreamTlsContext{}, transport.NewClient)
}

// socket compiles a transport socket that is of plain text (nil), or has this TLS context.
func socket[T proto.Message, S any](c *compiler, m *corev3.TransportSocket, t T,
	build func(T, transport.Lookup) (*S, error)) *S {
	defer c.in("transport_socket")()
	switch a := m.GetTypedConfig(); {
	case m == nil, c.any(a, &rawbufferv3.RawBuffer{}):
		return nil
	case !c.any(a, t):
		c.notCarried("typed_config", m.GetName())
		return nil
	}
	s, err := build(t, c.lookup)
	if err != nil {
		defer c.in("typed_config")()
		c.failAs(err, "")
	}
	return s
}

// socketChoice is how the endpoints of a cluster are connected to.
type socketChoice struct {
	usual   *transport.Client
	matches []socketMatch
}

// socketMatch is one of transport_socket_matches.
type socketMatch struct {
	want   map[string]*structpb.Value
	client *transport.Client
}

func (c *compiler) socketChoice(m *clusterv3.Cluster) socketChoice {
	out := socketChoice{usual: c.clientSocket(m.GetTransportSocket())}
	for i, t := range m.GetTransportSocketMatches() {
		leave := c.at("transport_socket_matches", i)
		out.matches = append(out.matches, socketMatch{t.GetMatch().GetFields(),
			c.clientSocket(t.GetTransportSocket())})
		leave()
	}
	return out
}

// of chooses for an endpoint: the first match that its metadata satisfies, else one that its
// locality's does, else the cluster's socket (source/common/upstream/transport_socket_match_impl.cc
// resolve).
func (s *socketChoice) of(endpoint, locality *corev3.Metadata) *transport.Client {
	for _, m := range []*corev3.Metadata{endpoint, locality} {
		have := m.GetFilterMetadata()["envoy.transport_socket_match"].GetFields()
		for i := range s.matches {
			if s.matches[i].holds(have) {
				return s.matches[i].client
			}
		}
	}
	return s.usual
}

// holds says that every wanted label is there; of a list one element will do (source/common/config/
// metadata.cc metadataLabelMatch).
func (m *socketMatch) holds(have map[string]*structpb.Value) bool {
	for key, want := range m.want {
		v, ok := have[key]
		if !ok {
			return false
		}
		if list, many := v.GetKind().(*structpb.Value_ListValue); many {
			found := false
			for _, v := range list.ListValue.GetValues() {
				found = found || proto.Equal(v, want)
			}
			if !found {
				return false
			}
		} else if !proto.Equal(v, want) {
			return false
		}
	}
	return true
}

type tlsMatch = routev3.RouteMatch_TlsContextMatchOptions

// tlsMatches is a route's tls_context match (source/common/router/config_impl.cc
// evaluateTlsContextMatch).
func tlsMatches(m *tlsMatch, s *transport.State) bool {
	presented := s != nil && s.Peer != nil
	validated := presented && s.Validated
	return (m.GetPresented() == nil || m.GetPresented().GetValue() == presented) &&
		(m.GetValidated() == nil || m.GetValidated().GetValue() == validated)
}

// TLS returns how connections to the endpoint are secured; nil: they are not.
func (ep *Endpoint) TLS() *transport.Client { return ep.tls.Load() }

// TLSOptions is what this exchange wants of connections to the endpoint of its attempt: connections
// are shared by those who want the same.
func (x *Exchange) TLSOptions() transport.Options {
	if x.ep == nil || x.ep.TLS() == nil {
		return transport.Options{}
	}
	if x.hcm == nil {
		return transport.Options{Host: x.ep.hostname, SNI: ""}
	}
	return x.ep.TLSOptions(x.alpn, x.head.Authority)
}

// TLSOptions is what an HTTP request wants of connections to the endpoint: alpn says the protocols
// to offer, empty: those of the context; authority is its host.
// source/common/router/router.cc decodeHeaders has auto_sni, source/common/http/conn_pool_base.cc
// wrapTransportSocketOptions the fallback.
func (ep *Endpoint) TLSOptions(alpn string, authority []byte) transport.Options {
	if ep.TLS() == nil {
		return transport.Options{}
	}
	o := transport.Options{ALPN: alpn, Fallback: "http/1.1", Host: ep.hostname}
	if c := ep.Cluster; c.autoSNI || c.autoSAN {
		host := strings.Trim(view(match.WithoutPort(authority)), "[]")
		if _, err := netip.ParseAddr(host); err != nil && c.autoSNI {
			o.SNI = host
		}
		if c.autoSAN {
			o.SAN = host
		}
	}
	return o
}
