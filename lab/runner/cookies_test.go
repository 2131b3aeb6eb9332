package runner_test

import (
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

const loginStory = `
name: login
mesh:
  files: |
    apiVersion: v1
    kind: Service
    metadata: {name: echo}
    spec: {selector: {app: echo}, ports: [{name: http, port: 8080}]}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: echo}
    spec:
      selector: {matchLabels: {app: echo}}
      template:
        metadata: {labels: {app: echo}}
        spec: {containers: [{name: main, image: mesh-lab/echo}]}
steps:
- name: log in
  request:
    from: echo
    to: http://echo:8080/login
    form: {username: jason, passwd: "a & b"}
    headers: {x-echo-response-header: "set-cookie: user=jason; Path=/"}
    cookies: jason
    expect:
      status: 200
      count: {username=jason: 1, passwd=a+%26+b: 1, x-www-form-urlencoded: 1}
  expect:
  - count: {at: echo, method: POST, path: /login, is: 1}
- name: stay so
  request:
  - {from: echo, to: "http://echo:8080/", cookies: jason, count: 3, connections: 3, expect: {contains: user=jason}}
  - {from: echo, to: "http://echo:8080/", cookies: ann, expect: {count: {user=jason: 0}}}
  - {from: echo, to: "http://echo:8080/", expect: {count: {user=jason: 0}}}
  expect:
  - count: {at: echo, is: 5}
- name: under load
  load: {from: echo, to: "http://echo:8080/load", cookies: JAR, requests: 4}
  expect:
  - headers: {at: echo, where: {path: /load}, cookie: user=jason}
`

// A jar's cookies are kept for the whole scenario, and are sent by whoever names the jar.
func TestCookies(t *testing.T) {
	run, err := told(t, strings.Replace(loginStory, "JAR", "jason", 1))
	if err != nil {
		t.Fatal(err)
	}
	res, err := reports.Judge(run)
	if err != nil || res.Verdict != assert.Pass {
		t.Errorf("%v:\n%s", err, text(t, res))
	}
	_, err = told(t, strings.Replace(loginStory, "JAR", "nobody", 1))
	want := `no request before it has filled the jar "nobody"`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}
