package sampleapps_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/echo"
	"github.com/mesh-lab/mesh-lab/testdata/apps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// instant is a clock whose waits are over at once; it notes how long they were to be.
type instant struct{ waits []time.Duration }

func (c *instant) AfterFunc(d time.Duration, f func()) func() bool {
	c.waits = append(c.waits, d)
	f()
	return func() bool { return false }
}

// stopped is a clock that never goes on.
type stopped struct{ stops int }

func (c *stopped) AfterFunc(time.Duration, func()) func() bool {
	return func() bool { c.stops++; return true }
}

// network is an outgoing client that reaches handlers by host name.
type network map[string]http.Handler

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	h, ok := n[r.URL.Host]
	if !ok {
		name, _, _ := net.SplitHostPort(r.URL.Host)
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	if h == nil {
		return nil, fmt.Errorf("dial tcp: %w", syscall.ECONNREFUSED)
	}
	in := httptest.NewRequest(r.Method, r.URL.Path, r.Body)
	in.Header = r.Header.Clone()
	in.Host = r.URL.Host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, in)
	return w.Result(), nil
}

func start(t *testing.T, name string, env app.Env) http.Handler {
	t.Helper()
	a, ok := sampleapps.Lookup(name)
	if !ok {
		t.Fatalf("no app %s", name)
	}
	if env.Clock == nil {
		env.Clock = &instant{}
	}
	h, err := a.New(env)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func client(n network) *http.Client { return &http.Client{Transport: n} }

// How they are called.
var vars, ask, send = apps.Vars, apps.Ask, apps.Send

func expect(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if got := w.Body.String(); w.Code != status || got != body {
		t.Errorf("got %d %q, want %d %q", w.Code, got, status, body)
	}
}

// fixed answers always the same.
func fixed(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// trail is customer → preference → recommendation; missing parts are unknown hosts.
func trail(t *testing.T, recommendation, preference http.Handler) http.Handler {
	n := network{}
	if recommendation != nil {
		n["recommendation:8080"] = recommendation
	}
	if preference == nil {
		n["preference:8080"] = start(t, "preference", app.Env{Client: client(n)})
	}
	return start(t, "customer", app.Env{Client: client(n)})
}

func TestTrail(t *testing.T) {
	const pod = "recommendation-v1-0"
	rec := start(t, "recommendation", app.Env{Vars: vars("HOSTNAME", pod)})
	c := trail(t, rec, nil)
	expect(t, ask(c, "GET", "/"), 200, "customer => preference => recommendation v1 from '"+pod+"': 1\n")
	expect(t, ask(c, "GET", "//"), 200, "customer => preference => recommendation v1 from '"+pod+"': 2\n")
	expect(t, ask(rec, "GET", "/misbehave"), 200, "Following requests to / will return a 503\n")
	expect(t, ask(c, "GET", "/"), 503, "customer => Error: 503 - preference => Error: 503 - "+
		"recommendation misbehavior from '"+pod+"'\n\n\n")
	expect(t, ask(rec, "GET", "/behave"), 200, "Following requests to / will return 200\n")
	expect(t, ask(c, "GET", "/"), 200, "customer => preference => recommendation v1 from '"+pod+"': 4\n")
}

func TestTrailWithoutTheRest(t *testing.T) {
	alone := start(t, "customer", app.Env{Client: client(network{})})
	expect(t, ask(alone, "GET", "/"), 503, "customer => UnknownHostException: preference\n")
	expect(t, ask(trail(t, nil, nil), "GET", "/"), 503,
		"customer => Error: 503 - preference => UnknownHostException: recommendation\n\n")
	refusing := start(t, "customer", app.Env{Client: client(network{"preference:8080": nil})})
	expect(t, ask(refusing, "GET", "/"), 503, "customer => ConnectException: Connection refused\n")
}

func TestTrailThroughProxies(t *testing.T) {
	for name, want := range map[string]struct {
		status int
		body   string
		reply  string
	}{
		"fault":   {503, "fault filter abort", "Error: 503 - preference => Error: 503 - fault filter abort\n\n"},
		"timeout": {504, "upstream request timeout", "Error: 503 - preference => Error: 504 - upstream request timeout\n\n"},
		"denied":  {403, "RBAC: access denied", "Error: 503 - preference => Error: 403 - RBAC: access denied\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := trail(t, fixed(want.status, want.body), nil)
			expect(t, ask(c, "GET", "/"), 503, "customer => "+want.reply)
		})
	}
}

func TestRelay(t *testing.T) {
	next := fixed(200, " \n text \n\n")
	spring := vars("VARIANT", "spring")
	for _, c := range []struct {
		app, version string
		vars         map[string]string
		next         http.Handler
		status       int
		body         string
	}{
		{"customer", "", nil, next, 200, "customer => text\n"},
		{"preference", "", nil, next, 200, "preference =>  \n text \n\n\n"},
		{"preference", "v2", nil, next, 200, "PREFERENCE =>  \n text \n\n\n"},
		{"customer", "", nil, fixed(301, "there"), 200, "customer => there\n"},
		{"customer", "", spring, next, 200, "customer => text\n"},
		{"customer", "", spring, fixed(503, "preference => 503 x\n"), 503, "customer => 503 preference => 503 x\n"},
		{"preference", "", spring, fixed(404, ""), 503, "preference => 404 \n"},
	} {
		n := network{"preference:8080": c.next, "recommendation:8080": c.next}
		h := start(t, c.app, app.Env{Client: client(n), Version: c.version, Vars: c.vars})
		w := ask(h, "GET", "/")
		expect(t, w, c.status, c.body)
		if got := w.Header().Get("Content-Type"); got != "text/plain" {
			t.Errorf("content-type %q", got)
		}
	}
}

func TestRelayURL(t *testing.T) {
	n := network{"other:9000": fixed(200, "x")}
	h := start(t, "customer", app.Env{Client: client(n), Vars: vars("PREFERENCE_URL", "http://other:9000/")})
	expect(t, ask(h, "GET", "/"), 200, "customer => x\n")
}

func TestSpringPassesPostsDown(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Content-Type"), body)
	})
	h := start(t, "customer", app.Env{
		Client: client(network{"preference:8080": next}), Vars: vars("VARIANT", "spring")})
	expect(t, send(h, httptest.NewRequest("POST", "/", strings.NewReader("hello"))), 200,
		"customer => POST text/plain hello\n")
}

