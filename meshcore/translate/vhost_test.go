package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"
)

// TestPrecedence: which VirtualService rules a host in a sidecar.
func TestPrecedence(t *testing.T) {
	direct := func(host string, status int, rest string) string {
		return fmt.Sprintf("{hosts: [%q], http: [{directResponse: {status: %d}}]%s}", host, status, rest)
	}
	const ab = "*.a.svc.cluster.local"
	for _, c := range []struct {
		name  string
		rules []string // NAMESPACE SPEC
		want  string   // what the sidecar of one.a gets for one.a and for two.a
	}{
		{"none", nil, "outbound outbound"},
		{"the older", []string{"a " + direct("one", 201, ""), "a " + direct("one", 202, "")},
			"201 outbound"},
		{"the older of another namespace",
			[]string{"b " + direct("one.a.svc.cluster.local", 201, ""), "a " + direct("one", 202, "")},
			"201 outbound"},
		{"private before public",
			[]string{"b " + direct("one.a.svc.cluster.local", 201, ""),
				"a " + direct("one", 202, ", exportTo: [.]")}, "202 outbound"},
		{"private, exported, public",
			[]string{"a " + direct("one", 201, ""),
				"b " + direct("one.a.svc.cluster.local", 202, ", exportTo: [a]"),
				"b " + direct("two.a.svc.cluster.local", 203, ", exportTo: [a]"),
				"a " + direct("two", 204, ", exportTo: [a]")}, "202 204"},
		{"exported to others only",
			[]string{"b " + direct("one.a.svc.cluster.local", 201, ", exportTo: [.]"),
				"a " + direct("two", 202, ", exportTo: [b]")}, "outbound outbound"},
		{"the full name before an older wildcard",
			[]string{"a " + direct(ab, 201, ""), "a " + direct("one", 202, "")}, "202 201"},
		{"the longer wildcard",
			[]string{"a " + direct("*.svc.cluster.local", 201, ""), "a " + direct(ab, 202, "")}, "202 202"},
		{"the older of equal wildcards",
			[]string{"a " + direct(ab, 201, ""), "a " + direct(ab, 202, "")}, "201 201"},
		{"a rule of other sources leaves the default",
			[]string{"a {hosts: [one], http: [{match: [{sourceLabels: {app: x}}], " +
				"directResponse: {status: 201}}]}", "a " + direct("one", 202, "")}, "202 outbound"},
		{"a winner without routes here yields to no wildcard",
			[]string{"a {hosts: [one], http: [{match: [{sourceNamespace: b}], " +
				"directResponse: {status: 201}}]}", "a " + direct(ab, 202, "")}, "outbound 202"},
		{"bound to a gateway", []string{"a " + direct("one", 201, ", gateways: [gate]"),
			"a " + direct("two", 202, ", gateways: [gate, mesh]")}, "outbound 202"},
		{"upper case", []string{"a " + direct("ONE.a.svc.cluster.local", 201, "")}, "201 outbound"},
	} {
		yaml := serviceYAML("one", "a", http80) + serviceYAML("two", "a", http80)
		for i, r := range c.rules {
			ns, spec, _ := strings.Cut(r, " ")
			yaml += virtualServiceYAML(fmt.Sprintf("r%d", i), ns, spec)
		}
		lab := newLab(t, yaml)
		rc := lab.sidecarRoutes(lab.pod(t, "one.a"))["80"]
		var got []string
		for _, name := range []string{"one", "two"} {
			for _, vh := range rc.VirtualHosts {
				if slices.Contains(vh.Domains, name) {
					action, _, _ := strings.Cut(actionOf(vh.Routes[0]), "|")
					got = append(got, action)
				}
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s\n%s", c.name, s, c.want, says(rc))
		}
	}
}

// TestOtherHosts: hosts that are no Service of the port.
func TestOtherHosts(t *testing.T) {
	lab := newLab(t, serviceYAML("one", "a", http80, "{name: http-alt, port: 81}", "{name: tcp, port: 82}")+
		virtualServiceYAML("foreign", "a", "{hosts: [www.example.com, '*.example.org'], "+
			"http: [{directResponse: {status: 201}}]}")+
		virtualServiceYAML("mixed", "a", "{hosts: [one, cart.example.com], "+
			"http: [{match: [{port: 81}], directResponse: {status: 202}}, "+
			"{route: [{destination: {host: one}}, {destination: {host: one, port: {number: 81}}, weight: 3}, "+
			"{destination: {host: one, subset: v2}, weight: 1}]}]}"))
	routes := lab.sidecarRoutes(lab.pod(t, "one.a"))
	wants(t, says(routes["80"]), `
		*.example.org:80 *.example.org
		  /: 201
		cart.example.com:80 cart.example.com
		  /: outbound|81||one.a.svc.cluster.local=3 outbound|80|v2|one.a.svc.cluster.local=1
		one.a.svc.cluster.local:80 one.a.svc.cluster.local one.a.svc.cluster.local. one one.a.svc one.a 10.96.0.10
		  /: outbound|81||one.a.svc.cluster.local=3 outbound|80|v2|one.a.svc.cluster.local=1
		www.example.com:80 www.example.com
		  /: 201
		allow_any *
		  /: PassthroughCluster
	`)
	wants(t, says(routes["81"]), `
		cart.example.com:81 cart.example.com
		  /: 202
		one.a.svc.cluster.local:81 one.a.svc.cluster.local one.a.svc.cluster.local. one one.a.svc one.a 10.96.0.10
		  /: 202
		allow_any *
		  /: PassthroughCluster
	`)
	if len(routes) != 2 {
		t.Errorf("TCP ports have no routes: %v", routes)
	}
}

// TestDetected: a port that declares nothing has routes of its own, for any Host header.
func TestDetected(t *testing.T) {
	lab := newLab(t, serviceYAML("one", "a", "{name: any, port: 80}")+serviceYAML("two", "a", http80)+
		virtualServiceYAML("one", "a", "{hosts: [one], http: [{directResponse: {status: 201}}]}"))
	routes := lab.sidecarRoutes(lab.pod(t, "two.a"))
	wants(t, says(routes["one.a.svc.cluster.local:80"]), `
		one.a.svc.cluster.local:80 *
		  /: 201
	`)
	if got := says(routes["80"]); !strings.Contains(got, " one ") || !strings.Contains(got, " two ") {
		t.Errorf("port 80 is to have both:\n%s", got)
	}
}

// TestBlockAll: with REGISTRY_ONLY unknown hosts get 502.
func TestBlockAll(t *testing.T) {
	lab := newLab(t, serviceYAML("one", "a", http80)+`---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
`)
	got := says(lab.sidecarRoutes(lab.pod(t, "one.a"))["80"])
	if !strings.HasSuffix(got, "block_all *\n  /: 502\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestSharedRoutes: pods share routes unless a rule tells their labels apart.
func TestSharedRoutes(t *testing.T) {
	lab := newLab(t, serviceYAML("one", "a", http80)+serviceYAML("two", "a", http80)+
		serviceYAML("three", "a", http80)+
		virtualServiceYAML("one", "a", "{hosts: [one], http: [{match: [{sourceLabels: {app: three}}], "+
			"directResponse: {status: 201}}]}"))
	routes := func(id string) routeConfigs { return lab.sidecarRoutes(lab.pod(t, id)) }
	if routes("one.a")["80"] != routes("two.a")["80"] || routes("one.a")["80"] == routes("three.a")["80"] {
		t.Error("routes are to be shared by the first two pods only")
	}
	if got := says(routes("three.a")["80"]); !strings.Contains(got, "201") {
		t.Errorf("got\n%s", got)
	}
}

// TestHeldByEnvoy: whatever the rules, Envoy accepts the routes: every name and domain once, every
// message valid; and they do not depend on chance.
func TestHeldByEnvoy(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		yaml := serviceYAML("one", "a", http80) + serviceYAML("two", "a", http80, "{name: x, port: 81}") +
			serviceYAML("one", "b", "{name: any, port: 80}")
		hosts := rapid.SampledFrom([]string{
			"one", "two", "one.a", "one.b", "one.a.svc", "ONE", "two.a.svc.cluster.local", "www.example.com",
			"*.example.com", "*.a.svc.cluster.local", "*.svc.cluster.local", "10.96.0.10", "*.a",
		})
		for i := range rapid.IntRange(0, 6).Draw(r, "rules") {
			list := rapid.SliceOfNDistinct(hosts, 1, 3, strings.ToLower).Draw(r, "hosts")
			ns := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "namespace")
			for n, h := range list { // the reader refuses hosts that overlap in one VirtualService
				if slices.ContainsFunc(list[:n], func(o string) bool {
					return strings.EqualFold(fqdn(h, ns), fqdn(o, ns)) || hostMatches(fqdn(h, ns), fqdn(o, ns))
				}) {
					list = list[:n]
					break
				}
			}
			yaml += virtualServiceYAML(fmt.Sprintf("r%d", i), ns, fmt.Sprintf(
				"{hosts: ['%s'], http: [{match: [{port: %d}], route: [{destination: {host: one}}]}, "+
					"{directResponse: {status: %d}}]}", strings.Join(list, "', '"),
				rapid.SampledFrom([]int{80, 81}).Draw(r, "port"), 200+i))
		}
		lab, again := newLab(t, yaml), newLab(t, yaml)
		for _, p := range lab.registry.Pods {
			routes := lab.sidecarRoutes(p)
			for name, rc := range routes {
				seen := map[string]bool{}
				for _, vh := range rc.VirtualHosts {
					for _, d := range append([]string{"name " + vh.Name}, vh.Domains...) {
						if d = strings.ToLower(d); seen[d] {
							r.Fatalf("%s: %q twice in\n%s", name, d, says(rc))
						}
						seen[d] = true
					}
				}
				if err := rc.ValidateAll(); err != nil {
					r.Fatalf("%s: %v", name, err)
				}
			}
			if d := cmp.Diff(routes, again.sidecarRoutes(again.pod(t, p.ID())), protocmp.Transform()); d != "" {
				r.Fatalf("the second translation differs:\n%s", d)
			}
		}
	})
}

func BenchmarkSidecarRoutes(b *testing.B) {
	var yaml strings.Builder
	for i := range 100 {
		name := fmt.Sprintf("s%d", i)
		yaml.WriteString(serviceYAML(name, "a", http80))
		yaml.WriteString(virtualServiceYAML(name, "a",
			fmt.Sprintf("{hosts: [%[1]s], http: [{route: [{destination: {host: %[1]s}}]}]}", name)))
	}
	lab := newLab(b, yaml.String())
	b.ReportAllocs()
	for b.Loop() {
		fresh := New(lab.config, lab.registry)
		for _, p := range lab.registry.Pods {
			fresh.sidecarRoutes(p)
		}
	}
}
