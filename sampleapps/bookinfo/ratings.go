package bookinfo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// The ways in which variants of ratings are bad.
const (
	ratingsDelay     = 7 * time.Second  // v-delayed, half of the requests
	unavailablePhase = time.Minute      // v-unavailable, in turns
	unhealthyPhase   = 15 * time.Minute // v-unhealthy, in turns
)

// maxPosted is the size of the largest ratings that are taken, in bytes.
const maxPosted = 1 << 20

type ratings struct {
	env     app.Env
	version string
	random  *rand.Rand

	mu     sync.Mutex
	posted map[int64]json.RawMessage // by product
	bad    bool                      // the phase of v-unavailable and v-unhealthy
}

// productRatings is the answer about one product.
type productRatings struct {
	ID      int64           `json:"id"`
	Ratings json.RawMessage `json:"ratings"`
}

// usual are the ratings of products that nobody has rated otherwise.
var usual = json.RawMessage(`{"Reviewer1":5,"Reviewer2":4}`)

// Ratings returns the app. SERVICE_VERSION chooses how it is, the image's name where it is not set:
//
//	v1             answers, and keeps what is posted in memory
//	v2             asks a database: MongoDB, or MySQL with DB_TYPE=mysql
//	v-faulty       half of the answers are 503
//	v-delayed      half of the answers take 7 s
//	v-unavailable  every other minute all answers are 503; the first minute is good
//	v-unhealthy    every other 15 minutes likewise, and so says its health
//
// There are no databases here, which would need TCP: v2 answers as if its database could not be
// reached.
func Ratings(env app.Env) (http.Handler, error) {
	s := &ratings{
		env: env, version: env.Var("SERVICE_VERSION", version(&env, "ratings")),
		random: env.Random("ratings"), posted: map[int64]json.RawMessage{},
	}
	switch s.version {
	case "v-faulty", "v-delayed":
	case "v-unavailable":
		s.turn(unavailablePhase)
	case "v-unhealthy":
		s.turn(unhealthyPhase)
	default:
		if strings.HasPrefix(s.version, "v-") {
			return nil, fmt.Errorf("env SERVICE_VERSION = %q: want v-faulty, v-delayed, "+
				"v-unavailable, v-unhealthy, v1 or v2", s.version)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ratings/", s.get)
	mux.HandleFunc("POST /ratings/", s.post)
	mux.HandleFunc("GET /health", s.health)
	return logged(env, mux), nil
}

// turn makes a good phase bad and a bad one good, again and again until the pod ends.
func (s *ratings) turn(phase time.Duration) {
	stop := s.env.Clock.AfterFunc(phase, func() {
		if s.env.Life().Err() != nil {
			return
		}
		s.mu.Lock()
		s.bad = !s.bad
		s.mu.Unlock()
		s.turn(phase)
	})
	context.AfterFunc(s.env.Life(), func() { stop() })
}

func (s *ratings) isBad() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad
}

func (s *ratings) get(w http.ResponseWriter, r *http.Request) {
	id, err := productID(r)
	if err != nil {
		app.JSON(w, http.StatusBadRequest, failure{err.Error()})
		return
	}
	switch s.version {
	case "v2":
		s.withoutDatabase(w)
		return
	case "v-faulty":
		if s.random.Float64() < 0.5 {
			unavailable(w)
			return
		}
	case "v-delayed":
		if s.random.Float64() < 0.5 && !s.env.Wait(r.Context(), ratingsDelay) {
			return // nobody is there to answer
		}
	case "v-unavailable", "v-unhealthy":
		if s.isBad() {
			unavailable(w)
			return
		}
	}
	s.answer(w, id)
}

// answer tells the ratings of a product.
func (s *ratings) answer(w http.ResponseWriter, id int64) {
	s.mu.Lock()
	known, ok := s.posted[id]
	s.mu.Unlock()
	if !ok {
		known = usual
	}
	app.JSON(w, http.StatusOK, productRatings{id, known})
}

func unavailable(w http.ResponseWriter) {
	app.JSON(w, http.StatusServiceUnavailable, failure{"Service unavailable"})
}

// withoutDatabase is what v2 says when it can not reach its database. With MySQL the original says
// it with a 200.
func (s *ratings) withoutDatabase(w http.ResponseWriter) {
	status := http.StatusInternalServerError
	if s.env.Vars["DB_TYPE"] == "mysql" {
		status = http.StatusOK
	}
	app.JSON(w, status, failure{"could not connect to ratings database"})
}

func (s *ratings) post(w http.ResponseWriter, r *http.Request) {
	id, err := productID(r)
	if err != nil {
		app.JSON(w, http.StatusBadRequest, failure{err.Error()})
		return
	}
	var posted bytes.Buffer
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPosted))
	if err != nil || json.Compact(&posted, body) != nil {
		app.JSON(w, http.StatusBadRequest, failure{"please provide valid ratings JSON"})
		return
	}
	if s.version == "v2" {
		app.JSON(w, http.StatusNotImplemented,
			failure{"Post not implemented for database backed ratings"})
		return
	}
	s.mu.Lock()
	s.posted[id] = posted.Bytes()
	s.mu.Unlock()
	s.answer(w, id)
}

func (s *ratings) health(w http.ResponseWriter, _ *http.Request) {
	if s.version == "v-unhealthy" && s.isBad() {
		app.JSON(w, http.StatusInternalServerError, health{"Ratings is not healthy"})
		return
	}
	app.JSON(w, http.StatusOK, health{"Ratings is healthy"})
}

// leading is what JavaScript's parseInt reads of a text.
var leading = regexp.MustCompile(`^[+-]?[0-9]+`)

// productID is the number that the path ends with; what follows its digits does not count.
func productID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(leading.FindString(path.Base(r.URL.Path)), 10, 64)
	if err != nil {
		return 0, errors.New("please provide numeric product ID")
	}
	return id, nil
}
