package stock_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"text/template"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// agentConfig is where istiod's resources have their secrets from.
const agentConfig = `{apiConfigSource: {apiType: GRPC, transportApiVersion: V3,
      setNodeOnFirstMessageOnly: true, grpcServices: [{envoyGrpc: {clusterName: sds-grpc}}]},
      initialFetchTimeout: 0s, resourceApiVersion: V3}`

// resources are a client's and a server's, as istiod makes them as far as it matters here.
var resources = template.Must(template.New("").Parse(`
{{define "mutual"}}
name: {{.Name}}
type: STATIC
connectTimeout: 5s
loadAssignment: {clusterName: {{.Name}}, endpoints: [{lbEndpoints: [{endpoint: {address: {{.At}}}}]}]}
typedExtensionProtocolOptions:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    commonHttpProtocolOptions: {maxRequestsPerConnection: 1}
    explicitHttpConfig: {httpProtocolOptions: {}}
transportSocketMatches:
- name: tlsMode-istio
  match: {}
  transportSocket:
    name: envoy.transport_sockets.tls
    typedConfig:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      sni: outbound_.80_._.server.default.svc.cluster.local
      commonTlsContext:
        alpnProtocols: [istio]
        tlsCertificateSdsSecretConfigs: [{name: default, sdsConfig: {{.Agent}}}]
        combinedValidationContext:
          defaultValidationContext: {matchSubjectAltNames: [{exact: "spiffe://cluster.local/ns/default/sa/server"}]}
          validationContextSdsSecretConfig: {name: ROOTCA, sdsConfig: {{.Agent}}}
{{end}}
{{define "simple"}}
name: {{.Name}}
type: STATIC
connectTimeout: 5s
loadAssignment: {clusterName: {{.Name}}, endpoints: [{lbEndpoints: [{endpoint: {address: {{.At}}}}]}]}
transportSocket:
  name: envoy.transport_sockets.tls
  typedConfig:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    commonTlsContext: { {{.ALPN}} }
{{end}}
{{define "out"}}
name: out
trafficDirection: OUTBOUND
address: {pipe: {path: {{.Path}}}}
filterChains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typedConfig:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      statPrefix: out
      httpFilters:
      - name: envoy.filters.http.router
        typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
      routeConfig:
        name: out
        virtualHosts:
        - name: any
          domains: ["*"]
          routes:
          - {match: {prefix: /mutual}, route: {weightedClusters: {clusters: [{name: mutual, weight: 1}]}}}
          - {match: {prefix: /watched}, route: {cluster: watched}}
          - {match: {prefix: /simple}, route: {cluster: simple}}
          - {match: {prefix: /none}, route: {cluster: none}}
{{end}}
{{define "tcp"}}
name: tcp
trafficDirection: OUTBOUND
address: {pipe: {path: {{.Path}}}}
filterChains:
- filters:
  - name: envoy.filters.network.tcp_proxy
    typedConfig:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      statPrefix: tcp
      cluster: watched
{{end}}
{{define "in"}}
name: virtualInbound
trafficDirection: INBOUND
address: {pipe: {path: {{.Path}}}}
filterChains:
- filterChainMatch: {applicationProtocols: [istio-http/1.1]}
  transportSocket:
    name: envoy.transport_sockets.tls
    typedConfig:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      requireClientCertificate: true
      commonTlsContext:
        alpnProtocols: [istio-http/1.1]
        tlsCertificateSdsSecretConfigs: [{name: default, sdsConfig: {{.Agent}}}]
        combinedValidationContext:
          defaultValidationContext: {matchSubjectAltNames: [{prefix: "spiffe://cluster.local/"}]}
          validationContextSdsSecretConfig: {name: ROOTCA, sdsConfig: {{.Agent}}}
  filters:
  - name: envoy.filters.network.http_connection_manager
    typedConfig:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      statPrefix: in
      httpFilters:
      - name: envoy.filters.http.router
        typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
      routeConfig:
        name: in
        virtualHosts:
        - name: any
          domains: ["*"]
          routes:
          - match: {prefix: /}
            directResponse: {status: 200}
            responseHeadersToAdd: [{header: {key: peer, value: "%DOWNSTREAM_PEER_URI_SAN%"}}]
listenerFilters:
- name: envoy.filters.listener.tls_inspector
  typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
{{end}}
`))

// read fills a template in and reads it as a resource.
func read[M proto.Message](t *testing.T, name string, m M, values map[string]string) M {
	t.Helper()
	values["Agent"] = agentConfig
	var text bytes.Buffer
	if err := resources.ExecuteTemplate(&text, name, values); err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := yaml.Unmarshal(text.Bytes(), &plain); err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(js, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// clientSnapshot leads paths to clusters: to the server over Istio's mutual TLS, and to a port of
// the test over TLS of several kinds.
func clientSnapshot(t *testing.T, dir string, port int) *xds.Snapshot {
	s := xds.NewSnapshot()
	test := fmt.Sprintf("{socketAddress: {address: 127.0.0.1, portValue: %d}}", port)
	for name, at := range map[string]string{"mutual": pipe(dir, "in"), "watched": test} {
		s.Clusters[name] = read(t, "mutual", &clusterv3.Cluster{},
			map[string]string{"Name": name, "At": at})
	}
	for name, alpn := range map[string]string{"simple": "alpnProtocols: [simple]", "none": ""} {
		s.Clusters[name] = read(t, "simple", &clusterv3.Cluster{},
			map[string]string{"Name": name, "At": test, "ALPN": alpn})
	}
	for _, name := range []string{"out", "tcp"} {
		s.Listeners[name] = read(t, name, &listenerv3.Listener{},
			map[string]string{"Path": filepath.Join(dir, name)})
	}
	return s
}

// serverSnapshot takes HTTP over Istio's mutual TLS alone, and says who calls.
func serverSnapshot(t *testing.T, dir string) *xds.Snapshot {
	s := xds.NewSnapshot()
	s.Listeners["virtualInbound"] = read(t, "in", &listenerv3.Listener{},
		map[string]string{"Path": filepath.Join(dir, "in")})
	return s
}

func pipe(dir, name string) string { return "{pipe: {path: " + filepath.Join(dir, name) + "}}" }
