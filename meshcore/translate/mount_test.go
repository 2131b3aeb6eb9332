package translate

import "testing"

// TestMounts reads files as the proxies of pods find them.
func TestMounts(t *testing.T) {
	config := mustRead(t, "in.yaml", `
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: QQ==}
stringData: {b: B, a: over data}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {text: T}
binaryData: {raw: Ug==}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m, namespace: other}
data: {text: not this one}
---
apiVersion: v1
kind: Pod
metadata:
  name: listed
  annotations:
    sidecar.istio.io/userVolume: '[{"name":"v","secret":{"secretName":"s"}}]'
    sidecar.istio.io/userVolumeMount: '[{"name":"v","mountPath":"/v/"}]'
spec: {containers: [{name: app, image: mesh-lab/echo}]}
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  containers:
  - {name: app, image: mesh-lab/echo, volumeMounts: [{name: m, mountPath: /app}]}
  - name: istio-proxy
    image: auto
    volumeMounts:
    - {name: m, mountPath: /m}
    - {name: s, mountPath: /m/deep}
    - {name: s, mountPath: /one/file, subPath: b}
    - {name: picked, mountPath: /picked}
    - {name: nothing, mountPath: /nothing}
  volumes:
  - {name: m, configMap: {name: m}}
  - {name: s, secret: {secretName: s}}
  - {name: picked, secret: {secretName: s, items: [{key: b, path: dir/name}]}}
  - {name: nothing, emptyDir: {}}
---
apiVersion: v1
kind: Pod
metadata: {name: gate}
spec:
  containers: [{name: any, image: auto, volumeMounts: [{name: m, mountPath: /m}]}]
  volumes: [{name: m, configMap: {name: m}}]
`)
	registry, _ := NewRegistry(config, nil)
	pods := map[string]*Pod{}
	for _, p := range registry.Pods {
		pods[p.Name] = p
	}
	files := newFileTree(config)
	for _, c := range []struct{ pod, path, want string }{
		{"listed", "/v/a", "over data"},
		{"listed", "/v/../v/b", "B"},
		{"listed", "/v/c", ""},
		{"listed", "/v", ""},
		{"listed", "/other/a", ""},
		{"own", "/m/text", "T"},
		{"own", "/m/raw", "R"},
		{"own", "/m/deep/b", "B"},
		{"own", "/m/deep/text", ""}, // the deeper mount hides the other
		{"own", "/one/file", "B"},
		{"own", "/one/file/more", ""},
		{"own", "/picked/dir/name", "B"},
		{"own", "/picked/b", ""}, // items leave out what they do not name
		{"own", "/nothing/b", ""},
		{"own", "/app/text", ""}, // the application's mount is not the proxy's
		{"gate", "/m/text", "T"},
	} {
		got, ok := files.read(pods[c.pod], c.path)
		if string(got) != c.want || ok != (c.want != "") {
			t.Errorf("%s %s: got %q, %v; want %q", c.pod, c.path, got, ok, c.want)
		}
	}
}
