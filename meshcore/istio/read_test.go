package istio

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// mustRead reads one text without errors.
func mustRead(t testing.TB, yaml string) *Config {
	t.Helper()
	c, diags := Read([]File{{Name: "test.yaml", Data: []byte(yaml)}}, ReadOptions{})
	if HasErrors(diags) {
		t.Fatalf("refused:\n%s", text(diags))
	}
	return c
}

const lamp = `
apiVersion: v1
kind: Service
metadata: {name: lamp, labels: {a: b}}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: lamp, namespace: lab, creationTimestamp: "2026-01-31T12:00:00Z"}
spec:
  hosts: [lamp]
  http:
  - match:
    - {uri: {prefix: /a}, headers: {end-user.id: {exact: "on"}}}
    route:
    - destination: {host: lamp, port: {number: 80}}
      weight: 25
    - {destination: {host: lamp, subset: v2}, weight: 75}
    mirror_percentage: {value: 12.5}
    mirror: {host: lamp}
    retries: {attempts: 2, perTryTimeout: 1m30s, retryRemoteLocalities: false}
    directResponse:
`

func TestObject(t *testing.T) {
	c, diags := Read([]File{{Name: "a.yaml", Data: []byte(strings.ReplaceAll(lamp,
		"    directResponse:\n", ""))}}, ReadOptions{Namespace: "home"})
	if len(diags) > 0 {
		t.Fatal(text(diags))
	}
	s, vs := c.Objects[0], c.Objects[1]
	if s.Ref() != "Service home/lamp" || s.Labels["a"] != "b" ||
		vs.Ref() != "VirtualService lab/lamp" {
		t.Errorf("got %s %v, %s", s.Ref(), s.Labels, vs.Ref())
	}
	if got := s.Body.(*corev1.Service).Namespace; got != "home" {
		t.Errorf("namespace in the body: %q", got)
	}
	if !Older(s, vs) || vs.Created.Year() != 2026 || s.Order != 0 || vs.Order != 1 {
		t.Errorf("ages: %v %d, %v %d", s.Created, s.Order, vs.Created, vs.Order)
	}
	r := vs.Body.(*networkingv1alpha3.VirtualService).Http[0]
	if r.Route[1].Weight != 75 || r.MirrorPercentage.Value != 12.5 || r.Retries.PerTryTimeout.Seconds != 90 ||
		r.Retries.RetryRemoteLocalities == nil ||
		r.Match[0].Headers["end-user.id"].GetExact() != "on" {
		t.Errorf("got %v", r)
	}
}

func TestAt(t *testing.T) {
	c := mustRead(t, strings.ReplaceAll(lamp, "    directResponse:\n", ""))
	o := c.Objects[1]
	for _, test := range []struct {
		path string
		want string
	}{
		{"spec.http[0].route[1].weight", "18:55"},
		{"spec.http[0].route[0].weight", "17:15"},
		{"spec.http[0].route[0]", "16:7"},
		{"spec.http[0].route", "15:5"},
		{"spec.http[0].route[7].weight", "15:5"},
		{"spec.http[0].match[0].headers[end-user.id].exact", "14:58"},
		{"spec.http[0].mirrorPercentage.value", "19:32"},
		{"spec.http[0].timeout", "13:5"},
		{"spec.tls[0]", "10:1"},
		{"metadata.name", "9:18"},
		{"", "7:1"},
		{"nonsense[", "7:1"},
	} {
		p := o.At(test.path)
		if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != test.want ||
			p.File != "test.yaml" {
			t.Errorf("At(%q) = %s %s, want %s", test.path, p.File, got, test.want)
		}
	}
	if got := (&Object{}).At("spec"); got != (Place{}) {
		t.Errorf("an object that was not read: %v", got)
	}
}

func TestNullIsRefusedForIstioOnly(t *testing.T) {
	_, diags := Read([]File{{Name: "a", Data: []byte(lamp)}}, ReadOptions{})
	if got := text(diags); !strings.Contains(got, "directResponse: must be a mapping, not null") {
		t.Errorf("got %s", got)
	}
	mustRead(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"+
		"spec: {volumes: null, containers: [{name: a, image: a, resources: , env: ~}]}")
}

