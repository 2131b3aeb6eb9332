package translate

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

const gatewayPodYAML = `---
apiVersion: v1
kind: Service
metadata: {name: quay, namespace: harbor}
spec: {selector: {app: quay}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: quay
  namespace: harbor
  labels: {app: quay, istio: ingressgateway}
  annotations: {inject.istio.io/templates: gateway}
spec: {containers: [{name: istio-proxy, image: auto}]}
`

func gatewayYAML(name, ns, servers string) string {
	return `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ` + name + `, namespace: ` + ns + `}
spec: {selector: {istio: ingressgateway}, servers: [` + servers + `]}
`
}

const plain = "port: {number: 80, name: http, protocol: HTTP}"

// TestGatewayHosts: a virtual host for what servers and VirtualServices have in common.
func TestGatewayHosts(t *testing.T) {
	lab := newLab(t, gatewayPodYAML+serviceYAML("shop", "market", "{name: http, port: 3100}")+
		gatewayYAML("gate", "market", "{"+plain+", hosts: ['*.example.com', 'harbor/inner.example.org']}")+
		gatewayYAML("other", "harbor", "{"+plain+", hosts: ['*']}")+
		virtualServiceYAML("all", "market", "{hosts: ['*'], gateways: [gate], "+
			"http: [{match: [{gateways: [market/gate]}], directResponse: {status: 201}}]}")+
		virtualServiceYAML("some", "market", "{hosts: [a.example.com, b.example.com, inner.example.org], "+
			"gateways: [gate], http: [{match: [{uri: {prefix: /x}}], route: [{destination: {host: shop}}]}]}")+
		virtualServiceYAML("a", "market", "{hosts: [a.example.com], gateways: [gate], "+
			"http: [{directResponse: {status: 202}}, {directResponse: {status: 203}}]}")+
		virtualServiceYAML("late", "harbor", "{hosts: [a.example.com], gateways: [other, market/gate], "+
			"http: [{match: [{uri: {prefix: /y}}], directResponse: {status: 204}}]}")+
		virtualServiceYAML("mesh", "harbor", "{hosts: [c.example.com], http: [{directResponse: {status: 205}}]}"))
	routes := lab.gatewayRoutes(lab.pod(t, "quay.harbor"))
	wants(t, says(routes["http.8080"]), `
		*.example.com:80 *.example.com
		  /: 201
		a.example.com:80 a.example.com
		  /x: outbound|3100||shop.market.svc.cluster.local
		  /y: 204
		  /y: 204
		  /: 202
		b.example.com:80 b.example.com
		  /x: outbound|3100||shop.market.svc.cluster.local
	`)
}

// TestGatewayCollapse: hosts with the very same routes share a virtual host.
func TestGatewayCollapse(t *testing.T) {
	lab := newLab(t, gatewayPodYAML+
		gatewayYAML("gate", "market", "{"+plain+", hosts: ['*.com', A.example.com, '*.org']}")+
		virtualServiceYAML("some", "market", "{hosts: [b.com, longer.com, '*.org', A.example.com], "+
			"gateways: [gate], http: [{directResponse: {status: 201}}]}"))
	routes := lab.gatewayRoutes(lab.pod(t, "quay.harbor"))
	wants(t, says(routes["http.8080"]), `
		a.example.com:80 a.example.com longer.com b.com *.org
		  /: 201
	`)
}

// TestGatewayRedirect: httpsRedirect asks for TLS on the server's hosts, with and without rules.
func TestGatewayRedirect(t *testing.T) {
	lab := newLab(t, gatewayPodYAML+
		gatewayYAML("gate", "market", "{"+plain+", hosts: [a.example.com, b.example.com]}")+
		virtualServiceYAML("a", "market", "{hosts: [a.example.com], gateways: [gate], "+
			"http: [{directResponse: {status: 201}}]}"))
	// The reader does not take spec.servers.tls yet.
	gate := lab.index.gateways[0].Body.(*networkingv1alpha3.Gateway)
	gate.Servers[0].Tls = &networkingv1alpha3.ServerTLSSettings{HttpsRedirect: true}
	rc := lab.gatewayRoutes(lab.pod(t, "quay.harbor"))["http.8080"]
	wants(t, says(rc), `
		a.example.com:80 a.example.com
		  /: 201
		b.example.com:80 b.example.com
	`)
	for _, vh := range rc.VirtualHosts {
		if vh.RequireTls != routev3.VirtualHost_ALL {
			t.Errorf("%s does not redirect", vh.Name)
		}
	}
}

// TestGatewayBlackhole: a port without rules answers 404.
func TestGatewayBlackhole(t *testing.T) {
	lab := newLab(t, gatewayPodYAML+gatewayYAML("gate", "market", "{"+plain+", hosts: ['*']}"))
	wants(t, says(lab.gatewayRoutes(lab.pod(t, "quay.harbor"))["http.8080"]), `
		blackhole:80 *
	`)
}
