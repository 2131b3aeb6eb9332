package xds

import (
	"fmt"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// SecretNames returns the names of the secrets that a cluster or listener asks for over ADS, in the
// order of its transport sockets, each once.
func SecretNames(m proto.Message) ([]string, error) {
	var names []string
	for _, socket := range TransportSockets(m) {
		_, common, err := TLSContext(socket)
		if err != nil {
			return nil, err
		}
		for _, c := range SecretConfigs(common) {
			if c.GetSdsConfig().GetAds() != nil && !slices.Contains(names, c.GetName()) {
				names = append(names, c.GetName())
			}
		}
	}
	return names, nil
}

// defaultFetchTimeout is how long Envoy waits for a resource that it asks for
// (api/envoy/config/core/v3/config_source.proto initial_fetch_timeout).
const defaultFetchTimeout = 15 * time.Second

// SecretPatience returns how long a cluster or listener waits for each of its secrets before it
// does without; 0: for ever.
func SecretPatience(m proto.Message) map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, socket := range TransportSockets(m) {
		_, common, err := TLSContext(socket)
		if err != nil {
			continue // SecretNames says it
		}
		for _, c := range SecretConfigs(common) {
			out[c.GetName()] = defaultFetchTimeout
			if t := c.GetSdsConfig().GetInitialFetchTimeout(); t != nil {
				out[c.GetName()] = t.AsDuration()
			}
		}
	}
	return out
}

// TransportSockets returns the transport sockets of a cluster or listener.
func TransportSockets(m proto.Message) []*corev3.TransportSocket {
	var out []*corev3.TransportSocket
	add := func(s *corev3.TransportSocket) {
		if s != nil {
			out = append(out, s)
		}
	}
	switch m := m.(type) {
	case *clusterv3.Cluster:
		add(m.GetTransportSocket())
		for _, match := range m.GetTransportSocketMatches() {
			add(match.GetTransportSocket())
		}
	case *listenerv3.Listener:
		for _, chain := range Chains(m) {
			add(chain.GetTransportSocket())
		}
	}
	return out
}

// TLSContext returns what a transport socket is configured with, an UpstreamTlsContext or a
// DownstreamTlsContext, and what both have in common; nil for sockets of other kinds.
func TLSContext(s *corev3.TransportSocket) (proto.Message, *tlsv3.CommonTlsContext, error) {
	config := s.GetTypedConfig()
	var m interface {
		proto.Message
		GetCommonTlsContext() *tlsv3.CommonTlsContext
	} = &tlsv3.UpstreamTlsContext{}
	if !config.MessageIs(m) {
		m = &tlsv3.DownstreamTlsContext{}
	}
	if !config.MessageIs(m) {
		return nil, nil, nil
	}
	if err := config.UnmarshalTo(m); err != nil {
		return nil, nil, fmt.Errorf("transport socket %s: %w", s.GetName(), err)
	}
	return m, m.GetCommonTlsContext(), nil
}

// SecretConfigs returns where the certificates and the trusted roots of a TLS context come from, as
// far as they come over SDS.
func SecretConfigs(c *tlsv3.CommonTlsContext) []*tlsv3.SdsSecretConfig {
	out := slices.Clone(c.GetTlsCertificateSdsSecretConfigs())
	for _, v := range []*tlsv3.SdsSecretConfig{
		c.GetValidationContextSdsSecretConfig(),
		c.GetCombinedValidationContext().GetValidationContextSdsSecretConfig(),
	} {
		if v != nil {
			out = append(out, v)
		}
	}
	return out
}
