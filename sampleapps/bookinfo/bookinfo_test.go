package bookinfo_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/bookinfo"
	"github.com/mesh-lab/mesh-lab/testdata/apps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const image = "docker.io/istio/examples-bookinfo-"

// manual is a clock that goes on when it is told to.
type manual struct {
	set chan time.Duration // each timer that is set

	mu     sync.Mutex
	now    time.Duration
	timers []*timer
}

type timer struct {
	at time.Duration
	f  func()
}

func newManual() *manual { return &manual{set: make(chan time.Duration, 1000)} }

func (c *manual) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c.now + d, f}
	c.timers = append(c.timers, t)
	c.set <- d
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := len(c.timers)
		c.timers = slices.DeleteFunc(c.timers, func(o *timer) bool { return o == t })
		return len(c.timers) < n
	}
}

// advance moves the clock on and calls what is due, in order.
func (c *manual) advance(d time.Duration) {
	c.mu.Lock()
	end := c.now + d
	for {
		i := -1
		for j, t := range c.timers {
			if t.at <= end && (i < 0 || t.at < c.timers[i].at) {
				i = j
			}
		}
		if i < 0 {
			break
		}
		t := c.timers[i]
		c.timers = slices.Delete(c.timers, i, i+1)
		c.now = t.at
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

func (c *manual) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// network is an outgoing client that reaches handlers by host and port; hosts that are not there
// are not known, nil ones refuse, and hangs never answer.
type network struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	seen  []*http.Request
}

func newNetwork(hosts map[string]http.Handler) *network { return &network{hosts: hosts} }

func (n *network) client() *http.Client { return &http.Client{Transport: n} }

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.seen = append(n.seen, r)
	h, ok := n.hosts[r.URL.Host]
	n.mu.Unlock()
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}
	}
	if h == nil {
		return nil, fmt.Errorf("dial tcp: %w", syscall.ECONNREFUSED)
	}
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
	in.Header = r.Header.Clone()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// paths are the requests so far, as "host/path".
func (n *network) paths() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, r := range n.seen {
		out = append(out, r.URL.Hostname()+r.URL.Path)
	}
	return out
}

// hang never answers.
var hang = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

