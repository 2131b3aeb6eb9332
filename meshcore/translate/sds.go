package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Names of the secrets that a proxy asks its agent for. Istio pkg/model/authentication.go.
const (
	workloadSecret = "default" // the workload's certificate
	rootSecret     = "ROOTCA"  // the mesh's root
)

// tlsSocketName is the name of Envoy's TLS transport socket.
const tlsSocketName = "envoy.transport_sockets.tls"

// tlsSocket makes a transport socket of an UpstreamTlsContext or a DownstreamTlsContext.
func tlsSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       tlsSocketName,
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(context)},
	}
}

// agentSecret refers to a secret of the proxy's agent. Istio pkg/model/authentication.go
// ConstructSdsSecretConfig: only the workload's own two are waited for without end.
func agentSecret(name string) *tlsv3.SdsSecretConfig {
	agent := &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "sds-grpc"},
	}
	source := &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{
			ApiConfigSource: &corev3.ApiConfigSource{
				ApiType:                   corev3.ApiConfigSource_GRPC,
				SetNodeOnFirstMessageOnly: true,
				TransportApiVersion:       corev3.ApiVersion_V3,
				GrpcServices:              []*corev3.GrpcService{{TargetSpecifier: agent}},
			},
		},
		ResourceApiVersion: corev3.ApiVersion_V3,
	}
	if name == workloadSecret || name == rootSecret {
		source.InitialFetchTimeout = durationpb.New(0)
	}
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: source}
}

// controlPlaneSecret refers to a secret that istiod itself serves.
func controlPlaneSecret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}}
}

// validateWith makes the context that checks certificates against the roots of a secret.
func validateWith(
	root *tlsv3.SdsSecretConfig, context *tlsv3.CertificateValidationContext,
) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         context,
			ValidationContextSdsSecretConfig: root,
		},
	}
}

// anyOf makes exact matchers.
func anyOf(names []string) []*matcherv3.StringMatcher {
	var out []*matcherv3.StringMatcher
	for _, n := range names {
		out = append(out, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: n},
		})
	}
	return out
}