func TestOtherRequests(t *testing.T) {
	for _, name := range []string{"customer", "preference", "recommendation"} {
		h := start(t, name, app.Env{Client: client(network{})})
		expect(t, ask(h, "GET", "/health/live"), 200, `{"status":"UP","checks":[]}`)
		expect(t, ask(h, "GET", "/health/ready"), 200, `{"status":"UP","checks":[]}`)
		expect(t, ask(h, "GET", "/version"), 404, "")
		w := ask(h, "POST", "/")
		expect(t, w, 405, "")
		if w.Header().Get("Allow") != "GET" {
			t.Errorf("%s: Allow %q", name, w.Header().Get("Allow"))
		}
	}
	h := start(t, "customer", app.Env{Vars: vars("VARIANT", "spring")})
	expect(t, ask(h, "GET", "/health"), 200, "")
}

func TestForwardedHeaders(t *testing.T) {
	var got http.Header
	note := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	n := network{"preference:8080": note, "recommendation:8080": note}
	in := []string{
		"User-Agent", "Safari", "Authorization", "Bearer t", "User-Preference", "123",
		"Baggage-User-Preference", "12", "X-Request-Id", "7", "Traceparent", "00-1", "X-B3-Traceid", "9",
		"X-B3-Sampled", "1", "Cookie", "a=b", "X-Other", "no",
	}
	ask(start(t, "customer", app.Env{Client: client(n)}), "GET", "/", in...)
	common := http.Header{
		"Authorization": {"Bearer t"}, "User-Preference": {"123"}, "Baggage-User-Preference": {"12"},
		"X-Request-Id": {"7"}, "Traceparent": {"00-1"}, "X-B3-Traceid": {"9"}, "X-B3-Sampled": {"1"},
	}
	want := common.Clone()
	want.Set("Baggage-User-Agent", "Safari")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("customer: -want +got\n%s", d)
	}
	p := start(t, "preference", app.Env{Client: client(n)})
	ask(p, "GET", "/", append(in, "Baggage-User-Agent", "Firefox")...)
	want.Set("Baggage-User-Agent", "Firefox")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("preference: -want +got\n%s", d)
	}
	ask(p, "GET", "/", in...)
	if d := cmp.Diff(common, got); d != "" {
		t.Errorf("preference makes no baggage of its own: -want +got\n%s", d)
	}
}

