package bookinfo_test

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/bookinfo"
)

const isHTML = "text/html; charset=utf-8"

// shop is productpage with details, reviews of a version and ratings behind it.
func shop(t testing.TB, version string) (http.Handler, *network) {
	n := newNetwork(nil)
	n.hosts = map[string]http.Handler{
		"details:9080": start(t, bookinfo.Details, app.Env{}),
		"ratings:9080": start(t, bookinfo.Ratings, app.Env{}),
		"reviews:9080": start(t, bookinfo.Reviews, app.Env{Client: n.client(), Version: version,
			Vars: vars("HOSTNAME", "reviews-"+version+"-0")}),
	}
	return start(t, bookinfo.ProductPage, app.Env{Client: n.client(), Image: image + "productpage-v1:1.20.3"}), n
}

// marks counts what tutorials and their checks look for in the page.
func marks(body string) map[string]int {
	out := map[string]int{}
	for _, m := range []string{
		"<title>Simple Bookstore App</title>", "BookInfo Sample", "Book Details", "Book Reviews",
		"Error fetching product details", "Error fetching product reviews",
		"Sorry, product details are currently unavailable for this book.",
		"Sorry, product reviews are currently unavailable for this book.",
		"glyphicon glyphicon-star", "glyphicon-star-empty", "flex gap-x-1 text-black-500",
		"flex gap-x-1 text-red-500", "text-red-500", "text-black-500",
		"Ratings service is currently unavailable",
		"Reviews served by:", "on cluster", "reviews-v1-0", "reviews-v2-0", "reviews-v3-0",
		"Sign in", "Sign out", "jason",
	} {
		if n := strings.Count(body, m); n > 0 {
			out[m] = n
		}
	}
	return out
}

// usualMarks are those of a page that lacks nothing, with further ones.
func usualMarks(more map[string]int, without ...string) map[string]int {
	out := map[string]int{
		"<title>Simple Bookstore App</title>": 1, "BookInfo Sample": 1, "Book Details": 1,
		"Book Reviews": 1, "Reviews served by:": 1, "Sign in": 2,
	}
	for k, n := range more {
		out[k] = n
	}
	for _, k := range without {
		delete(out, k)
	}
	return out
}

func TestProductPage(t *testing.T) {
	for version, more := range map[string]map[string]int{
		"v1": {"reviews-v1-0": 1},
		"v2": {"reviews-v2-0": 1, "glyphicon glyphicon-star": 9, "glyphicon-star-empty": 1,
			"flex gap-x-1 text-black-500": 2, "text-black-500": 2},
		"v3": {"reviews-v3-0": 1, "glyphicon glyphicon-star": 9, "glyphicon-star-empty": 1,
			"flex gap-x-1 text-red-500": 2, "text-red-500": 2},
	} {
		h, n := shop(t, version)
		w := ask(h, "GET", "/productpage?u=normal")
		if d := cmp.Diff(usualMarks(more), marks(w.Body.String())); d != "" || w.Code != 200 {
			t.Errorf("%s: %d: -want +got\n%s", version, w.Code, d)
		}
		if got := w.Header(); got.Get("Content-Type") != isHTML || got.Get("Vary") != "Cookie" {
			t.Errorf("headers %v", got)
		}
		want := []string{"details/details/0", "reviews/reviews/0"}
		if version != "v1" {
			want = append(want, "ratings/ratings/0")
		}
		if d := cmp.Diff(want, n.paths()); d != "" {
			t.Errorf("%s asks: -want +got\n%s", version, d)
		}
		for _, line := range []string{
			`<tr><th scope="row">Publisher</th><td>PublisherA</td></tr>`,
			`<tr><th scope="row">Pages</th><td>200</td></tr>`, "<p>" + text1 + "</p>", "<p>" + text2 + "</p>",
		} {
			if !strings.Contains(w.Body.String(), line) {
				t.Errorf("%s: page lacks %s", version, line)
			}
		}
	}
}

