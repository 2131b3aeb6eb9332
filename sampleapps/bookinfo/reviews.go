package bookinfo

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// How long reviews waits for ratings: the version with black stars longer than productpage waits
// for reviews, which is the lesson of Istio's fault injection task, and the others less.
const (
	patience      = 10 * time.Second
	shortPatience = 2500 * time.Millisecond
)

// The two reviews.
const (
	text1 = "Two pairs of twins, one town and no end of trouble: the funniest evening " +
		"that Shakespeare has to offer."
	text2 = "Great fun from the first mistake to the last. Those who look for depth will find " +
		"more of it in the later plays."
)

type reviews struct {
	env           app.Env
	rated         bool
	color         string
	ratings       string // URL
	host, cluster string
}

// productReviews is the answer about one product.
type productReviews struct {
	ID          string   `json:"id"`
	Podname     string   `json:"podname"`
	Clustername string   `json:"clustername"`
	Reviews     []review `json:"reviews"`
}

type review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *rating `json:"rating,omitempty"`
}

// rating is either stars, perhaps none, or an error.
type rating struct {
	Stars *float64 `json:"stars,omitempty"`
	Color string   `json:"color,omitempty"`
	Error string   `json:"error,omitempty"`
}

// Reviews returns the app. Variables: ENABLE_RATINGS and STAR_COLOR, which are those of the image's
// version where they are not set (v1 does not ask ratings, v2 has black stars, v3 red ones);
// HOSTNAME, CLUSTER_NAME, RATINGS_HOSTNAME, RATINGS_SERVICE_PORT, SERVICES_DOMAIN.
func Reviews(env app.Env) (http.Handler, error) {
	v := version(&env, "reviews")
	color := "black"
	if v == "v3" {
		color = "red"
	}
	// The original, on a JVM, prints what is not set as null.
	s := &reviews{
		env: env, color: env.Var("STAR_COLOR", color),
		host: env.Var("HOSTNAME", "null"), cluster: env.Var("CLUSTER_NAME", "null"),
	}
	var err error
	if s.rated, err = env.Flag("ENABLE_RATINGS", v != "v1"); err != nil {
		return nil, err
	}
	if s.ratings, err = address(&env, "ratings"); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reviews/{product}", s.get)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status": "Reviews is healthy"}`) // with the original's blank
	})
	return logged(env, mux), nil
}

func (s *reviews) get(w http.ResponseWriter, r *http.Request) {
	product, err := strconv.ParseInt(r.PathValue("product"), 10, 32)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	id := strconv.FormatInt(product, 10)
	all := []review{
		{Reviewer: "Reviewer1", Text: text1},
		{Reviewer: "Reviewer2", Text: text2},
	}
	if s.rated {
		stars := s.ask(id, forward(r.Header))
		for i := range all {
			all[i].Rating = s.rating(stars[all[i].Reviewer])
		}
	}
	app.JSON(w, http.StatusOK, productReviews{id, s.host, s.cluster, all})
}

// ask returns the stars of each reviewer, as ratings tells them; none when it can not be had.
func (s *reviews) ask(id string, header http.Header) map[string]json.RawMessage {
	timeout := shortPatience
	if s.color == "black" {
		timeout = patience
	}
	reply, err := s.env.Call(s.env.Life(), app.Call{
		URL: s.ratings + "/ratings/" + id, Header: header, Timeout: timeout,
	})
	if err == nil && reply.Status != http.StatusOK {
		err = fmt.Errorf("status %d", reply.Status)
	}
	var answer struct {
		Ratings map[string]json.RawMessage `json:"ratings"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(reply.Body), &answer)
	}
	if err != nil {
		s.env.Logger().Info("no ratings", "pod", s.env.Pod, "err", err)
		return nil
	}
	return answer.Ratings
}

// rating makes a reviewer's rating; what is no number is no rating.
func (s *reviews) rating(stars json.RawMessage) *rating {
	n, err := strconv.ParseFloat(string(stars), 64)
	if err != nil {
		return &rating{Error: "Ratings service is currently unavailable"}
	}
	n = math.Trunc(n)
	return &rating{Stars: &n, Color: s.color}
}
