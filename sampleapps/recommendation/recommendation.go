// Package recommendation is the tutorial's last service: it counts its requests, and can be told to
// misbehave, and to be slow.
//
//	GET /           recommendation v1 from 'HOST': COUNT
//	GET /misbehave  from now on / answers 503       GET /behave   and no longer
//	GET /timeout    from now on / takes three seconds, or no longer
//
// Version v3 asks a time service; v4 to v7 keep a list of films (each pod its own, in memory).
package recommendation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// slowMs is how long the tutorial's "v2-timeout" image takes.
const slowMs = 3000

// service is one pod's app.
type service struct {
	env     app.Env
	version string
	host    string
	vertx   bool
	timeURL string
	delay   time.Duration

	mu        sync.Mutex
	count     int
	misbehave bool
	slow      bool
	films     []string
}

// Handler returns the app. Variables: VERSION, HOSTNAME, HOST_STYLE (full, short), SLOW_MS,
// TIME_URL (v3) and VARIANT (quarkus, vertx).
func Handler(env app.Env) (http.Handler, error) {
	s := &service{
		env:     env,
		version: env.AppVersion(),
		host:    env.Var("HOSTNAME", "unknown"),
		timeURL: env.Var("TIME_URL", "http://worldtimeapi.org/api/timezone/Europe/Madrid"),
		films:   []string{"Star Wars: A New Hope", "Star Trek: First Contact"},
	}
	fallback := 0
	if strings.HasSuffix(env.Tag(), "-timeout") {
		fallback = slowMs
	}
	ms, err := env.Int("SLOW_MS", fallback)
	if err != nil {
		return nil, err
	}
	s.delay = time.Duration(ms) * time.Millisecond
	variant := env.Var("VARIANT", "quarkus")
	if variant != "quarkus" && variant != "vertx" {
		return nil, fmt.Errorf("env VARIANT = %q: want quarkus or vertx", variant)
	}
	s.vertx = variant == "vertx"
	if err := s.styleHost(); err != nil {
		return nil, err
	}
	return s.routes(), nil
}

var workloadPart = regexp.MustCompile(`recommendation-v\d+-`)

// styleHost takes the workload's name out of the host name where the style is short.
func (s *service) styleHost() error {
	style := "full"
	if s.vertx {
		style = "short"
	}
	switch style = s.env.Var("HOST_STYLE", style); style {
	case "full":
	case "short":
		s.host = workloadPart.ReplaceAllString(s.host, "")
	default:
		return fmt.Errorf("env HOST_STYLE = %q: want full or short", style)
	}
	return nil
}

func (s *service) routes() http.Handler {
	q, ok := "", "200"
	health := app.Up
	if s.vertx {
		q, ok, health = "'", "a 200", `{"checks":[],"outcome":"UP"}`
	}
	rs := app.Routes{"GET /": s.recommend}
	rs["GET /misbehave"] = s.change(func() string {
		s.misbehave = true
		return fmt.Sprintf("Following requests to %s/%s will return a 503\n", q, q)
	})
	rs["GET /behave"] = s.change(func() string {
		s.misbehave = false
		return fmt.Sprintf("Following requests to %s/%s will return %s\n", q, q, ok)
	})
	rs["GET /timeout"] = s.change(func() string {
		if s.slow = !s.slow; s.slow {
			return "Following requests to / will wait for 3 seconds\n"
		}
		return "Following requests to / will not wait\n"
	})
	rs.Healthy(health)
	if s.keepsFilms() {
		rs["POST /"] = s.addFilm
	}
	return rs
}

// change returns a handler that changes the state and answers with what change says.
func (s *service) change(change func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		text := change()
		s.mu.Unlock()
		app.Text(w, http.StatusOK, text)
	}
}

func (s *service) keepsFilms() bool {
	switch s.version {
	case "v4", "v5", "v6", "v7":
		return true
	}
	return false
}

// recommend answers in the order of the tutorial: Quarkus counts, then waits; Vert.x waits, then
// counts. Either way a request whose caller gave up counts.
func (s *service) recommend(w http.ResponseWriter, r *http.Request) {
	count, bad, delay := 0, false, s.pause()
	if !s.vertx {
		count, bad = s.take()
	}
	waited := s.env.Wait(r.Context(), delay)
	if s.vertx {
		count, bad = s.take()
	}
	switch {
	case !waited:
		return // nobody is there to answer
	case bad:
		app.Text(w, http.StatusServiceUnavailable,
			fmt.Sprintf("recommendation misbehavior from '%s'\n", s.host))
	case s.version == "v3":
		s.withTime(w, r, count)
	case s.keepsFilms():
		s.mu.Lock()
		films := strings.Join(s.films, ", ")
		s.mu.Unlock()
		s.reply(w, "["+films+"] ", count)
	default:
		s.reply(w, "", count)
	}
}

func (s *service) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow {
		return max(s.delay, slowMs*time.Millisecond)
	}
	return s.delay
}

// take counts and logs a request. The Vert.x app logs before it counts, and a misbehaving call sets
// its count back to 0.
func (s *service) take() (count int, bad bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vertx {
		s.log()
	}
	s.count++
	if s.vertx && s.misbehave {
		s.count = 0
	}
	if !s.vertx {
		s.log()
	}
	return s.count, s.misbehave
}

func (s *service) log() {
	s.env.Logger().Info(fmt.Sprintf("recommendation request from %s: %d", s.host, s.count))
}

func (s *service) reply(w http.ResponseWriter, what string, count int) {
	app.Text(w, http.StatusOK,
		fmt.Sprintf("recommendation %s %sfrom '%s': %d\n", s.version, what, s.host, count))
}

// withTime is v3: it asks an external service for the time.
func (s *service) withTime(w http.ResponseWriter, r *http.Request, count int) {
	reply, err := s.env.Get(r, s.timeURL, http.Header{})
	if err == nil && reply.Status >= 400 {
		err = fmt.Errorf("the time service answered %d", reply.Status)
	}
	var answer struct {
		Datetime string `json:"datetime"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(reply.Body), &answer)
	}
	if err != nil {
		app.Text(w, http.StatusInternalServerError, "Internal Server Error\n")
		return
	}
	s.reply(w, answer.Datetime+" ", count)
}

// addFilm answers with the id of the new film; the first two are there from the start.
func (s *service) addFilm(w http.ResponseWriter, r *http.Request) {
	name, err := app.Body(r)
	if err != nil {
		return // the client broke off
	}
	s.mu.Lock()
	s.films = append(s.films, name)
	id := len(s.films)
	s.mu.Unlock()
	app.Text(w, http.StatusCreated, fmt.Sprint(id))
}