func TestRecommendationVersions(t *testing.T) {
	for _, c := range []struct {
		env  app.Env
		body string
	}{
		{app.Env{}, "recommendation v1 from 'unknown': 1\n"},
		{app.Env{Image: "quay.io/rhdevelopers/istio-tutorial-recommendation:v2.1"}, "recommendation v2 from 'unknown': 1\n"},
		{app.Env{Image: "localhost:5000/x/recommendation"}, "recommendation v1 from 'unknown': 1\n"},
		{app.Env{Image: "r:v2", Version: "v9"}, "recommendation v9 from 'unknown': 1\n"},
		{app.Env{Image: "r:v2", Version: "v9", Vars: vars("VERSION", "v10")}, "recommendation v10 from 'unknown': 1\n"},
		{app.Env{Vars: vars("HOSTNAME", "recommendation-v1-79d5-k2zmn")}, "recommendation v1 from 'recommendation-v1-79d5-k2zmn': 1\n"},
		{app.Env{Vars: vars("HOSTNAME", "recommendation-v1-79d5-k2zmn", "HOST_STYLE", "short")}, "recommendation v1 from '79d5-k2zmn': 1\n"},
		{app.Env{Version: "v4"}, "recommendation v4 [Star Wars: A New Hope, Star Trek: First Contact] from 'unknown': 1\n"},
	} {
		expect(t, ask(start(t, "recommendation", c.env), "GET", "/"), 200, c.body)
	}
}

func TestRecommendationFilms(t *testing.T) {
	h := start(t, "recommendation", app.Env{Version: "v6"})
	expect(t, send(h, httptest.NewRequest("POST", "/", strings.NewReader("Alien"))), 201, "3")
	expect(t, ask(h, "GET", "/"), 200,
		"recommendation v6 [Star Wars: A New Hope, Star Trek: First Contact, Alien] from 'unknown': 1\n")
}

func TestRecommendationTime(t *testing.T) {
	n := network{"worldtimeapi.org": fixed(200, `{"datetime":"2019-03-28T00:24+01:00"}`)}
	h := start(t, "recommendation", app.Env{Version: "v3", Client: client(n)})
	expect(t, ask(h, "GET", "/"), 200, "recommendation v3 2019-03-28T00:24+01:00 from 'unknown': 1\n")
	n["worldtimeapi.org"] = fixed(502, "")
	if w := ask(h, "GET", "/"); w.Code != 500 {
		t.Errorf("got %d", w.Code)
	}
}

func TestRecommendationSlow(t *testing.T) {
	for _, c := range []struct {
		env  app.Env
		want []time.Duration
	}{
		{app.Env{}, nil},
		{app.Env{Vars: vars("SLOW_MS", "250")}, []time.Duration{250 * time.Millisecond}},
		{app.Env{Image: "x/recommendation:v2-timeout"}, []time.Duration{3 * time.Second}},
	} {
		clock := &instant{}
		c.env.Clock = clock
		h := start(t, "recommendation", c.env)
		if w := ask(h, "GET", "/"); w.Code != 200 {
			t.Errorf("got %d", w.Code)
		}
		if d := cmp.Diff(c.want, clock.waits); d != "" {
			t.Errorf("waits: -want +got\n%s", d)
		}
	}
	clock := &instant{}
	h := start(t, "recommendation", app.Env{Clock: clock})
	expect(t, ask(h, "GET", "/timeout"), 200, "Following requests to / will wait for 3 seconds\n")
	ask(h, "GET", "/")
	expect(t, ask(h, "GET", "/timeout"), 200, "Following requests to / will not wait\n")
	ask(h, "GET", "/")
	if d := cmp.Diff([]time.Duration{3 * time.Second}, clock.waits); d != "" {
		t.Errorf("waits: -want +got\n%s", d)
	}
}