func TestProductPageIsSelfContained(t *testing.T) {
	h, _ := shop(t, "v3")
	body := ask(h, "GET", "/productpage").Body.String()
	if m := regexp.MustCompile(`(src|href|url\()=?["']?(https?:)?//`).FindAllString(body, -1); len(m) != 1 {
		t.Errorf("leads outside: %q, want the link of the description alone", m)
	}
	for _, m := range regexp.MustCompile(`href="(static/[^"]+)"`).FindAllStringSubmatch(body, -1) {
		if w := ask(h, "GET", "/"+m[1]); w.Code != 200 || w.Header().Get("Content-Type") != "image/svg+xml" {
			t.Errorf("%s: %d %v", m[1], w.Code, w.Header())
		}
	}
}

func TestProductPageWithout(t *testing.T) {
	noDetails := map[string]int{"Error fetching product details": 1, "text-red-500": 1,
		"Sorry, product details are currently unavailable for this book.": 1, "reviews-v2-0": 1,
		"glyphicon glyphicon-star": 9, "glyphicon-star-empty": 1,
		"flex gap-x-1 text-black-500": 2, "text-black-500": 2}
	noReviews := map[string]int{"Error fetching product reviews": 1, "text-red-500": 1,
		"Sorry, product reviews are currently unavailable for this book.": 1}
	noRatings := map[string]int{"Ratings service is currently unavailable": 2, "text-red-500": 2,
		"reviews-v2-0": 1}
	for _, c := range []struct {
		name, host string
		answer     http.Handler
		want       map[string]int
		asked      int
	}{
		{"refused", "details", nil, usualMarks(noDetails, "Book Details"), 1},
		{"abort", "details", fixed(555, "fault filter abort"), usualMarks(noDetails, "Book Details"), 1},
		{"no JSON", "details", fixed(200, "<p>"), usualMarks(noDetails, "Book Details"), 1},
		{"a list", "details", fixed(200, "[]"), usualMarks(noDetails, "Book Details"), 1},
		{"refused", "reviews", nil, usualMarks(noReviews, "Book Reviews", "Reviews served by:"), 2},
		{"unavailable", "reviews", fixed(503, ""), usualMarks(noReviews, "Book Reviews", "Reviews served by:"), 2},
		{"no JSON", "reviews", fixed(200, "no"), usualMarks(noReviews, "Book Reviews", "Reviews served by:"), 2},
		{"a list", "reviews", fixed(200, "[]"), usualMarks(noReviews, "Book Reviews", "Reviews served by:"), 1},
		{"refused", "ratings", nil, usualMarks(noRatings), 1},
		{"abort", "ratings", fixed(500, "fault filter abort"), usualMarks(noRatings), 1},
	} {
		h, n := shop(t, "v2")
		n.hosts[c.host+":9080"] = c.answer
		w := ask(h, "GET", "/productpage")
		if d := cmp.Diff(c.want, marks(w.Body.String())); d != "" || w.Code != 200 {
			t.Errorf("%s %s: %d: -want +got\n%s", c.host, c.name, w.Code, d)
		}
		if got := strings.Count(strings.Join(n.paths(), " "), c.host+"/"+c.host+"/"); got != c.asked {
			t.Errorf("%s %s: asked %d times, want %d", c.host, c.name, got, c.asked)
		}
	}
}

// TestReviewsFailOnce: the second try is good.
func TestReviewsFailOnce(t *testing.T) {
	h, n := shop(t, "v2")
	good := n.hosts["reviews:9080"]
	var calls atomic.Int32
	n.hosts["reviews:9080"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(500)
			return
		}
		good.ServeHTTP(w, r)
	})
	w := ask(h, "GET", "/productpage")
	if marks(w.Body.String())["Book Reviews"] != 1 || calls.Load() != 2 {
		t.Errorf("%d calls:\n%s", calls.Load(), w.Body)
	}
	counted := ask(h, "GET", "/metrics").Body.String()
	if !strings.Contains(counted, `{destination_app="reviews",response_code="200"} 1.0`) {
		t.Errorf("tries are counted:\n%s", counted)
	}
}

