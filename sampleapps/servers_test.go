package sampleapps_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// headers checks headers of an answer; an empty value is one that must not be there.
func headers(t *testing.T, w *httptest.ResponseRecorder, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got := w.Result().Header.Get(k); got != v {
			t.Errorf("%s: %q, want %q", k, got, v)
		}
	}
}

func TestHelloworld(t *testing.T) {
	const image = "docker.io/istio/examples-helloworld-v2:1.0"
	for _, c := range []struct {
		env  app.Env
		want string
	}{
		{app.Env{}, "Hello version: v1, instance: unknown\n"},
		{app.Env{Image: image, Version: "v1", Vars: vars("HOSTNAME", "helloworld-v2-0")},
			"Hello version: v2, instance: helloworld-v2-0\n"},
		{app.Env{Image: image, Vars: vars("SERVICE_VERSION", "v3", "HOSTNAME", "h")},
			"Hello version: v3, instance: h\n"},
		{app.Env{Version: "v2", Vars: vars("HOSTNAME", "h")}, "Hello version: v2, instance: h\n"},
	} {
		h := start(t, "helloworld", c.env)
		w := ask(h, "GET", "/hello")
		expect(t, w, 200, c.want)
		headers(t, w, map[string]string{"Content-Type": "text/html; charset=utf-8"})
		expect(t, ask(h, "GET", "/health"), 200, "Helloworld is healthy")
		expect(t, ask(h, "GET", "/"), 404, "")
		expect(t, ask(h, "POST", "/hello"), 405, "")
	}
}

