package lab

import (
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

func TestSpoken(t *testing.T) {
	c, diags := istio.Read([]istio.File{{Name: "gw.yaml", Data: []byte(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {app: gw}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: c}
    hosts: [a.example.com]
  - {port: {number: 6443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: [b.example.com]}
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: ["*"]}
`)}}, istio.ReadOptions{})
	if hasError(diags) {
		t.Fatal(diags)
	}
	for port, want := range map[int]string{
		80: "http", 443: "https", 6443: "tls", 5432: "tcp", 8080: "http",
	} {
		if got := spoken(c, port); got != want {
			t.Errorf("port %d: %s, want %s", port, got, want)
		}
	}
}
