package isotope

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the network and the clock of an app. It notes what is done; a host answers what is told.
type world struct {
	mu      sync.Mutex
	done    []string
	headers http.Header            // of the last call
	answers map[string]string      // "b:8080" → "500 no"; 200 where there is none
	meet    map[string]chan string // hosts that wait for each other
}

func (w *world) note(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, s)
}

func (w *world) AfterFunc(d time.Duration, f func()) func() bool {
	w.note("sleep " + d.String())
	f()
	return func() bool { return false }
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	n := int64(0)
	if r.Body != nil {
		n, _ = io.Copy(io.Discard, r.Body)
	}
	w.note(fmt.Sprintf("%s %s %d", r.Method, r.URL, n))
	if n != r.ContentLength {
		return nil, fmt.Errorf("%d bytes, %d were told", n, r.ContentLength)
	}
	w.mu.Lock()
	w.headers = r.Header
	answer, meet := w.answers[r.URL.Host], w.meet[r.URL.Host]
	w.mu.Unlock()
	if meet != nil {
		select {
		case meet <- "":
		case <-meet:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if answer == "refused" {
		return nil, errors.New("connection refused")
	}
	status, body, _ := strings.Cut(answer, " ")
	res := &http.Response{
		StatusCode: 200, Status: "200 OK", Body: io.NopCloser(strings.NewReader(body)),
	}
	if status != "" {
		_, err := fmt.Sscan(status, &res.StatusCode)
		if err != nil {
			return nil, err
		}
		res.Status = status + " " + http.StatusText(res.StatusCode)
	}
	return res, nil
}

func (w *world) start(t *testing.T, service string) *httptest.Server {
	t.Helper()
	h, err := Handler(app.Env{
		Vars: map[string]string{"ISOTOPE_SERVICE": service}, Clock: w, Seed: 1,
		Client: &http.Client{Transport: w},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// get returns status and body, and the response.
func get(t *testing.T, url string, headers ...string) (string, *http.Response) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body), res
}

const script = `{"name":"a","script":[
	{"call":{"service":"b","hostname":"b:8080","size":70000}},
	{"sleep":"10ms"},
	[{"call":{"service":"c","hostname":"c:8080"}},{"call":{"service":"d","hostname":"d.x:81"}}],
	{"call":{"service":"e","hostname":"e:8080","extra-header":{"x-reader":"r","traceparent":"t"}}}]}`

// TestScript: steps one after the other, those of a list at once; only then the answer.
func TestScript(t *testing.T) {
	both := make(chan string)
	w := &world{meet: map[string]chan string{"c:8080": both, "d.x:81": both}}
	s := w.start(t, script)
	got, res := get(t, s.URL+"/any/path", "x-b3-traceid", "1", "Traceparent", "2",
		"x-datadog-trace-id", "3", "end-user", "jason", "cookie", "a=b")
	if got != "200 " || res.Header.Get("Content-Length") != "0" ||
		res.Header.Get("Content-Type") != "" {
		t.Errorf("got %q %v", got, res.Header)
	}
	slices.Sort(w.done[2:4]) // at once
	want := []string{
		"GET http://b:8080 70000", "sleep 10ms", "GET http://c:8080 0", "GET http://d.x:81 0",
		"GET http://e:8080 0",
	}
	if diff := cmp.Diff(want, w.done); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	headers := http.Header{
		"X-B3-Traceid": {"1"}, "Traceparent": {"2"}, "X-Datadog-Trace-Id": {"3"}, "X-Reader": {"r"},
	}
	if diff := cmp.Diff(headers, w.headers); diff != "" {
		t.Errorf("headers: -want +got\n%s", diff)
	}
}

// TestFailures: a step that fails ends the script with 500; those beside it are waited for.
func TestFailures(t *testing.T) {
	for _, test := range []struct {
		answers map[string]string
		want    string
		done    int
	}{
		{map[string]string{"b:8080": "500 simulated failure"},
			"500 service b:8080 responded with 500 Internal Server Error (body: simulated failure)\n",
			1},
		{map[string]string{"b:8080": "204"},
			"500 service b:8080 responded with 204 No Content (body: )\n", 1},
		{map[string]string{"b:8080": "refused"},
			"500 Get \"http://b:8080\": connection refused\n", 1},
		{map[string]string{"c:8080": "503 x", "d.x:81": "404 y"},
			"500 2 errors occurred: service c:8080 responded with 503 Service Unavailable " +
				"(body: x), service d.x:81 responded with 404 Not Found (body: y)\n", 4},
		{map[string]string{"d.x:81": "503 x"},
			"500 1 errors occurred: service d.x:81 responded with 503 Service Unavailable " +
				"(body: x)\n", 4},
	} {
		w := &world{answers: test.answers}
		got, _ := get(t, w.start(t, script).URL)
		if got != test.want || len(w.done) != test.done {
			t.Errorf("%v: got %q after %q", test.answers, got, w.done)
		}
	}
}

// TestErrorRate: every Nth request fails, before the script, with a body of its own.
func TestErrorRate(t *testing.T) {
	for rate, every := range map[string]int{
		"0": 0, "0.01": 100, "0.1": 10, "0.3": 3, "0.6": 1, "1": 1,
	} {
		w := &world{}
		s := w.start(t, fmt.Sprintf(
			`{"name":"a","errorRate":%s,"responseSize":3,"script":[{"sleep":"1s"}]}`, rate))
		slept := 0
		for i := 1; i <= 22; i++ {
			got, _ := get(t, s.URL)
			failed := every > 0 && i%every == 0
			if !failed {
				slept++
			}
			if failed != (got == "500 simulated failure") || len(w.done) != slept {
				t.Errorf("rate %s, request %d: %q", rate, i, got)
			}
		}
	}
}

// TestResponseSize: so many bytes, with a length as net/http tells it for one Write.
func TestResponseSize(t *testing.T) {
	for size, length := range map[int]string{
		1: "1", 1000: "1000", 2048: "2048", 2049: "", 200_000: "",
	} {
		s := (&world{}).start(t, fmt.Sprintf(`{"name":"a","responseSize":%d}`, size))
		got, res := get(t, s.URL)
		if len(got)-len("200 ") != size || res.Header.Get("Content-Length") != length {
			t.Errorf("%d: %d bytes, %v", size, len(got)-len("200 "), res.Header)
		}
	}
}

// TestProbability: drawn calls are about as many as said, and the same with the same seed.
func TestProbability(t *testing.T) {
	count := func(p int) int {
		w := &world{}
		s := w.start(t, fmt.Sprintf(
			`{"name":"a","script":[{"call":{"service":"b","hostname":"b:8080","probability":%d}}]}`, p))
		for range 100 {
			if got, _ := get(t, s.URL); got != "200 " {
				t.Errorf("got %q", got)
			}
		}
		return len(w.done)
	}
	if n := count(0); n != 100 {
		t.Errorf("without probability: %d of 100", n)
	}
	if n := count(100); n != 100 {
		t.Errorf("100: %d of 100", n)
	}
	if n := count(30); n < 15 || n > 45 || n != count(30) {
		t.Errorf("30: %d, %d of 100", n, count(30))
	}
}

// TestGone: the script goes on without its client, as the original's does, and ends with the pod.
func TestGone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{meet: map[string]chan string{"b:8080": make(chan string)}}
	h, err := Handler(app.Env{
		Vars:  map[string]string{"ISOTOPE_SERVICE": script},
		Clock: w, Client: &http.Client{Transport: w}, Closed: ctx,
	})
	if err != nil {
		t.Fatal(err)
	}
	client, leave := context.WithCancel(context.Background())
	leave()
	answer := httptest.NewRecorder()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.ServeHTTP(answer, httptest.NewRequestWithContext(client, "GET", "/", nil))
	}()
	w.meet["b:8080"] <- "" // the call is made
	<-ended
	if answer.Code != 200 {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
	cancel()
	answer = httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
	if answer.Code != 500 || !strings.Contains(answer.Body.String(), "context canceled") {
		t.Errorf("after the pod's end: %d %s", answer.Code, answer.Body)
	}
}

func TestMetrics(t *testing.T) {
	w := &world{}
	if got, _ := get(t, w.start(t, script).URL+"/metrics"); !strings.HasPrefix(got, "404 ") ||
		len(w.done) > 0 {
		t.Errorf("got %q after %q", got, w.done)
	}
}

// TestRefused: what is no service is refused at the start.
func TestRefused(t *testing.T) {
	const to = `"service":"b","hostname":"b:1"`
	for text, want := range map[string]string{
		``:                                      "ISOTOPE_SERVICE is not set",
		`{`:                                     "unexpected EOF",
		`{"nme":"a"}`:                           `unknown field "nme"`,
		`{}`:                                    "name is required",
		`{"name":"a","errorRate":2}`:            "errorRate 2: want a number from 0 to 1",
		`{"name":"a","errorRate":1e-5}`:         "errorRate 1e-05: want 0, or at least 0.0001",
		`{"name":"a","responseSize":-1}`:        "responseSize -1",
		`{"name":"a","script":[{}]}`:            "either sleep or call",
		`{"name":"a","script":[{"sleep":"1"}]}`: "missing unit",
		`{"name":"a","script":[{"wait":"1s"}]}`: `unknown field "wait"`,
		`{"name":"a","script":[{"call":{"service":"b"}}]}`:                "hostname is required",
		`{"name":"a","script":[[{"call":{` + to + `,"size":-1}}]]}`:       "size -1",
		`{"name":"a","script":[{"call":{` + to + `,"probability":101}}]}`: "probability 101",
		`{"name":"a","script":[{"sleep":"1s","call":{` + to + `}}]}`:      "either sleep or call",
	} {
		_, err := Handler(app.Env{Vars: map[string]string{"ISOTOPE_SERVICE": text}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