// TestRatingsOfThePage: a rating of nothing shows nothing, neither stars nor an error.
func TestRatingsOfThePage(t *testing.T) {
	for rating, want := range map[string]map[string]int{
		`{"stars":0,"color":"red"}`:             {},
		`{"stars":0,"error":"Nobody knows"}`:    {"text-red-500": 1},
		`{}`:                                    {},
		`{"stars":1,"color":"black"}`:           {"flex gap-x-1 text-black-500": 1, "text-black-500": 1, "glyphicon glyphicon-star": 1, "glyphicon-star-empty": 4},
		`{"stars":7,"color":"black"}`:           {"flex gap-x-1 text-black-500": 1, "text-black-500": 1, "glyphicon glyphicon-star": 7},
		`{"stars":1e300,"color":"black"}`:       {"flex gap-x-1 text-black-500": 1, "text-black-500": 1, "glyphicon glyphicon-star": 50},
		`{"stars":-1e300,"color":"black"}`:      {"flex gap-x-1 text-black-500": 1, "text-black-500": 1, "glyphicon-star-empty": 5},
		`{"stars":2,"color":"\"><b>x;}{}</b>"}`: {"glyphicon glyphicon-star": 2, "glyphicon-star-empty": 3},
	} {
		h, n := shop(t, "v2")
		n.hosts["reviews:9080"] = fixed(200,
			`{"podname":"p","clustername":"east","reviews":[{"reviewer":"<i>","text":"<b>","rating":`+rating+`}]}`)
		body := ask(h, "GET", "/productpage").Body.String()
		want["on cluster"] = 1
		if d := cmp.Diff(usualMarks(want), marks(body)); d != "" {
			t.Errorf("%s: -want +got\n%s", rating, d)
		}
		if strings.Contains(body, "<b>x") || strings.Contains(body, "<i>") || strings.Contains(body, "<p><b>") {
			t.Errorf("%s: not escaped:\n%s", rating, body)
		}
	}
}

