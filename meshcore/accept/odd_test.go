package accept_test

import (
	"fmt"
	"testing"
)

// odd are rules that istiod takes, or nearly, and of which a proxy may not take what they become.
// The word says who refuses first: the reader, both data planes, or nobody.
var odd = []struct{ rule, who string }{
	{`headers: {request: {set: {a: "%NOBODY%"}}}`, "both"},
	{`headers: {request: {set: {a: "%REQ()%"}}}`, "both"},
	{`headers: {request: {set: {a: "%REQ(a?b?c)%"}}}`, "both"},
	{`headers: {request: {set: {a: "%PROTOCOL:3%"}}}`, "both"},
	{`headers: {request: {set: {a: "100%"}}}`, "reader"},
	{`headers: {request: {set: {a: "b\r\nc"}}}`, "reader"},
	{`rewrite: {uriRegexRewrite: {match: "a", rewrite: '\9'}}`, "ours"},
	{`rewrite: {uriRegexRewrite: {match: "a", rewrite: "b\nc"}}`, "both"},
	{`rewrite: {uri: "/a\nb"}`, "both"},
	{`rewrite: {authority: "a\nb"}`, "both"},
	{`match: [{uri: {regex: '\C'}}]`, "reader"},
	{`match: [{uri: {regex: 'a{1001}'}}]`, "reader"},
	{`match: [{headers: {a: {exact: ""}}}]`, ""},
	{`match: [{queryParams: {a: {exact: ""}}}]`, ""},
	{`match: [{queryParams: {"": {exact: "a"}}}]`, "both"},
	{`retries: {attempts: 2147483647}`, ""},
	{`retries: {attempts: 1, backoff: 1000000h}`, ""},
	{`timeout: 1000000h`, ""},
	{`corsPolicy: {allowOrigins: [{exact: "*"}], maxAge: 1000000h}`, ""},
	{`name: "a\nb"`, ""},
}

// TestOdd: what is odd is refused by the reader, or taken or refused by both data planes alike.
func TestOdd(t *testing.T) {
	j := newJudge(t, apis["delta"])
	for _, o := range odd {
		text := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: a}}
spec: {containers: [{name: app, image: mesh-lab/echo}]}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: a}}]
    %s
`, o.rule)
		who, why := j.whoRefuses(t, text)
		if who != o.who {
			t.Errorf("%s: refused by %q, not by %q: %s", o.rule, who, o.who, why)
		}
	}
}

func (j *judge) whoRefuses(t *testing.T, text string) (who, why string) {
	config, problems := read(t, "odd.yaml", []byte(text))
	if len(problems) > 0 {
		return "reader", problems[0].String()
	}
	all, err := snapshots(config)
	if err != nil {
		return "reader", err.Error()
	}
	for _, s := range all {
		own, theirs := "", j.envoy(s)
		if err := ours(s); err != nil {
			own = err.Error()
		}
		switch {
		case own != "" && theirs != "":
			return "both", own + "; " + theirs
		case own != "":
			return "ours", own
		case theirs != "":
			return "Envoy", theirs
		}
	}
	return "", ""
}