func TestWhoGaveUpCounts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	clock := &stopped{}
	h := start(t, "recommendation", app.Env{Clock: clock, Vars: vars("SLOW_MS", "3000")})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if w.Body.Len() != 0 || clock.stops != 1 {
		t.Errorf("answered %q, stopped %d timers", w.Body, clock.stops)
	}
	quick := start(t, "recommendation", app.Env{})
	ask(quick, "GET", "/health/live")
	expect(t, ask(quick, "GET", "/"), 200, "recommendation v1 from 'unknown': 1\n")
}

func TestVertx(t *testing.T) {
	var log bytes.Buffer
	h := start(t, "recommendation", app.Env{
		Vars: vars("VARIANT", "vertx", "HOSTNAME", "recommendation-v2-ab-cd", "VERSION", "v2"),
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key != slog.MessageKey {
					return slog.Attr{}
				}
				return a
			}})),
	})
	expect(t, ask(h, "GET", "/"), 200, "recommendation v2 from 'ab-cd': 1\n")
	expect(t, ask(h, "GET", "/misbehave"), 200, "Following requests to '/' will return a 503\n")
	expect(t, ask(h, "GET", "/"), 503, "recommendation misbehavior from 'ab-cd'\n")
	expect(t, ask(h, "GET", "/behave"), 200, "Following requests to '/' will return a 200\n")
	expect(t, ask(h, "GET", "/"), 200, "recommendation v2 from 'ab-cd': 1\n")
	want := "msg=\"recommendation request from ab-cd: 0\"\n" +
		"msg=\"recommendation request from ab-cd: 1\"\n" +
		"msg=\"recommendation request from ab-cd: 0\"\n"
	if d := cmp.Diff(want, log.String()); d != "" {
		t.Errorf("log: -want +got\n%s", d)
	}
}

func TestBadVariables(t *testing.T) {
	for app_, kv := range map[string][]string{
		"customer": {"VARIANT", "cobol"}, "preference": {"VARIANT", "vertx"},
	} {
		refuse(t, app_, kv...)
	}
	refuse(t, "recommendation", "SLOW_MS", "-1")
	refuse(t, "recommendation", "VARIANT", "spring")
	refuse(t, "recommendation", "HOST_STYLE", "long")
	refuse(t, "echo", "ECHO_STATUS", "99")
	refuse(t, "echo", "ECHO_STATUS", "ok")
	refuse(t, "echo", "ECHO_DELAY", "soon")
	refuse(t, "echo", "ECHO_FAIL_FIRST", "x")
	refuse(t, "echo", "ECHO_RESET", "maybe")
	refuse(t, "echo", "ECHO_REFUSE", "maybe")
}

func refuse(t *testing.T, name string, kv ...string) {
	t.Helper()
	a, _ := sampleapps.Lookup(name)
	if _, err := a.New(app.Env{Vars: vars(kv...)}); err == nil || !strings.Contains(err.Error(), kv[0]) {
		t.Errorf("%s %v: got %v", name, kv, err)
	}
}

func TestEchoAnswer(t *testing.T) {
	h := start(t, "echo", app.Env{Pod: "e-v1-0", Workload: "e-v1", Namespace: "ns", Version: "v1"})
	r := httptest.NewRequest("POST", "http://echo:8080/a%2Fb//c?x=1&y=<", strings.NewReader("böd"))
	r.RequestURI = "/a%2Fb//c?x=1&y=<"
	r.RemoteAddr = "10.244.0.2:4000"
	r.Header.Add("X-A", "1")
	r.Header.Add("X-A", "2")
	r = r.WithContext(app.WithLocalPort(r.Context(), 8080))
	w := send(h, r)
	expect(t, w, 200, `{"method":"POST","path":"/a%2Fb//c?x=1&y=<","host":"echo:8080",`+
		`"headers":{"x-a":["1","2"]},"protocol":"HTTP/1.1","port":8080,"tls":null,"workload":"e-v1",`+
		`"pod":"e-v1-0","version":"v1","namespace":"ns","remote":"10.244.0.2:4000","body":"böd","count":1}`+"\n")
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content-type %q", got)
	}
}

func TestEchoBody(t *testing.T) {
	h := start(t, "echo", app.Env{Vars: vars("ECHO_BODY", `{"items":[]}`, "ECHO_STATUS", "201")})
	expect(t, ask(h, "GET", "/"), 201, `{"items":[]}`)
}

