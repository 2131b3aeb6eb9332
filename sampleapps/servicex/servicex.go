// Package servicex is the course's server for circuit breakers: it answers OK, or lets its clients
// wait and then gives up on them.
package servicex

import (
	"io"
	"net/http"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// longest is one more than the seconds that a failing pod takes at most.
const longest = 5

// Handler returns the app. The variable `error`, in small letters, is yes for a pod that fails:
// after 0 to 4 whole seconds it answers 504.
func Handler(env app.Env) (http.Handler, error) {
	waits := env.Random("servicex")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		env.Logger().Info("request", "pod", env.Pod, "path", r.URL.Path)
		if env.Vars["error"] != "yes" {
			_, _ = io.WriteString(w, "OK") // the client may be gone
			return
		}
		if env.Wait(r.Context(), time.Duration(waits.IntN(longest))*time.Second) {
			w.WriteHeader(http.StatusGatewayTimeout)
		}
	}), nil
}
