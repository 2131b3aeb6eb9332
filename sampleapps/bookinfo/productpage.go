package bookinfo

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// tryTimeout is how long productpage waits for an answer, each time that it asks.
const tryTimeout = 3 * time.Second

// floodFactor is that of the image productpage-v-flooding.
const floodFactor = 100

// service is one that productpage asks.
type service struct {
	name, url string
	// tries is how often it is asked until it answers 200. That reviews is asked twice is the bug
	// of Istio's fault injection task: 3 s twice is less than reviews waits for ratings.
	tries int
}

type productPage struct {
	env                       app.Env
	details, reviews, ratings service
	flood                     int

	mu       sync.Mutex
	outcomes map[outcome]int
}

// outcome is how an upstream operation, with all its tries, ended.
type outcome struct {
	app    string
	status int
}

// ProductPage returns the app. Variables: DETAILS_HOSTNAME, DETAILS_SERVICE_PORT, and likewise for
// REVIEWS and RATINGS; SERVICES_DOMAIN; FLOOD_FACTOR, so many more requests to reviews for each
// page (100 in version v-flooding where it is not set).
//
//	GET  /productpage              the page, always 200, signed in or not
//	POST /login    GET /logout     begin and end a session, and go back
//	GET  /api/v1/products          JSON, likewise /api/v1/products/0, .../0/reviews, .../0/ratings
//	GET  /metrics                  outcomes of upstream requests, for Prometheus
func ProductPage(env app.Env) (http.Handler, error) {
	p := &productPage{env: env, outcomes: map[outcome]int{}}
	for _, s := range []struct {
		to    *service
		name  string
		tries int
	}{{&p.details, "details", 1}, {&p.reviews, "reviews", 2}, {&p.ratings, "ratings", 1}} {
		at, err := address(&env, s.name)
		if err != nil {
			return nil, err
		}
		*s.to = service{s.name, at + "/" + s.name + "/", s.tries}
	}
	flood := 0
	if version(&env, "productpage") == "v-flooding" {
		flood = floodFactor
	}
	var err error
	if p.flood, err = env.Int("FLOOD_FACTOR", flood); err != nil {
		return nil, err
	}
	return logged(env, p.routes()), nil
}

//go:embed static
var static embed.FS

func (p *productPage) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /index.html", p.index)
	mux.HandleFunc("GET /productpage", p.page)
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("GET /logout", logout)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) {
		app.JSON(w, http.StatusOK, []product{comedy})
	})
	mux.HandleFunc("GET /api/v1/products/{id}", p.api(p.details))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", p.api(p.reviews))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", p.api(p.ratings))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		asHTML(w)
		fmt.Fprint(w, "Product page is healthy")
	})
	mux.HandleFunc("GET /metrics", p.metrics)
	mux.Handle("GET /static/", http.FileServerFS(static))
	return mux
}

func asHTML(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html; charset=utf-8") }

// login takes any password.
func login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	err := r.ParseForm()
	if err == nil {
		err = r.ParseMultipartForm(maxLogin) // for curl -F
	}
	if err != nil && !errors.Is(err, http.ErrNotMultipart) {
		http.Error(w, "login: "+err.Error(), http.StatusBadRequest)
		return
	}
	cookie := logOut()
	if user := r.Form.Get("username"); user != "" {
		cookie = logIn(user)
	}
	http.SetCookie(w, cookie)
	back(w, r)
}

// maxLogin is the size of the largest form that is taken, in bytes: longer names make cookies that
// browsers do not keep.
const maxLogin = 4 << 10

func logout(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie(cookieName); err == nil {
		http.SetCookie(w, logOut())
	}
	back(w, r)
}

// back leads to where the request came from.
func back(w http.ResponseWriter, r *http.Request) {
	to := r.Referer()
	if to == "" {
		to = "/productpage"
	}
	asHTML(w)
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
	fmt.Fprintf(w, "<!doctype html>\n<title>Found</title>\n<p><a href=\"%s\">Back</a></p>\n",
		template.HTMLEscapeString(to))
}

// headers are those of all upstream requests on behalf of one. The end user is the session's: a
// header that says so itself is not believed.
func headers(r *http.Request) http.Header {
	out := http.Header{}
	reinject(out, r.Header)
	app.Copy(out, r.Header, forwarded...)
	if user := userOf(r); user != "" {
		out.Set("end-user", user)
	}
	return out
}

// ask asks a service about a product until it has JSON or no more tries, each on a connection of
// its own. It returns the last status, 500 without an answer, and the JSON where it is 200.
func (p *productPage) ask(s service, id string, header http.Header) (status int, answer string) {
	for range s.tries {
		status, answer = http.StatusInternalServerError, ""
		reply, err := p.env.Call(p.env.Life(), app.Call{
			URL: s.url + url.PathEscape(id), Header: header.Clone(), Timeout: tryTimeout,
			Fresh: true,
		})
		switch {
		case err != nil:
			p.env.Logger().Info("no answer", "pod", p.env.Pod, "from", s.name, "err", err)
		case reply.Status != http.StatusOK:
			status = reply.Status
		case json.Valid([]byte(reply.Body)):
			status, answer = http.StatusOK, reply.Body
		}
		if status == http.StatusOK {
			break
		}
	}
	p.mu.Lock()
	p.outcomes[outcome{s.name, status}]++
	p.mu.Unlock()
	return status, answer
}

// api returns the handler that passes on what a service says of a product.
func (p *productPage) api(s service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status, answer := p.ask(s, r.PathValue("id"), headers(r))
		if status == http.StatusOK {
			app.JSON(w, status, json.RawMessage(answer))
			return
		}
		app.JSON(w, status, failure{sorry(s.name)})
	}
}

// sorry is what is said in place of an answer.
func sorry(what string) string {
	return "Sorry, product " + what + " are currently unavailable for this book."
}

// metrics answers in Prometheus' text format.
func (p *productPage) metrics(w http.ResponseWriter, _ *http.Request) {
	var lines []string
	p.mu.Lock()
	for o, n := range p.outcomes {
		lines = append(lines, fmt.Sprintf(
			"request_result_total{destination_app=%q,response_code=\"%d\"} %d.0\n",
			o.app, o.status, n))
	}
	p.mu.Unlock()
	slices.Sort(lines)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, "# HELP request_result_total Upstream requests by their outcome.\n"+
		"# TYPE request_result_total counter\n"+strings.Join(lines, ""))
}