func TestMeshConfig(t *testing.T) {
	defaults := mustRead(t, "").Mesh
	if !proto.Equal(defaults, DefaultMeshConfig()) {
		t.Errorf("defaults: %v", defaults)
	}
	const user = `
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
enableTracing: false
defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}
extensionProviders:
- {name: prometheus, stackdriver: {}}
- {name: mine, envoyFileAccessLog: {path: /x, logFormat: {labels: {a: "%REQ(X)%", b: 1, c: [true, 0.5]}}}}
trustDomainAliases: [b, a, b]
`
	m, diags := Read(nil, ReadOptions{MeshConfig: &File{Name: "mesh.yaml", Data: []byte(user)}})
	if len(diags) > 0 {
		t.Fatal(text(diags))
	}
	got := m.Mesh
	if got.OutboundTrafficPolicy.Mode != meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY ||
		got.EnableTracing || got.IngressClass != "istio" || len(got.TrustDomainAliases) != 2 ||
		!got.DefaultConfig.ProxyHeaders.AttemptCount.Disabled.Value ||
		got.DefaultConfig.StatusPort != 15020 {
		t.Errorf("got %v", got)
	}
	if p := got.ExtensionProviders; len(p) != 4 || p[0].GetStackdriver() == nil ||
		p[3].Name != "mine" {
		t.Errorf("providers: %v", p)
	}
}

// TestTrustDomain: what names the mesh in certificates is what istiod takes.
func TestTrustDomain(t *testing.T) {
	for domain, good := range map[string]bool{
		"cluster.local": true, "td": true, "istio.io.": true, "a-1.b": true,
		"": false, ".": false, "Cluster.local": false, "a..b": false, "a/b": false, "a_b": false,
		"spiffe://a": false, "-a": false, "a.b..": false,
	} {
		_, diags := Read(nil, ReadOptions{MeshConfig: &File{Name: "mesh.yaml",
			Data: []byte(fmt.Sprintf("trustDomain: %q", domain))}})
		if HasErrors(diags) == good || !good && diags[0].Field != "trustDomain" {
			t.Errorf("%q: %s", domain, text(diags))
		}
	}
}

func TestMergeAndRemove(t *testing.T) {
	base := mustRead(t, `
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, creationTimestamp: "2026-01-01T00:00:00Z"}, data: {x: "1"}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}`)
	mesh := func(mode string) string {
		return "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n" +
			"data:\n  mesh: |\n    outboundTrafficPolicy: {mode: " + mode + "}\n"
	}
	add := mustRead(t, `
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: "2"}}`+mesh("REGISTRY_ONLY"))
	names := func(c *Config) (out string) {
		for _, o := range c.Objects {
			out += fmt.Sprint(o.Name, o.Order, " ")
		}
		return out + c.Mesh.OutboundTrafficPolicy.Mode.String()
	}
	merged := Merge(base, add)
	if got := names(merged); got != "a0 b1 c2 istio3 REGISTRY_ONLY" {
		t.Errorf("merged: %s", got)
	}
	if a := merged.Objects[0]; a.Created.IsZero() || a.Body.(*corev1.ConfigMap).Data["x"] != "2" {
		t.Errorf("replaced: %v %v", a.Created, a.Body)
	}
	if got := names(base); got != "a0 b1 ALLOW_ANY" {
		t.Errorf("base changed: %s", got)
	}
	if got := names(Merge(merged, base)); got != "a0 b1 c2 istio3 REGISTRY_ONLY" {
		t.Errorf("merged again: %s", got)
	}
	if got := names(Remove(merged, add)); got != "b1 ALLOW_ANY" {
		t.Errorf("removed: %s", got)
	}
	if got := names(Merge(Remove(merged, base), base)); got != "c2 istio3 a4 b5 REGISTRY_ONLY" {
		t.Errorf("made again: %s", got)
	}
	file := File{Name: "mesh.yaml", Data: []byte("outboundTrafficPolicy: {mode: ALLOW_ANY}")}
	given, diags := Read(
		[]File{{Name: "x", Data: []byte(mesh("REGISTRY_ONLY"))}},
		ReadOptions{MeshConfig: &file},
	)
	if len(diags) != 1 || diags[0].Severity != Warning ||
		names(Merge(given, add)) != "istio0 c1 a2 ALLOW_ANY" {
		t.Errorf("a file wins: %s %v", names(Merge(given, add)), diags)
	}
}

