// Package helloworld says which version and which pod it is, after a little work: Istio's sample
// for versions, localities and scaling.
package helloworld

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// roots is how many square roots a request costs.
const roots = 1_000_000

var imageVersion = regexp.MustCompile(`-(v\d+)$`)

// Handler returns the app. Variables: SERVICE_VERSION (else the image's, "examples-helloworld-v2",
// else the pod's label) and HOSTNAME.
func Handler(env app.Env) (http.Handler, error) {
	version := env.Vars["SERVICE_VERSION"]
	if m := imageVersion.FindStringSubmatch(env.ImageName()); m != nil {
		version = cmp.Or(version, m[1])
	}
	version = cmp.Or(version, env.AppVersion())
	host := env.Var("HOSTNAME", "unknown")
	return app.Routes{
		"GET /hello": func(w http.ResponseWriter, r *http.Request) {
			env.Logger().Info("request", "pod", env.Pod, "path", r.URL.Path)
			sum := 0.0
			for i := range roots {
				sum += math.Sqrt(float64(i))
			}
			if sum < 0 { // never; but a sum that nobody asks for is not worked out
				return
			}
			page(w, fmt.Sprintf("Hello version: %s, instance: %s\n", version, host))
		},
		"GET /health": func(w http.ResponseWriter, _ *http.Request) {
			page(w, "Helloworld is healthy")
		},
	}, nil
}

// page answers with the content type that the sample's framework gives to everything.
func page(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, text) // the client may be gone
}
