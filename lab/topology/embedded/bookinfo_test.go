package embedded_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
)

// examples returns the YAML of docs/bookinfo.md: the lesson's two rules, and the book service.
func examples(t *testing.T) (toTestUser, slow, books string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/bookinfo.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("docs/bookinfo.md has %d examples", len(blocks))
	}
	toTestUser, slow, _ = strings.Cut(blocks[0][1], "---\n")
	return toTestUser, slow, blocks[1][1]
}

// abortForJason breaks ratings for jason alone.
const abortForJason = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
    route: [{destination: {host: ratings, subset: v1}}]
  - route: [{destination: {host: ratings, subset: v1}}]
`

// abortDetails breaks details with a status of nobody's.
const abortDetails = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details}
spec:
  hosts: [details]
  http:
  - fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: details, subset: v1}}]
`

// detailsV2 asks the book service in plain text: its sidecar may encrypt.
const detailsV2 = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: details-v2}
spec:
  selector: {matchLabels: {app: details, version: v2}}
  template:
    metadata: {labels: {app: details, version: v2}}
    spec:
      containers:
      - name: details
        image: docker.io/istio/examples-bookinfo-details-v2:1.20.3
        ports: [{containerPort: 9080}]
        env: [{name: DO_NOT_ENCRYPT, value: "true"}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details}
spec:
  hosts: [details]
  http: [{route: [{destination: {host: details, subset: v2}}]}]
`

// originated has the sidecar encrypt what the app sends in plain text.
const originated = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: books}
spec:
  hosts: [www.googleapis.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: books}
spec:
  hosts: [www.googleapis.com]
  http:
  - match: [{port: 80}]
    route: [{destination: {host: www.googleapis.com, port: {number: 443}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: books}
spec:
  host: www.googleapis.com
  trafficPolicy:
    portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, insecureSkipVerify: true}}]
`

// look is what a person sees of a page.
func look(r request.Result) string {
	var seen []string
	for _, m := range []struct{ mark, name string }{
		{"text-black-500", "black"}, {"gap-x-1 text-red-500", "red"},
		{"Ratings service is currently unavailable", "no ratings"},
		{"Error fetching product details", "no details"}, {"Error fetching product reviews", "no reviews"},
		{"Sign out", "signed in"},
	} {
		if strings.Contains(r.Body, m.mark) {
			seen = append(seen, m.name)
		}
	}
	if n := strings.Count(r.Body, "glyphicon glyphicon-star"); n > 0 {
		seen = append(seen, fmt.Sprint(n, " stars"))
	}
	return fmt.Sprint(r.Status, " ", strings.Join(seen, ", "))
}

func TestBookinfo(t *testing.T) {
	onBoth(t, func(t *testing.T, d embedded.Driver) {
		m := upOn(t, d, bundled(t, "bookinfo"))
		t.Run("rotation", func(t *testing.T) { rotation(t, m) })
		t.Run("gateway", func(t *testing.T) { bookinfoGateway(t, m) })
		t.Run("jason", func(t *testing.T) { jason(t, m) })
		t.Run("book service", func(t *testing.T) { externalBook(t, m) })
	})
}

// rotation: without rules the three versions come in turn, and each page is one trace.
func rotation(t *testing.T, m topology.Mesh) {
	pages := request.Spec{From: topology.Outside, URL: "http://any/productpage", Count: 3}
	ask(t, m, pages) // first handshakes are slow, and productpage waits for 3 s
	pages.Count = 30
	got := map[string]int{}
	for _, r := range ask(t, m, pages) {
		got[fmt.Sprint(look(r), ", ", len(r.Hops), " hops")]++
	}
	// The gateway, two for productpage, details and reviews each but the first, two for ratings.
	want := map[string]int{"200 , 6 hops": 10, "200 black, 9 stars, 8 hops": 10, "200 red, 9 stars, 8 hops": 10}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	inside := ask(t, m, request.Spec{From: "ratings-v1", URL: "http://productpage:9080/productpage"})[0]
	if !strings.Contains(inside.Body, "<title>Simple Bookstore App</title>") {
		t.Errorf("from inside: %+v", inside)
	}
}