// TestEncode checks that what is written is read as the same.
func TestEncode(t *testing.T) {
	first := mustRead(t, strings.ReplaceAll(lamp, "    directResponse:\n", "")+`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lamp, annotations: {a: "yes", b: "2026-01-01", c: "line\nline\n"}}
spec:
  selector: {matchLabels: {app: lamp}}
  template:
    metadata: {labels: {app: lamp, version: "1"}}
    spec: {containers: [{name: a, image: b, resources: {limits: {cpu: 100m}}}]}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: aGVsbG8=}, stringData: {b: "on"}}`)
	for _, as := range []Encoding{YAML, JSON} {
		var b bytes.Buffer
		for _, o := range first.Objects {
			out, err := Encode(o, as)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString("---\n")
			b.Write(out)
		}
		second := mustRead(t, b.String())
		if len(second.Objects) != len(first.Objects) {
			t.Fatalf(
				"%d objects, want %d:\n%s",
				len(second.Objects),
				len(first.Objects),
				b.String(),
			)
		}
		for i, o := range second.Objects {
			again, _ := Encode(o, as)
			want, _ := Encode(first.Objects[i], as)
			if !bytes.Equal(again, want) || !o.Created.Equal(first.Objects[i].Created) {
				t.Errorf("got:\n%swant:\n%s", again, want)
			}
		}
	}
}

func TestKnownKinds(t *testing.T) {
	if got := strings.Join(KnownKinds(), " "); !strings.Contains(got, "Service") ||
		strings.Contains(got, "EnvoyFilter") {
		t.Errorf("got %s", got)
	}
}

// TestHugeInputs reads 10 MB of what hurts parsers. Memory is bounded, which catches what expands.
func TestHugeInputs(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(4 << 30))
	const size = 10 << 20
	fill := func(head, piece, tail string) []byte {
		return []byte(head + strings.Repeat(piece, (size-len(head)-len(tail))/len(piece)) + tail)
	}
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for name, data := range map[string][]byte{
		"documents":  fill("", "---\n", ""),
		"comments":   fill("", "# a comment\n", ""),
		"brackets":   fill("", "[", ""),
		"braces":     fill("", "{a: ", ""),
		"dashes":     fill("", "- ", ""),
		"keys":       fill("", "? ", ""),
		"a value":    fill(head+"data: {a: \"", "x", "\"}"),
		"a block":    fill(head+"data:\n  a: |\n", "    text\n", ""),
		"a list":     fill(head+"data: [", "abcdefgh, ", "]"),
		"spaces":     fill(head, " ", ""),
		"unfinished": fill(head+"data: {a: \"", "x", ""),
		"NUL":        fill("", "\x00", ""),
		"not UTF-8":  fill(head, "\xff", ""),
		"JSON":       fill("", `{"a":1}`, ""),
		"anchors":    fill("", "&a ", ""),
		"aliases":    fill(head+"data: &a {a: b}\nx: [", "*a, ", "]"),
	} {
		t.Run(name, func(t *testing.T) {
			c, diags := Read([]File{{Name: "huge.yaml", Data: data}}, ReadOptions{})
			if len(diags) > 0 {
				t.Log(len(diags), diags[0])
			}
			if c == nil || len(data) > size {
				t.Error("bad test")
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	var buf bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&buf, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lamp-%d, namespace: lab}
spec:
  hosts: [lamp-%d]
  http:
  - match:
    - {uri: {prefix: /a}, headers: {end-user: {exact: jason}}}
    route:
    - destination: {host: lamp, subset: v1, port: {number: 80}}
      weight: 25
    - {destination: {host: lamp, subset: v2}, weight: 75}
    retries: {attempts: 2, perTryTimeout: 1m30s}
    timeout: 3s
  - route: [{destination: {host: lamp}}]
`, i, i)
	}
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		c, diags := Read([]File{{Name: "big.yaml", Data: buf.Bytes()}}, ReadOptions{})
		if len(c.Objects) != 1000 || len(diags) > 0 {
			b.Fatal(len(c.Objects), diags)
		}
	}
}
