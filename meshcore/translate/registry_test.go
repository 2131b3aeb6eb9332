package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

func deployment(name string, replicas int, annotations string) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: {%[3]s}}
    spec: {containers: [{name: app, image: mesh-lab/echo}]}
`, name, replicas, annotations)
}

func clusterIPService(name, extra string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 80}]%[2]s}
`, name, extra)
}

func addresses(r *Registry) map[string]string {
	out := map[string]string{}
	for _, p := range r.Pods {
		out[p.ID()] = p.IP.String()
	}
	for _, s := range r.Services {
		out[s.Host] = s.VIP.String()
	}
	return out
}

// TestAddressesStay: what stays keeps its address, and an address is not given again.
func TestAddressesStay(t *testing.T) {
	first := mustRead(t, "1.yaml", deployment("a", 2, "")+clusterIPService("a", "")+
		deployment("b", 1, "")+clusterIPService("b", ""))
	second := mustRead(t, "2.yaml", deployment("new", 1, "")+clusterIPService("new", "")+
		deployment("b", 2, "")+clusterIPService("b", ""))
	before, _ := NewRegistry(first, nil)
	after, problems := NewRegistry(second, before)
	if istio.HasErrors(problems) {
		t.Fatal(problems)
	}
	want := map[string]string{
		"a-0.default": "10.244.0.2", "a-1.default": "10.244.0.3", "b-0.default": "10.244.0.4",
		"a.default.svc.cluster.local": "10.96.0.10", "b.default.svc.cluster.local": "10.96.0.11",
	}
	if diff := cmp.Diff(want, addresses(before)); diff != "" {
		t.Error(diff)
	}
	want = map[string]string{
		"new-0.default": "10.244.0.5", "b-0.default": "10.244.0.4", "b-1.default": "10.244.0.6",
		"new.default.svc.cluster.local": "10.96.0.12", "b.default.svc.cluster.local": "10.96.0.11",
	}
	if diff := cmp.Diff(want, addresses(after)); diff != "" {
		t.Error(diff)
	}
}

func TestChosenAddresses(t *testing.T) {
	config := mustRead(t, "in.yaml", deployment("a", 1, "")+
		deployment("b", 1, "mesh-lab.dev/ip: 10.244.0.2")+
		clusterIPService("x", "")+clusterIPService("why", ", clusterIP: 10.96.0.10")+
		clusterIPService("z", ", clusterIP: None"))
	r, _ := NewRegistry(config, nil)
	want := map[string]string{
		"a-0.default": "10.244.0.3", "b-0.default": "10.244.0.2",
		"x.default.svc.cluster.local": "10.96.0.11", "why.default.svc.cluster.local": "10.96.0.10",
		"z.default.svc.cluster.local": "invalid IP",
	}
	if diff := cmp.Diff(want, addresses(r)); diff != "" {
		t.Error(diff)
	}
}

func TestRegistryProblems(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"one address for two replicas", deployment("a", 2, "mesh-lab.dev/ip: 10.0.0.1"),
			"pod/a-0.default and pod/a-1.default cannot both have the address 10.0.0.1"},
		{"IPv6", deployment("a", 1, "'mesh-lab.dev/ip': '2001:db8::1'"),
			"mesh-lab.dev/ip: the IPv6 address 2001:db8::1 is not carried out yet (only IPv4)"},
		{"one name for two pods", deployment("a", 1, "") + strings.NewReplacer(
			"Deployment", "ReplicaSet").Replace(deployment("a", 1, "")),
			"its pod a-0.default is also one of Deployment default/a"},
		{"too many", deployment("a", 1_000_000, ""), "the lab runs at most 5000 pods"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, problems := NewRegistry(mustRead(t, "in.yaml", test.text), nil)
			if !istio.HasErrors(problems) || !strings.Contains(fmt.Sprint(problems), test.want) {
				t.Errorf("got %v, want %q", problems, test.want)
			}
		})
	}
}