func TestEchoStatuses(t *testing.T) {
	status := func(h http.Handler, header ...string) int {
		t.Helper()
		w := ask(h, "GET", "/", header...)
		return w.Code
	}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %d, want %d", what, got, want)
		}
	}
	h := start(t, "echo", app.Env{})
	check("plain", status(h), 200)
	check("by header", status(h, "x-echo-status", "418"), 418)
	check("bad header", status(h, "x-echo-status", "1000"), 400)
	for i, want := range []int{500, 500, 200, 200} {
		check(fmt.Sprint("keyed ", i), status(h,
			"x-echo-status", "500", "x-echo-fail-first", "2", "x-echo-key", "k"), want)
	}
	check("other key", status(h, "x-echo-fail-first", "1", "x-echo-key", "l"), 503)
	always := start(t, "echo", app.Env{Vars: vars("ECHO_STATUS", "502")})
	check("environment", status(always), 502)
	check("header wins", status(always, "x-echo-status", "200"), 200)
	first := start(t, "echo", app.Env{Vars: vars("ECHO_FAIL_FIRST", "1", "ECHO_STATUS", "500")})
	check("first", status(first), 500)
	check("second", status(first), 200)
	if w := ask(h, "GET", "/", "x-echo-status", "204"); w.Code != 204 || w.Header().Get("Content-Length") != "" {
		t.Errorf("204: %d %v", w.Code, w.Header())
	}
}

func TestEchoHeadersAndDelays(t *testing.T) {
	clock := &instant{}
	h := start(t, "echo", app.Env{Clock: clock, Vars: vars("ECHO_DELAY", "2s")})
	w := ask(h, "GET", "/", "x-echo-response-header", "x-inner: 1", "x-echo-response-header", "grpc-status:14",
		"x-echo-delay", "300ms")
	if w.Header().Get("x-inner") != "1" || w.Header().Get("grpc-status") != "14" {
		t.Errorf("headers %v", w.Header())
	}
	ask(h, "GET", "/")
	if d := cmp.Diff([]time.Duration{300 * time.Millisecond, 2 * time.Second}, clock.waits); d != "" {
		t.Errorf("waits: -want +got\n%s", d)
	}
	g := ask(h, "POST", "/", "x-echo-grpc-status", "14")
	if g.Code != 200 || g.Header().Get("grpc-status") != "14" || g.Body.Len() != 0 {
		t.Errorf("grpc: %d %v %q", g.Code, g.Header(), g.Body)
	}
}

func TestEchoResets(t *testing.T) {
	for _, c := range []struct {
		vars   map[string]string
		header string
	}{{nil, "true"}, {vars("ECHO_RESET", "true"), ""}} {
		server := httptest.NewServer(start(t, "echo", app.Env{Vars: c.vars}))
		server.Config.ErrorLog = nil
		r, _ := http.NewRequest("GET", server.URL, nil)
		if c.header != "" {
			r.Header.Set("x-echo-reset", c.header)
		}
		if res, err := server.Client().Do(r); err == nil {
			t.Errorf("answered %d", res.StatusCode)
		}
		server.Close()
	}
	if h := start(t, "echo", app.Env{Vars: vars("ECHO_REFUSE", "true")}); h != nil {
		t.Error("ECHO_REFUSE: serves")
	}
}

func TestEchoForwards(t *testing.T) {
	n := network{}
	for _, name := range []string{"a", "b", "c"} {
		v := map[string]string{}
		if name == "c" {
			v["ECHO_STATUS"] = "503"
		}
		n[name+":8080"] = start(t, "echo", app.Env{Pod: name, Client: client(n), Vars: v})
	}
	w := ask(n["a:8080"], "GET", "/", "x-echo-forward", "http://b:8080/x, http://c:8080/", "end-user", "jo",
		"cookie", "k=v", "user-agent", "ua", "x-request-id", "7", "x-other", "no")
	if w.Code != 503 {
		t.Errorf("got %d", w.Code)
	}
	var a, b, c echo.Seen
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(a.Forward.Answer, &b); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Forward.Answer, &c); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"end-user": {"jo"}, "cookie": {"k=v"}, "user-agent": {"ua"}, "x-request-id": {"7"}}
	if d := cmp.Diff(want, c.Headers); d != "" || c.Pod != "c" || b.Path != "/x" {
		t.Errorf("pod %s path %s headers -want +got\n%s", c.Pod, b.Path, d)
	}
	w = ask(n["a:8080"], "GET", "/", "x-echo-forward", "http://nobody:80/")
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 502 ||
		a.Forward.Error != "UnknownHostException: nobody" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = ask(n["a:8080"], "GET", "/", "x-echo-forward", "http://b:8080/", "x-echo-status", "201")
	if w.Code != 201 {
		t.Errorf("own status: got %d", w.Code)
	}
}

