package app

import (
	"fmt"
	"net/http"
	"strings"
)

// Relay is an app that answers with what the next app answers, its own name in front: the
// tutorial's customer and preference.
type Relay struct {
	Env    Env
	Prefix string // "customer => "
	Next   string // URL
	// Trim takes the white space off both ends of the next app's answer.
	Trim bool
	// Headers are the outgoing headers beside those of tracing.
	Headers func(in *http.Request) http.Header
}

// Handler returns the relay as a handler. The variable VARIANT chooses how it speaks: "quarkus" (as
// the tutorial's current text shows it) or "spring".
func (y Relay) Handler() (http.Handler, error) {
	switch v := y.Env.Var("VARIANT", "quarkus"); v {
	case "quarkus":
		rs := Routes{"GET /": y.quarkus}
		rs.Healthy(Up)
		return rs, nil
	case "spring":
		rs := Routes{"GET /": y.spring, "POST /": y.spring}
		rs.Healthy("")
		return rs, nil
	default:
		return nil, fmt.Errorf("env VARIANT = %q: want quarkus or spring", v)
	}
}

func (y Relay) quarkus(w http.ResponseWriter, r *http.Request) {
	y.Env.Logger().Info("request", "pod", y.Env.Pod, "path", r.URL.Path)
	reply, err := y.Env.Get(r, y.Next, y.Headers(r))
	switch {
	case err != nil:
		Text(w, http.StatusServiceUnavailable, y.Prefix+Failure(err)+"\n")
	case reply.Status >= 400:
		Text(w, http.StatusServiceUnavailable,
			fmt.Sprintf("%sError: %d - %s\n", y.Prefix, reply.Status, reply.Body))
	case y.Trim:
		Text(w, http.StatusOK, y.Prefix+strings.TrimSpace(reply.Body)+"\n")
	default:
		Text(w, http.StatusOK, y.Prefix+reply.Body+"\n")
	}
}

// spring trims every answer, prints no "Error", and passes a POST down.
func (y Relay) spring(w http.ResponseWriter, r *http.Request) {
	y.Env.Logger().Info("request", "pod", y.Env.Pod, "path", r.URL.Path)
	reply, err := y.call(r)
	switch {
	case err != nil:
		Text(w, http.StatusServiceUnavailable, y.Prefix+Failure(err)+"\n")
	case reply.Status >= 400:
		Text(w, http.StatusServiceUnavailable,
			fmt.Sprintf("%s%d %s\n", y.Prefix, reply.Status, strings.TrimSpace(reply.Body)))
	default:
		Text(w, http.StatusOK, y.Prefix+strings.TrimSpace(reply.Body)+"\n")
	}
}

func (y Relay) call(r *http.Request) (*Reply, error) {
	if r.Method != http.MethodPost {
		return y.Env.Get(r, y.Next, y.Headers(r))
	}
	body, err := Body(r)
	if err != nil {
		return nil, err
	}
	return y.Env.Post(r, y.Next, body, y.Headers(r))
}

// Personal are the headers about the end user that the tutorial's apps pass on. Its variants
// forward one of the last two each; these forward both.
var Personal = []string{"authorization", "user-preference", "baggage-user-preference"}
