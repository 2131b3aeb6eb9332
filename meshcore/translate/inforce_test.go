package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// What is in force at a pod is named where it is written, in the narrowest scope that says so.
func TestInForce(t *testing.T) {
	const text = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: c, image: mesh-lab/echo, ports: [{containerPort: 80}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bare, namespace: other}
spec:
  selector: {matchLabels: {app: bare}}
  template:
    metadata: {labels: {app: bare}}
    spec: {containers: [{name: c, image: mesh-lab/echo}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mesh, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  portLevelMtls: {80: {mode: PERMISSIVE}, 81: {mode: UNSET}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec: {selector: {matchLabels: {app: shop}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: istio-system}
spec: {rules: [{}]}
`
	c, diags := istio.Read([]istio.File{{Name: "x.yaml", Data: []byte(text)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	reg, _ := NewRegistry(c, nil)
	tr := New(c, reg)
	mesh := "PeerAuthentication istio-system/mesh spec.mtls.mode"
	all := []string{"AuthorizationPolicy istio-system/all spec"}
	want := map[string]map[string][]string{
		"shop-0.default": {
			"mtls": {"STRICT", mesh}, "mtls.81": {"STRICT", mesh},
			"mtls.80": {"PERMISSIVE", "PeerAuthentication default/shop spec.portLevelMtls.80.mode"},
			"tokens":  {"RequestAuthentication default/tokens spec"}, "policies": all,
		},
		"bare-0.other": {"mtls": {"STRICT", mesh}, "policies": all},
	}
	got := map[string]map[string][]string{}
	for _, p := range reg.Pods {
		got[p.ID()] = tr.InForce(p)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