func TestImages(t *testing.T) {
	for image, want := range map[string]string{
		"quay.io/rhdevelopers/istio-tutorial-customer:v1.1":                 "customer",
		"rhdevelopers/istio-tutorial-preference":                            "preference",
		"localhost:5000/rhdevelopers/istio-tutorial-recommendation":         "recommendation",
		"mirror.example/a/b/rhdevelopers/istio-tutorial-customer@sha256:00": "customer",
		"example/recommendation:v2":                                         "recommendation",
		"mesh-lab/echo":                                                     "echo",
		"ghcr.io/mesh-lab/echo:latest":                                      "echo",
		"curlimages/curl":                                                   "curl",
		"registry.istio.io/testing/ext-authz:latest":                        "ext-authz",
		"gcr.io/istio-testing/ext-authz":                                    "ext-authz",
		"ext-authz:1":                                                       "ext-authz",
		"mesh-lab/jwt-issuer":                                               "jwt-issuer",
		"docker.io/governmentpaas/curl-ssl:terraform-14":                    "curl",
		"docker.io/istio/examples-bookinfo-productpage-v1:1.20.3":           "productpage",
		"istio/examples-bookinfo-productpage-v-flooding:1.20.3":             "productpage",
		"registry.istio.io/release/examples-bookinfo-details-v2":            "details",
		"docker.io/istio/examples-bookinfo-reviews-v3:1.16.2":               "reviews",
		"localhost:5000/examples-bookinfo-ratings-v-unhealthy@sha256:00":    "ratings",
		"examples-bookinfo-ratings-v2":                                      "ratings",
		"docker.io/istio/examples-bookinfo-mongodb:1.20.3":                  "bookinfo-db",
		"notmesh-lab/echo":                                                  "",
		"mesh-lab/echo2":                                                    "",
		"nginx":                                                             "nginx",
		"docker.io/library/nginx:1.27":                                      "nginx",
		"wesleywillians/nginx-ab:b":                                         "nginx",
		"nginx/nginx-ingress":                                               "",
		"docker.io/mccutchen/go-httpbin:v2.15.0":                            "httpbin",
		"docker.io/kennethreitz/httpbin":                                    "httpbin",
		"docker.io/kong/httpbin:0.1.0":                                      "httpbin",
		"docker.io/istio/examples-helloworld-v2:1.0":                        "helloworld",
		"wesleywillians/circuit-breaker-example-go:x":                       "servicex",
		"fortio/fortio:latest_release":                                      "fortio",
		"tutum/curl":                                                        "curl",
		"docker.io/istio/tcp-echo-server:1.3":                               "tcp-echo",
		"gcr.io/istio-testing/app:latest":                                   "grpc-echo",
		"crossoverjie/k8s-combat:v1":                                        "greeter",
	} {
		a, ok := sampleapps.ByImage(image)
		if a.Name != want || ok != (want != "") {
			t.Errorf("%s: got %q", image, a.Name)
		}
	}
}

func TestTable(t *testing.T) {
	last := ""
	for _, a := range sampleapps.Apps() {
		there := a.Missing() == nil
		if a.Name <= last || a.About == "" || len(a.Images) == 0 || (a.New != nil) != there {
			t.Errorf("%+v", a)
		}
		if _, ok := sampleapps.SetOf(a.Name); ok != there {
			t.Errorf("%s: a set %v, there %v", a.Name, ok, there)
		}
		last = a.Name
	}
}

