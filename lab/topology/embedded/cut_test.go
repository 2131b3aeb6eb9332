package embedded_test

import (
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
)

// servers are two outside of the mesh; of one, proxies find the address by DNS.
const servers = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: v1
kind: Pod
metadata:
  name: api
  labels: {app: api}
  annotations: {mesh-lab.dev/external-host: api.example.com, mesh-lab.dev/ip: 198.51.100.7}
spec: {containers: [{name: api, image: mesh-lab/echo, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: other
  labels: {app: other}
  annotations: {mesh-lab.dev/external-host: other.example.com, mesh-lab.dev/ip: 198.51.100.8}
spec: {containers: [{name: other, image: mesh-lab/echo, ports: [{containerPort: 80}]}]}
`

// TestCut cuts what is not there, what comes from outside, and what proxies look up.
func TestCut(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		m := upOn(t, d, customer(t, servers))
		partitionKilled(t, m)
		partitionOutside(t, m)
		misleadProxy(t, m)
		if err := m.(topology.Breaker).Whole(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// partitionKilled: a partition may name a pod that is killed, and is in effect when it is back.
func partitionKilled(t *testing.T, m topology.Mesh) {
	killed := breakIt(t, m, topology.Fault{Kind: topology.FaultKill, Pods: []string{victim}})
	b := breakIt(t, m, topology.Fault{Kind: topology.FaultPartition,
		From: []string{"customer-0.default"}, To: []string{victim}})
	if got := statusOf(t, m); got != 503 {
		t.Errorf("killed, and apart: %d", got)
	}
	if r := receipt(t, b); r.Fired != 0 {
		t.Errorf("a partition from nobody has fired: %+v", r)
	}
	heal(t, killed)
	silent(t, m, b, toCustomer, func() {})
}

// partitionOutside has a gateway hear nothing from outside; within the mesh nobody notices.
func partitionOutside(t *testing.T, m topology.Mesh) {
	b := breakIt(t, m, topology.Fault{Kind: topology.FaultPartition,
		From: []string{topology.Outside}, To: []string{podOf(t, m, "istio-ingressgateway")}})
	if got := statusOf(t, m); got != 200 {
		t.Errorf("within the mesh: %d", got)
	}
	if r := receipt(t, b); r.Fired != 0 {
		t.Errorf("nobody came from outside: %+v", r)
	}
	s := request.Spec{From: topology.Outside, URL: "http://any/customer"}
	silent(t, m, b, s, func() {})
}

// misleadProxy has a proxy find another server than its ServiceEntry (STRICT_DNS) means, and keep
// what it has when it is told nothing.
func misleadProxy(t *testing.T, m topology.Mesh) {
	// The app has the address: what is looked up is looked up by its sidecar.
	s := request.Spec{From: "curl", URL: "http://api.example.com/", Connect: "198.51.100.7:80"}
	reaches := func(workload, when string) {
		t.Helper()
		r := ask(t, m, s)[0]
		if r.Status != 200 || !strings.Contains(r.Body, `"workload":"`+workload+`"`) ||
			r.Hops[0].Cluster != "outbound|80||api.example.com" {
			t.Errorf("%s: want %s: %+v", when, workload, r)
		}
	}
	f := topology.Fault{Kind: topology.FaultDNS, Pods: []string{podOf(t, m, "curl")},
		Names: []string{"api.example.com"}}
	reaches("api", "before")
	f.DNS = topology.DNSFault{Wrong: "198.51.100.8"}
	b := breakIt(t, m, f)
	reaches("other", "with a wrong answer")
	if r := receipt(t, b); r.Fired == 0 {
		t.Errorf("a proxy was led astray: %+v", r)
	}
	heal(t, b)
	reaches("api", "healed")
	f.DNS = topology.DNSFault{Fail: true}
	b = breakIt(t, m, f)
	reaches("api", "without an answer")
	heal(t, b)
}
