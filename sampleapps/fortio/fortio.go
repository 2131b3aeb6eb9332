// Package fortio is the server of `fortio server`: it sends back what it gets, in the way that the
// query asks for. It is fortio's own code.
//
//	status=503:5,404:10  delay=5ms:10,0.5s:1  size=1024  close=10  gzip=true  header=name:value
//
// Numbers after a colon are percentages; the rest gets 200, at once. Delays end at 1.5 s, and are
// by the machine's clock, as draws are fortio's own: neither follows the lab's clock or seed.
package fortio

import (
	"net/http"
	"net/url"

	"fortio.org/fortio/fhttp"
	"fortio.org/log"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// Handler returns the app: / echoes, /debug tells the request as text.
func Handler(env app.Env) (http.Handler, error) {
	log.SetLogLevelQuiet(log.Critical) // its log is the process's own
	mux := http.NewServeMux()
	mux.HandleFunc("/", fhttp.EchoHandler)
	mux.HandleFunc("/debug", func(w http.ResponseWriter, r *http.Request) {
		fhttp.DebugHandler(w, withoutEnvironment(r))
	})
	mux.HandleFunc("/fortio/", func(w http.ResponseWriter, _ *http.Request) {
		app.Text(w, http.StatusNotFound, "fortio's pages are not there: send load with "+
			"`mesh-lab load --from fortio URL`, which takes fortio's flags\n")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		env.Logger().Info("request", "pod", env.Pod, "path", r.URL.Path)
		mux.ServeHTTP(w, r)
	}), nil
}

// withoutEnvironment takes out the wish to see the variables of the process, which are this
// machine's and not the pod's.
func withoutEnvironment(r *http.Request) *http.Request {
	q := r.URL.Query()
	if !q.Has("env") {
		return r
	}
	q.Del("env")
	c := *r
	c.URL = &url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
	return &c
}
