// Package httpbin answers with what it was asked, and does as it is told: mccutchen/go-httpbin,
// which Istio's samples run, with all of its paths.
//
// It calls nobody. What it takes and makes is bounded: bodies by 1 MiB, delays by 10 s. It waits
// (/delay, /drip, /sse) by the machine's clock, and draws (/status/200:0.9,503:0.1, /unstable) by
// itself: neither follows the lab's clock or seed, but for /unstable?seed=1.
package httpbin

import (
	"net/http"
	"strings"

	"github.com/mccutchen/go-httpbin/v2/httpbin"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// Handler returns the app. The variable HOSTNAME is what /hostname tells; /env tells the variables
// that begin with HTTPBIN_.
func Handler(env app.Env) (http.Handler, error) {
	told := map[string]string{}
	for k, v := range env.Vars {
		if strings.HasPrefix(k, "HTTPBIN_") {
			told[k] = v
		}
	}
	h := httpbin.New(
		httpbin.WithMaxBodySize(httpbin.DefaultMaxBodySize),
		httpbin.WithMaxDuration(httpbin.DefaultMaxDuration),
		httpbin.WithHostname(env.Var("HOSTNAME", env.Pod)),
		httpbin.WithEnv(told),
	)
	return guard{h, env}, nil
}

// Port returns where an image listens: the first httpbin, in Python, on 80, that in Go on 8080.
func Port(image string) int {
	for _, old := range []string{"kennethreitz/httpbin", "kong/httpbin"} {
		if strings.Contains(image, old) {
			return 80
		}
	}
	return 8080
}

// guard logs requests, and answers those that httpbin panics at: a weighted choice between weights
// of nothing.
type guard struct {
	inner http.Handler
	env   app.Env
}

func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.env.Logger().Info("request", "pod", g.env.Pod, "path", r.URL.Path)
	gw := &app.Writer{ResponseWriter: w} // httpbin wants every writer to flush and to hijack
	defer func() {
		switch p := recover(); {
		case p == nil:
		case p == http.ErrAbortHandler || gw.Status != 0:
			panic(http.ErrAbortHandler)
		default:
			app.Text(w, http.StatusBadRequest, "httpbin can not do this\n")
		}
	}()
	g.inner.ServeHTTP(gw, r)
}
