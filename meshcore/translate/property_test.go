package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// TestAnyMesh translates random meshes: objects of few names, so that they meet and clash. Whatever
// the reader accepts must be translated without panic, completely, validly, and the same each time.
func TestAnyMesh(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := anyMesh(t)
		files := []istio.File{{Name: "in.yaml", Data: []byte(text)}}
		config, problems := istio.Read(files, istio.ReadOptions{})
		if istio.HasErrors(problems) {
			return
		}
		registry, problems := NewRegistry(config, nil)
		if istio.HasErrors(problems) {
			return
		}
		accepted++
		first, again := New(config, registry), New(config, registry)
		for _, p := range slices.Backward(registry.Pods) {
			again.Snapshot(p) // another order must not change anything
		}
		for _, p := range registry.Pods {
			s, _ := first.Snapshot(p)
			if err := s.Consistent(); err != nil {
				t.Fatalf("%s: %v\n%s", p.ID(), err, text)
			}
			for _, r := range s.Routes {
				if err := valid(r); err != nil {
					t.Fatalf("%s: %v\n%s", p.ID(), err, text)
				}
			}
			for _, c := range s.Clusters {
				if err := valid(c); err != nil {
					t.Fatalf("%s: %v\n%s", p.ID(), err, text)
				}
			}
			for _, l := range s.Listeners {
				if err := valid(l); err != nil {
					t.Fatalf("%s: %v\n%s", p.ID(), err, text)
				}
			}
			if other, _ := again.Snapshot(p); other.Version() != s.Version() {
				t.Fatalf("%s: two translations differ\n%s", p.ID(), text)
			}
		}
	})
	t.Logf("%d meshes accepted", accepted)
	if accepted == 0 {
		t.Error("the reader accepted none of the meshes")
	}
}

// anyMesh draws a configuration.
func anyMesh(t *rapid.T) string {
	pick := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "pick") }
	app := func() string { return pick("a", "b", "c") }
	ns := func() string { return pick("one", "two", "istio-system") }
	var out []string
	for i := range rapid.IntRange(1, 4).Draw(t, "workloads") {
		out = append(out, fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: w%d, namespace: %s}
spec:
  replicas: %s
  selector: {matchLabels: {app: %[4]s}}
  template:
    metadata: {labels: {app: %[4]s, version: %s, topology.istio.io/locality: %s}}
    spec: {containers: [{name: app, image: %s, ports: [{name: web, containerPort: 8080}]}]}`,
			i, ns(), pick("0", "1", "2"), app(), pick("v1", "v2"), pick("r1.z1", "r1.z2", "r2"),
			pick("mesh-lab/echo", "mesh-lab/echo", "auto")))
	}
	for range rapid.IntRange(0, 4).Draw(t, "services") {
		out = append(out, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s, annotations: {networking.istio.io/exportTo: "%s"}}
spec: {selector: {app: %s}%s, ports: [{name: %s, port: %s, targetPort: %s}]}`,
			app(), ns(), pick("*", ".", "~", "one", "one,two"), app(), pick("", "", ", clusterIP: None"),
			pick("http", "tcp", "misc", "mysql"), pick("80", "81"), pick("8080", "web", "9090")))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "rules") {
		out = append(out, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d%d, namespace: %s}
spec:
  host: %s
  %s
  trafficPolicy: {%s}
  subsets: [{name: %s, labels: {version: v1}, trafficPolicy: {%s}}]`,
			i, ns(), pick("a", "b.one.svc.cluster.local", `"*.two.svc.cluster.local"`, `"*"`),
			pick(`exportTo: ["*"]`, "exportTo: [.]", "exportTo: [one]", "", "",
				"workloadSelector: {matchLabels: {app: a}}"),
			anyPolicy(pick), pick("s1", "s2"), anyPolicy(pick)))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "gateways") {
		out = append(out, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g%d, namespace: %s}
spec:
  selector: {app: %s}
  servers: [{port: {number: %s, name: http, protocol: HTTP}, hosts: ["%s"]}]`,
			i, ns(), app(), pick("80", "81", "8080"), pick("*", "*.example.com", "one/shop.example.com")))
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "virtual services") {
		out = append(out, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v%d, namespace: %s}
spec:
  hosts: [%s]
  gateways: [%s]
  exportTo: ["%s"]
  http:
  - match: [{%s}]
    route: [{destination: {host: %s, subset: %s}, weight: 90}, {destination: {host: b}, weight: 10}]
    %s
  - route: [{destination: {host: %s}}]`,
			i, ns(), pick("a", "b.one.svc.cluster.local", "shop.example.com", `"*.two.svc.cluster.local"`),
			pick("mesh", "g0", "one/g1", "mesh, g0"), pick("*", ".", "two"),
			pick("uri: {prefix: /x}", "headers: {h: {exact: yes-it-is}}", "port: 80", "sourceLabels: {app: a}",
				"gateways: [g0]", "sourceNamespace: two"),
			app(), pick("s1", "s2"), pick("timeout: 2s", "mirror: {host: c}", "retries: {attempts: 2}",
				"fault: {abort: {httpStatus: 503, percentage: {value: 5}}}"),
			pick("a", "c.two.svc.cluster.local", "unknown.example.com")))
	}
	return strings.Join(out, "\n---\n")
}

func anyPolicy(pick func(...string) string) string {
	return pick(
		"loadBalancer: {simple: ROUND_ROBIN}",
		"loadBalancer: {simple: RANDOM}",
		"loadBalancer: {simple: PASSTHROUGH}",
		"loadBalancer: {consistentHash: {httpHeaderName: x-user}}",
		"loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 97}}}",
		`loadBalancer: {localityLbSetting: {distribute: [{from: "r1/*", to: {"r1/z1": 60, "r2": 40}}]}}`,
		"outlierDetection: {consecutive5xxErrors: 2}, connectionPool: {http: {idleTimeout: 3s}}",
		`outlierDetection: {interval: 1s}, loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}`,
		"portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]",
	)
}
