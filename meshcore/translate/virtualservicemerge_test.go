package translate

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// TestNarrows: what a delegate may ask for below a root.
func TestNarrows(t *testing.T) {
	for _, c := range []struct {
		root, leaf string
		want       bool
	}{
		{`{}`, `{"uri": {"regex": ".*"}}`, true},
		{`{"uri": {"prefix": "/a"}}`, `{}`, true},
		{`{"uri": {"prefix": "/a"}}`, `{"uri": {"prefix": "/a/b"}}`, true},
		{`{"uri": {"prefix": "/a"}}`, `{"uri": {"exact": "/abc"}}`, true},
		{`{"uri": {"prefix": "/a/b"}}`, `{"uri": {"prefix": "/a"}}`, false},
		{`{"uri": {"prefix": "/a"}}`, `{"uri": {"regex": "/a"}}`, false},
		{`{"uri": {"exact": "/a"}}`, `{"uri": {"exact": "/a"}}`, true},
		{`{"uri": {"exact": "/a"}}`, `{"uri": {"prefix": "/a"}}`, false},
		{`{"uri": {"exact": "/a"}}`, `{"uri": {"exact": "/b"}}`, false},
		{`{"uri": {"regex": "/a"}}`, `{"uri": {"regex": "/a"}}`, false},
		{`{"uri": {"regex": "/a"}}`, `{"headers": {"x": {"exact": "1"}}}`, true},
		{`{"headers": {"x": {"exact": "1"}}}`, `{"headers": {"y": {"regex": "1"}}}`, true},
		{`{"headers": {"x": {"exact": "1"}}}`, `{"headers": {"x": {"exact": "2"}}}`, false},
		{`{"headers": {"x": {}}}`, `{"headers": {"x": {"exact": "2"}}}`, false},
		{`{"withoutHeaders": {"x": {"prefix": "1"}}}`, `{"withoutHeaders": {"x": {"exact": "2"}}}`, false},
		{`{"queryParams": {"x": {"exact": "1"}}}`, `{"queryParams": {"x": {"exact": "1"}}}`, true},
		{`{"method": {"exact": "GET"}}`, `{"method": {"exact": "PUT"}}`, false},
		{`{"ignoreUriCase": true}`, `{}`, false},
		{`{"port": 80}`, `{}`, true},
		{`{"port": 80}`, `{"port": 81}`, false},
		{`{"sourceNamespace": "a"}`, `{}`, false},
		{`{}`, `{"sourceNamespace": "a"}`, true},
		{`{"sourceLabels": {"a": "1"}}`, `{"sourceLabels": {"b": "1"}}`, true},
		{`{"sourceLabels": {"a": "1"}}`, `{"sourceLabels": {"a": "2"}}`, false},
		{`{"gateways": ["a/g"]}`, `{"gateways": ["mesh"]}`, false},
		{`{"gateways": ["a/g", "mesh"]}`, `{"gateways": ["mesh"]}`, true},
	} {
		if got := narrows(matchOf(t, c.root), matchOf(t, c.leaf)); got != c.want {
			t.Errorf("%s below %s: %v", c.leaf, c.root, got)
		}
	}
}

func matchOf(t *testing.T, json string) *networkingv1alpha3.HTTPMatchRequest {
	t.Helper()
	m := &networkingv1alpha3.HTTPMatchRequest{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

const delegates = `
hosts: [shop]
http:
- name: root
  match: [{name: mm, uri: {prefix: /a}, headers: {x: {exact: "1"}}}, {uri: {prefix: /b}}]
  timeout: 3s
  headers: {request: {set: {from: root}}}
  delegate: {name: leaf, namespace: other}
- match: [{uri: {prefix: /c}}]
  delegate: {name: absent}
- match: [{uri: {prefix: /d}}]
  delegate: {name: hidden, namespace: other}
- directResponse: {status: 418}
`

const leaf = `
http:
- name: one
  match: [{name: nn, uri: {prefix: /a/b}, headers: {yy: {exact: "2"}}}, {uri: {exact: /b}}]
  route: [{destination: {host: shop}}]
- match: [{uri: {exact: /c}}]
  directResponse: {status: 500}
- timeout: 5s
  headers: {response: {set: {from: leaf}}}
  route: [{destination: {host: shop}}]
`

func TestDelegates(t *testing.T) {
	lab := newLab(t, serviceYAML("shop", "default", http80)+
		virtualServiceYAML("root", "default", indent(delegates))+
		virtualServiceYAML("leaf", "other", indent(leaf))+
		virtualServiceYAML("hidden", "other", "{exportTo: [.], http: [{directResponse: {status: 500}}]}"))
	vs := lab.index.vs[0]
	if len(lab.index.vs) != 1 || len(vs.spec.Http) != 3 {
		t.Fatalf("got %v", vs.spec.Http)
	}
	one, three := vs.spec.Http[0], vs.spec.Http[1]
	if one.Name != "root-one" || one.Timeout.Seconds != 3 || one.Headers == nil {
		t.Errorf("the root's fields are to be inherited: %v", one)
	}
	if h := one.Route[0].Destination.Host; h != "shop.other.svc.cluster.local" {
		t.Errorf("a short name is the delegate's namespace's, got %s", h)
	}
	if len(one.Match) != 2 || one.Match[0].Name != "mm-nn" || len(one.Match[0].Headers) != 2 {
		t.Errorf("matches: %v", one.Match)
	}
	if three.Timeout.Seconds != 5 || three.Headers.Request != nil || len(three.Match) != 2 {
		t.Errorf("the delegate's own fields are to win as a whole: %v", three)
	}
	if len(vs.problems) != 3 {
		t.Fatalf("problems: %v", vs.problems)
	}
	for i, want := range []string{"leaf spec.http[1] is left out: it matches", "no VirtualService default/absent", "not exported"} {
		if p := vs.problems[i]; !strings.Contains(p.String(), want) || p.Place.Line == 0 {
			t.Errorf("%v is to say %q and where", p, want)
		}
	}
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n  ") }