func fixed(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

type maker = func(app.Env) (http.Handler, error)

func start(t testing.TB, make maker, env app.Env) http.Handler {
	t.Helper()
	if env.Clock == nil {
		env.Clock = newManual()
	}
	if env.Client == nil {
		env.Client = newNetwork(nil).client()
	}
	h, err := make(env)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// How they are called.
var vars, ask, send = apps.Vars, apps.Ask, apps.Send

const isJSON = "application/json"

func expect(t *testing.T, w *httptest.ResponseRecorder, status int, contentType, body string) {
	t.Helper()
	got := w.Header().Get("Content-Type")
	if w.Code != status || w.Body.String() != body || got != contentType {
		t.Errorf("got %d %s %q,\nwant %d %s %q", w.Code, got, w.Body, status, contentType, body)
	}
}

func TestDetails(t *testing.T) {
	rest := `,"author":"William Shakespeare","year":1595,"type":"paperback","pages":200,` +
		`"publisher":"PublisherA","language":"English","ISBN-10":"1234567890",` +
		`"ISBN-13":"123-1234567890"}`
	h := start(t, bookinfo.Details, app.Env{Image: image + "details-v1:1.20.3"})
	for path, id := range map[string]string{
		"/details/0": "0", "/details/17": "17", "/details/-1": "-1", "/details/a/5": "5",
		"/details/0?x=1": "0", "/details/7/": "7",
	} {
		expect(t, ask(h, "GET", path), 200, isJSON, `{"id":`+id+rest)
	}
	for _, path := range []string{"/details/abc", "/details/", "/details", "/details/1.5", "/details/5x"} {
		expect(t, ask(h, "GET", path), 400, isJSON, `{"error":"please provide numeric product id"}`)
	}
	expect(t, ask(h, "GET", "/health"), 200, isJSON, `{"status":"Details is healthy"}`)
	if w := ask(h, "GET", "/"); w.Code != 404 {
		t.Errorf("/: %d", w.Code)
	}
}

const volume = `{"items":[{"volumeInfo":{"authors":["W. S.","A. N. Other"],"publishedDate":"2002",
	"printType":"BOOK","pageCount":64,"publisher":"Dover & Co","language":"en","industryIdentifiers":[
	{"type":"ISBN_13","identifier":"9780486424613"},{"type":"ISBN_10","identifier":"0486424618"}]}}]}`

func TestDetailsAsksTheBookService(t *testing.T) {
	const query = "/books/v1/volumes?q=isbn:0486424618"
	answer := `{"id":3,"author":"W. S.","year":"2002","type":"paperback","pages":64,` +
		`"publisher":"Dover & Co","language":"English","ISBN-10":"0486424618","ISBN-13":"9780486424613"}`
	for _, c := range []struct {
		image string
		vars  map[string]string
		url   string
	}{
		{"details-v2:1.20.3", nil, "https://www.googleapis.com"},
		{"details-v2:1.20.3", vars("DO_NOT_ENCRYPT", "true"), "http://www.googleapis.com"},
		{"details-v1", vars("ENABLE_EXTERNAL_BOOK_SERVICE", "true"), "https://www.googleapis.com"},
		{"details-v2", vars("BOOK_SERVICE_HOSTNAME", "books", "BOOK_SERVICE_PORT", "8443"),
			"https://books:8443"},
	} {
		u, _ := url.Parse(c.url)
		n := newNetwork(map[string]http.Handler{u.Host: fixed(200, volume)})
		h := start(t, bookinfo.Details, app.Env{Image: image + c.image, Vars: c.vars, Client: n.client()})
		expect(t, ask(h, "GET", "/details/3"), 200, isJSON, answer)
		if got := n.seen[0].URL.String(); got != c.url+query || !n.seen[0].Close {
			t.Errorf("asked %s, want %s", got, c.url+query)
		}
		expect(t, ask(h, "GET", "/details/x"), 400, isJSON, `{"error":"please provide numeric product id"}`)
	}
	off := start(t, bookinfo.Details, app.Env{
		Image: image + "details-v2", Vars: vars("ENABLE_EXTERNAL_BOOK_SERVICE", "false")})
	if w := ask(off, "GET", "/details/0"); w.Code != 200 {
		t.Errorf("switched off: %d", w.Code)
	}
}

func TestDetailsWithoutTheBookService(t *testing.T) {
	for name, answer := range map[string]http.Handler{
		"refused": nil, "blocked": fixed(502, ""), "no JSON": fixed(200, "<html>"),
		"no book":   fixed(200, `{"totalItems":0}`),
		"no author": fixed(200, strings.Replace(volume, `"W. S.","A. N. Other"`, "", 1)),
		"no ISBN":   fixed(200, strings.Replace(volume, "ISBN_10", "OTHER", 1)),
	} {
		n := newNetwork(map[string]http.Handler{"www.googleapis.com": answer})
		h := start(t, bookinfo.Details, app.Env{Version: "v2", Client: n.client()})
		w := ask(h, "GET", "/details/0")
		if w.Code != 400 || !strings.HasPrefix(w.Body.String(), `{"error":"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	clock := newManual()
	n := newNetwork(map[string]http.Handler{"www.googleapis.com": hang})
	h := start(t, bookinfo.Details, app.Env{Version: "v2", Client: n.client(), Clock: clock})
	w := after(t, clock, 5*time.Second, func() *httptest.ResponseRecorder { return ask(h, "GET", "/details/0") })
	expect(t, w, 400, isJSON, `{"error":"timed out"}`)
}

// after makes a request that waits d on the clock, and returns its answer.
func after(t *testing.T, c *manual, d time.Duration,
	request func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	t.Helper()
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- request() }()
	got := <-c.set
	if got != d {
		t.Errorf("waits %v, want %v", got, d)
	}
	c.advance(got - 1)
	if c.pending() != 1 {
		t.Errorf("does not wait for %v", got)
	}
	c.advance(1)
	return <-answer
}

func TestReviews(t *testing.T) {
	n := newNetwork(map[string]http.Handler{
		"ratings:9080": fixed(200, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)})
	stars := func(color string) [2]string {
		return [2]string{`,"rating":{"stars":5,"color":"` + color + `"}`,
			`,"rating":{"stars":4,"color":"` + color + `"}`}
	}
	for _, c := range []struct {
		env   app.Env
		stars [2]string
	}{
		{app.Env{Image: image + "reviews-v1:1.20.3"}, [2]string{}},
		{app.Env{Image: image + "reviews-v2:1.20.3"}, stars("black")},
		{app.Env{Image: image + "reviews-v3:1.20.3"}, stars("red")},
		{app.Env{Version: "v1"}, [2]string{}},
		{app.Env{Version: "v3"}, stars("red")},
		{app.Env{}, [2]string{}},
		{app.Env{Image: image + "reviews-v2", Version: "v3"}, stars("black")},
		{app.Env{Version: "v1", Vars: vars("ENABLE_RATINGS", "true")}, stars("black")},
		{app.Env{Version: "v3", Vars: vars("ENABLE_RATINGS", "false")}, [2]string{}},
		{app.Env{Version: "v3", Vars: vars("STAR_COLOR", "blue")}, stars("blue")},
		{app.Env{Version: "v1", Vars: vars("SERVICE_VERSION", "v3")}, [2]string{}},
	} {
		c.env.Client = n.client()
		h := start(t, bookinfo.Reviews, c.env)
		expect(t, ask(h, "GET", "/reviews/0"), 200, isJSON, reviewsOf("null", "null", c.stars))
	}
	h := start(t, bookinfo.Reviews, app.Env{
		Version: "v1", Vars: vars("HOSTNAME", "reviews-v1-0", "CLUSTER_NAME", "east")})
	expect(t, ask(h, "GET", "/reviews/0"), 200, isJSON, reviewsOf("reviews-v1-0", "east", [2]string{}))
	if w := ask(h, "GET", "/reviews/7"); !strings.HasPrefix(w.Body.String(), `{"id":"7","podname"`) {
		t.Errorf("of another product: %s", w.Body)
	}
	for _, path := range []string{"/reviews/x", "/reviews/1.5", "/reviews/3000000000", "/reviews", "/"} {
		if w := ask(h, "GET", path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	expect(t, ask(h, "GET", "/health"), 200, isJSON, `{"status": "Reviews is healthy"}`)
}

const (
	text1 = "Two pairs of twins, one town and no end of trouble: the funniest evening " +
		"that Shakespeare has to offer."
	text2 = "Great fun from the first mistake to the last. Those who look for depth will find " +
		"more of it in the later plays."
)

func reviewsOf(host, cluster string, ratings [2]string) string {
	return `{"id":"0","podname":"` + host + `","clustername":"` + cluster + `","reviews":[` +
		`{"reviewer":"Reviewer1","text":"` + text1 + `"` + ratings[0] + `},` +
		`{"reviewer":"Reviewer2","text":"` + text2 + `"` + ratings[1] + `}]}`
}

var noRating = `,"rating":{"error":"Ratings service is currently unavailable"}`

func TestReviewsWithoutRatings(t *testing.T) {
	for name, c := range map[string]struct {
		ratings http.Handler
		want    [2]string
	}{
		"refused":    {nil, [2]string{noRating, noRating}},
		"abort":      {fixed(500, "fault filter abort"), [2]string{noRating, noRating}},
		"created":    {fixed(201, `{"ratings":{"Reviewer1":1}}`), [2]string{noRating, noRating}},
		"MySQL down": {fixed(200, `{"error":"could not connect to ratings database"}`), [2]string{noRating, noRating}},
		"no JSON":    {fixed(200, "hello"), [2]string{noRating, noRating}},
		"a list":     {fixed(200, `{"ratings":[1,2]}`), [2]string{noRating, noRating}},
		"one only": {fixed(200, `{"ratings":{"Reviewer2":2}}`),
			[2]string{noRating, `,"rating":{"stars":2,"color":"red"}`}},
		"odd ones": {fixed(200, `{"ratings":{"Reviewer1":"5","Reviewer2":3.7}}`),
			[2]string{noRating, `,"rating":{"stars":3,"color":"red"}`}},
		"none": {fixed(200, `{"ratings":{"Reviewer1":0,"Reviewer2":null}}`),
			[2]string{`,"rating":{"stars":0,"color":"red"}`, noRating}},
	} {
		n := newNetwork(map[string]http.Handler{"ratings:9080": c.ratings})
		h := start(t, bookinfo.Reviews, app.Env{Version: "v3", Client: n.client()})
		w := ask(h, "GET", "/reviews/0")
		if d := cmp.Diff(reviewsOf("null", "null", c.want), w.Body.String()); d != "" || w.Code != 200 {
			t.Errorf("%s: %d\n%s", name, w.Code, d)
		}
		if d := cmp.Diff([]string{"ratings/ratings/0"}, n.paths()); d != "" {
			t.Errorf("%s: asked more than once: %s", name, d)
		}
	}
}

func TestReviewsPatience(t *testing.T) {
	for _, c := range []struct {
		version, color string
		want           time.Duration
	}{
		{"v2", "", 10 * time.Second}, {"v3", "", 2500 * time.Millisecond},
		{"v2", "blue", 2500 * time.Millisecond}, {"v3", "black", 10 * time.Second},
	} {
		clock := newManual()
		n := newNetwork(map[string]http.Handler{"ratings.mesh:9081": hang})
		h := start(t, bookinfo.Reviews, app.Env{Version: c.version, Client: n.client(), Clock: clock,
			Vars: vars("STAR_COLOR", c.color, "SERVICES_DOMAIN", "mesh", "RATINGS_SERVICE_PORT", "9081")})
		w := after(t, clock, c.want, func() *httptest.ResponseRecorder { return ask(h, "GET", "/reviews/0") })
		expect(t, w, 200, isJSON, reviewsOf("null", "null", [2]string{noRating, noRating}))
	}
}

func TestReviewsGoesOnWithoutItsCaller(t *testing.T) {
	n := newNetwork(map[string]http.Handler{"ratings:9080": fixed(200, `{"ratings":{"Reviewer1":5}}`)})
	h := start(t, bookinfo.Reviews, app.Env{Version: "v2", Client: n.client()})
	ctx, gone := context.WithCancel(t.Context())
	gone()
	w := send(h, httptest.NewRequestWithContext(ctx, "GET", "/reviews/0", nil))
	if !strings.Contains(w.Body.String(), `"stars":5`) {
		t.Errorf("got %s", w.Body)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	n.hosts["ratings:9080"] = hang
	h = start(t, bookinfo.Reviews, app.Env{Version: "v2", Client: n.client(), Closed: ended})
	expect(t, ask(h, "GET", "/reviews/0"), 200, isJSON, reviewsOf("null", "null", [2]string{noRating, noRating}))
}

// traced are headers of every kind that a request may bring.
var traced = http.Header{
	"X-Request-Id": {"r"}, "X-Ot-Span-Context": {"o"}, "X-Datadog-Trace-Id": {"d"},
	"X-Datadog-Parent-Id": {"e"}, "X-Datadog-Sampling-Priority": {"f"}, "Traceparent": {"t"},
	"Tracestate": {"u"}, "X-Cloud-Trace-Context": {"c"}, "Grpc-Trace-Bin": {"g"}, "Sw8": {"s"},
	"User-Agent": {"curl"}, "Cookie": {"a=b"}, "Authorization": {"Bearer x"}, "Jwt": {"j"},
	"X-B3-Traceid": {"0123456789abcdeF"}, "X-B3-Spanid": {"1111111111111111"},
	"X-B3-Parentspanid": {"2222222222222222"}, "X-B3-Sampled": {"1"}, "X-B3-Flags": {"0"},
	"End-User": {"jason"}, "B3": {"0"}, "X-Other": {"no"}, "Accept": {"*/*"}, "X-Datadog-Sampled": {"1"},
}

func sentOn(t *testing.T, make maker, env app.Env, path string, in http.Header) []http.Header {
	t.Helper()
	n := newNetwork(nil)
	env.Client = n.client()
	r := httptest.NewRequest("GET", path, nil)
	r.Header = in.Clone()
	send(start(t, make, env), r)
	var out []http.Header
	for _, s := range n.seen {
		out = append(out, s.Header)
	}
	return out
}

func TestHeadersOfDetailsAndReviews(t *testing.T) {
	want := traced.Clone()
	for _, h := range []string{"B3", "X-Other", "Accept", "X-Datadog-Sampled"} {
		want.Del(h)
	}
	for path, make := range map[string]maker{"/details/0": bookinfo.Details, "/reviews/0": bookinfo.Reviews} {
		got := sentOn(t, make, app.Env{Version: "v2"}, path, traced)
		if d := cmp.Diff([]http.Header{want}, got); d != "" {
			t.Errorf("%s: -want +got\n%s", path, d)
		}
	}
}

func TestRatings(t *testing.T) {
	var log strings.Builder
	h := start(t, bookinfo.Ratings, app.Env{
		Image: image + "ratings-v1:1.20.3", Pod: "r-0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	const numeric = `{"error":"please provide numeric product ID"}`
	expect(t, ask(h, "GET", "/ratings/0"), 200, isJSON, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	expect(t, ask(h, "GET", "/ratings/12x?y=1"), 200, isJSON, `{"id":12,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	for _, path := range []string{"/ratings/", "/ratings/x", "/ratings/1/x", "/ratings/99999999999999999999"} {
		expect(t, ask(h, "GET", path), 400, isJSON, numeric)
	}
	expect(t, post(h, "/ratings/0", ` {"Reviewer1":1,`+"\n"+`"Reviewer2": 2}`), 200, isJSON,
		`{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":2}}`)
	expect(t, ask(h, "GET", "/ratings/0"), 200, isJSON, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":2}}`)
	expect(t, ask(h, "GET", "/ratings/1"), 200, isJSON, `{"id":1,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	expect(t, post(h, "/ratings/x", `{}`), 400, isJSON, numeric)
	for _, body := range []string{"", "{", `{"a":1} b`, strings.Repeat(" ", 1<<20) + "1"} {
		expect(t, post(h, "/ratings/0", body), 400, isJSON, `{"error":"please provide valid ratings JSON"}`)
	}
	expect(t, ask(h, "GET", "/health"), 200, isJSON, `{"status":"Ratings is healthy"}`)
	if w := ask(h, "GET", "/ratings"); w.Code != 404 && w.Code != 301 && w.Code != 307 {
		t.Errorf("/ratings: %d", w.Code)
	}
	if got := strings.Count(log.String(), `msg="GET /ratings/0" pod=r-0`); got != 2 ||
		strings.Contains(log.String(), "health") {
		t.Errorf("log:\n%s", log.String())
	}
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	return send(h, httptest.NewRequest("POST", path, strings.NewReader(body)))
}

func TestRatingsWithoutItsDatabase(t *testing.T) {
	const down = `{"error":"could not connect to ratings database"}`
	mongo := start(t, bookinfo.Ratings, app.Env{Image: image + "ratings-v2:1.20.3",
		Vars: vars("MONGO_DB_URL", "mongodb://mongodb:27017/test")})
	expect(t, ask(mongo, "GET", "/ratings/0"), 500, isJSON, down)
	mysql := start(t, bookinfo.Ratings, app.Env{
		Vars: vars("SERVICE_VERSION", "v2", "DB_TYPE", "mysql", "MYSQL_DB_HOST", "mysqldb")})
	expect(t, ask(mysql, "GET", "/ratings/0"), 200, isJSON, down)
	expect(t, ask(mysql, "GET", "/ratings/x"), 400, isJSON, `{"error":"please provide numeric product ID"}`)
	expect(t, post(mysql, "/ratings/0", "{}"), 501, isJSON,
		`{"error":"Post not implemented for database backed ratings"}`)
	expect(t, post(mysql, "/ratings/0", "{"), 400, isJSON, `{"error":"please provide valid ratings JSON"}`)
	expect(t, ask(mysql, "GET", "/health"), 200, isJSON, `{"status":"Ratings is healthy"}`)
}

func TestRatingsFaulty(t *testing.T) {
	run := func(seed uint64) (codes string) {
		h := start(t, bookinfo.Ratings, app.Env{Image: image + "ratings-v-faulty:1.20.3", Seed: seed})
		bad := 0
		for range 200 {
			w := ask(h, "GET", "/ratings/0")
			if w.Code == 503 {
				bad++
				expect(t, w, 503, isJSON, `{"error":"Service unavailable"}`)
			}
			codes += fmt.Sprint(w.Code, " ")
		}
		if bad < 72 || bad > 128 {
			t.Errorf("seed %d: %d of 200 are bad", seed, bad)
		}
		expect(t, ask(h, "GET", "/health"), 200, isJSON, `{"status":"Ratings is healthy"}`)
		return codes
	}
	if one := run(1); one != run(1) || one == run(2) {
		t.Error("not a function of the seed")
	}
}

func TestRatingsDelayed(t *testing.T) {
	clock := newManual()
	h := start(t, bookinfo.Ratings, app.Env{Vars: vars("SERVICE_VERSION", "v-delayed"), Clock: clock, Seed: 1})
	slow := 0
	for range 200 {
		answer := make(chan *httptest.ResponseRecorder, 1)
		go func() { answer <- ask(h, "GET", "/ratings/0") }()
		select {
		case w := <-answer:
			expect(t, w, 200, isJSON, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
		case d := <-clock.set:
			slow++
			if d != 7*time.Second {
				t.Errorf("waits %v", d)
			}
			clock.advance(d)
			expect(t, <-answer, 200, isJSON, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
		}
	}
	if slow < 72 || slow > 128 {
		t.Errorf("%d of 200 are slow", slow)
	}
}

func TestRatingsInTurns(t *testing.T) {
	for _, c := range []struct {
		version string
		phase   time.Duration
		health  int
	}{{"v-unavailable", time.Minute, 200}, {"v-unhealthy", 15 * time.Minute, 500}} {
		clock := newManual()
		ended, end := context.WithCancel(t.Context())
		h := start(t, bookinfo.Ratings, app.Env{
			Image: image + "ratings-" + c.version, Clock: clock, Closed: ended})
		check := func(bad bool) {
			t.Helper()
			ratings, health := 200, 200
			if bad {
				ratings, health = 503, c.health
			}
			at := ask(h, "GET", "/health")
			if got := ask(h, "GET", "/ratings/0").Code; got != ratings || at.Code != health {
				t.Errorf("%s at %v: %d, health %d", c.version, clock.now, got, at.Code)
			}
			if health == 500 {
				expect(t, at, 500, isJSON, `{"status":"Ratings is not healthy"}`)
			}
		}
		for _, bad := range []bool{false, true, false, true} {
			check(bad)
			clock.advance(c.phase - 1)
			check(bad)
			clock.advance(1)
		}
		end()
		clock.advance(c.phase)
		if n := clock.pending(); n != 0 {
			t.Errorf("%s: %d timers after the end", c.version, n)
		}
	}
}

func TestBadVariables(t *testing.T) {
	for _, c := range []struct {
		make  maker
		name  string
		value string
	}{
		{bookinfo.Reviews, "ENABLE_RATINGS", "maybe"}, {bookinfo.Reviews, "RATINGS_SERVICE_PORT", "http"},
		{bookinfo.Details, "ENABLE_EXTERNAL_BOOK_SERVICE", "maybe"}, {bookinfo.Details, "DO_NOT_ENCRYPT", "?"},
		{bookinfo.ProductPage, "FLOOD_FACTOR", "-1"}, {bookinfo.ProductPage, "DETAILS_SERVICE_PORT", "x"},
		{bookinfo.Ratings, "SERVICE_VERSION", "v-faultly"},
	} {
		_, err := c.make(app.Env{Vars: vars(c.name, c.value), Clock: newManual()})
		if err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
	}
}