func TestManifests(t *testing.T) {
	folders, err := os.ReadDir("manifests")
	if err != nil {
		t.Fatal(err)
	}
	var sets, dirs []string
	for _, s := range sampleapps.Sets() {
		sets = append(sets, s.Name)
	}
	for _, f := range folders {
		dirs = append(dirs, f.Name())
	}
	if d := cmp.Diff(dirs, sets); d != "" {
		t.Errorf("sets: -folders +table\n%s", d)
	}
	if _, ok := sampleapps.Manifests("nothing"); ok {
		t.Error("manifests of nothing")
	}
	want := map[string][]string{
		"bookinfo": {
			"ServiceAccount curl", "Service curl", "Deployment curl",
			"DestinationRule productpage", "DestinationRule reviews", "DestinationRule ratings",
			"DestinationRule details",
			"ServiceAccount bookinfo-details", "Service details", "Deployment details-v1",
			"Gateway bookinfo-gateway", "VirtualService bookinfo",
			"ServiceAccount bookinfo-productpage", "Service productpage", "Deployment productpage-v1",
			"ServiceAccount bookinfo-ratings", "Service ratings", "Deployment ratings-v1",
			"ServiceAccount bookinfo-reviews", "Service reviews", "Deployment reviews-v1",
			"Deployment reviews-v2", "Deployment reviews-v3",
		},
		"customer": {
			"ServiceAccount curl", "Service curl", "Deployment curl",
			"ServiceAccount customer", "Service customer", "Deployment customer",
			"Gateway customer-gateway", "VirtualService customer-gateway",
			"ServiceAccount preference", "Service preference", "Deployment preference",
			"ServiceAccount recommendation", "Service recommendation", "Deployment recommendation-v1",
			"Deployment recommendation-v2",
		},
		"echo": {
			"ServiceAccount curl", "Service curl", "Deployment curl", "Service echo", "Deployment echo",
		},
		"ext-authz": {
			"ServiceAccount curl", "Service curl", "Deployment curl", "Service echo",
			"Deployment echo", "AuthorizationPolicy guard", "ConfigMap istio", "Service ext-authz",
			"Deployment ext-authz",
		},
		"helloworld": {
			"ServiceAccount curl", "Service curl", "Deployment curl", "DestinationRule helloworld",
			"Gateway helloworld-gateway", "VirtualService helloworld", "Service helloworld",
			"Deployment helloworld-v1", "Deployment helloworld-v2",
		},
		"httpbin": {
			"ServiceAccount curl", "Service curl", "Deployment curl", "DestinationRule httpbin",
			"Service fortio", "Deployment fortio", "Gateway httpbin-gateway",
			"VirtualService httpbin", "ServiceAccount httpbin", "Service httpbin",
			"Deployment httpbin-v1", "Deployment httpbin-v2",
		},
		"isotope": {"MockServiceGraph "},
		"jwt-issuer": {
			"ServiceAccount curl", "Service curl", "Deployment curl", "Service jwt-issuer",
			"Deployment jwt-issuer",
		},
		"nginx": {
			"Service fortio", "Deployment fortio", "Gateway ingress-gateway-k3s",
			"VirtualService nginx-vs", "DestinationRule nginx-dr", "Service nginx-service",
			"Deployment nginx", "Deployment nginx-b", "Service servicex-service",
			"Deployment servicex", "Deployment servicex-error",
		},
	}
	for bundle, want := range want {
		files, _ := sampleapps.Manifests(bundle)
		var got []string
		for _, f := range files {
			got = append(got, objects(t, f)...)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", bundle, d)
		}
	}
}

// objects returns kind and name of a file's objects, and checks that their images are known.
func objects(t *testing.T, f sampleapps.File) []string {
	t.Helper()
	var names []string
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
			Spec     struct {
				Template struct {
					Spec struct{ Containers []struct{ Image string } }
				}
			}
		}
		err := dec.Decode(&o)
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if o.Metadata.Namespace != "" && o.Kind != "ConfigMap" { // the mesh's has its place
			t.Errorf("%s: %s has a namespace", f.Name, o.Metadata.Name)
		}
		for _, c := range o.Spec.Template.Spec.Containers {
			if _, ok := sampleapps.ByImage(c.Image); !ok {
				t.Errorf("%s: image %s is not known", f.Name, c.Image)
			}
		}
		names = append(names, o.Kind+" "+o.Metadata.Name)
	}
}
