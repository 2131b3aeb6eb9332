package istio

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUsed names what a configuration sets, and nothing else.
func TestUsed(t *testing.T) {
	const text = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lamp, namespace: shop}
spec:
  hosts: [lamp]
  http:
  - match: [{headers: {end-user: {exact: north}}}]
    route: [{destination: {host: lamp}, headers: {request: {remove: [x-old]}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: lamp, namespace: shop, labels: {topology.istio.io/locality: a.b.c, app: x}}
spec:
  host: lamp
  subsets:
  - name: v1
    trafficPolicy:
      portLevelSettings:
      - {port: {number: 80}, tls: {mode: ISTIO_MUTUAL}, connectionPool: {http: {maxRetries: 3}}}
---
apiVersion: v1
kind: Service
metadata: {name: lamp, namespace: shop, annotations: {networking.istio.io/exportTo: "*"}}
spec:
  ports: [{port: 80, nodePort: 31000}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    connectTimeout: 10s
    localityLbSetting: {enabled: true, distribute: [{from: a/*, to: {a/*: 100}}]}
    defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}
`
	config, diags := Read([]File{{Name: "a.yaml", Data: []byte(text)}}, ReadOptions{})
	if HasErrors(diags) {
		t.Fatal(diags)
	}
	want := strings.Fields(`
		ConfigMap.data DestinationRule.host
		DestinationRule.subsets DestinationRule.subsets.name DestinationRule.subsets.trafficPolicy
		DestinationRule.trafficPolicy.connectionPool.http
		DestinationRule.trafficPolicy.connectionPool.http.maxRetries
		DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute
		DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute.from
		DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute.to
		DestinationRule.trafficPolicy.portLevelSettings
		DestinationRule.trafficPolicy.portLevelSettings.connectionPool
		DestinationRule.trafficPolicy.portLevelSettings.port
		DestinationRule.trafficPolicy.portLevelSettings.tls
		DestinationRule.trafficPolicy.tls.mode
		MeshConfig.defaultConfig MeshConfig.defaultConfig.proxyHeaders
		MeshConfig.defaultConfig.proxyHeaders.attemptCount
		MeshConfig.defaultConfig.proxyHeaders.attemptCount.disabled
		MeshConfig.localityLbSetting
		MeshConfig.outboundTrafficPolicy MeshConfig.outboundTrafficPolicy.mode
		Service.ports Service.ports.port
		VirtualService.hosts VirtualService.http VirtualService.http.match
		VirtualService.http.match.headers VirtualService.http.match.uri.exact
		VirtualService.http.route VirtualService.http.route.destination
		VirtualService.http.route.destination.host VirtualService.http.route.destination.port.number
		VirtualService.http.route.headers VirtualService.http.route.headers.request
		VirtualService.http.route.headers.request.remove
		metadata.annotations metadata.labels metadata.name metadata.namespace`)
	want = append(want, "annotation networking.istio.io/exportTo",
		"label topology.istio.io/locality")
	slices.Sort(want)
	if diff := cmp.Diff(want, Used(config)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestSupported checks that each field of the tables that is carried out is listed, once, and that
// what Used names is in the list.
func TestSupported(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Supported() {
		if seen[f.Path] {
			t.Errorf("%s is listed twice", f.Path)
		}
		seen[f.Path] = true
	}
	at := catalogue().at
	for _, typeName := range sortedNames(fields) {
		path, ok := at[typeName]
		if !ok {
			t.Errorf("%s has no path", typeName)
		}
		for field, rule := range fields[typeName] {
			skip := field == "spec" && !seen[path+".spec"] || slices.Contains(frame, field)
			if rule.supports() != seen[path+"."+field] && !skip {
				t.Errorf("%s of %s: carried out %t, listed %t", field, typeName, rule.supports(),
					seen[path+"."+field])
			}
		}
	}
}