func TestNginx(t *testing.T) {
	for image, want := range map[string]string{
		"mesh-lab/nginx-a":                "Full Cycle A",
		"mesh-lab/nginx-b:1":              "Full Cycle B",
		"wesleywillians/nginx-ab":         "Full Cycle A",
		"wesleywillians/nginx-ab:latest":  "Full Cycle A",
		"docker.io/someone/nginx-ab:b":    "Full Cycle B",
		"localhost:5000/mesh-lab/nginx-b": "Full Cycle B",
	} {
		h := start(t, "nginx", app.Env{Image: image, Version: "v9"})
		w := ask(h, "GET", "/")
		expect(t, w, 200, want)
		headers(t, w, map[string]string{
			"Content-Type": "text/html", "Content-Length": "12", "Server": "nginx",
			"Accept-Ranges": "bytes", "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
		})
		expect(t, ask(h, "GET", "/index.html"), 200, want)
		expect(t, ask(h, "HEAD", "/"), 200, "")
		expect(t, ask(h, "GET", "/", "If-None-Match", w.Header().Get("ETag")), 304, "")
		expect(t, ask(h, "GET", "/", "Range", "bytes=0-3"), 206, "Full")
	}
	expect(t, ask(start(t, "nginx", app.Env{Version: "b"}), "GET", "/"), 200, "Full Cycle B")
	plain := start(t, "nginx", app.Env{Image: "nginx:1.27", Version: "A"})
	if w := ask(plain, "GET", "/"); w.Code != 200 || !strings.Contains(w.Body.String(), "<h1>It works</h1>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for method, want := range map[string]int{"GET /b": 404, "GET //": 404, "POST /": 405} {
		m, path, _ := strings.Cut(method, " ")
		w := ask(plain, m, path)
		if w.Code != want || !strings.Contains(w.Body.String(), "<h1>"+http.StatusText(want)) &&
			!strings.Contains(w.Body.String(), http.StatusText(want)+"</h1>") {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
		headers(t, w, map[string]string{"Content-Type": "text/html", "Server": "nginx"})
	}
}

func TestServicex(t *testing.T) {
	good := start(t, "servicex", app.Env{})
	expect(t, ask(good, "GET", "/any"), 200, "OK")
	expect(t, ask(start(t, "servicex", app.Env{Vars: vars("error", "no")}), "POST", "/"), 200, "OK")
	waits := &instant{}
	bad := start(t, "servicex", app.Env{Vars: vars("error", "yes"), Clock: waits})
	const n = 200
	for range n {
		expect(t, ask(bad, "GET", "/"), 504, "")
	}
	got := map[time.Duration]int{0: n}
	for _, w := range waits.waits {
		got[w]++
		got[0]--
	}
	for s := range 5 { // an even draw of five leaves a second out of 200 once in 10^18
		if got[time.Duration(s)*time.Second] == 0 {
			t.Errorf("no wait of %d s: %v", s, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("want whole seconds from 0 to 4: %v", got)
	}
}

func TestFortio(t *testing.T) {
	h := start(t, "fortio", app.Env{})
	w := send(h, httptest.NewRequest("POST", "/", strings.NewReader("hello")), "Content-Type", "a/b")
	expect(t, w, 200, "hello")
	headers(t, w, map[string]string{"Content-Type": "a/b"})
	expect(t, ask(h, "GET", "/?status=503"), 503, "")
	expect(t, ask(h, "GET", "/?status=404:100&header=X-A:b&header=X-C:d"), 404, "")
	w = ask(h, "GET", "/any?size=2000&close=true&header=X-A:b")
	headers(t, w, map[string]string{
		"Content-Length": "2000", "Connection": "close", "X-A": "b",
		"Content-Type": "application/octet-stream",
	})
	if w.Body.Len() != 2000 {
		t.Errorf("size: %d bytes", w.Body.Len())
	}
	began := time.Now()
	expect(t, ask(h, "GET", "/?delay=30ms"), 200, "")
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("delay: %v", took)
	}
	w = send(h, httptest.NewRequest("GET", "/?gzip=true", strings.NewReader("hello")),
		"Accept-Encoding", "gzip")
	headers(t, w, map[string]string{"Content-Encoding": "gzip"})
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != "hello" {
		t.Errorf("gzip: %q %v", b, err)
	}
	t.Setenv("SECRET_OF_THIS_MACHINE", "1")
	w = ask(h, "GET", "/debug?env=dump&a=b", "X-A", "b")
	if body := w.Body.String(); w.Code != 200 || !strings.HasPrefix(body, "Φορτίο version ") ||
		!strings.Contains(body, "\nGET /debug?a=b HTTP/1.1\n") ||
		!strings.Contains(body, "\nX-A: b\n") || strings.Contains(body, "SECRET_OF") {
		t.Errorf("debug: %d %s", w.Code, body)
	}
	if w = ask(h, "GET", "/fortio/"); w.Code != 404 {
		t.Errorf("/fortio/: %d %s", w.Code, w.Body)
	}
}

// members decodes a JSON object.
func members(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return m
}

func TestHttpbin(t *testing.T) {
	h := start(t, "httpbin", app.Env{Vars: vars("HOSTNAME", "httpbin-v1-0", "HTTPBIN_A", "b", "SECRET", "c")})
	m := members(t, ask(h, "GET", "/get?a=1&a=2", "X-B", "3", "X-B", "4"))
	for key, want := range map[string]any{
		"args": map[string]any{"a": []any{"1", "2"}}, "method": "GET", "origin": "192.0.2.1",
		"url":     "http://example.com/get?a=1&a=2",
		"headers": map[string]any{"Host": []any{"example.com"}, "X-B": []any{"3", "4"}},
	} {
		if d := cmp.Diff(want, m[key]); d != "" {
			t.Errorf("get, %s: -want +got\n%s", key, d)
		}
	}
	for path, want := range map[string]any{
		"/hostname":   map[string]any{"hostname": "httpbin-v1-0"},
		"/headers":    map[string]any{"headers": map[string]any{"Host": []any{"example.com"}, "User-Agent": []any{"u"}}},
		"/ip":         map[string]any{"origin": "192.0.2.1"},
		"/user-agent": map[string]any{"user-agent": "u"},
		"/env":        map[string]any{"env": map[string]any{"HTTPBIN_A": "b"}},
		"/cookies":    map[string]any{"cookies": map[string]any{}},
	} {
		w := ask(h, "GET", path, "User-Agent", "u")
		if d := cmp.Diff(want, any(members(t, w))); d != "" {
			t.Errorf("%s: -want +got\n%s", path, d)
		}
		headers(t, w, map[string]string{"Content-Type": "application/json; charset=utf-8"})
	}
	for request, want := range map[string]int{
		"POST /post": 200, "PUT /put": 200, "PATCH /patch": 200, "DELETE /delete": 200,
		"PUT /anything/x": 200, "GET /uuid": 200, "GET /post": 405, "GET /status/503": 503,
		"GET /status/204": 204, "GET /status/200:1,503:0": 200, "GET /status/200:0,503:1": 503,
		"GET /unstable?failure_rate=1": 500, "GET /unstable?failure_rate=0": 200,
		"GET /redirect/2": 302, "GET /bearer": 401, "GET /basic-auth/u/p": 401, "GET /cache": 200,
		"GET /delay/0": 200, "GET /delay/5ms": 200, "GET /delay/11": 400, "GET /delay/10001ms": 400,
		"GET /delay/-1": 400, "GET /nothing": 404, "GET /bytes/2000000": 400,
		"GET /status/200:0,503:0": 400, "GET /status/200:-1,503:NaN": 400, // where httpbin panics
	} {
		method, path, _ := strings.Cut(request, " ")
		if w := ask(h, method, path); w.Code != want {
			t.Errorf("%s: %d, want %d: %.200s", request, w.Code, want, w.Body)
		}
	}
	if w := ask(h, "GET", "/status/418"); w.Code != 418 || !strings.Contains(w.Body.String(), "I'm a teapot!") {
		t.Errorf("418: %d %q", w.Code, w.Body)
	}
	w := ask(h, "GET", "/response-headers?X-A=b")
	headers(t, w, map[string]string{"X-A": "b"})
	w = ask(h, "GET", "/cookies/set?k=v")
	headers(t, w, map[string]string{"Set-Cookie": "k=v; Path=/; HttpOnly", "Location": "/cookies"})
	if w := ask(h, "GET", "/bytes/100"); w.Body.Len() != 100 {
		t.Errorf("bytes: %d", w.Body.Len())
	}
	if n := strings.Count(ask(h, "GET", "/stream/3").Body.String(), "\n"); n != 3 {
		t.Errorf("stream: %d lines", n)
	}
	unstable := ask(h, "GET", "/unstable?failure_rate=0.5&seed=1").Code
	if again := ask(h, "GET", "/unstable?failure_rate=0.5&seed=1").Code; again != unstable {
		t.Errorf("unstable with a seed: %d, then %d", unstable, again)
	}
}

// TestHttpbinInAModel flushes and hijacks through what is put around every app.
func TestHttpbinInAModel(t *testing.T) {
	a, _ := sampleapps.Lookup("httpbin")
	h, err := a.Start(app.Env{Clock: &instant{}, Vars: vars("MESHLAB_REMEMBER", "10")})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	for path, want := range map[string]int{
		"/sse?count=2&duration=2ms&delay=0": 200, "/drip?numbytes=3&duration=3ms&delay=0": 200,
		"/websocket/echo": 101,
	} {
		r, err := http.NewRequest("GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want == 101 {
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
				"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if want == 200 {
			_, err = io.Copy(io.Discard, res.Body)
		}
		res.Body.Close()
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: %s, %v", path, res.Status, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestImagePorts(t *testing.T) {
	a, _ := sampleapps.Lookup("httpbin")
	for image, want := range map[string]int{
		"docker.io/kennethreitz/httpbin": 80, "kong/httpbin:0.1.0": 80,
		"docker.io/mccutchen/go-httpbin:v2.15.0": 8080, "": 8080,
	} {
		if got := a.PortOf(image); got != want {
			t.Errorf("%s: %d, want %d", image, got, want)
		}
	}
}

func TestLater(t *testing.T) {
	for name, want := range map[string]string{
		"tcp-echo":  "the app tcp-echo is not there yet: it needs plain TCP",
		"greeter":   "the app greeter is not there yet: it needs gRPC",
		"grpc-echo": "the app grpc-echo is not there yet: it needs gRPC and plain TCP",
	} {
		a, _ := sampleapps.Lookup(name)
		if _, err := a.Start(app.Env{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
