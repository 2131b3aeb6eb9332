package cases

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

func TestExample(t *testing.T) {
	for _, expr := range []string{
		"a", "/a.*", "/[a-z]+/[0-9]*", "a|b", "(a|b)/?", `\d{3}-\w`, "[^a]", "^x$", "(?i)ab",
		"^(.*?;)?(user=jason)(;.*)?$", `[\s]x`, "",
	} {
		got, ok := example(expr)
		if !ok || !regexp.MustCompile("^(?:"+expr+")$").MatchString(got) {
			t.Errorf("%q: %q %v", expr, got, ok)
		}
	}
	for _, expr := range []string{"(", `a\bb`, `[^\x00-\x{10FFFF}]`} {
		if got, ok := example(expr); ok {
			t.Errorf("%q: %q", expr, got)
		}
	}
}

const config = `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shop, labels: {app: shop}}
spec: {containers: [{name: shop, image: mesh-lab/echo, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: curl, labels: {app: curl}}
spec: {containers: [{name: curl, image: curlimages/curl}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - match:
    - uri: {exact: /cart}
      headers: {x-user: {exact: jason}}
      queryParams: {debug: {exact: "on"}}
      sourceLabels: {app: curl}
    route: [{destination: {host: shop}}]
    timeout: 300ms
`

func made(t *testing.T, o Options) Made {
	t.Helper()
	return madeOf(t, config, o)
}

func madeOf(t *testing.T, config string, o Options) Made {
	t.Helper()
	c, diags := istio.Read([]istio.File{{Name: "a.yaml", Data: []byte(config)}}, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	reg, _ := translate.NewRegistry(c, nil)
	return From(c, reg, o)
}

// TestFrom looks for the requests that meet and just miss each condition.
func TestFrom(t *testing.T) {
	m := made(t, Options{})
	has := map[string]bool{}
	for _, s := range m.Requests {
		has[s.From+" "+s.URL+" "+strings.Join(s.Headers, "; ")] = true
	}
	for _, want := range []string{
		"/cart?debug=on x-user: jason", "/CART?debug=on x-user: jason", "/cart/?debug=on x-user: jason",
		"/car?debug=on x-user: jason", "/cart%2F?debug=on x-user: jason", "/cart?debug=on x-user: ",
		"/cart?debug=on ", "/cart?debug=on x-user: jason; x-user: other", "/cart?debug=on X-USER: jason",
		"/cart x-user: jason", "/cart?debug= x-user: jason", "/cart?debug=other&debug=on x-user: jason",
		"/cart?debug=on x-user: jason; x-echo-delay: 100ms",
		"/cart?debug=on x-user: jason; x-echo-delay: 800ms",
	} {
		if !has["curl.default http://shop.default"+want] {
			t.Errorf("missing %s", want)
		}
	}
	if !has["shop.default http://shop.default/cart?debug=on x-user: jason"] {
		t.Error("missing the request of another source")
	}
}

// TestSample takes the same requests for the same seed, and not more than it may.
func TestSample(t *testing.T) {
	text := func(s []request.Spec) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	a, b := made(t, Options{Seed: 1, Max: 30}), made(t, Options{Seed: 1, Max: 30})
	if text(a.Requests) != text(b.Requests) || len(a.Requests) != 30 || a.Cut == 0 {
		t.Errorf("%d requests, %d cut", len(a.Requests), a.Cut)
	}
	if other := made(t, Options{Seed: 2, Max: 30}); text(other.Requests) == text(a.Requests) {
		t.Error("the seed changes nothing")
	}
	if all := made(t, Options{}); len(all.Requests) != 30+a.Cut || all.Cut != 0 {
		t.Errorf("%d requests in all", len(all.Requests))
	}
}

const guarded = config + `---
apiVersion: v1
kind: Pod
metadata: {name: plain, labels: {app: plain, sidecar.istio.io/inject: "false"}}
spec: {containers: [{name: plain, image: curlimages/curl}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: admin}
spec:
  action: DENY
  rules:
  - to: [{operation: {paths: ["/admin/*"], hosts: [shop.default]}}]
    when: [{key: "request.headers[x-user]", values: ["j*"]}]
`

// TestAccess looks for the requests that meet a policy, and those that try to get around it.
func TestAccess(t *testing.T) {
	has := map[string]bool{}
	for _, s := range madeOf(t, guarded, Options{}).Requests {
		for _, h := range append(s.Headers, "") {
			has[strings.TrimSpace(s.From+" "+s.URL+" "+s.Host+" "+h)] = true
		}
	}
	for _, want := range []string{
		"/", "/admin/any shop.default x-user: jany", "//admin/any shop.default x-user: jany",
		"/admin%2fany shop.default x-user: jany", "/ADMIN/ANY shop.default x-user: jany",
		"/x/..;/admin/any shop.default x-user: jany", "/admin/any shop.default:80 x-user: jany",
		"/admin/any shop.default. x-user: jany", "/  x-user: jany,other",
		"/  authorization: Bearer " + header + claims + signature, "/?token=x",
	} {
		for _, from := range []string{"curl", "plain"} {
			if !has[from+".default http://shop.default"+want] {
				t.Errorf("missing %s%s", from, want)
			}
		}
	}
}