// bookinfoGateway: what is named by the VirtualService is reached, the rest is not.
func bookinfoGateway(t *testing.T, m topology.Mesh) {
	for path, want := range map[string]int{
		"/productpage": 200, "/login": 405, "/logout": 302, "/static/favicon.svg": 200,
		"/api/v1/products": 200, "/api/v1/products/0": 200, "/api/v1/products/0/reviews": 200,
		"/api/v1/products/0/ratings": 200, "/": 404, "/foo": 404, "/productpage/x": 404, "/health": 404,
	} {
		r := ask(t, m, request.Spec{From: topology.Outside, URL: "http://any" + path})[0]
		if r.Status != want {
			t.Errorf("%s: %d, want %d", path, r.Status, want)
		}
	}
}

// jason signs in, and rules that name him are about him, and about nobody who says to be him.
func jason(t *testing.T, m topology.Mesh) {
	login := ask(t, m, request.Spec{
		From: topology.Outside, URL: "http://any/login", Method: "POST", Body: "username=jason&passwd=",
		Headers: []string{
			"content-type: application/x-www-form-urlencoded", "referer: http://any/productpage"},
	})[0]
	if login.Status != 302 || login.Headers["location"][0] != "http://any/productpage" {
		t.Fatalf("login: %+v", login)
	}
	cookie, _, _ := strings.Cut(login.Headers["set-cookie"][0], ";")
	page := func(headers ...string) string {
		return look(ask(t, m, request.Spec{
			From: topology.Outside, URL: "http://any/productpage", Headers: headers})[0])
	}
	toTestUser, slow, _ := examples(t)
	slow = strings.Replace(slow, "fixedDelay: 7s", "fixedDelay: 10ms", 1) // which is not too long
	for _, c := range []struct {
		rules            []string
		anonymous, jason string
	}{
		{[]string{toTestUser}, "200 ", "200 black, signed in, 9 stars"},
		{[]string{toTestUser, slow}, "200 ", "200 black, signed in, 9 stars"},
		{[]string{toTestUser, abortForJason}, "200 ", "200 no ratings, signed in"},
		{[]string{toTestUser, abortDetails}, "200 no details", "200 black, no details, signed in, 9 stars"},
	} {
		if _, err := m.Apply(t.Context(), bundled(t, "bookinfo", c.rules...)); err != nil {
			t.Fatal(err)
		}
		got := []string{page(), page("end-user: jason"), page("cookie: " + cookie)}
		if d := cmp.Diff([]string{c.anonymous, c.anonymous, c.jason}, got); d != "" {
			t.Errorf("%s: -want +got\n%s", c.rules[len(c.rules)-1], d)
		}
	}
	r := ask(t, m, request.Spec{From: topology.Outside, URL: "http://any/api/v1/products/0"})[0]
	if r.Status != 555 {
		t.Errorf("details by API: %+v", r)
	}
}

// externalBook: details v2 has its data from outside of the mesh, in plain text, and encrypted by
// its sidecar; where the mesh does not let it out, details has none.
func externalBook(t *testing.T, m topology.Mesh) {
	const answer = `{"id":0,"author":"William Shakespeare","year":"2002","type":"paperback","pages":64,` +
		`"publisher":"Dover","language":"English","ISBN-10":"0486424618","ISBN-13":"9780486424613"}`
	spec := request.Spec{From: topology.Outside, URL: "http://any/api/v1/products/0"}
	_, _, books := examples(t)
	for rules, upstream := range map[string]string{
		detailsV2:                        "PassthroughCluster",
		detailsV2 + "---\n" + originated: "outbound|443||www.googleapis.com",
	} {
		if _, err := m.Apply(t.Context(), bundled(t, "bookinfo", books, rules)); err != nil {
			t.Fatal(err)
		}
		r := ask(t, m, spec)[0]
		if r.Status != 200 || r.Body != answer {
			t.Errorf("%s: %d %s", upstream, r.Status, r.Body)
		}
		if last := r.Hops[len(r.Hops)-1]; last.Cluster != upstream {
			t.Errorf("went by %s, want %s", last.Cluster, upstream)
		}
	}
	blocked := bundled(t, "bookinfo", books, detailsV2)
	blocked.Mesh.OutboundTrafficPolicy = &meshconfig.MeshConfig_OutboundTrafficPolicy{
		Mode: meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY}
	if _, err := m.Apply(t.Context(), blocked); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, m, spec)[0]; r.Status != 400 {
		t.Errorf("blocked: %d %s", r.Status, r.Body)
	}
}