func TestIndex(t *testing.T) {
	h, n := shop(t, "v1")
	for _, path := range []string{"/", "/index.html"} {
		w := ask(h, "GET", path)
		body := w.Body.String()
		for _, part := range []string{"<title>Simple Bookstore App</title>", `<a href="productpage?u=normal">Normal user</a>`,
			`<a href="productpage?u=test">Test user</a>`, "http://details:9080/details/", "ratings", "reviews"} {
			if !strings.Contains(body, part) {
				t.Errorf("%s lacks %s", path, part)
			}
		}
		if w.Code != 200 || w.Header().Get("Content-Type") != isHTML || len(n.seen) != 0 {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	expect(t, ask(h, "GET", "/health"), 200, isHTML, "Product page is healthy")
	for path, want := range map[string]int{"/foo": 404, "/login": 405, "/static/none": 404, "/productpage/": 404} {
		if w := ask(h, "GET", path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestAPI(t *testing.T) {
	h, n := shop(t, "v2")
	w := ask(h, "GET", "/api/v1/products")
	if w.Code != 200 || w.Header().Get("Content-Type") != isJSON || !strings.HasPrefix(w.Body.String(),
		`[{"id":0,"title":"The Comedy of Errors","descriptionHtml":"<a href=\"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	black := [2]string{`,"rating":{"stars":5,"color":"black"}`, `,"rating":{"stars":4,"color":"black"}`}
	expect(t, ask(h, "GET", "/api/v1/products/0/reviews"), 200, isJSON, reviewsOf("reviews-v2-0", "null", black))
	expect(t, ask(h, "GET", "/api/v1/products/3/ratings"), 200, isJSON, `{"id":3,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	if w := ask(h, "GET", "/api/v1/products/3"); w.Code != 200 ||
		!strings.HasPrefix(w.Body.String(), `{"id":3,"author":"William Shakespeare","year":1595,`) {
		t.Errorf("details: %d %s", w.Code, w.Body)
	}
	sorry := func(what string) string {
		return `{"error":"Sorry, product ` + what + ` are currently unavailable for this book."}`
	}
	expect(t, ask(h, "GET", "/api/v1/products/x"), 400, isJSON, sorry("details"))
	expect(t, ask(h, "GET", "/api/v1/products/x/reviews"), 404, isJSON, sorry("reviews"))
	expect(t, ask(h, "GET", "/api/v1/products/x/ratings"), 400, isJSON, sorry("ratings"))
	n.hosts["details:9080"] = fixed(555, "fault filter abort")
	expect(t, ask(h, "GET", "/api/v1/products/0"), 555, isJSON, sorry("details"))
	delete(n.hosts, "ratings:9080")
	expect(t, ask(h, "GET", "/api/v1/products/0/ratings"), 500, isJSON, sorry("ratings"))
	before := len(n.seen)
	ask(h, "GET", "/api/v1/products/a%2F..%2Fb")
	if got := n.seen[before].URL.EscapedPath(); got != "/details/a%2F..%2Fb" {
		t.Errorf("asked %s", got)
	}
}

// asks is when a service that never answers is asked for one request, and the answer at the end.
func asks(t *testing.T, silent, path string) ([]time.Duration, *httptest.ResponseRecorder) {
	t.Helper()
	clock, arrived := newManual(), make(chan bool)
	n := newNetwork(map[string]http.Handler{
		"details:9080": fixed(200, "{}"), "reviews:9080": fixed(200, "{}"), "ratings:9080": fixed(200, "{}")})
	n.hosts[silent+":9080"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		hang(w, r)
	})
	h := start(t, bookinfo.ProductPage, app.Env{Client: n.client(), Clock: clock})
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- ask(h, "GET", path) }()
	var at []time.Duration
	for {
		select {
		case w := <-done:
			return at, w
		case <-arrived:
			at = append(at, clock.now)
			clock.advance(3*time.Second - 1)
			if clock.pending() != 1 {
				t.Errorf("%s: gave up before 3 s", silent)
			}
			clock.advance(1)
		}
	}
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		silent, path string
		at           []time.Duration
		status       int
		says         string
	}{
		{"details", "/productpage", []time.Duration{0}, 200, "Error fetching product details"},
		{"reviews", "/productpage", []time.Duration{0, 3 * time.Second}, 200, "Error fetching product reviews"},
		{"details", "/api/v1/products/0", []time.Duration{0}, 500, "product details are"},
		{"reviews", "/api/v1/products/0/reviews", []time.Duration{0, 3 * time.Second}, 500, "product reviews are"},
		{"ratings", "/api/v1/products/0/ratings", []time.Duration{0}, 500, "product ratings are"},
	} {
		at, w := asks(t, c.silent, c.path)
		if d := cmp.Diff(c.at, at); d != "" || w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s: -want +got\n%s", c.path, w.Code, w.Body, d)
		}
	}
}

func TestFlood(t *testing.T) {
	for _, c := range []struct {
		env  app.Env
		want int
	}{
		{app.Env{}, 1}, {app.Env{Vars: vars("FLOOD_FACTOR", "3")}, 4},
		{app.Env{Image: image + "productpage-v-flooding:1.20.3"}, 101},
		{app.Env{Image: image + "productpage-v-flooding:1.20.3", Vars: vars("FLOOD_FACTOR", "0")}, 1},
	} {
		n := newNetwork(map[string]http.Handler{"details:9080": fixed(200, "{}"), "reviews:9080": fixed(200, "{}")})
		c.env.Client = n.client()
		ask(start(t, bookinfo.ProductPage, c.env), "GET", "/productpage")
		want := append([]string{"details/details/0"}, strings.Split(
			strings.Repeat("reviews/reviews/0,", c.want-1)+"reviews/reviews/0", ",")...)
		if d := cmp.Diff(want, n.paths()); d != "" {
			t.Errorf("%+v: -want +got\n%s", c.env, d)
		}
	}
}

func TestMetrics(t *testing.T) {
	h, n := shop(t, "v2")
	const head = "# HELP request_result_total Upstream requests by their outcome.\n" +
		"# TYPE request_result_total counter\n"
	const text = "text/plain; version=0.0.4; charset=utf-8"
	expect(t, ask(h, "GET", "/metrics"), 200, text, head)
	ask(h, "GET", "/productpage")
	ask(h, "GET", "/productpage")
	ask(h, "GET", "/api/v1/products")
	ask(h, "GET", "/api/v1/products/0/ratings")
	n.hosts["reviews:9080"] = fixed(503, "")
	ask(h, "GET", "/productpage")
	delete(n.hosts, "details:9080")
	ask(h, "GET", "/api/v1/products/0")
	expect(t, ask(h, "GET", "/metrics"), 200, text, head+
		`request_result_total{destination_app="details",response_code="200"} 3.0`+"\n"+
		`request_result_total{destination_app="details",response_code="500"} 1.0`+"\n"+
		`request_result_total{destination_app="ratings",response_code="200"} 1.0`+"\n"+
		`request_result_total{destination_app="reviews",response_code="200"} 2.0`+"\n"+
		`request_result_total{destination_app="reviews",response_code="503"} 1.0`+"\n")
}

func TestHeadersOfProductPage(t *testing.T) {
	want := traced.Clone()
	for _, h := range []string{
		"B3", "X-Other", "Accept", "X-Datadog-Sampled", "End-User", "X-B3-Parentspanid", "X-B3-Flags",
	} {
		want.Del(h)
	}
	want.Set("X-B3-Traceid", "00000000000000000123456789abcdef")
	got := sentOn(t, bookinfo.ProductPage, app.Env{}, "/productpage", traced)
	if d := cmp.Diff([]http.Header{want, want, want}, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	in := http.Header{"Cookie": {"a=b; " + cookieOf(t, "jason")}, "End-User": {"eve"}}
	for _, h := range sentOn(t, bookinfo.ProductPage, app.Env{}, "/api/v1/products/0", in) {
		if d := cmp.Diff(http.Header{"Cookie": in["Cookie"], "End-User": {"jason"}}, h); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
}

func TestB3(t *testing.T) {
	const trace, span = "463ac35c9f6413ad48485a3953bb6124", "0020000000000001"
	b3 := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	sent := func(sampled string) http.Header {
		return b3("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", sampled)
	}
	for name, c := range map[string]struct{ in, want http.Header }{
		"sampled":      {b3("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "1"), sent("1")},
		"not sampled":  {b3("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "0"), sent("0")},
		"not decided":  {b3("x-b3-traceid", trace, "x-b3-spanid", span), sent("0")},
		"debug":        {b3("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-flags", "1"), sent("1")},
		"one header":   {b3("b3", trace+"-"+span+"-1"), sent("1")},
		"one, debug":   {b3("b3", trace+"-"+span+"-d-1111111111111111"), sent("1")},
		"one, short":   {b3("b3", trace+"-"+span), sent("0")},
		"denied":       {b3("b3", "0"), http.Header{}},
		"no span":      {b3("x-b3-traceid", trace), http.Header{}},
		"bad trace":    {b3("x-b3-traceid", trace[1:], "x-b3-spanid", span), http.Header{}},
		"bad span":     {b3("x-b3-traceid", trace, "x-b3-spanid", "x"+span[1:]), http.Header{}},
		"sampled only": {b3("x-b3-sampled", "1"), http.Header{}},
	} {
		got := sentOn(t, bookinfo.ProductPage, app.Env{}, "/api/v1/products/0", c.in)
		if d := cmp.Diff([]http.Header{c.want}, got); d != "" {
			t.Errorf("%s: -want +got\n%s", name, d)
		}
	}
}

// TestEachCallHasItsConnection: over real sockets, and without asking to keep one.
func TestEachCallHasItsConnection(t *testing.T) {
	var opened atomic.Int32
	upstream := httptest.NewUnstartedServer(fixed(200, "{}"))
	upstream.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	upstream.Start()
	defer upstream.Close()
	host, port, _ := net.SplitHostPort(upstream.Listener.Addr().String())
	at := map[string]string{}
	for _, s := range []string{"DETAILS", "REVIEWS", "RATINGS"} {
		at[s+"_HOSTNAME"], at[s+"_SERVICE_PORT"] = host, port
	}
	h := start(t, bookinfo.ProductPage, app.Env{Client: upstream.Client(), Vars: at})
	for range 3 {
		if w := ask(h, "GET", "/productpage"); w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	if n := opened.Load(); n != 6 {
		t.Errorf("%d connections for 6 calls", n)
	}
	// A name that no header can carry: the calls fail, the page does not.
	body := ask(h, "GET", "/productpage", "Cookie", cookieOf(t, "a\r\nend-user: jason")).Body.String()
	if got := marks(body); got["Error fetching product details"]+got["Error fetching product reviews"] != 2 {
		t.Errorf("a name of two lines:\n%s", body)
	}
	if n := opened.Load(); n != 6 {
		t.Errorf("a name of two lines: %d further calls", n-6)
	}
}

// login signs a user in and returns the answer.
func login(h http.Handler, user, referer string) *httptest.ResponseRecorder {
	form := url.Values{"username": {user}, "passwd": {"x"}}.Encode()
	r := httptest.NewRequest("POST", "/login", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if referer != "" {
		r.Header.Set("Referer", referer)
	}
	return send(h, r)
}

// cookieOf is "session=..." of a user.
func cookieOf(t testing.TB, user string) string {
	t.Helper()
	h := start(t, bookinfo.ProductPage, app.Env{})
	set := login(h, user, "").Result().Cookies()
	if len(set) != 1 || set[0].Name != "session" {
		t.Fatalf("cookies %v", set)
	}
	return "session=" + set[0].Value
}

func TestSession(t *testing.T) {
	h, n := shop(t, "v2")
	const page = "http://127.0.0.1:8080/productpage"
	w := login(h, "jason", page)
	cookie := cookieOf(t, "jason")
	if w.Code != 302 || w.Header().Get("Location") != page ||
		w.Header().Get("Set-Cookie") != cookie+"; Path=/; HttpOnly" {
		t.Errorf("login: %d %v", w.Code, w.Header())
	}
	body := ask(h, "GET", "/productpage", "Cookie", cookie).Body.String()
	got := marks(body)
	if got["Sign out"] != 1 || got["Sign in"] != 0 || got["jason"] != 1 {
		t.Errorf("signed in: %v", got)
	}
	for _, r := range n.seen {
		if r.Header.Get("end-user") != "jason" || r.Header.Get("cookie") != cookie {
			t.Errorf("%s without the user: %v", r.URL, r.Header)
		}
	}
	w = ask(h, "GET", "/logout", "Cookie", cookie, "Referer", page)
	if w.Code != 302 || w.Header().Get("Location") != page ||
		w.Header().Get("Set-Cookie") != "session=; Path=/; Max-Age=0; HttpOnly" {
		t.Errorf("logout: %d %v", w.Code, w.Header())
	}
	w = ask(h, "GET", "/logout")
	if w.Code != 302 || w.Header().Get("Location") != "/productpage" || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("logout of nobody: %d %v", w.Code, w.Header())
	}
	w = login(h, "", page)
	if w.Code != 302 || w.Header().Get("Set-Cookie") != "session=; Path=/; Max-Age=0; HttpOnly" {
		t.Errorf("login of nobody: %d %v", w.Code, w.Header())
	}
	const part = "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\njason\r\n--b--\r\n"
	r := httptest.NewRequest("POST", "/login", strings.NewReader(part))
	w = send(h, r, "Content-Type", "multipart/form-data; boundary=b", "Referer", `http://a/"><b>`)
	if w.Code != 302 || w.Header().Get("Set-Cookie") != cookie+"; Path=/; HttpOnly" ||
		!strings.Contains(w.Body.String(), `href="http://a/&#34;&gt;&lt;b&gt;"`) {
		t.Errorf("login by curl -F: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w = login(h, strings.Repeat("x", 5000), page); w.Code != 400 {
		t.Errorf("login of a very long name: %d", w.Code)
	}
}

// TestHeaderIsNoSession: who says to be jason in a header is nobody.
func TestHeaderIsNoSession(t *testing.T) {
	h, n := shop(t, "v2")
	body := ask(h, "GET", "/productpage", "End-User", "jason").Body.String()
	if marks(body)["Sign in"] != 2 || marks(body)["jason"] != 0 {
		t.Errorf("the page believes it:\n%s", body)
	}
	for _, r := range n.seen {
		if r.Header.Get("end-user") != "" {
			t.Errorf("%s is told %v", r.URL, r.Header)
		}
	}
}

var shownUser = regexp.MustCompile(`(?s)<strong>BookInfo Sample</strong>\n<span>(.*?)</span>\n<a href="logout">`)

// userOn returns whom the page takes a cookie for.
func userOn(h http.Handler, cookie string) (string, bool) {
	m := shownUser.FindStringSubmatch(ask(h, "GET", "/", "Cookie", cookie).Body.String())
	if m == nil {
		return "", false
	}
	return html.UnescapeString(m[1]), !strings.ContainsAny(m[1], "<>\"'")
}

// FuzzUser signs odd users in: each is shown as text, and sent on as it is, or not at all.
func FuzzUser(f *testing.F) {
	for _, u := range []string{
		"jason", "<script>alert(1)</script>", `"><img src=x onerror=a>`, "a\r\nend-user: b", "Jürgen ☃", "</span>",
		"{{.}}", "a;b=c", "\x00", "\xff", " ", "&lt;",
	} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, user string) {
		if user == "" || len(user) > 1000 {
			return
		}
		h, n := shop(t, "v1")
		cookie := cookieOf(t, user)
		shown, escaped := userOn(h, cookie)
		if shown != strings.ReplaceAll(user, "\x00", "\ufffd") || !escaped {
			t.Errorf("%q is shown as %q", user, shown)
		}
		ask(h, "GET", "/productpage", "Cookie", cookie)
		for _, r := range n.seen {
			if got := r.Header.Get("end-user"); got != user {
				t.Errorf("%q is sent on as %q", user, got)
			}
		}
	})
}

// FuzzCookie: only what a login gave out is a session.
func FuzzCookie(f *testing.F) {
	good := strings.TrimPrefix(cookieOf(f, "jason"), "session=")
	name, signature, _ := strings.Cut(good, ".")
	eve, _, _ := strings.Cut(strings.TrimPrefix(cookieOf(f, "eve"), "session="), ".")
	for _, c := range []string{
		good, name, name + ".", "." + signature, eve + "." + signature, good + "x", "jason", "", ".",
		`"` + good + `"`, good[:len(good)-1] + "A", name + ".." + signature, good + "=",
	} {
		f.Add(c)
	}
	h := start(f, bookinfo.ProductPage, app.Env{})
	f.Fuzz(func(t *testing.T, cookie string) {
		user, _ := userOn(h, "session="+cookie)
		if user == "" {
			return
		}
		given := strings.TrimPrefix(cookieOf(t, user), "session=")
		if got := strings.Trim(strings.TrimSpace(cookie), `"`); got != given && !strings.HasPrefix(cookie, given+";") {
			t.Errorf("%q is taken for %q, whose cookie is %q", cookie, user, given)
		}
	})
}

// TestForged changes each character of a good cookie.
func TestForged(t *testing.T) {
	h := start(t, bookinfo.ProductPage, app.Env{})
	good := cookieOf(t, "jason")
	if user, _ := userOn(h, good); user != "jason" {
		t.Fatalf("the good one is %q", user)
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	for i := len("session="); i < len(good); i++ {
		for _, c := range letters {
			forged := fmt.Sprint(good[:i], string(c), good[i+1:])
			if user, _ := userOn(h, forged); user != "" && forged != good {
				t.Errorf("%s is taken for %q", forged, user)
			}
		}
	}
}
